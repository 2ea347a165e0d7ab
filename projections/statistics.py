"""Is a gain more than noise? The peer's test as it computes it, a paired comparison done right, and an unpaired one.

Computed when read and never sealed: another numpy or scipy may round differently. Both are imported only when a
number is asked for, because importing them takes longer than most readings.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import fsum, isfinite, isnan
from typing import Any, Literal

from ..domain.optimization.events import Sample, sample_means

ALPHA = 0.05
PERMUTATION_BELOW = 50
RESAMPLES = 9_999
_DRAWN_AT_ONCE = 2**16


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Samples scored before and after, paired by id. ``differing`` counts the pairs whose difference is not 0.

    ``interval`` is the BCa bootstrap interval of the mean difference at 95 %, None below two pairs.
    ``note`` says in words what the numbers can and cannot show.
    """

    n: int
    differing: int
    mean_difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    direction: Literal["gain", "loss", "none"]
    is_significant: bool
    note: str

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON data."""
        fields = asdict(self)
        return {**fields, "interval": None if self.interval is None else list(self.interval)}


def p_text(p_value: float | None) -> str:
    """``p = 0.0123``, ``p < 0.0001`` where four decimals would show none, ``no p``."""
    if p_value is None:
        return "no p"
    return f"p = {p_value:.4f}" if p_value >= 0.0001 else "p < 0.0001"


def peer_significance(baseline: Sequence[float], final: Sequence[float]) -> tuple[float, bool] | tuple[None, None]:
    """p and "significant" as aevyra-reflex 0.2.0 computes them with scipy present.

    Scores are paired by position up to the shorter list. No pair, one pair or only zero differences give
    ``(None, None)``; otherwise it is ``scipy.stats.wilcoxon(baseline, final)`` with every default (two-sided,
    zeros dropped), significant below 0.05 in either direction. The peer's fallback without scipy, a t-test
    whose p is twice what it should be, is not reproduced.
    """
    n = min(len(baseline), len(final))
    before, after = list(baseline[:n]), list(final[:n])
    if n < 2 or all(new - old == 0.0 for old, new in zip(before, after, strict=True)):
        return None, None
    from scipy.stats import wilcoxon

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p_value = float(wilcoxon(before, after).pvalue)
    return (None, None) if isnan(p_value) else (p_value, p_value < ALPHA)


def paired_comparison(before: Iterable[Sample], after: Iterable[Sample], seed: int) -> PairedComparison:
    """Compare two evaluations of the same samples; the same ``seed`` gives the same figures.

    A sample that occurs several times (models, passes) is averaged first, so that it counts once; failed calls
    have no score and are left out. The mean difference has a BCa bootstrap interval (Efron 1987, "Better
    bootstrap confidence intervals"). p is of the two-sided Wilcoxon signed-rank test with zeros ranked (Pratt
    1959), by all permutations of signs below 50 pairs and by the normal approximation from there on.
    """
    old, new = sample_means(before), sample_means(after)
    differences = [new[sample] - old[sample] for sample in sorted(old.keys() & new.keys())]
    n = len(differences)
    if n == 0:
        return PairedComparison(0, 0, None, None, None, "none", False, "no sample was scored in both evaluations")
    mean = fsum(differences) / n
    differing = sum(difference != 0 for difference in differences)
    p_value = _signed_rank(differences) if differing else None
    direction: Literal["gain", "loss", "none"] = "gain" if mean > 0 else "loss" if mean < 0 else "none"
    significant = p_value is not None and p_value < ALPHA and direction != "none"
    return PairedComparison(
        n,
        differing,
        mean,
        _interval(differences, seed),
        p_value,
        direction,
        significant,
        _note(differing, direction, significant),
    )


def welch_interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of mean(a) − mean(b) for scores of different samples, by Welch's t (1947).

    None where it has no value: fewer than two scores in either, or no spread in both.
    """
    if min(len(a), len(b)) < 2 or len({*a}) == len({*b}) == 1:
        return None
    from scipy.stats import ttest_ind

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bounds = ttest_ind(a, b, equal_var=False).confidence_interval(1 - ALPHA)
    low, high = float(bounds.low), float(bounds.high)
    return (low, high) if isfinite(low) and isfinite(high) else None


