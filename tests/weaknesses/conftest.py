"""Runs to look for the weaknesses in: the simulated models on a ledger in a folder, and the command in this process."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.cli import main
from affidavit.api.drive.run_calls import RecordedRun, read_run
from affidavit.api.drive.run_loop import Observer, Outcome
from affidavit.api.drive.run_replay import ReplayReport, replay
from affidavit.api.models.chat import Exchange, Model, Prepared
from affidavit.api.models.sandbox import SANDBOX_PROMPT, sandbox_dataset
from affidavit.api.optimize.connecting import Addresses, open_models
from affidavit.api.optimize.plan import Plan, make_plan, read_plan
from affidavit.api.optimize.running import Provenance, carry_out, start
from affidavit.api.record import RecordingLedger
from affidavit.domain.event import Event, Recorded
from affidavit.domain.model_calls import Ask, ModelAnswered, ModelRequested
from affidavit.domain.optimization.dataset import DataRow, Dataset
from affidavit.domain.optimization.options import Options
from affidavit.domain.optimization.script import optimise
from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.entry import StoredEntry
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runs.record import RunRecord

PROMPT = SANDBOX_PROMPT
Wrap = Callable[[Model], Model]


class Stop(Observer):
    """Interrupts a run behind its first ``facts`` new facts or its first ``answers`` new answers, as ctrl-C does."""

    def __init__(self, *, facts: int = 10**6, answers: int = 10**6) -> None:
        self.facts, self.answers = facts, answers

    def fact(self, event: Event, seq: int, *, fed: bool) -> None:
        self.facts -= not fed
        self._look()

    def answered(self, requested: ModelRequested, answered: ModelAnswered, *, fed: bool) -> None:
        self.answers -= not fed
        self._look()

    def _look(self) -> None:
        if self.facts <= 0 or self.answers <= 0:
            raise KeyboardInterrupt


@dataclass
class Watched:
    """A model whose requests ``look`` is shown before they are sent; it may raise, wait, or give the exchange."""

    inner: Model
    look: Callable[[Prepared], Exchange | None]

    @property
    def model(self) -> str:
        return self.inner.model

    def prepare(self, ask: Ask) -> Prepared:
        return self.inner.prepare(ask)

    def send(self, prepared: Prepared) -> Exchange:
        return self.look(prepared) or self.inner.send(prepared)

    def step_down(self, prepared: Prepared, exchange: Exchange) -> bool:
        return self.inner.step_down(prepared, exchange)

    def close(self) -> None:
        self.inner.close()


def plan_of(strategy: str = "iterative", rows: int = 8, prompt: str = PROMPT, **settings: Any) -> Plan:
    """A small plan for the simulated models: two iterations, and a threshold that nothing reaches."""
    options = Options(
        strategy=strategy,
        **{
            "models": ("sandbox/target",),
            "reasoning_model": "sandbox/reasoner",
            "max_iterations": 2,
            "threshold": 1.0,
            "tries": 1,
            **settings,
        },
    )
    return make_plan(options, Dataset(tuple(map(DataRow.model_validate, sandbox_dataset(rows)))), prompt)


@dataclass
class Bench:
    """A ledger, and runs that are driven on it."""

    recording: RecordingLedger

    def begin(self, plan: Plan, parent: tuple[str, int] | None = None) -> str:
        return start(self.recording, plan, Provenance(), parent)

    def go_on(
        self,
        run: str,
        *,
        observer: Observer | None = None,
        wrap: Mapping[str, Wrap] | None = None,
    ) -> Outcome:
        """Drive a run from where it stands by its recorded plan; ``wrap`` stands before models, by ``Question.to``."""
        plan = read_plan(self.recording.read_stream, run)
        with open_models(plan.options, Addresses()) as models:
            wrapped = {to: (wrap or {}).get(to, _as_it_is)(model) for to, model in models.items()}
            return carry_out(self.recording, run, plan, wrapped, observer)

    def whole(self, plan: Plan) -> str:
        """A run from start to end."""
        run = self.begin(plan)
        self.go_on(run)
        return run

    def stopped(self, plan: Plan, **where: int) -> str:
        """A run that was interrupted."""
        run = self.begin(plan)
        with pytest.raises(KeyboardInterrupt):
            self.go_on(run, observer=Stop(**where))
        return run

    def replayed(self, run: str) -> ReplayReport:
        plan = read_plan(self.recording.read_stream, run)
        with self.recording.ledger.recorder.reading() as reader:
            return replay(
                self.recording.ledger.event_reader(reader),
                run,
                lambda: optimise(plan.task(), plan.strategies),
                sources=plan.sources(),
                versions=plan.versions(),
            )

    def recorded(self, run: str) -> RecordedRun:
        with self.recording.ledger.recorder.reading() as reader:
            return read_run(self.recording.ledger.event_reader(reader), run)

    def record(self, run: str) -> RunRecord:
        found = self.recording.read_run(run)
        assert found is not None
        return found

    def events(self, run: str) -> list[Recorded]:
        return list(self.recording.read_stream(run))

    def stored(self) -> Stored:
        """Every entry and every sealed box, as they lie in the store."""
        with self.recording.ledger.recorder.reading() as reader:
            return Stored(list(reader.entries()), list(reader.boxes()))


@dataclass(frozen=True)
class Stored:
    entries: list[StoredEntry]
    boxes: list[tuple[int, str, bytes]]

    def is_kept_by(self, later: Stored) -> bool:
        """Whether every byte of this stands in ``later``, in its place."""
        return later.entries[: len(self.entries)] == self.entries and later.boxes[: len(self.boxes)] == self.boxes


def watched(look: Callable[[Prepared], Exchange | None]) -> Wrap:
    """A wrap for ``Bench.go_on``."""

    def wrap(model: Model) -> Model:
        return Watched(model, look)

    return wrap


def _as_it_is(model: Model) -> Model:
    return model


def calls_of(events: list[Recorded]) -> list[tuple[ModelRequested, ModelAnswered | None]]:
    """Each request of a run with its answer."""
    answers = {
        (found.event.site, found.event.occurrence, found.event.attempt): found.event
        for found in events
        if isinstance(found.event, ModelAnswered)
    }
    return [
        (found.event, answers.get((found.event.site, found.event.occurrence, found.event.attempt)))
        for found in events
        if isinstance(found.event, ModelRequested)
    ]


def meaning_of(record: RunRecord) -> dict[str, Any]:
    """What a run came to, without what is measured: two runs of one plan on the same replies have the same."""
    measured = {"timestamp", "elapsed_seconds", "duration_seconds"}
    facts = [*record.evaluations, *record.rewrites, *record.phases, *record.notes, record.completed]
    return {
        "prompts": record.prompts,
        "iterations": [(found.number, found.prompt, found.score) for found in record.iterations],
        "facts": [None if fact is None else fact.model_dump(exclude=measured) for fact in facts],
    }


@dataclass
class Shell:
    """Runs the command in ``folder``, with a data set and a prompt there, and keys of its own; keeps all output."""

    folder: Path
    rows: int = 8
    told: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lines = [json.dumps(row) for row in sandbox_dataset(self.rows)]
        (self.folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (self.folder / "prompt.txt").write_text(PROMPT, encoding="utf-8")

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Call the command in this process; what it printed, on standard error where it did not end well."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            for name, value in {**self.places, **self.environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["affidavit", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        self.told += [out.getvalue(), err.getvalue()]
        assert (ended.value.code or 0) == code, f"{arguments}: {ended.value.code}\n{out.getvalue()}\n{err.getvalue()}"
        return err.getvalue() if code == 2 else out.getvalue()

    def optimize(self, *arguments: str, code: int = 0) -> str:
        """Optimise the data set's prompt with the simulated models."""
        return self(
            "optimize",
            *("data.jsonl", "prompt.txt", "-m", "sandbox/target", "--reasoning-model", "sandbox/reasoner"),
            *("-s", "iterative", "--max-iterations", "2", *arguments),
            code=code,
        )

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))

    @property
    def ledger(self) -> Path:
        return self.folder / ".affidavit"

    @property
    def places(self) -> dict[str, str]:
        """Where the command looks for its ledger and keys, as environment variables."""
        return {"AFFIDAVIT_LEDGER": str(self.ledger), "AFFIDAVIT_KEYS": str(self.folder / "keys")}

    @contextmanager
    def bench(self) -> Iterator[Bench]:
        """The command's ledger, opened in this process."""
        ledger = Ledger(self.ledger, self.folder / "keys", REGISTRY, sign_in_background=False)
        with RecordingLedger(ledger) as recording:
            yield Bench(recording)


@pytest.fixture
def bench(ledger: Ledger) -> Bench:
    return Bench(RecordingLedger(ledger))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "shell"
    folder.mkdir()
    return Shell(folder)
