"""The recorded calls of a run, a page of them at a time, and one of them whole, however many thousands there are.

Whoever asks for answers is sent all of them before it records anything else: the attempts of a call, and their
answers, stand between the same two facts of the run's stream. So an answer is looked for no further than to the next
fact, and what is not found there was never recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from ...domain.errors import Refused
from ...domain.event import Recorded
from ...domain.model_calls import ModelAnswered, ModelRequested
from ...ledger.entries.entry import read_entry
from ...ledger.store.opening import EventReader
from .calls_account import Called
from .view import CALLS, EVALUATIONS, ITERATIONS

_CALLS = (ModelRequested.type_name, ModelAnswered.type_name)
_STEP = 512


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request to a model, and the answer, None where none is on record: then what it cost is unknown."""

    requested: ModelRequested
    seq: int
    at: str
    answered: ModelAnswered | None = None
    answer_seq: int | None = None
    answered_at: str | None = None

    @property
    def tokens(self) -> int | None:
        """What the server counted in all; None where it left out one of the two counts."""
        if self.answered is None or None in (self.answered.prompt_tokens, self.answered.completion_tokens):
            return None
        return (self.answered.prompt_tokens or 0) + (self.answered.completion_tokens or 0)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One question to a model, in the order of its attempts; ``shown`` is the one that was asked for.

    ``before`` and ``after`` are the seqs of the requests beside it in the run, of whatever call.
    """

    attempts: tuple[Attempt, ...]
    shown: int
    before: int | None
    after: int | None


class Stretch(NamedTuple):
    """A part of a run, from seq ``low`` to below seq ``high``."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class CallPage:
    """Some requests of a stretch in order, of ``count`` in all; ``first`` counts from 1.

    ``newer`` is the position in the stream from which the page before begins, ``older`` that of the page behind.
    """

    attempts: tuple[Attempt, ...]
    first: int
    count: int
    newer: int | None
    older: int | None


def iteration_stretch(views: Connection, run: str, iteration: int, size: int) -> Stretch:
    """Where the calls of an iteration stand, as of ``size`` entries; 0 is what came before the first iteration's.

    The iteration behind the last completed one is the one at work, or what came after the last.
    """
    ends = views.execute(
        select(ITERATIONS.c.iteration, ITERATIONS.c.seq)
        .where(ITERATIONS.c.run == run, ITERATIONS.c.seq < size)
        .order_by(ITERATIONS.c.seq)
    ).all()
    start = views.execute(
        select(func.max(EVALUATIONS.c.seq)).where(
            EVALUATIONS.c.run == run, EVALUATIONS.c.purpose.in_(("baseline", "target")), EVALUATIONS.c.seq < size
        )
    ).scalar()
    begun = 0 if start is None else start + 1
    if iteration == 0:
        return Stretch(0, begun)
    for place, (number, seq) in enumerate(ends):
        if number == iteration:
            return Stretch(ends[place - 1].seq if place else begun, seq)
    return Stretch(ends[-1].seq if ends else begun, size)


def called_from(views: Connection, run: str, size: int, start: int) -> list[tuple[int, Called]]:
    """Seq and figures of the requests and answers from position ``start`` of the run's stream on, in order."""
    columns = CALLS.columns.keys()
    rows = views.exec_driver_sql(
        f"SELECT seq, {', '.join(columns[columns.index('requested') :])} FROM {CALLS.name} "
        "WHERE run = ? AND pos >= ? AND seq < ? ORDER BY pos",
        (run, start, size),
    )
    return [(row[0], row[1:]) for row in rows.all()]


def read_calls(
    views: Connection,
    events: EventReader,
    run: str,
    size: int,
    *,
    stretch: Stretch | None = None,
    start: int = 0,
    most: int,
) -> CallPage:
    """At most ``most`` requests of a run, or of a stretch of it, from position ``start`` of its stream on."""
    within = _requests(run, stretch or Stretch(0, size), size)
    count = views.execute(select(func.count()).where(*within)).scalar_one()
    earlier = views.execute(select(func.count()).where(*within, CALLS.c.pos < start)).scalar_one()
    found = views.execute(
        select(CALLS.c.pos, CALLS.c.seq).where(*within, CALLS.c.pos >= start).order_by(CALLS.c.pos).limit(most + 1)
    ).all()
    back = views.execute(
        select(CALLS.c.pos).where(*within, CALLS.c.pos < start).order_by(CALLS.c.pos.desc()).limit(most)
    ).scalars()
    return CallPage(
        tuple(_attempts(events, run, [row.seq for row in found[:most]], found[0].pos, size)) if found else (),
        earlier + 1,
        count,
        min(back, default=None),
        found[most].pos if len(found) > most else None,
    )


