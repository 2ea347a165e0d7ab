"""The rewrite history that a reasoning model saw when it proposed a prompt, and from where that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...domain.event import Withheld
from ...domain.optimization.events import RewriteProposed
from .record import RunRecord, Text
from .rewrite_history import peer_entries, peer_text

Basis = Literal["recorded", "rebuilt", "unknown"]


@dataclass(frozen=True, slots=True)
class HistorySeen:
    """``recorded``: as it stands beside the rewrite. ``rebuilt``: as aevyra-reflex 0.2 keeps it, from imported scores
    and summaries. ``unknown``: neither; what the model saw is, if anywhere, in the recorded request."""

    text: Text | None
    basis: Basis


def history_seen(record: RunRecord, rewrite: RewriteProposed) -> HistorySeen:
    """What the model that proposed ``rewrite`` was shown of the changes before it."""
    if rewrite.history is not None:
        return HistorySeen(rewrite.history, "recorded")
    if record.started.imported_from is None or record.phases_started:  # a log of phases does not tell their iterations
        return HistorySeen(None, "unknown")
    came_of = next((item.number for item in record.iterations if item.proposal is rewrite), None)
    if came_of is None or not peer_entries(record):
        return HistorySeen(None, "unknown")
    before = [entry for entry in peer_entries(record) if entry.iteration < came_of]
    hidden = next((entry.change_summary for entry in before if isinstance(entry.change_summary, Withheld)), None)
    return HistorySeen(peer_text(before) if hidden is None else hidden, "rebuilt")