def _interval(differences: list[float], seed: int) -> tuple[float, float] | None:
    if len(differences) < 2:
        return None
    if min(differences) == max(differences):
        return differences[0], differences[0]  # without spread BCa divides by zero
    import numpy

    values = numpy.asarray(differences)
    means = _resampled_means(values, seed)
    low, high = _bca_levels(values, means)
    if isnan(low) or isnan(high):  # the acceleration has no value for some tiny samples; percentiles always have
        low, high = ALPHA / 2, 1 - ALPHA / 2
    bounds = numpy.quantile(means, (low, high))
    return float(bounds[0]), float(bounds[1])


def _resampled_means(values: Any, seed: int) -> Any:
    """The means of ``RESAMPLES`` draws with replacement: the draws of ``scipy.stats.bootstrap``, in pieces that stay
    in the processor's cache."""
    import numpy

    rng, n = numpy.random.default_rng(seed), len(values)
    means = numpy.empty(RESAMPLES)
    step = max(1, _DRAWN_AT_ONCE // n)
    for start in range(0, RESAMPLES, step):
        piece = means[start : start + step]
        values[rng.integers(0, n, (len(piece), n))].mean(axis=1, out=piece)
    return means


def _bca_levels(values: Any, means: Any) -> tuple[float, float]:
    """At which quantiles of the resampled means the interval ends (Efron and Tibshirani 1993, 14.3); NaN for none."""
    import numpy
    from scipy.special import ndtr, ndtri

    n, mean = len(values), values.mean()
    below = (numpy.count_nonzero(means < mean) + numpy.count_nonzero(means <= mean)) / (2 * RESAMPLES)
    bias = ndtri(below)
    left_out = (values.sum() - values) / (n - 1)
    influence = (n - 1) * (left_out.mean() - left_out)
    with numpy.errstate(all="ignore"):
        acceleration = (influence**3).sum() / (influence**2).sum() ** 1.5 / 6
        ends = bias + numpy.array([-1, 1]) * -ndtri(ALPHA / 2)
        low, high = ndtr(bias + ends / (1 - acceleration * ends))
    return float(low), float(high)


def _signed_rank(differences: list[float]) -> float:
    if len(differences) < PERMUTATION_BELOW:
        return _signed_rank_by_permutation(differences)
    from scipy.stats import wilcoxon

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(wilcoxon(differences, zero_method="pratt", method="asymptotic").pvalue)


def _signed_rank_by_permutation(differences: list[float]) -> float:
    """The exact two-sided p: the share of all sign patterns whose rank sum is at least as far from the middle.

    Ranks are doubled, so that those of ties are whole and every comparison is exact. The number of patterns for
    each sum is counted by adding one rank after the other, not by listing 2^n patterns.
    """
    import numpy

    sizes = [abs(difference) for difference in differences]
    ordered = sorted(sizes)
    ranks = [bisect_left(ordered, size) + bisect_right(ordered, size) + 1 for size in sizes]
    ranked = [
        (rank, difference > 0)
        for rank, difference in zip(ranks, differences, strict=True)
        if difference != 0  # Pratt: a zero takes part in the ranking only
    ]
    total = sum(rank for rank, _ in ranked)
    found = sum(rank for rank, positive in ranked if positive)
    patterns = numpy.zeros(total + 1, dtype=numpy.int64)  # at most 2^49 in all
    patterns[0] = 1
    for rank, _ in ranked:
        patterns[rank:] += patterns[: total + 1 - rank].copy()
    is_extreme = abs(2 * numpy.arange(total + 1) - total) >= abs(2 * found - total)
    return int(patterns[is_extreme].sum()) / float(2 ** len(ranked))


def _note(differing: int, direction: str, significant: bool) -> str:
    if differing == 0:
        return "every pair has the same score before and after"
    least = 2.0 ** (1 - differing)
    if least >= ALPHA:
        pairs = "1 pair that differs" if differing == 1 else f"{differing} pairs that differ"
        return f"too few: with {pairs} no p below {least:g} is possible, whatever the gain"
    if significant:
        return f"a significant {direction} (p below {ALPHA:g})"
    return "no significant difference; that is not evidence of no difference"
