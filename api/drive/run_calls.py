"""What a run's stream holds for its script: the outcome of each call by site and occurrence, and the facts in order.

A branch is fed its parent's calls as its own, those that stand before the parent's ``iteration.completed`` of the
iteration that it leaves after. Calls count on through a branch: a site's next occurrence follows its parent's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...domain.errors import Refused
from ...domain.event import Event, Recorded
from ...domain.model_calls import ModelAnswered, ModelRequested
from ...domain.optimization.events import (
    IterationCompleted,
    RunCompleted,
    RunFailed,
    RunPlanned,
    RunStarted,
)
from ...domain.optimization.run import ABOUT_THE_RECORD, RunState, evolve
from ...ledger.store.opening import EventReader
from .exchanges import Attempt

Place = tuple[str, int]
"""The site of a call, and its occurrence there."""


@dataclass(slots=True)
class RecordedRun:
    """A run as far as it is recorded. ``parent`` holds what a branch is fed, None for a run that is none.

    ``calls`` has the attempts of this run's own calls in order. ``facts`` are the events that its script had recorded.
    """

    run: str
    started: RunStarted
    planned: RunPlanned | None = None
    calls: dict[Place, list[Attempt]] = field(default_factory=dict)
    facts: list[Recorded] = field(default_factory=list)
    state: RunState = field(default_factory=RunState)
    parent: RecordedRun | None = None
    next_pos: int = 0

    @property
    def stream(self) -> str:
        return f"run/{self.run}"

    @property
    def ended_by(self) -> RunCompleted | RunFailed | None:
        """The fact that the run ended with, None while it is open."""
        last = self.facts[-1].event if self.facts else None
        return last if isinstance(last, (RunCompleted, RunFailed)) else None

    def outcome(self, place: Place) -> Attempt | None:
        """The attempt that settled a call, here or in a parent; None where none has. Of two, the first on record."""
        settled = [attempt for attempt in self.calls.get(place, ()) if attempt.settles]
        if settled:
            return settled[0] if len(settled) == 1 else min(settled, key=lambda attempt: attempt.answer_seq or 0)
        return None if self.parent is None else self.parent.outcome(place)

    def last_attempt(self, place: Place) -> int:
        """The number of the newest attempt in this run's own stream, 0 where there is none."""
        return max((attempt.requested.attempt for attempt in self.calls.get(place, ())), default=0)

    def places(self) -> Iterator[Place]:
        """Every call that is recorded, this run's own first, then its parents'; a call may come twice."""
        yield from self.calls
        if self.parent is not None:
            yield from self.parent.places()

    def in_flight(self) -> list[Attempt]:
        """This run's own attempts that have no answer: what they cost is unknown."""
        return [attempt for attempts in self.calls.values() for attempt in attempts if attempt.answered is None]

    def see(self, recorded: Recorded) -> None:
        """Take in the stream's next event; ``Refused`` for one of a type that this version does not know."""
        self.next_pos = recorded.pos + 1
        event = recorded.event
        match event:
            case ModelRequested():
                self.calls.setdefault((event.site, event.occurrence), []).append(Attempt(event, recorded.seq))
            case ModelAnswered():
                self._answer(recorded.seq, event)
            case RunStarted():
                evolve(self.state, event)
            case RunPlanned():
                self.planned = event
            case Event():
                if not isinstance(event, ABOUT_THE_RECORD):
                    evolve(self.state, event)
                    self.facts.append(recorded)
            case _:
                raise Refused(
                    "event_known",
                    f"run {self.run}, entry {recorded.seq}: {recorded.type_name} is of a newer version than this one",
                )

    def _answer(self, seq: int, event: ModelAnswered) -> None:
        for attempt in self.calls.get((event.site, event.occurrence), ()):
            if attempt.requested.attempt == event.attempt and attempt.answered is None:
                attempt.answered, attempt.answer_seq = event, seq
                return
        raise Refused(
            "answer_requested",
            f"run {self.run}, entry {seq}: it answers attempt {event.attempt} of call {event.site} {event.occurrence}, "
            "which was not requested before it",
        )


def read_run(events: EventReader, run: str) -> RecordedRun:
    """Read a run and, for a branch, what it is fed of its parents; ``Refused`` where one of them is not there."""
    found = _read(events, run, None)
    if found.planned is not None and found.planned.branch_after is not None:
        found.parent = _read_parent(events, found, found.planned.branch_after)
    return found


def _read(events: EventReader, run: str, before: int | None) -> RecordedRun:
    found: RecordedRun | None = None
    for recorded in events.stream(f"run/{run}", before):
        if found is None:
            if not isinstance(recorded.event, RunStarted):
                break
            found = RecordedRun(run, recorded.event)
        found.see(recorded)
    if found is None:
        raise Refused("run_known", f"run {run!r} is not on this ledger; `affidavit runs` lists those that are")
    return found


def _read_parent(events: EventReader, child: RecordedRun, after: int) -> RecordedRun:
    """The parent of ``child`` as far as its iteration ``after``, and of its own parents what both were fed."""
    name = child.started.parent_run
    if name is None:
        raise Refused("parent_known", f"run {child.run}: it is fed another run's replies and names no parent")
    parent = _read(events, name, None)
    end = next(
        (
            fact.seq
            for fact in parent.facts
            if isinstance(fact.event, IterationCompleted) and fact.event.iteration == after
        ),
        None,
    )
    if end is None:
        raise Refused(
            "iteration_known", f"run {name}: it has no iteration {after}, after which run {child.run} left it"
        )
    parent.calls = {
        place: kept
        for place, attempts in parent.calls.items()
        if (kept := [attempt for attempt in attempts if attempt.request_seq < end])
    }
    if parent.planned is not None and parent.planned.branch_after is not None:
        parent.parent = _read_parent(events, parent, min(after, parent.planned.branch_after))
    return parent
