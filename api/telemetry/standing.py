"""How a ledger stands at a moment, in numbers: what is unsigned, how far the read models are behind, what waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ...ledger.application import Ledger
from ...ledger.entries.entry import parse_entry
from ...ledger.errors import LedgerError
from ...ledger.events import ErasureRequested
from ...ledger.folds.erasures import ERASURE_STREAM
from ...ledger.store.reader import LedgerReader
from ...projections.view_state import view_states
from ..workers.judges import Judges


@dataclass(frozen=True, slots=True)
class Standing:
    """``unsigned`` entries are under no checkpoint, ``unprojected`` in a read model not yet; each with the age in
    seconds of the oldest of them, 0 where there is none. ``judging`` is None where no judges work here.
    """

    size: int
    checkpoint: int
    unsigned: int
    unsigned_seconds: float
    unprojected: int
    unprojected_seconds: float
    erasure_unfinished: bool
    signing_stopped: bool
    judging: Judging | None


@dataclass(frozen=True, slots=True)
class Judging:
    """What the judges have in hand and before them, as far as it is queued."""

    in_flight: int
    turns: int
    sessions: int
    paused: bool


def look(ledger: Ledger, judges: Judges | None, clock: Callable[[], int]) -> Standing:
    """``LedgerError`` where the ledger does not answer. Brings nothing up to date, and waits for no page."""
    try:
        behind = min((view.size for view in view_states(ledger.place) if view.is_current), default=0)
    except LedgerError:  # read models that do not read are made anew: from the first entry
        behind = 0
    with ledger.recorder.reading() as reader:
        size = reader.head().size
        latest = reader.latest_checkpoint()
        checkpoint = latest[0] if latest is not None else 0
        return Standing(
            size=size,
            checkpoint=checkpoint,
            unsigned=max(size - checkpoint, 0),
            unsigned_seconds=_age(reader, checkpoint, size, clock),
            unprojected=max(size - behind, 0),
            unprojected_seconds=_age(reader, behind, size, clock),
            erasure_unfinished=_is_erasure_unfinished(reader),
            signing_stopped=ledger.is_signing_stopped,
            judging=None if judges is None else _judging(judges),
        )


def _age(reader: LedgerReader, seq: int, size: int, clock: Callable[[], int]) -> float:
    """Seconds since the entry was recorded; 0 where it was not yet."""
    if seq >= size:
        return 0.0
    (row,) = reader.entries(seq, seq + 1)
    return max(clock() / 1_000_000 - datetime.fromisoformat(parse_entry(row.raw)["at"]).timestamp(), 0.0)


def _is_erasure_unfinished(reader: LedgerReader) -> bool:
    newest = reader.next_pos(ERASURE_STREAM) - 1
    rows = list(reader.stream(ERASURE_STREAM, start=newest)) if newest >= 0 else []
    return any(row.type_name == ErasureRequested.type_name for row in rows)


def _judging(judges: Judges) -> Judging:
    status = judges.status()
    return Judging(status["in_flight"], status["pending_turns"], status["pending_sessions"], status["paused"])
