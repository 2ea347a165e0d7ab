"""What the log says of erasures: which keys were destroyed, and which were only about to be.

All stand in the one stream ``erasure``. Its positions order the erasures of all processes: whoever wants to
write the next one first finishes the last, and a conflict tells that somebody else was faster. So only the
newest event can be a request that a crash left open, and opening a ledger need look at no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import ValidationError

from ...domain.event import Recorded, Withheld
from ..entries.entry import Entry
from ..events import ErasureExecuted, ErasureRequested

ERASURE_STREAM = "erasure"


class Destroyed(NamedTuple):
    """What is left of a destroyed key: its fingerprint (hex), and how many rows of aliases went with it."""

    fingerprint: str
    aliases: int


@dataclass(frozen=True, slots=True)
class Erasures:
    """``executed``: scope to (seq, what was destroyed). ``unfinished``: seq of a request to its scope."""

    executed: dict[str, tuple[int, Destroyed]] = field(default_factory=dict)
    unfinished: dict[int, str] = field(default_factory=dict)

    def executed_after(self, seq: int, scope: str) -> Destroyed | None:
        """What was destroyed, if the scope was erased after entry ``seq`` was recorded."""
        at, destroyed = self.executed.get(scope, (-1, None))
        return destroyed if at > seq else None

    def requested_after(self, seq: int, scope: str) -> bool:
        """Whether an erasure of the scope that is not finished was requested after entry ``seq``."""
        return any(at > seq and asked == scope for at, asked in self.unfinished.items())


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """One erasure. ``executed`` is None while it was only asked for, ``requested`` where the request is not shown here.

    ``note`` is sealed; it is None where none was given.
    """

    scope: str
    reason: str
    note: str | Withheld | None
    requested: int | None
    requested_at: str | None
    executed: int | None
    executed_at: str | None
    fingerprint: str | None
    aliases: int | None


def fold_erasures(entries: Iterable[Entry]) -> Erasures:
    """The erasures that parsed entries, in order of ``seq``, tell of; those of other streams are passed over.

    One that names no request of its scope is none.
    """
    found = Erasures()
    for entry in entries:
        if entry["stream"] != ERASURE_STREAM:
            continue
        if entry["type"] == ErasureRequested.type_name:
            found.unfinished[entry["seq"]] = str(entry["data"].get("scope"))
        elif entry["type"] == ErasureExecuted.type_name:
            _execute(found, entry)
    return found


def pair_erasures(recorded: Iterable[Recorded]) -> list[ErasureRow]:
    """Requests and what came of them, newest first. Positions order them, so each stands right before its end."""
    rows: list[ErasureRow] = []
    asked: Recorded | None = None
    for each in recorded:
        event = each.event
        if isinstance(event, ErasureRequested):
            if asked is not None:
                rows.append(_row(asked, None))
            asked = each
        elif isinstance(event, ErasureExecuted):
            rows.append(_row(asked if asked is not None and asked.seq == event.requested else None, each))
            asked = None
    if asked is not None:
        rows.append(_row(asked, None))
    return rows[::-1]


def _execute(found: Erasures, entry: Entry) -> None:
    try:
        event = ErasureExecuted.model_validate(entry["data"])
    except ValidationError:
        return
    if found.unfinished.get(event.requested) == event.scope:
        del found.unfinished[event.requested]
        found.executed.setdefault(event.scope, (entry["seq"], Destroyed(event.key_fingerprint, event.aliases)))


def _row(asked: Recorded | None, done: Recorded | None) -> ErasureRow:
    request = asked.event if asked is not None and isinstance(asked.event, ErasureRequested) else None
    end = done.event if done is not None and isinstance(done.event, ErasureExecuted) else None
    told = end or request
    assert told is not None
    return ErasureRow(
        told.scope,
        told.reason,
        None if request is None else request.note,
        end.requested if end is not None else asked.seq if asked is not None else None,
        None if asked is None else asked.at,
        None if done is None else done.seq,
        None if done is None else done.at,
        None if end is None else end.key_fingerprint,
        None if end is None else end.aliases,
    )
