"""Rates with their uncertainty: shares, means, differences between sets, sample ratios, weighted samples.

Outcomes come as arrays, one row per outcome, with a code per row that says whose it is: rows of one subject
resemble each other, so an interval that took them for independent would be too narrow. docs/statistics.md has
each formula and where it is from. Computed when read and never sealed. numpy and scipy are imported only when a
number is asked for, because importing them takes longer than most readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from .figures import LEVEL, Figures, Interval

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import ArrayLike, NDArray

_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


@dataclass(frozen=True, slots=True)
class Clusters:
    """All that an interval needs to know of the clusters of a mean over rows.

    ``variance`` of that mean is the jackknife's, which leaves out one cluster at a time; 0 for one cluster, which
    has none. ``n_squared`` is the sum over clusters of their rows squared.
    """

    count: int
    variance: float
    n_squared: float

    def worth(self, n: int) -> float:
        """How many clusters of even size are as many as these of ``n`` rows in all (Kish 1965)."""
        return n * n / self.n_squared


@dataclass(frozen=True, slots=True)
class Share(Figures):
    """``successes`` of ``n``, both counted in rows; ``rate`` and ``interval`` are None where n is 0.

    ``successes`` is whole unless rows are scores, such as a half for a tie.

    ``effective_n`` is how many independent rows would tell as much. ``note`` says what the interval rests on
    where that is not plain, else it is "".
    """

    n: int
    successes: float
    clusters: int
    rate: float | None
    interval: Interval | None
    effective_n: float | None
    method: Literal["wilson", "wilson_clustered"]
    note: str


@dataclass(frozen=True, slots=True)
class Mean(Figures):
    """A mean over rows; ``standard_error`` and ``interval`` are None below two clusters."""

    n: int
    clusters: int
    mean: float | None
    standard_error: float | None
    interval: Interval | None
    note: str


def share(successes: float, n: int, *, clusters: Clusters | None = None, spread: float | None = None) -> Share:
    """A share with its Wilson interval (1927), on the effective n of Korn and Graubard (1998) where rows repeat.

    Without ``clusters`` the rows are taken for independent. ``spread`` is the variance of the rows where they are
    scores from 0 to 1 rather than yes or no: the interval's p(1-p) is then scaled to it (quasi-likelihood,
    Wedderburn 1974), so ``effective_n`` can exceed n, because halves spread less than zeros and ones.
    """
    if n == 0:
        return Share(0, 0, 0, None, None, None, "wilson", "no outcome")
    rate = successes / n
    of_yes_or_no = rate * (1 - rate)
    spread = of_yes_or_no if spread is None else spread
    effective, note = effective_n(rate, n, spread, clusters)
    if spread > 0:
        effective *= of_yes_or_no / spread
    count = n if clusters is None else clusters.count
    method: Literal["wilson", "wilson_clustered"] = "wilson" if count == n else "wilson_clustered"
    return Share(n, successes, count, rate, wilson(rate, effective), effective, method, note)


class Subjects:
    """The totals and rows of each subject of a set, and what follows from them, each computed at most once.

    A subject without rows does not count, so that sets of the same subjects stand side by side.
    """

    def __init__(self, totals: NDArray[Any], rows: NDArray[Any]) -> None:
        self.totals, self.rows = totals, rows

    @classmethod
    def of(cls, values: NDArray[Any], codes: NDArray[int64], size: int = 0) -> Subjects:
        """From a value and the code of a subject a row; there are at least ``size`` subjects."""
        return cls(*_totals(values, codes, size))

    @cached_property
    def n(self) -> int:
        return int(self.rows.sum())

    @cached_property
    def clusters(self) -> Clusters:
        import numpy

        present = int(numpy.count_nonzero(self.rows > 0))
        # one after another, as in ``clusters_in_each``
        squares = numpy.bincount(numpy.zeros(self.rows.size, dtype=numpy.intp), self.left_out**2, minlength=1)
        n_squared = numpy.square(self.rows, dtype=float).sum()
        return Clusters(present, float(squares[0]) * (present - 1) / max(present, 1), float(n_squared))

    @cached_property
    def left_out(self) -> NDArray[float64]:
        """By how much the mean over all rows falls when a subject is left out."""
        mean = self.totals.sum() / max(self.n, 1)
        return _left_out(self.totals, self.rows, mean * self.rows, self.n - self.rows)

    @cached_property
    def share(self) -> Share:
        """The share of successes, of which the totals are counts."""
        return share(int(self.totals.sum()), self.n, clusters=self.clusters)

    @cached_property
    def mean(self) -> Mean:
        return _mean(float(self.totals.sum()), self.n, self.clusters)


def clustered_share(success: ArrayLike, cluster: ArrayLike | None = None) -> Share:
    """The share of true rows; ``cluster`` is a code per row, best a small integer, or None if no subject repeats."""
    import numpy

    outcomes = numpy.asarray(success, dtype=bool)
    if cluster is None:
        return share(int(outcomes.sum()), outcomes.size)
    return Subjects.of(outcomes, dense(cluster)).share


def clusters_in_each(group: NDArray[int64], totals: NDArray[Any], rows: NDArray[Any], count: int) -> list[Clusters]:
    """``Subjects.clusters`` for each of ``count`` groups at once; ``group`` is the number of a subject's."""
    import numpy

    present = numpy.bincount(group, weights=rows > 0, minlength=count)
    all_rows = numpy.bincount(group, weights=rows, minlength=count)
    means = numpy.bincount(group, weights=totals, minlength=count) / numpy.maximum(all_rows, 1)
    left_out = _left_out(totals, rows, means[group] * rows, all_rows[group] - rows)
    squares = numpy.bincount(group, weights=left_out * left_out, minlength=count)
    variance = squares * (present - 1) / numpy.maximum(present, 1)
    sizes = numpy.bincount(group, weights=numpy.square(rows, dtype=float), minlength=count)
    return [
        Clusters(int(m), *found) for m, *found in zip(present.tolist(), variance.tolist(), sizes.tolist(), strict=True)
    ]


