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


def _execute(found: Erasures, entry: Entry) -> None:
    try:
        event = ErasureExecuted.model_validate(entry["data"])
    except ValidationError:
        return
    if found.unfinished.get(event.requested) == event.scope:
        del found.unfinished[event.requested]
        found.executed.setdefault(event.scope, (entry["seq"], Destroyed(event.key_fingerprint, event.aliases)))
