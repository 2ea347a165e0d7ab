"""Which of two evaluations did better, over the samples that both have scores for.

A failed call leaves a sample without a score, so that the means of two evaluations may be of different samples; they
are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, sqrt

from ..conversation import Scored
from ..effects import THRESHOLD
from ..study import Study


def uses_batches(study: Study) -> bool:
    """Whether iterations score batches of the training set, so that no score of one holds in the next."""
    return 0 < study.options.batch_size < len(study.rows)


def gain(newer: Scored, older: Scored) -> float | None:
    """The mean of ``newer`` less that of ``older`` over the samples that both share; None where they share none."""
    means = shared_means(newer, older)
    return None if means is None else means[0] - means[1]


def shared_means(newer: Scored, older: Scored) -> tuple[float, float] | None:
    """The means of both over the samples that both share; None where they share none."""
    new, old = _shared(newer, older)
    return (_mean(new), _mean(old)) if new else None


def is_clearly_lower(newer: Scored, older: Scored) -> bool:
    """Whether ``newer`` lost more than counts as no effect, and more than one standard error of the paired differences.

    False for less than two shared samples: they show no spread.
    """
    new, old = _shared(newer, older)
    differences = [after - before for after, before in zip(new, old, strict=True)]
    n = len(differences)
    if n < 2:
        return False
    mean = _mean(differences)
    deviation = sqrt(fsum((difference - mean) ** 2 for difference in differences) / (n - 1))
    return mean < -THRESHOLD and mean < -deviation / sqrt(n)


def _shared(newer: Scored, older: Scored) -> tuple[list[float], list[float]]:
    new, old = newer.means, older.means
    ids = [name for name in old if name in new]
    return [new[name] for name in ids], [old[name] for name in ids]


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