def _left_out(
    totals: NDArray[Any], rows: NDArray[Any], expected: NDArray[float64], left: NDArray[Any]
) -> NDArray[float64]:
    """(y - mean * n) / (N - n) of each subject."""
    import numpy

    residuals = totals - expected
    residuals[numpy.abs(residuals) <= 1e-12 * numpy.abs(expected)] = 0  # where means are the same, all is rounding
    found: NDArray[float64] = numpy.divide(residuals, left, out=numpy.zeros(residuals.size), where=left > 0)
    return found


def mean_interval(values: ArrayLike, cluster: ArrayLike | None = None) -> Mean:
    """The mean with the jackknife's standard error over clusters, and Student's t with ``degrees_of`` of freedom."""
    import numpy

    found = numpy.asarray(values, dtype=float)
    codes = numpy.arange(found.size) if cluster is None else dense(cluster)
    return _mean(float(found.sum()), found.size, Subjects.of(found, codes).clusters)


def _mean(total: float, n: int, clusters: Clusters) -> Mean:
    from scipy.special import stdtrit

    if n == 0:
        return Mean(0, 0, None, None, None, "no value")
    mean = total / n
    if clusters.count < 2:
        return Mean(n, clusters.count, mean, None, None, "too few: one subject shows no spread between subjects")
    error = sqrt(clusters.variance)
    margin = float(stdtrit(degrees_of(n, clusters), (1 + LEVEL) / 2)) * error
    note = "every subject has the same mean; the interval shows no spread" if error == 0 else ""
    return Mean(n, clusters.count, mean, error, Interval(mean - margin, mean + margin), note)


