"""Run directories are the same bytes in the same order, however many processes make them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.api import rebuilding
from affidavit.api.reading import open_for_reading
from affidavit.api.rebuilding import Folder, rebuild_folders
from affidavit.api.record import RecordingLedger
from affidavit.domain.optimization.events import Sample
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable, VerificationError
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.reader import LedgerReader
from affidavit.tests.stores import every_store

RUNS = ("001", "002", "003", "004", "005")
ERASED = "004"


@pytest.fixture(autouse=True)
def _even_of_a_short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "PARALLEL_FROM", 0)


@pytest.fixture
def recorded(ledger: Ledger) -> Place:
    """Five runs with sealed prompts, one of them erased."""
    with RecordingLedger(ledger) as recording:
        for name in RUNS:
            run = recording.start_run(strategy="iterative", prompt=f"Prompt {name}.", config={})
            answers = [Sample(id="1", input="Who?", response=f"Answer {name}.", score=0.5)]
            run.record_iteration(run.record_evaluation(f"Prompt {name}.", samples=answers))
            run.complete(reason="converged", best=f"Prompt {name}.")
        ledger.erase(f"run/{ERASED}", "user_request")
    return ledger.place


def rebuilt(place: Place, keys: Path, jobs: int, profile: str = "native", size: int = 0) -> list[Folder | None]:
    with open_for_reading(place, keys) as ledger:
        return list(rebuild_folders(ledger, keys, RUNS, size or ledger.size, profile, jobs))


@every_store
def test_any_number_of_processes_makes_the_same_bytes(recorded: Place, tmp_path: Path) -> None:
    one = rebuilt(recorded, tmp_path / "keys", 1)
    assert [folder.run for folder in one if folder is not None] == list(RUNS)
    for folder in one:
        assert folder is not None
        opened = f"Prompt {folder.run}.".encode() in b"".join(folder.files.values())
        assert opened == (folder.run != ERASED), "processes open the keys, and only those that there are"
    assert rebuilt(recorded, tmp_path / "keys", 2) == one


def test_a_run_that_starts_later_has_no_directory_whoever_makes_them(recorded: Place, tmp_path: Path) -> None:
    found = rebuilt(recorded, tmp_path / "keys", 2, "reflex-0.2", size=6)
    assert found == rebuilt(recorded, tmp_path / "keys", 1, "reflex-0.2", size=6)
    assert found[0] is not None
    assert found[-1] is None


def _cannot() -> LedgerReader:
    raise OSError("no more memory")


def test_a_process_that_does_not_start_is_told(recorded: Place, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    with open_for_reading(recorded, keys) as ledger:
        ledger.reader.again = _cannot
        with pytest.raises(Unavailable, match="did not start, or was ended; try fewer jobs"):
            list(rebuild_folders(ledger, keys, RUNS, ledger.size, "native", 2))


def test_what_is_wrong_with_a_run_is_told_by_whichever_process_finds_it(recorded: Place, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger" / "ledger.db")) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='trigger'").fetchall():
            db.execute(f'DROP TRIGGER "{name}"')
        db.execute("UPDATE boxes SET box=zeroblob(60) WHERE seq IN (SELECT seq FROM entries WHERE stream='run/003')")
        db.commit()
    told = []
    for jobs in (1, 2):
        with pytest.raises(VerificationError) as error:
            rebuilt(recorded, tmp_path / "keys", jobs)
        told.append(str(error.value))
    assert told[0] == told[1]
