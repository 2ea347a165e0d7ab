"""The weaknesses under "Integrity" that show when several are at work: ids, whose calls are whose, who drives a run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.drive.run_loop import Observer
from affidavit.api.models.chat import Prepared
from affidavit.api.record import RecordingLedger
from affidavit.api.run_store import RunStore
from affidavit.domain.errors import Refused
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.ledger.application import Edge, Ledger
from affidavit.projections.directories.directory import build_run_directory
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runner import scratch_views
from affidavit.projections.runs.run_list import list_runs

from .conftest import PROMPT, Bench, Shell, calls_of, plan_of, watched


def test_w4_runs_at_once_keep_to_their_own_records(bench: Bench, tmp_path: Path, now: list[int]) -> None:
    together = threading.Barrier(2)
    met = threading.Event()

    def meet(_: Prepared) -> None:
        if not met.is_set():
            together.wait(30)
            met.set()

    def drive(recording: RecordingLedger, plan: Any) -> str:
        own = Bench(recording)
        run = own.begin(plan)
        own.go_on(run, wrap={"sandbox/target": watched(meet)})
        return run

    other = Ledger(
        tmp_path / "ledger", tmp_path / "keys", REGISTRY, edge=Edge(lambda: now[0]), sign_in_background=False
    )
    marks = ("alpha-mark", "beta-mark")
    plans = [plan_of(prompt=f"{PROMPT} {mark}", rows=6, max_workers=1) for mark in marks]
    with RecordingLedger(other) as second, ThreadPoolExecutor(2) as threads:
        runs = list(threads.map(drive, (bench.recording, second), plans))
    assert sorted(runs) == ["001", "002"]
    order = [row.stream for row in bench.stored().entries if row.stream.startswith("run/")]
    assert order != sorted(order), "the runs did not overlap"
    for run, plan, mark, other_mark in zip(runs, plans, marks, reversed(marks), strict=True):
        assert bench.replayed(run).identical
        record, told = bench.record(run), repr(bench.events(run))
        assert (record.status, record.prompts[0]) == ("completed", plan.prompt)
        assert told.count(mark) > len([call for call, _ in calls_of(bench.events(run)) if call.purpose == "baseline"])
        assert other_mark not in told


# W8: ids.

STARTER = """
import sys
from affidavit.api.record import open_ledger
with open_ledger(sys.argv[1], keys=sys.argv[2]) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()  # all begin together
    for _ in range(5):
        print(ledger.start_run(strategy="iterative", prompt="Answer.", config={}).run)
"""


def test_w8_runs_that_start_at_once_have_numbers_of_their_own(bench: Bench, tmp_path: Path) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(tmp_path / "ledger"), str(tmp_path / "keys")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    def begin(_: int) -> str:
        return bench.recording.start_run(strategy="iterative", prompt="Answer.", config={}).run

    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("\n")
        starter.stdin.flush()
    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(begin, range(12)))
    for starter in starters:
        told, _ = starter.communicate(timeout=60)
        assert starter.returncode == 0
        runs += told.split()
    assert sorted(runs) == [f"{number:03d}" for number in range(1, 23)]


def test_w8_the_thousandth_run_follows_the_last_of_three_digits(bench: Bench, tmp_path: Path) -> None:
    recording = bench.recording

    def begin(run: str | None = None) -> str:
        return recording.start_run(strategy="iterative", prompt="Answer.", config={}, run=run).run

    runs = [begin("998"), begin("odd-name"), begin(), begin(), begin()]
    assert runs == ["998", "odd-name", "999", "1000", "1001"]
    with recording.ledger.recorder.reading() as reader:
        events = recording.ledger.event_reader(reader)
        with scratch_views(recording.ledger.place, events) as views:
            assert [line.run for line in list_runs(views, reader.head().size)] == runs
    for run in runs:
        for name, content in build_run_directory(bench.record(run), "native").items():
            path = tmp_path / "built" / "runs" / bench.record(run).started.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    store = RunStore(tmp_path / "built")
    assert [found.run_id for found in store.list_runs()] == ["odd-name", "998", "999", "1000", "1001"]
    latest = store.get_latest_run()
    assert latest is not None
    assert latest.run_id == "1001"


# W9: who is at work.


def test_w9_a_run_has_one_driver_and_its_status_is_what_is_on_record(shell: Shell) -> None:
    shell("init")
    with shell.bench() as bench:
        run = bench.stopped(plan_of(rows=6), answers=3)
        assert bench.record(run).status == "open"
        refused: list[str] = []

        class Meanwhile(Observer):
            """While this process drives the run, it tries to from another thread, and another process."""

            def answered(self, requested: ModelRequested, answered: ModelAnswered, *, fed: bool) -> None:
                if refused:
                    return
                with ThreadPoolExecutor(1) as thread:
                    refused.append(thread.submit(self._second).result(60))
                command = [sys.executable, "-m", "affidavit.api.cli", "resume", "001"]
                environment = {**os.environ, **shell.places}
                second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
                assert second.returncode == 2
                refused.append(second.stderr)

            def _second(self) -> str:
                with pytest.raises(Refused) as busy:
                    bench.go_on(run)
                return str(busy.value.rule)

        sizes = len(bench.stored().entries)
        bench.go_on(run, observer=Meanwhile())
        assert refused[0] == "run_busy"
        assert "somebody else is driving it" in refused[1]
        assert bench.record(run).status == "completed"
        assert len(bench.stored().entries) > sizes
        attempts = [(call.site, call.occurrence, call.attempt) for call, _ in calls_of(bench.events(run))]
        assert len(attempts) == len(set(attempts))
        with pytest.raises(Refused) as ended:
            bench.go_on(run)
        assert ended.value.rule == "run_ended"
