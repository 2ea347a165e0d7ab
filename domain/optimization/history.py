"""The causal rewrite history: each change beside its own effect, as the reasoning model and people read it.

::

    Change 3 (after iteration 3): 0.7074 → 0.3895 (Δ−0.3179, over the 6 samples that both share — ✗ hurt): Switched …
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..event import Withheld
from .effects import Effect
from .events import IterationCompleted, PromptEvaluated, RewriteProposed

NO_CHANGES = "(no changes yet)"
NO_SUMMARY = "(no summary)"
MARKS = {"helped": "✓ helped", "no effect": "✗ no effect", "hurt": "✗ hurt"}


@dataclass(frozen=True, slots=True)
class Change:
    """A rewrite with its own effect. ``number`` counts from 1; ``before`` and ``after`` are whole evaluations'
    scores, ``after_iteration`` and ``scored_in`` the iterations that it came out of and was first scored in."""

    number: int
    after_iteration: int | None
    scored_in: int | None
    before: float | None
    after: float | None
    effect: Effect
    axis: str | None
    change_summary: str | Withheld | None


def changes(
    evaluations: Sequence[PromptEvaluated],
    rewrites: Sequence[RewriteProposed],
    effects: Sequence[Effect],
    iterations: Sequence[IterationCompleted],
) -> list[Change]:
    """Every rewrite with its own effect, in the order in which they were proposed; evaluations in order of number."""
    newest_first = sorted(iterations, key=lambda item: item.iteration, reverse=True)
    proposed_in = {item.evaluation: item.iteration for item in newest_first}
    scored_in = {item.rewrite: item.iteration for item in newest_first if item.rewrite is not None}
    found = []
    for rewrite, effect in zip(rewrites, effects, strict=True):
        measured = None if effect.measured_by is None else evaluations[effect.measured_by]
        found.append(
            Change(
                rewrite.rewrite + 1,
                proposed_in.get(rewrite.parent),
                scored_in.get(rewrite.rewrite),
                evaluations[rewrite.parent].score,
                None if measured is None else measured.score,
                effect,
                rewrite.axis,
                rewrite.change_summary,
            )
        )
    return found


def history_text(found: Sequence[Change]) -> str:
    """One line per change, for a reasoning model."""
    return "\n".join(map(change_line, found)) or NO_CHANGES


def change_line(change: Change) -> str:
    """A change and what it did, in one line."""
    told = change.change_summary or ""
    text = f"[withheld {told.digest}]" if isinstance(told, Withheld) else told
    summary = " ".join(text.split()) or NO_SUMMARY  # a line break would forge a line
    origin = "" if change.after_iteration is None else f" (after iteration {change.after_iteration})"
    return f"Change {change.number}{origin}: {_outcome(change)}: {summary}"


def _outcome(change: Change) -> str:
    effect = change.effect
    before = "no score" if change.before is None else f"{change.before:.4f}"
    if effect.basis == "never_measured":
        return f"from {before}, never measured"
    if effect.delta is None or effect.direction is None:
        return f"from {before}, not comparable (other samples, metrics or kind of score)"
    after = "no score" if change.after is None else f"{change.after:.4f}"
    delta = f"{effect.delta:+.4f}".replace("-", "−")
    return f"{before} → {after} (Δ{delta}, {_basis(effect)} — {MARKS[effect.direction]})"


def _basis(effect: Effect) -> str:
    if effect.basis == "paired":
        return f"over the {effect.n} samples that both share" if effect.n != 1 else "over the 1 sample both share"
    return "means of the same split" + ("" if effect.n is None else f", n = {effect.n}")