def wilson(rate: float, n: float) -> Interval:
    """Wilson's score interval (1927) of a rate from ``n`` > 0 independent outcomes; n need not be whole."""
    shrink = 1 + _Z * _Z / n
    centre = (rate + _Z * _Z / (2 * n)) / shrink
    margin = _Z * sqrt(max(0.0, rate * (1 - rate)) / n + _Z * _Z / (4 * n * n)) / shrink
    # at the ends the bound is the end itself, but rounding may miss it
    low = 0.0 if rate <= 0 else max(0.0, centre - margin)
    high = 1.0 if rate >= 1 else min(1.0, centre + margin)
    return Interval(low, high)


def newcombe(a: float, of_a: Interval, b: float, of_b: Interval, correlation: float = 0.0) -> Interval:
    """Newcombe's interval of a - b (1998, method 10) from two score intervals, correlated as Zou and Donner (2008)."""

    def apart(first: float, second: float) -> float:
        return sqrt(max(0.0, first * first + second * second - 2 * correlation * first * second))

    low = a - b - apart(a - of_a.low, of_b.high - b)
    high = a - b + apart(of_a.high - a, b - of_b.low)
    return Interval(max(-1.0, low), min(1.0, high))


def dense(codes: ArrayLike) -> NDArray[int64]:
    """Codes as small integers; those that are so already cost nothing."""
    import numpy

    found = numpy.asarray(codes)
    if found.size == 0:
        return numpy.zeros(0, dtype=numpy.int64)
    # counting is linear in the largest code, sorting in n log n
    if found.dtype.kind in "iu" and found.min() >= 0 and found.max() < 4 * found.size + 1024:
        return found.astype(numpy.int64, copy=False)
    return numpy.unique(found, return_inverse=True)[1].astype(numpy.int64, copy=False)


def _totals(values: NDArray[Any], codes: NDArray[int64], size: int = 0) -> tuple[NDArray[float64], NDArray[float64]]:
    """Of each code the sum of its values and the number of its rows; exact, as long as values are halves or whole."""
    import numpy

    if values.size != codes.size:
        raise ValueError(f"expected a cluster code per row, found {codes.size} for {values.size}")
    rows = numpy.bincount(codes, minlength=size).astype(float)
    return numpy.bincount(codes, weights=values, minlength=size).astype(float), rows


def degrees_of(n: int, clusters: Clusters) -> float:
    """Degrees of freedom of a variance over clusters: one less than they are worth, since a large one counts most."""
    return max(1.0, clusters.worth(n) - 1)


def effective_n(
    rate: float, n: int, spread: float, clusters: Clusters | None, *, for_test: bool = False
) -> tuple[float, str]:
    """How many independent rows tell as much as these n, from 1 to n.

    Where the design effect has no estimate it is what the clusters are worth: rows of a subject are all the same.
    An interval counts in how few clusters it was estimated from, a test does that by its degrees of freedom.
    """
    if clusters is None or clusters.count == n:
        return float(n), ""
    if clusters.count == 1:
        return 1.0, "one subject only: its rows count as one"
    if spread <= 0 or not 0 < rate < 1:
        return clusters.worth(
            n
        ), "all outcomes are the same, which hides how subjects differ: rows of a subject count as one"
    if clusters.variance == 0:
        return float(n), ""
    effective = spread / clusters.variance * (1.0 if for_test else _t_ratio(n - 1, degrees_of(n, clusters)))
    return min(float(n), max(1.0, effective)), ""


@lru_cache(maxsize=4096)
def _t_ratio(of_rows: int, of_clusters: float) -> float:
    """(t with the rows' degrees of freedom / t with the clusters')^2, by which Korn and Graubard shrink n."""
    from scipy.special import stdtrit

    quantile = (1 + LEVEL) / 2
    return float(stdtrit(of_rows, quantile) / stdtrit(of_clusters, quantile)) ** 2


def correlation_of(a: Subjects, b: Subjects) -> float:
    """How the means of two sets of the same subjects are correlated, by the subjects that are in both."""
    first, second = a.left_out, b.left_out
    size = sqrt(float(first @ first) * float(second @ second))
    return min(1.0, max(-1.0, float(first @ second) / size)) if size > 0 else 0.0
