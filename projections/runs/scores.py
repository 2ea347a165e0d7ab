"""What a run came to: its best score, and how far that lies from where it began.

Only scores of one kind and of the same metrics are compared; a mean and a win rate never are.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...domain.optimization.events import PromptEvaluated
from .record import Iteration, RunRecord


@dataclass(frozen=True, slots=True)
class Gain:
    """From the baseline to the final evaluation. ``percent`` is of the baseline, None where that is not above 0.

    ``why_not`` says why there is no difference to give.
    """

    delta: float | None = None
    percent: float | None = None
    why_not: str | None = None


def gain(record: RunRecord) -> Gain:
    """How much better the final evaluation is than the baseline, where the two can be compared."""
    return gain_between(record.baseline, record.final)


def gain_between(baseline: PromptEvaluated | None, final: PromptEvaluated | None) -> Gain:
    """How much better one evaluation is than the other, where the two can be compared."""
    if baseline is None or final is None:
        missing = "baseline" if baseline is None else "final"
        return Gain(why_not=f"there is no {missing} evaluation")
    if baseline.score is None or final.score is None:
        return Gain(why_not="one of the two evaluations has no score")
    if baseline.kind != final.kind:
        return Gain(why_not=f"the baseline is a {baseline.kind}, the final score a {final.kind}")
    if set(baseline.scores_by_metric) != set(final.scores_by_metric):
        return Gain(why_not=f"the baseline was scored by {_names(baseline)}, the final prompt by {_names(final)}")
    delta = final.score - baseline.score
    return Gain(delta, delta / baseline.score * 100 if baseline.score > 0 else None)


def best_score(record: RunRecord) -> tuple[float, str] | None:
    """The score of the prompt that the run ended with, and the purpose of the evaluation that gave it.

    The held-out score where there is one, else the validation score, else the training score.
    """
    if record.completed is None:
        return None
    if record.final is not None and record.final.score is not None:
        return record.final.score, "final"
    scored = [found for found in record.evaluations if found.prompt == record.completed.best]
    for purpose in ("final", "val", "train"):
        for found in reversed(scored):
            if found.purpose == purpose and found.score is not None:
                return found.score, purpose
    return None


def held_out(planned: bool | None, test: int | None) -> bool | None:
    """Whether the final score is of samples that nothing was optimised on: as the run's plan has it, else by how many
    ``test`` samples its split has; None where neither is recorded."""
    if planned is not None:
        return planned
    return None if test is None else test > 0


def leading_iteration(record: RunRecord) -> Iteration | None:
    """The iteration that is ahead: by validation score where any has one, the later of two equals; else by
    training score, the earlier of two equals."""
    iterations = record.iterations
    means = [iteration for iteration in iterations if iteration.train.kind == "mean"] or iterations
    validated = [(item.val.score, item) for item in means if item.val is not None and item.val.score is not None]
    if validated:
        return max(validated, key=lambda pair: (pair[0], pair[1].number))[1]
    trained = [(item.score, item) for item in means if item.score is not None]
    return max(trained, key=lambda pair: (pair[0], -pair[1].number))[1] if trained else None


def _names(evaluation: PromptEvaluated) -> str:
    return ", ".join(sorted(evaluation.scores_by_metric)) or "unnamed metrics"
