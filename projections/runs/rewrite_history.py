"""The rewrite history: what each change did, told twice.

``peer`` is the log that aevyra-reflex 0.2.0 shows its reasoning model, in its words. Its line k names the
change made after iteration k beside the difference between iterations k − 1 and k, which an earlier change
had caused. ``true`` puts beside each change its own effect, and says how that was measured::

    Change 3 (after iteration 3): 0.7074 → 0.3895 (Δ−0.3179, means of the same split — ✗ hurt): Switched to XML
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...domain.optimization.effects import Effect, direction_of
from ...domain.optimization.history import MARKS, NO_SUMMARY, Change, change_line, changes
from ..withheld import shown, shown_text
from .record import Iteration, RunRecord, Text

NO_PEER_ENTRIES = "(no previous rewrites — this is the first refinement)"
_WITHOUT_PEER_LOG = ("structural", "fewshot", "pdo")


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """A line of the peer's log: ``delta`` is against the iteration before, 0 for the first."""

    iteration: int
    score: float
    delta: float
    change_summary: Text


def peer_entries(record: RunRecord) -> list[PeerEntry]:
    """The log as the peer's iterative strategy keeps it; empty for strategies that keep none.

    In a run of phases it is the log of the last iterative phase, numbered within the phase.
    """
    entries: list[PeerEntry] = []
    previous: float | None = None
    for number, iteration in enumerate(_logged_iterations(record), start=1):
        score = iteration.score
        if score is None:
            continue
        if iteration.proposal is not None and iteration.proposal.axis in (None, "iterative"):
            delta = 0.0 if previous is None else score - previous
            entries.append(PeerEntry(number, score, delta, iteration.proposal.change_summary or ""))
        previous = score
    return entries


def peer_text(entries: Sequence[PeerEntry]) -> str:
    """The log in the peer's words, one line per entry."""
    return "\n".join(map(_peer_line, entries)) or NO_PEER_ENTRIES


def peer_json(entries: Sequence[PeerEntry]) -> list[dict[str, Any]]:
    """The log as the peer keeps it in ``strategy_state.rewrite_log``."""
    return [
        {
            "iteration": entry.iteration,
            "score": entry.score,
            "delta": entry.delta,
            "change_summary": shown(entry.change_summary),
        }
        for entry in entries
    ]


def run_changes(record: RunRecord) -> list[Change]:
    """Every rewrite of the run with its own effect, in the order in which they were proposed."""
    return changes(record.evaluations, record.rewrites, record.effects(), [item.event for item in record.iterations])


def true_text(found: Sequence[Change]) -> str:
    """One line per change; empty for a run without rewrites."""
    return "\n".join(map(change_line, found))


def true_json(found: Sequence[Change]) -> list[dict[str, Any]]:
    """The changes as JSON data."""
    return [
        {
            "change": change.number,
            "after_iteration": change.after_iteration,
            "scored_in_iteration": change.scored_in,
            "score_before": change.before,
            "score_after": change.after,
            "effect": effect_json(change.effect),
            "axis": change.axis,
            "change_summary": shown(change.change_summary),
        }
        for change in found
    ]


def effect_json(effect: Effect) -> dict[str, Any]:
    """An effect as it stands in files and answers."""
    return {"delta": effect.delta, "basis": effect.basis, "n": effect.n, "direction": effect.direction}


def _logged_iterations(record: RunRecord) -> list[Iteration]:
    if record.started.strategy in _WITHOUT_PEER_LOG:
        return []
    iterative = [phase.phase for phase in record.phases_started if phase.axis == "iterative"]
    if record.phases_started:
        return [item for item in record.iterations if iterative and item.event.phase == iterative[-1]]
    return [] if record.started.strategy == "auto" else record.iterations


def _peer_line(entry: PeerEntry) -> str:
    sign = "+" if entry.delta >= 0 else ""
    effect = MARKS[direction_of(entry.delta)]
    summary = shown_text(entry.change_summary) or NO_SUMMARY
    return f"Iter {entry.iteration} (score: {entry.score:.4f}, Δ{sign}{entry.delta:.4f} — {effect}): {summary}"
