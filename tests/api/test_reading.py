"""A ledger that is read: what seeds the figures about its runs."""

from __future__ import annotations

from pathlib import Path

from affidavit.api.reading import open_for_reading
from affidavit.api.record import RecordingLedger
from affidavit.ledger.application import Ledger


def seeds(tmp_path: Path, *runs: str) -> int:
    with open_for_reading(tmp_path / "ledger", tmp_path / "keys") as reading:
        return reading.run_seed(*map(reading.run, runs))


def test_the_seed_of_a_run_stays_the_same_however_the_ledger_grows(ledger: Ledger, tmp_path: Path) -> None:
    recording = RecordingLedger(ledger)
    first = recording.start_run(strategy="iterative", prompt="Answer.", config={}, run="1")
    early = seeds(tmp_path, "1")
    first.record_iteration(first.record_evaluation("Answer.", score=0.5))
    quoted = seeds(tmp_path, "1")
    assert quoted != early
    recording.start_run(strategy="iterative", prompt="Answer.", config={}, run="2")
    assert seeds(tmp_path, "1") == quoted
    assert seeds(tmp_path, "1", "2") == seeds(tmp_path, "2") != quoted
