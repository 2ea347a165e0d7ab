"""What a change did: the effect of each rewrite, beside the rewrite that caused it.

The effect is the mean difference between the first evaluation of the proposed text and the evaluation
that the rewrite started from, over the samples that both have scores for. Where the samples are not
known but both scored the same whole split the same way, it is the difference of the two means, and says
so. Scores of different purposes, metrics or kinds are never subtracted from each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal

from .events import PromptEvaluated, RewriteProposed, sample_means

THRESHOLD = 0.005
"""A difference no larger than this, either way, counts as no effect; it is the peer's own threshold."""

Basis = Literal["paired", "means", "not_comparable", "never_measured"]
Direction = Literal["helped", "no effect", "hurt"]
_TRAINING = ("train", "variant")


@dataclass(frozen=True, slots=True)
class Effect:
    """``delta`` is in score units over ``n`` shared samples; both are None unless it could be measured."""

    rewrite: int
    basis: Basis
    delta: float | None = None
    n: int | None = None
    measured_by: int | None = None

    @property
    def direction(self) -> Direction | None:
        return None if self.delta is None else direction_of(self.delta)


def direction_of(delta: float) -> Direction:
    """Helped above +0.005, hurt below −0.005, compared on unrounded values."""
    if delta > THRESHOLD:
        return "helped"
    return "no effect" if abs(delta) <= THRESHOLD else "hurt"


def effect_of(rewrite: RewriteProposed, evaluations: Sequence[PromptEvaluated]) -> Effect:
    """The effect of one rewrite, given every evaluation of its run in order of their numbers."""
    parent = evaluations[rewrite.parent]
    candidates = [
        evaluation for evaluation in evaluations if rewrite.prompt is not None and evaluation.prompt == rewrite.prompt
    ]
    if not candidates:
        return Effect(rewrite.rewrite, "never_measured")
    for evaluation in candidates:
        effect = _compare(rewrite.rewrite, parent, evaluation)
        if effect is not None:
            return effect
    return Effect(rewrite.rewrite, "not_comparable")


def _compare(rewrite: int, before: PromptEvaluated, after: PromptEvaluated) -> Effect | None:
    if before.kind != after.kind or _metrics_differ(before, after):
        return None
    if before.purpose != after.purpose and not (before.purpose in _TRAINING and after.purpose in _TRAINING):
        return None
    old, new = _scores(before), _scores(after)
    if old is not None and new is not None:
        shared = [new[sample] - old[sample] for sample in old if sample in new]
        if not shared:
            return None
        return Effect(rewrite, "paired", fsum(shared) / len(shared), len(shared), after.evaluation)
    if before.score is None or after.score is None or (before.sample_set, after.sample_set) != ("whole", "whole"):
        return None
    n = before.n if before.n == after.n else None
    return Effect(rewrite, "means", after.score - before.score, n, after.evaluation)


def _scores(evaluation: PromptEvaluated) -> dict[str, float] | None:
    return sample_means(evaluation.samples) if isinstance(evaluation.samples, tuple) else None


def _metrics_differ(before: PromptEvaluated, after: PromptEvaluated) -> bool:
    """Whether both name their metrics and name others; within a run, who names none used the same."""
    named = set(before.scores_by_metric), set(after.scores_by_metric)
    return all(named) and named[0] != named[1]
