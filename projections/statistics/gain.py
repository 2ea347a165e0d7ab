"""Is a gain more than noise? The peer's test as it computes it, a paired comparison done right, and an unpaired one.

Computed when read and never sealed: another numpy or scipy may round differently. Both are imported only when a
number is asked for, because importing them takes longer than most readings.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import fsum, isfinite, isnan
from typing import Any, Literal

from ...domain.optimization.events import Sample, sample_means
from .figures import ALPHA

PERMUTATION_BELOW = 50
RESAMPLES = 9_999
INTERVAL_FROM = 6
"""Pairs; of fewer the bootstrap's interval held the truth in 51 to 86 % of simulations where it says 95 %."""
ROUGH_BELOW = 20
"""Pairs; below them the interval is given and called approximate."""
_DECIMALS = 12
"""To which differences are rounded, so that 0.8 − 0.7 and 0.2 − 0.1 are the same and 0 is 0."""
_DRAWN_AT_ONCE = 2**16
_KEPT_UP_TO = 60
"""Pairs; the draws of more take too much memory to be kept."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Samples scored before and after, paired by id. ``differing`` counts the pairs whose difference is not 0.

    ``interval`` is the BCa bootstrap interval of the mean difference at 95 %, None below ``INTERVAL_FROM`` pairs and
    where all differ alike. ``is_significant``: p is below ``ALPHA``, and the ranks, the mean and the interval all point
    the same way. ``note`` says in words what the numbers can and cannot show.
    """

    n: int
    differing: int
    mean_difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    direction: Literal["gain", "loss", "none"]
    is_significant: bool
    note: str

    @property
    def verdict(self) -> str:
        """The outcome of the test in two or three words."""
        return verdict_words(self.differing, self.direction, self.is_significant)

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON data."""
        fields = asdict(self)
        return {**fields, "interval": None if self.interval is None else list(self.interval)}


def verdict_words(differing: int, direction: str, is_significant: bool) -> str:
    """``significant gain``, ``not significant``, or why neither can be said."""
    if is_significant:
        return f"significant {direction}"
    if differing == 0:
        return "no sample differs"
    return "too few to tell" if 2.0 ** (1 - differing) >= ALPHA else "not significant"


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
    1959), by all permutations of signs below 50 pairs and by the normal approximation from there on. Differences are
    rounded to 12 decimals first: what is left of tenths in binary neither differs nor has a rank.
    """
    old, new = sample_means(before), sample_means(after)
    differences = [round(new[sample] - old[sample], _DECIMALS) for sample in sorted(old.keys() & new.keys())]
    n = len(differences)
    if n == 0:
        return PairedComparison(0, 0, None, None, None, "none", False, "no sample was scored in both evaluations")
    mean = fsum(differences) / n
    differing = sum(difference != 0 for difference in differences)
    p_value = _signed_rank(differences) if differing else None
    direction: Literal["gain", "loss", "none"] = "gain" if mean > 0 else "loss" if mean < 0 else "none"
    interval = _interval(differences, seed)
    against = _against(differences, direction, interval) if p_value is not None and p_value < ALPHA else None
    significant = p_value is not None and p_value < ALPHA and against is None
    note = against or _note(differing, direction, significant)
    if interval is not None and n < ROUGH_BELOW:
        note += f"; with fewer than {ROUGH_BELOW} samples the interval is approximate"
    return PairedComparison(n, differing, mean, interval, p_value, direction, significant, note)


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
    if len(differences) < INTERVAL_FROM or min(differences) == max(differences):
        return None
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

    n = len(values)
    means = numpy.empty(RESAMPLES)
    start = 0
    for drawn in _drawn(seed, n) if n <= _KEPT_UP_TO else _draws(seed, n):
        piece = means[start : start + len(drawn)]
        values.take(drawn, mode="clip").mean(axis=1, out=piece)  # all are within, and to raise takes twice as long
        start += len(drawn)
    return means


@lru_cache(maxsize=4)
def _drawn(seed: int, n: int) -> tuple[Any, ...]:
    """The draws of few pairs, kept: the changes of one run are compared by one seed, and often on as many samples."""
    return tuple(_draws(seed, n))


def _draws(seed: int, n: int) -> Iterator[Any]:
    """Which of ``n`` pairs are drawn, in pieces."""
    import numpy

    rng = numpy.random.default_rng(seed)
    step = max(1, _DRAWN_AT_ONCE // n)
    for start in range(0, RESAMPLES, step):
        yield rng.integers(0, n, (min(step, RESAMPLES - start), n))


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

    ranked = _ranked(differences)
    total = sum(rank for rank, _ in ranked)
    found = sum(rank for rank, positive in ranked if positive)
    patterns = numpy.zeros(total + 1, dtype=numpy.int64)  # at most 2^49 in all
    patterns[0] = 1
    for rank, _ in ranked:
        patterns[rank:] += patterns[: total + 1 - rank].copy()
    is_extreme = abs(2 * numpy.arange(total + 1) - total) >= abs(2 * found - total)
    return int(patterns[is_extreme].sum()) / float(2 ** len(ranked))


def _ranked(differences: list[float]) -> list[tuple[int, bool]]:
    """Twice the rank of each difference that is not 0, and whether it is a gain."""
    sizes = [abs(difference) for difference in differences]
    ordered = sorted(sizes)
    ranks = [bisect_left(ordered, size) + bisect_right(ordered, size) + 1 for size in sizes]
    return [
        (rank, difference > 0)
        for rank, difference in zip(ranks, differences, strict=True)
        if difference != 0  # Pratt: a zero takes part in the ranking only
    ]


def _against(differences: list[float], direction: str, interval: tuple[float, float] | None) -> str | None:
    """Why a p below ``ALPHA`` is neither a gain nor a loss: p is of the ranks, and says nothing of the mean."""
    ranks = sum(rank if is_gain else -rank for rank, is_gain in _ranked(differences))
    way = {"gain": 1, "loss": -1, "none": 0}[direction]
    if ranks * way <= 0:
        better, worse = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
        moved = {"gain": "rose", "loss": "fell", "none": "stayed"}[direction]
        return (
            f"ranks and mean disagree: of {len(differences)} samples {better} got better and {worse} worse (Wilcoxon "
            f"signed-rank test, p below {ALPHA:g}), while the mean {moved}"
        )
    if interval is not None and min(interval[0] * way, interval[1] * way) <= 0:
        return (
            f"test and interval disagree: p is below {ALPHA:g} (Wilcoxon signed-rank test), but the interval of the "
            "mean difference holds 0"
        )
    return None


def _note(differing: int, direction: str, significant: bool) -> str:
    if differing == 0:
        return "every pair has the same score before and after"
    least = 2.0 ** (1 - differing)
    if least >= ALPHA:
        pairs = "1 pair that differs" if differing == 1 else f"{differing} pairs that differ"
        return f"too few: with {pairs} no p below {least:g} is possible, whatever the gain"
    if significant:
        return f"a significant {direction} (Wilcoxon signed-rank test, p below {ALPHA:g})"
    return "no significant difference; that is not evidence of no difference"
