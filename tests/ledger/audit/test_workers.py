"""Several processes find what one finds: on whole logs, damaged ones, and sealed content of every kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.verifying import known_here
from affidavit.domain.event import Meta, NewEvent
from affidavit.domain.optimization.events import PromptEvaluated
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit import audit as audit_module
from affidavit.ledger.audit import workers
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.audit.verdict import Verdict
from affidavit.ledger.errors import Unreachable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.reader import LedgerReader
from affidavit.ledger.store.sqlite.reader import open_snapshot
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of
from affidavit.tests.stores import every_store

SIZE = 700


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "PARALLEL_FROM", 0)
    monkeypatch.setattr(workers, "STRETCH", 256)


def record(ledger: Ledger) -> None:
    """Entries of which some seal a text, under three scopes in turn."""
    events = [
        NewEvent(
            "run/1",
            n,
            PromptEvaluated(
                evaluation=n, prompt=0, purpose="train", score=0.5, n=1, failed=0,
                system_prompt=f"Text {n}." if 300 <= n < 600 else None,
            ),
            Meta(scope=f"user/{n % 3}"),
        )
        for n in range(SIZE - 1)
    ]  # fmt: skip
    ledger.record(*events)
    ledger.sign()


def verdicts(place: Place, keys: Path) -> Iterator[Verdict]:
    for jobs in (1, 2):
        with place.snapshot() as reader:
            against = replace(known_here(place, keys, reader, Against()), check_projections=None)
            try:
                yield audit(reader, REGISTRY, against, jobs=jobs)
            finally:
                if against.scopes is not None:
                    against.scopes.close()


def agreed(place: Place, keys: Path) -> dict[str, Any]:
    one, two = map(asdict, verdicts(place, keys))
    assert one == two
    return one


@every_store
def test_two_processes_find_what_one_finds(ledger: Ledger, tmp_path: Path) -> None:
    record(ledger)
    ledger.erase("user/1", "user_request")
    ledger.close()
    found = agreed(ledger.place, tmp_path / "keys")
    assert found["damage"] == []
    assert found["erased"] == 100
    assert "sealed" in found["checked"]


def change(ledger: Ledger, *statements: str) -> None:
    ledger.close()
    with closing(sqlite3.connect(folder_of(ledger) / "ledger.db")) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='trigger'").fetchall():
            db.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_boxes_that_are_wrong_missing_or_of_no_entry_are_named_alike(ledger: Ledger, tmp_path: Path) -> None:
    record(ledger)
    place = ledger.place
    change(
        ledger,
        "DELETE FROM boxes WHERE seq=401",
        "UPDATE boxes SET box=zeroblob(60) WHERE seq=402",
        "INSERT INTO boxes SELECT 20, field, box FROM boxes WHERE seq=403",
        "UPDATE boxes SET seq=-7 WHERE seq=404",
        "UPDATE boxes SET seq=99999 WHERE seq=405",
    )
    found = [
        (damage["kind"], damage["seq"])
        for damage in agreed(place, tmp_path / "keys")["damage"]
        if damage["kind"] in ("payload_mismatch", "missing_without_erasure")
    ]
    assert found == [
        ("payload_mismatch", -7),
        ("payload_mismatch", 20),
        ("missing_without_erasure", 401),
        ("payload_mismatch", 402),
        ("missing_without_erasure", 404),
        ("missing_without_erasure", 405),
        ("payload_mismatch", 99999),
    ]


def _cannot() -> LedgerReader:
    raise OSError("no more memory")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_process_that_does_not_start_says_nothing_of_the_ledger(ledger: Ledger) -> None:
    ledger.close()
    with open_snapshot(folder_of(ledger)) as reader:
        reader.again = _cannot
        with pytest.raises(Unreachable, match="try fewer jobs"):
            audit(reader, REGISTRY, Against(), jobs=2)
