"""The samples of an evaluation beside the same samples under another prompt: which did better, which did worse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...domain.optimization.events import PromptEvaluated, Sample, sample_means
from .record import RunRecord

Outcome = Literal["better", "worse", "same", "failed", "alone"]
OUTCOMES: tuple[Outcome, ...] = ("better", "worse", "same", "failed", "alone")
Order = Literal["recorded", "losses", "gains", "lowest"]
ORDERS: tuple[Order, ...] = ("recorded", "losses", "gains", "lowest")

_SAME_KIND_OF_SAMPLES = ({"train", "variant"}, {"val"}, {"baseline", "final"}, {"target"})


@dataclass(frozen=True, slots=True)
class SamplePair:
    """One sample, with each model's and pass's answer to it; ``old`` and ``new`` are the means of their scores.

    ``outcome``: ``failed`` has no score now, ``alone`` none under the other prompt.
    """

    id: str
    before: tuple[Sample, ...]
    after: tuple[Sample, ...]
    old: float | None
    new: float | None

    @property
    def delta(self) -> float | None:
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def outcome(self) -> Outcome:
        if self.new is None:
            return "failed"
        if self.delta is None:
            return "alone"
        return "better" if self.delta > 0 else "worse" if self.delta < 0 else "same"


def pair_samples(before: PromptEvaluated | None, after: PromptEvaluated) -> list[SamplePair]:
    """Every sample of ``after`` in order of recording, with what it was under ``before``; none where it is closed."""
    old = _by_id(before) if before is not None else {}
    new = _by_id(after)
    old_means = sample_means(sample for group in old.values() for sample in group)
    new_means = sample_means(sample for group in new.values() for sample in group)
    return [
        SamplePair(name, tuple(old.get(name, ())), tuple(group), old_means.get(name), new_means.get(name))
        for name, group in new.items()
    ]


def ordered(pairs: Iterable[SamplePair], order: Order) -> list[SamplePair]:
    """The pairs by ``losses`` or ``gains``, the largest first, or by the ``lowest`` score; those without come last."""
    found = list(pairs)
    keys: dict[Order, Callable[[SamplePair], float | None]] = {
        "losses": lambda pair: pair.delta,
        "gains": lambda pair: None if pair.delta is None else -pair.delta,
        "lowest": lambda pair: pair.new,
    }
    if order in keys:
        key = keys[order]
        found.sort(key=lambda pair: (key(pair) is None, key(pair) or 0.0))
    return found


def counterpart(record: RunRecord, scored: PromptEvaluated, prompt: int, first: int | None) -> PromptEvaluated | None:
    """The evaluation of another prompt that ``scored`` can be set beside: of the same kind of samples, and some shared.

    ``first`` is the evaluation to be asked first; of the others the newest that was recorded before ``scored``.
    """
    kind = next(kind for kind in _SAME_KIND_OF_SAMPLES if scored.purpose in kind)
    candidates = [
        found
        for found in record.evaluations
        if found.prompt == prompt and found.purpose in kind and found.kind == scored.kind and found is not scored
    ]
    candidates.sort(
        key=lambda found: (found.evaluation != first, found.evaluation > scored.evaluation, -found.evaluation)
    )
    names = set(_by_id(scored))
    return next((found for found in candidates if not names or names & set(_by_id(found))), None)


def metric_rows(
    before: PromptEvaluated | None, after: PromptEvaluated
) -> Sequence[tuple[str, float | None, float | None]]:
    """Each metric with its mean before and after, in order of their names."""
    old = {} if before is None else before.scores_by_metric
    return [(name, old.get(name), after.scores_by_metric.get(name)) for name in sorted({*old, *after.scores_by_metric})]


def _by_id(scored: PromptEvaluated) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in scored.samples if isinstance(scored.samples, tuple) else ():
        found.setdefault(sample.id, []).append(sample)
    return found
