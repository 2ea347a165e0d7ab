"""The page about sizes shows what follows from the measured figures, and the formula is the one that it states."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from affidavit.bench import sizing
from affidavit.bench.sizing import Plan, calculate
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.store.place import Place
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runner import catch_up, open_views
from affidavit.tests.stores import every_store

MEASURED: dict[str, Any] = {
    "bytes": {
        "raw": 500.0,
        "entries": 800.0,
        "entries_heap": 600.0,
        "boxes": 100.0,
        "tiles": 33.0,
        "keys": 10.0,
        "views": 300.0,
        "checkpoints": 200.0,
    },
    "rates": {"verify": {"value": 10_000.0}},
}


def test_the_page_shows_the_measured_figures_and_what_follows() -> None:
    page = sizing.PAGE.read_text()
    assert sizing.with_figures(page, json.loads(sizing.MEASURED.read_text())) == page


def test_the_calculation_is_the_formula_of_the_page() -> None:
    plan = Plan(per_day=864_000, years=1, signatures=2, verifying=4, copying=1e6)
    found = calculate(plan, MEASURED)
    entries = 864_000 * 365.25
    assert found.entries == entries
    assert found.per_second == 10
    assert found.checkpoints == 2 * 365.25 * 86_400
    assert found.evidence == pytest.approx(entries * 933 + found.checkpoints * 200)
    assert found.verify_one == pytest.approx(entries / 10_000)
    assert found.verify_all == pytest.approx(found.verify_one / 4)
    assert found.backup == pytest.approx((found.evidence + entries * 10) / 1e6)
    assert found.block_month == pytest.approx((found.evidence + entries * 310) / 1e9 * plan.block_price)


def test_there_are_no_more_checkpoints_than_entries() -> None:
    found = calculate(Plan(per_day=8640, years=1), MEASURED)
    assert found.checkpoints == found.entries


def test_tiles_are_counted_level_by_level() -> None:
    found = calculate(Plan(per_day=256**2, years=1 / 365.25), MEASURED)
    assert found.entries == 256**2
    assert found.tile_files == 256 + 256 + 1  # bundles, tiles of leaves, one tile above
    assert found.tile_bytes == 256**2 * (500 + 2) + 32 * (256**2 + 256)


def test_twice_as_many_take_twice_as_much() -> None:
    one, two = (calculate(replace(Plan(), per_day=n), MEASURED) for n in (10_000_000, 20_000_000))
    assert two.verify_one == pytest.approx(2 * one.verify_one)
    assert two.evidence == pytest.approx(2 * one.evidence - one.checkpoints * 200)


@every_store
def test_the_bytes_of_a_ledger_are_told_by_table(place: Place, edge: Edge, tmp_path: Path) -> None:
    with (
        Ledger(place, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as ledger,
        open_views(place) as engine,
        ledger.recorder.reading() as reader,
    ):
        catch_up(engine, ledger.event_reader(reader))
    found = sizing.table_sizes(place)
    assert set(found) == {"entries", "entries_heap", "boxes", "tiles", "checkpoints", "keys", "views"}
    assert found["entries"] > found["entries_heap"] > 0
    assert min(found.values()) > 0
