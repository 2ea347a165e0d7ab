"""Rows that several processes make are those that one makes, in the same order, with the same digests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.opening import EventReader
from affidavit.ledger.store.place import ViewsFile
from affidavit.ledger.store.reader import LedgerReader
from affidavit.ledger.store.sqlite.reader import open_snapshot
from affidavit.projections import batches
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runner import VIEWS, catch_up, stored_digest, tracked, views_engine


@contextmanager
def caught_up(world: Path, views: Path, jobs: int) -> Iterator[Connection]:
    engine = views_engine(ViewsFile(views))
    try:
        with open_snapshot(world) as reader:
            catch_up(engine, EventReader(reader, REGISTRY), jobs=jobs)
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def test_two_processes_make_what_one_makes(
    made_world: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = made_world[0] / "ledger"
    monkeypatch.setattr(batches, "_STRETCH", 100)
    with caught_up(world, tmp_path / "one.db", 1) as one, caught_up(world, tmp_path / "two.db", 2) as two:
        for view in VIEWS:
            assert tracked(two, view) == tracked(one, view)
            assert stored_digest(two, view) == tracked(one, view)[1]
        tables = [name for (name,) in one.exec_driver_sql("SELECT name FROM sqlite_master WHERE type='table'")]
        for name in tables:
            rows = [sorted(each.exec_driver_sql(f"SELECT * FROM {name}").all(), key=repr) for each in (one, two)]
            assert rows[0] == rows[1], name


def _cannot() -> LedgerReader:
    raise OSError("no more memory")


def test_a_process_that_does_not_start_is_told(made_once: Path, tmp_path: Path) -> None:
    engine = views_engine(ViewsFile(tmp_path / "views.db"))
    with open_snapshot(made_once / "ledger") as reader:
        reader.again = _cannot
        with pytest.raises(Unavailable, match="did not start, or was ended"):
            catch_up(engine, EventReader(reader, REGISTRY), jobs=2)
    engine.dispose()
