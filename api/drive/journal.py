"""One piece of work in its stream: what was recorded of it, and appending to it beside others.

A piece of work (a turn judged by the live worker, a session graded for a job) is the events of its stream that bear
its ``correlation``. It ends with a conclusion. A stream may hold several pieces of work, and each may be tried by two
workers at once: whoever appends expects the position after all that it has read, so that of two conclusions one
meets a ``Conflict``, reads the other and stops. That is why each piece of work has exactly one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ...domain.errors import AffidavitError
from ...domain.event import Event, Meta, NewEvent, Recorded
from ...domain.model_calls import ModelAnswered, ModelRequested
from ...ledger.application import Acknowledged, Ledger
from ...ledger.errors import Conflict
from .exchanges import Attempt

_CONFLICT_TRIES = 100


class Overtaken(AffidavitError):
    """Somebody else has concluded this piece of work; nothing more is recorded for it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is worked on: its stream, and the metadata that its events bear, ``correlation`` among them."""

    stream: str
    meta: Meta
    conclusions: tuple[type[Event], ...]

    def concludes(self, recorded: Recorded) -> bool:
        return isinstance(recorded.event, self.conclusions) and _same(recorded.meta, self.meta, "correlation")


@dataclass(slots=True)
class Journal:
    """A stream as far as it has been read.

    ``attempts`` are those of this work since its last conclusion that were there to read, ``sent`` counts all of them.
    """

    ledger: Ledger
    work: Work
    next_pos: int = 0
    concluded: list[Recorded] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    sent: int = 0
    occurrences: dict[str, int] = field(default_factory=dict)

    def read(self) -> int:
        """Read what is new; how many conclusions of this work were among it."""
        before = len(self.concluded)
        with self.ledger.recorder.reading() as reader:
            for recorded in self.ledger.event_reader(reader).stream(self.work.stream, start=self.next_pos):
                self._see(recorded)
        return len(self.concluded) - before

    def append(self, event: Event, *, even_if_overtaken: bool = False) -> Acknowledged:
        """Record the next event of this work, durable on return.

        ``Overtaken`` where somebody has concluded it meanwhile; an event that is recorded all the same, because it was
        paid for, is recorded first.
        """
        for _ in range(_CONFLICT_TRIES):
            new = NewEvent(self.work.stream, self.next_pos, event, self.work.meta)
            try:
                (acknowledged,) = self.ledger.record(new)
            except Conflict:
                if self.read() and not even_if_overtaken:
                    raise Overtaken(f"stream {self.work.stream}: another worker has concluded this") from None
                continue
            self.next_pos += 1
            self._count(event)
            return acknowledged
        raise Conflict(self.work.stream, self.next_pos, self.next_pos + 1)

    def _see(self, recorded: Recorded) -> None:
        self.next_pos = recorded.pos + 1
        event = recorded.event
        if self.work.concludes(recorded):
            self.concluded.append(recorded)
            self.attempts.clear()
            self.sent = 0
        elif isinstance(event, ModelRequested):
            own = self._is_own(recorded.meta)
            self._count(event, own)
            if own:
                self.attempts.append(Attempt(event, recorded.seq))
        elif isinstance(event, ModelAnswered) and self._is_own(recorded.meta):
            self._answer(recorded, event)

    def _count(self, event: Event, own: bool = True) -> None:
        if isinstance(event, ModelRequested):
            self.sent += own
            self.occurrences[event.site] = max(self.occurrences.get(event.site, 0), event.occurrence + 1)

    def _is_own(self, meta: Meta) -> bool:
        return _same(meta, self.work.meta, "correlation") and _same(meta, self.work.meta, "judge_prompt_version")

    def _answer(self, recorded: Recorded, event: ModelAnswered) -> None:
        key = (event.site, event.occurrence, event.attempt)
        for attempt in self.attempts:
            asked = attempt.requested
            if (asked.site, asked.occurrence, asked.attempt) == key:
                attempt.answered, attempt.answer_seq = event, recorded.seq


def _same(one: Meta, other: Meta, key: Literal["correlation", "judge_prompt_version"]) -> bool:
    return one.get(key) == other.get(key)


Sleep = Callable[[float], None]