def read_call(views: Connection, events: EventReader, run: str, seq: int, size: int) -> RecordedCall:
    """The call that an entry is a request of, or an answer to; ``Refused`` (``entry_known``) where it is neither."""
    asked = events.event(seq) if seq < size else None
    if asked is None or asked.stream != f"run/{run}" or asked.type_name not in _CALLS:
        raise Refused("entry_known", f"run {run}: entry {seq} is no call of it")
    place = _place(asked)
    batch = [entry for entry in _batch(events, asked, size) if _place_of(entry["data"]) == place]
    attempts: dict[int, Attempt] = {}
    for entry in batch:
        recorded = events.event(entry["seq"])
        if recorded is not None:
            _fold(attempts, recorded)
    number = asked.event.attempt if isinstance(asked.event, ModelRequested | ModelAnswered) else 0
    if number not in attempts:
        raise Refused("entry_known", f"run {run}: entry {seq} answers what no entry before it asks")
    shown = attempts[number]
    within = _requests(run, Stretch(0, size), size)
    return RecordedCall(
        tuple(attempts[attempt] for attempt in sorted(attempts)),
        sorted(attempts).index(number),
        views.execute(select(func.max(CALLS.c.seq)).where(*within, CALLS.c.seq < shown.seq)).scalar(),
        views.execute(select(func.min(CALLS.c.seq)).where(*within, CALLS.c.seq > shown.seq)).scalar(),
    )


def _requests(run: str, stretch: Stretch, size: int) -> tuple[ColumnElement[bool], ...]:
    low, high = CALLS.c.seq >= stretch.low, CALLS.c.seq < min(stretch.high, size)
    return CALLS.c.run == run, CALLS.c.requested == 1, low, high


def _attempts(events: EventReader, run: str, seqs: Sequence[int], start: int, size: int) -> Iterator[Attempt]:
    """The requests ``seqs``, the first of which stands at position ``start``, with their answers."""
    wanted, last = set(seqs), seqs[-1]
    found: dict[tuple[Any, ...], Attempt] = {}
    waiting = set(wanted)
    for recorded in events.stream(f"run/{run}", size, start):
        if recorded.seq > last and (not waiting or recorded.type_name not in _CALLS):
            break
        match recorded.event:
            case ModelRequested() as event if recorded.seq in wanted:
                found[*_place(recorded), event.attempt] = Attempt(event, recorded.seq, recorded.at)
            case ModelAnswered() as event:
                asked = found.get((*_place(recorded), event.attempt))
                if asked is not None and asked.answered is None:
                    found[*_place(recorded), event.attempt] = _answered(asked, recorded, event)
                    waiting.discard(asked.seq)
    yield from found.values()


def _batch(events: EventReader, asked: Recorded, size: int) -> list[dict[str, Any]]:
    """The entries of calls around one in its stream, closed, in order, as far as to the facts on either side."""
    reader, stream = events.reader, asked.stream
    first = asked.pos
    while first > 0:
        rows = reader.stream(stream, asked.seq, max(0, first - _STEP))
        kinds = {row.pos: row.type_name for row in rows if row.pos < first}
        low = min(kinds, default=0)
        reached = next((pos for pos in range(first - 1, low - 1, -1) if kinds.get(pos) not in _CALLS), None)
        if reached is not None:
            first = reached + 1
            break
        first = low
    found: list[dict[str, Any]] = []
    for row in reader.stream(stream, size, first):
        if row.type_name not in _CALLS:
            break
        found.append({**read_entry(row.raw)})
    return found


def _fold(attempts: dict[int, Attempt], recorded: Recorded) -> None:
    match recorded.event:
        case ModelRequested() as event:
            attempts[event.attempt] = Attempt(event, recorded.seq, recorded.at)
        case ModelAnswered() as event if event.attempt in attempts:
            attempts[event.attempt] = _answered(attempts[event.attempt], recorded, event)


def _answered(asked: Attempt, recorded: Recorded, event: ModelAnswered) -> Attempt:
    return replace(asked, answered=event, answer_seq=recorded.seq, answered_at=recorded.at)


def _place(recorded: Recorded) -> tuple[str, int]:
    event = recorded.event
    return (event.site, event.occurrence) if isinstance(event, ModelRequested | ModelAnswered) else ("", -1)


def _place_of(data: dict[str, Any]) -> tuple[Any, Any]:
    return data.get("site"), data.get("occurrence")
