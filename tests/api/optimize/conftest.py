"""Runs of the command in a folder with the sandbox's data set and prompt."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from affidavit.api.cli import main
from affidavit.api.models.sandbox import SANDBOX_PROMPT, SandboxTransport, sandbox_dataset
from affidavit.api.reading import open_for_reading
from affidavit.domain.event import Event, Recorded
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.domain.optimization.conversation import MEASURED
from affidavit.domain.optimization.events import RunPlanned, RunSealed, RunStarted
from affidavit.projections.runs.record import RunRecord

MODELS = ("-m", "sandbox/target", "--reasoning-model", "sandbox/reasoner")
STRATEGIES = {
    "iterative": ("--max-iterations", "2"),
    "structural": ("--max-iterations", "2"),
    "fewshot": ("--max-iterations", "2"),
    "pdo": (
        *("--max-iterations", "2", "--strategy-option", "initial_pool_size=3"),
        *("--strategy-option", "duels_per_round=2", "--strategy-option", "samples_per_duel=2"),
    ),
    "auto": ("--max-iterations", "3", "--strategy-option", 'phase_budgets={"structural": 1}'),
}
"""Each strategy with flags that keep a run of it small."""


@dataclass(frozen=True)
class Told:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs the command in a folder, with keys of its own and no keys of providers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = folder / "keys"

    def __call__(self, *arguments: str, code: int = 0) -> Told:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            for name in [name for name in os.environ if name.endswith(("_API_KEY", "_BASE_URL"))]:
                patch.delenv(name)
            patch.setenv("AFFIDAVIT_KEYS", str(self.keys))
            patch.delenv("AFFIDAVIT_LEDGER", raising=False)
            patch.setattr(sys, "argv", ["affidavit", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        told = Told(int(ended.value.code or 0), out.getvalue(), err.getvalue())
        assert told.code == code, f"{arguments}: {told.code}\n{told.out}\n{told.err}"
        return told

    def optimize(self, strategy: str, *more: str, code: int = 0) -> Told:
        """Optimise with the sandbox's models, as small as ``STRATEGIES`` has it."""
        return self(
            "optimize", "data.jsonl", "prompt.md", *MODELS, "-s", strategy, *STRATEGIES[strategy], *more, code=code
        )

    def record(self, run: str) -> RunRecord:
        with open_for_reading(self.folder / ".affidavit", self.keys) as ledger:
            return ledger.run(run)

    def events(self, run: str) -> list[Recorded]:
        with open_for_reading(self.folder / ".affidavit", self.keys) as ledger:
            return list(ledger.events.stream(f"run/{run}"))

    def comparable(self, run: str) -> tuple[list[Any], dict[tuple[str, int, str], Any]]:
        return comparable(self.events(run))

    @property
    def has_ledger(self) -> bool:
        return (self.folder / ".affidavit").exists()


def comparable(events: Iterable[Recorded]) -> tuple[list[Any], dict[tuple[str, int, str], Any]]:
    """What replay equality compares: facts in order, and the outcome of each call by site and occurrence."""
    facts: list[Any] = []
    calls: dict[tuple[str, int, str], Any] = {}
    for recorded in events:
        event = recorded.event
        assert isinstance(event, Event)
        match event:
            case RunStarted() | RunPlanned() | RunSealed():
                pass
            case ModelRequested():
                calls[event.site, event.occurrence, "asked"] = event.model_dump(exclude={"attempt"})
            case ModelAnswered():
                measured = {"attempt", "elapsed_seconds"}
                calls[event.site, event.occurrence, "answered"] = event.model_dump(exclude=measured)
            case _:
                facts.append((event.type_name, event.model_dump(exclude=set(MEASURED))))
    return facts, calls


AtCall = Callable[[int, Callable[[], None]], list[str]]


def fill(folder: Path) -> Path:
    """Twelve rows of the sandbox's data set, and its prompt."""
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sandbox_dataset(12)))
    (folder / "prompt.md").write_text(SANDBOX_PROMPT)
    return folder


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A folder with a data set and a prompt, and no ledger."""
    return Shell(fill(tmp_path))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder whose ledger has run 001, of the strategy iterative, ended."""
    made = Shell(fill(tmp_path_factory.mktemp("finished")))
    made.optimize("iterative")
    return made


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder whose ledger has run 001, of the strategy iterative, stopped at its eighth call."""
    made, sent = Shell(fill(tmp_path_factory.mktemp("interrupted"))), 0
    answer = SandboxTransport.handle_request

    def handle(self: SandboxTransport, request: httpx2.Request) -> httpx2.Response:
        nonlocal sent
        sent += request.method == "POST"
        if sent == 8:
            raise KeyboardInterrupt
        return answer(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SandboxTransport, "handle_request", handle)
        made.optimize("iterative", code=130)
    return made


@pytest.fixture
def copied(finished: Shell, tmp_path: Path) -> Shell:
    """A copy of it that may be changed."""
    shutil.copytree(finished.folder, tmp_path / "own")
    return Shell(tmp_path / "own")


@pytest.fixture
def at_call(monkeypatch: pytest.MonkeyPatch) -> AtCall:
    """Has the sandbox do something at its n-th call from now, counted from 1; the bodies of all calls."""
    bodies: list[str] = []
    answer = SandboxTransport.handle_request
    wanted: dict[int, Callable[[], None]] = {}

    def handle(self: SandboxTransport, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            bodies.append(request.read().decode())
            if len(bodies) in wanted:
                wanted.pop(len(bodies))()
        return answer(self, request)

    monkeypatch.setattr(SandboxTransport, "handle_request", handle)

    def arrange(number: int, do: Callable[[], None]) -> list[str]:
        wanted[len(bodies) + number] = do
        return bodies

    return arrange
