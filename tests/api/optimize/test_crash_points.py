"""A run stopped at every single call, for each strategy: resumed, it is the run that was never stopped.

Where a process is killed during a call, the ledger is as it is while that call is out, the others being answered or not
yet sent. So one run gives all those ledgers: they are copied as each call goes out, and each copy is resumed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.drive.run_loop import drive
from affidavit.api.drive.run_replay import replay
from affidavit.api.models.chat import Exchange, Model, Prepared
from affidavit.api.models.sandbox import SANDBOX_PROMPT, sandbox_dataset
from affidavit.api.optimize.connecting import Addresses, open_models
from affidavit.api.optimize.plan import Plan, make_plan, read_plan
from affidavit.api.optimize.running import Provenance, start
from affidavit.api.record import RecordingLedger
from affidavit.domain.optimization.dataset import DataRow, Dataset
from affidavit.domain.optimization.options import Options
from affidavit.domain.optimization.script import optimise
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY

from .conftest import MODELS, STRATEGIES, Shell, comparable

ROWS = Dataset(tuple(DataRow.model_validate(row) for row in sandbox_dataset(6)))
EXTRA: dict[str, dict[str, Any]] = {
    "pdo": {"initial_pool_size": 2, "duels_per_round": 1, "samples_per_duel": 2},
    "auto": {"phase_budgets": {"structural": 1, "iterative": 1, "fewshot": 1}, "max_phases": 2},
}


def small(strategy: str, **changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "strategy": strategy,
        "models": ("sandbox/target",),
        "reasoning_model": "sandbox/reasoner",
        "metrics": ("exact",),
        "max_iterations": 2,
        "max_workers": 1,
        "extra": EXTRA.get(strategy, {}),
    }
    return make_plan(Options.model_validate({**settings, **changes}), ROWS, SANDBOX_PROMPT)


@dataclass(frozen=True)
class Watched:
    """A model that has something done before each call."""

    model_: Model
    before: Callable[[], None]

    @property
    def model(self) -> str:
        return self.model_.model

    def prepare(self, ask: Any) -> Prepared:
        return self.model_.prepare(ask)

    def send(self, prepared: Prepared) -> Exchange:
        self.before()
        return self.model_.send(prepared)

    def step_down(self, prepared: Prepared, exchange: Exchange) -> bool:
        return self.model_.step_down(prepared, exchange)

    def close(self) -> None:
        self.model_.close()


@contextmanager
def opened(folder: Path) -> Iterator[RecordingLedger]:
    with Ledger(folder / "ledger", folder / "keys", REGISTRY, sign_in_background=False) as ledger:
        yield RecordingLedger(ledger)


def play(recording: RecordingLedger, run: str, plan: Plan, before: Callable[[], None] = lambda: None) -> None:
    with open_models(plan.options, Addresses()) as models:
        watched: Mapping[str, Model] = {to: Watched(model, before) for to, model in models.items()}
        workers = plan.options.max_workers
        drive(recording.ledger, run, optimise(plan.task(), plan.strategies), watched, max_workers=workers, grace=5.0)


def require_replays(recording: RecordingLedger, run: str) -> None:
    plan = read_plan(recording.read_stream, run)
    with recording.ledger.recorder.reading() as reader:
        events = recording.ledger.event_reader(reader)
        report = replay(events, run, lambda: optimise(plan.task(), plan.strategies), sources=plan.sources())
    assert (report.identical, report.complete, report.difference) == (True, True, None)


@pytest.mark.parametrize("strategy", ["auto", "fewshot", "iterative", "pdo", "structural"])
def test_killed_during_any_call_and_resumed_it_is_the_same_run(strategy: str, made_once: Path, tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    points: list[Path] = []
    shutil.copytree(made_once, folder)

    def keep() -> None:
        points.append(shutil.copytree(folder, tmp_path / f"killed-{len(points)}"))

    with opened(folder) as recording:
        run = start(recording, small(strategy), Provenance())
        play(recording, run, read_plan(recording.read_stream, run), keep)
        whole = comparable(recording.read_stream(run))
        require_replays(recording, run)
    assert len(points) == len([place for place in whole[1] if place[2] == "asked"])
    for number, point in enumerate(points):
        asked = 0

        def count() -> None:
            nonlocal asked
            asked += 1

        with opened(point) as recording:
            play(recording, run, read_plan(recording.read_stream, run), count)
            assert comparable(recording.read_stream(run)) == whole, f"killed during call {number}"
            assert asked == len(points) - number, "what came back is bought once, what was out once more"
            record = recording.read_run(run)
            assert record is not None
            assert record.calls.total().in_flight == 1
        shutil.rmtree(point)


@pytest.mark.parametrize("number", [1, 4, 9, 14])
def test_an_error_while_several_calls_are_out_loses_none_of_them(number: int, made_once: Path, tmp_path: Path) -> None:
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    plan, sent = small("structural", max_workers=3), 0

    def fail() -> None:
        nonlocal sent
        sent += 1
        if sent == number:
            raise OSError("the network card is gone")

    with opened(tmp_path) as recording:
        whole, stopped = start(recording, plan, Provenance()), start(recording, plan, Provenance())
        play(recording, whole, plan)
        with pytest.raises(OSError, match="network card"):
            play(recording, stopped, plan, fail)
        before = sent
        play(recording, stopped, plan, fail)
        assert comparable(recording.read_stream(stopped)) == comparable(recording.read_stream(whole))
        calls = len([place for place in comparable(recording.read_stream(whole))[1] if place[2] == "asked"])
        assert sent == calls + 1, f"{before} were sent before it stopped: all but the one that failed came back"
        require_replays(recording, stopped)


_STOPPED = """
import os, signal, sys
from affidavit.api.cli import main
from affidavit.api.models.sandbox import SandboxTransport

answer, sent, number, signal_number = SandboxTransport.handle_request, 0, int(sys.argv[1]), int(sys.argv[2])

def handle(self, request):
    global sent
    sent += request.method == "POST"
    if sent == number:
        os.kill(os.getpid(), signal_number)
    return answer(self, request)

SandboxTransport.handle_request = handle
sys.argv[:] = ["affidavit", *sys.argv[3:]]
main()
"""


@pytest.mark.parametrize(
    ("strategy", "number", "number_of_signal", "code"),
    [
        ("iterative", 7, signal.SIGKILL, -signal.SIGKILL),
        ("pdo", 12, signal.SIGKILL, -signal.SIGKILL),
        ("structural", 9, signal.SIGINT, 130),
    ],
)
def test_a_process_that_is_really_killed_or_interrupted(
    shell: Shell, strategy: str, number: int, number_of_signal: int, code: int
) -> None:
    shell.optimize(strategy)
    environment = {**os.environ, "AFFIDAVIT_KEYS": str(shell.keys)}
    words = ["optimize", "data.jsonl", "prompt.md", *MODELS, "-s", strategy, *STRATEGIES[strategy]]
    command = [sys.executable, "-c", _STOPPED, str(number), str(int(number_of_signal)), *words]
    stopped = subprocess.run(command, cwd=shell.folder, env=environment, check=False, capture_output=True, text=True)
    assert stopped.returncode == code, stopped.stderr
    assert shell.record("002").status == "open"
    in_flight = shell("resume", "002", "--json").json["calls"]["total"]["in_flight"]
    assert (in_flight > 0) is (code < 0), "what was out at a kill is unknown, at ctrl-C it was waited for"
    assert shell.comparable("002") == shell.comparable("001")
    assert shell("replay", "002", "--json").json["identical"] is True
