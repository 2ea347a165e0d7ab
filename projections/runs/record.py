"""One run as a whole: its events folded into what people ask about it, texts included.

This is what run directories, the rewrite history, diffs and accounts are made from. It is built from the
run's own stream with sealed content opened; where content is withheld, the ``Withheld`` stands in its
place and every reader shows it as such.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field, fields
from typing import TypeVar

from ...domain.errors import Refused
from ...domain.event import Event, Recorded, Withheld
from ...domain.model_calls import ModelAnswered, ModelRequested
from ...domain.optimization.effects import Effect, effect_of
from ...domain.optimization.events import (
    AnalysisNoted,
    IterationCompleted,
    PhaseCompleted,
    PhaseStarted,
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunImported,
    RunPlanned,
    RunSealed,
    RunStarted,
    SourceKept,
)
from ...domain.optimization.run import RunState, decide, evolve
from .calls_account import Called, CallsAccount, Tally

Text = str | Withheld


@dataclass(frozen=True, slots=True)
class Iteration:
    """An iteration with what it refers to. ``rewrite`` produced its prompt; ``proposal`` came out of it."""

    event: IterationCompleted
    seq: int
    at: str
    prompt: Text
    train: PromptEvaluated
    val: PromptEvaluated | None
    rewrite: RewriteProposed | None
    proposal: RewriteProposed | None

    @property
    def number(self) -> int:
        return self.event.iteration

    @property
    def score(self) -> float | None:
        return self.train.score


@dataclass(slots=True)
class RunRecord:
    """A run as far as its events tell. Lists are in order of recording, iterations in order of number.

    Of its model calls it keeps the account, and none of their bodies.
    """

    started: RunStarted
    started_seq: int
    started_at: str
    prompts: list[Text] = field(default_factory=list)
    evaluations: list[PromptEvaluated] = field(default_factory=list)
    evaluation_times: list[str] = field(default_factory=list)
    rewrites: list[RewriteProposed] = field(default_factory=list)
    phases_started: list[PhaseStarted] = field(default_factory=list)
    phases: list[PhaseCompleted] = field(default_factory=list)
    completed: RunCompleted | None = None
    failed: RunFailed | None = None
    imported: RunImported | None = None
    kept: dict[str, SourceKept] = field(default_factory=dict)
    planned: RunPlanned | None = None
    notes: list[AnalysisNoted] = field(default_factory=list)
    calls: CallsAccount = field(default_factory=CallsAccount)
    last_seq: int = 0
    last_at: str = ""
    _iterations: list[tuple[IterationCompleted, int, str]] = field(default_factory=list)

    @property
    def run(self) -> str:
        return self.started.run

    @property
    def status(self) -> str:
        """``completed``, ``failed``, ``interrupted`` (an import that never ended) or ``open``."""
        if self.completed is not None:
            return "completed"
        if self.failed is not None:
            return "failed"
        return "open" if self.started.imported_from is None else "interrupted"

    @property
    def iterations(self) -> list[Iteration]:
        proposals = {rewrite.parent: rewrite for rewrite in reversed(self.rewrites)}
        return [
            Iteration(
                event,
                seq,
                at,
                self.prompts[self.evaluations[event.evaluation].prompt],
                self.evaluations[event.evaluation],
                None if event.val_evaluation is None else self.evaluations[event.val_evaluation],
                None if event.rewrite is None else self.rewrites[event.rewrite],
                proposals.get(event.evaluation),
            )
            for event, seq, at in sorted(self._iterations, key=lambda item: item[0].iteration)
        ]

    @property
    def baseline(self) -> PromptEvaluated | None:
        """The last baseline evaluation, which is the one that the run was compared with."""
        return next((found for found in reversed(self.evaluations) if found.purpose == "baseline"), None)

    @property
    def final(self) -> PromptEvaluated | None:
        if self.completed is None or self.completed.final_evaluation is None:
            return None
        return self.evaluations[self.completed.final_evaluation]

    @property
    def best_prompt(self) -> Text | None:
        """The prompt that the run reported as best, where it ended with one."""
        if self.completed is None or self.completed.best is None:
            return None
        return self.prompts[self.completed.best]

    def effects(self) -> list[Effect]:
        """The effect of every rewrite, in order of the rewrites."""
        return [effect_of(rewrite, self.evaluations) for rewrite in self.rewrites]

    def apply(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, RunSealed):
            return  # it speaks of the record and is no part of it
        self.last_seq, self.last_at = recorded.seq, recorded.at
        self.calls.apply(recorded)
        if isinstance(event, ModelRequested | ModelAnswered):
            return  # of the calls the account is all that is kept
        match event:
            case RunPlanned():
                self.planned = event
            case AnalysisNoted():
                self.notes.append(event)
            case PromptEvaluated():
                self._introduce(event.prompt, event.system_prompt)
                self.evaluations.append(event)
                self.evaluation_times.append(recorded.at)
            case RewriteProposed():
                if event.prompt is not None:
                    self._introduce(event.prompt, event.system_prompt)
                self.rewrites.append(event)
            case IterationCompleted():
                self._iterations.append((event, recorded.seq, recorded.at))
            case PhaseStarted():
                self.phases_started.append(event)
            case PhaseCompleted():
                self.phases.append(event)
            case RunCompleted():
                self.completed = event
            case RunFailed():
                self.failed = event
            case RunImported():
                self.imported = event
            case SourceKept():
                self.kept[event.name] = event

    def count_calls(self, calls: Iterable[Called], last_seq: int, last_at: str) -> None:
        """Fold in recorded calls, in order; entry ``last_seq``, of ``last_at``, is the last of them."""
        self.calls.count(calls)
        if last_seq > self.last_seq:
            self.last_seq, self.last_at = last_seq, last_at

    def _introduce(self, prompt: int, text: Text | None) -> None:
        if prompt == len(self.prompts) and text is not None:
            self.prompts.append(text)


def fold_run(events: Iterable[Recorded]) -> RunRecord | None:
    """Fold a run's stream, opened, from its start; None where there is no ``run.started``.

    ``Refused`` names the entry where an event was not allowed after those before it.
    """
    fold = RunFold()
    for recorded in events:
        fold.feed(recorded)
    return fold.record


@dataclass(slots=True)
class RunFold:
    """A run folded as far as its events were fed to it."""

    record: RunRecord | None = None
    _state: RunState = field(default_factory=RunState)

    def feed(self, recorded: Recorded) -> None:
        """The next event of the stream, as ``fold_run`` has it."""
        if isinstance(recorded.event, Event):
            try:
                evolve(self._state, decide(self._state, recorded.event))
            except Refused as error:
                raise Refused(error.rule, f"entry {recorded.seq}: {error}") from error
        if self.record is not None:
            self.record.apply(recorded)
        elif isinstance(recorded.event, RunStarted):
            record = self.record = RunRecord(recorded.event, recorded.seq, recorded.at)
            record.prompts.append(recorded.event.system_prompt)
            record.last_seq, record.last_at = recorded.seq, recorded.at
            record.calls.apply(recorded)

    def copy(self) -> RunFold:
        """The same, to be fed further without changing this one."""
        return RunFold(None if self.record is None else _copied(self.record), _copied(self._state))


Folded = TypeVar("Folded", RunRecord, RunState, CallsAccount, Tally)


def _copied(folded: Folded) -> Folded:
    """A copy whose collections are its own; events and rows, which never change, are shared."""
    made = copy(folded)
    for each in fields(folded):
        value = getattr(folded, each.name)
        if isinstance(value, CallsAccount):
            setattr(made, each.name, _copied(value))
        elif isinstance(value, list | set):
            setattr(made, each.name, value.copy())
        elif isinstance(value, dict):
            own = {key: _copied(item) if isinstance(item, Tally) else item for key, item in value.items()}
            setattr(made, each.name, own)
    return made
