"""Rates with their uncertainty: shares, means, differences between sets, sample ratios, weighted samples.

Outcomes come as arrays, one row per outcome, with a code per row that says whose it is: rows of one subject
resemble each other, so an interval that took them for independent would be too narrow. docs/statistics.md has
each formula and where it is from. Computed when read and never sealed. numpy and scipy are imported only when a
number is asked for, because importing them takes longer than most readings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from itertools import combinations
from math import comb, inf, log, log1p, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
ALPHA = 0.05
MINIMUM_N = 20
"""Below so many outcomes, or subjects of even size where they repeat, a comparison gives no verdict."""

BOSCHLOO_UP_TO = 100
MISMATCH_BELOW = 0.001
"""Sample ratios are looked at again and again, and a false alarm costs a whole comparison."""

_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
_SMALL_EXPECTED = 5
_DRAWN = 2
_OUTCOMES_LISTED_UP_TO = 20_000


class Figures:
    """A named result that can be printed as JSON."""

    __slots__ = ()

    def as_json(self) -> dict[str, Any]:
        """The result as JSON data; an interval is ``[low, high]``."""
        return {field.name: _json(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval at 95 %."""

    low: float
    high: float


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


class Arm(NamedTuple):
    """One set to compare. ``cluster`` has the same code for a subject in every arm; None: no row repeats one."""

    label: str
    success: ArrayLike
    cluster: ArrayLike | None = None


@dataclass(frozen=True, slots=True)
class Difference(Figures):
    """The rate of set ``a`` minus that of ``b``; None where one of them is empty.

    ``adjusted_p`` counts in the other pairs of the same call, and is ``p_value`` where there are none.
    """

    a: str
    b: str
    n_a: int
    n_b: int
    subjects_in_both: int
    difference: float | None
    interval: Interval | None
    p_value: float | None
    test: Literal["boschloo", "fisher", "rao_scott"] | None
    adjusted_p: float | None
    is_significant: bool
    note: str


@dataclass(frozen=True, slots=True)
class SampleRatio(Figures):
    """Do the arms have the sizes that the declared shares lead to?"""

    observed: dict[str, int]
    expected: dict[str, float]
    p_value: float | None
    test: Literal["exact", "chi_square"] | None
    mismatch: bool
    note: str


@dataclass(frozen=True, slots=True)
class WeightedShare(Figures):
    """What share of a population succeeds, from samples of its strata.

    ``population`` counts all strata; ``coverage`` is the part of it in strata that have a sample, and ``rate``
    speaks of that part only. ``rate`` is None where no such population is known, ``interval`` also where every one
    in it was graded, ``standard_error`` also where all outcomes are the same. ``unweighted`` is successes / graded.
    """

    population: int
    graded: int
    successes: int
    coverage: float | None
    rate: float | None
    standard_error: float | None
    interval: Interval | None
    unweighted: float | None
    note: str


@dataclass(frozen=True, slots=True)
class WeightedDifference(Figures):
    """The weighted share of ``a`` minus that of ``b``; None where either has none."""

    rate_a: float | None
    rate_b: float | None
    difference: float | None
    interval: Interval | None
    coverage_a: float | None
    coverage_b: float | None
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
    effective, note = _effective_n(rate, n, spread, clusters)
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
    """The mean with the jackknife's standard error over clusters, and Student's t with ``_degrees`` of freedom."""
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
    margin = float(stdtrit(_degrees(n, clusters), (1 + LEVEL) / 2)) * error
    note = "every subject has the same mean; the interval shows no spread" if error == 0 else ""
    return Mean(n, clusters.count, mean, error, Interval(mean - margin, mean + margin), note)


def difference(a: Arm, b: Arm) -> Difference:
    """The difference of two rates, with an interval and a test that take repeated subjects into account.

    Interval: Newcombe 1998, method 10, from the two Wilson intervals; where a subject is in both arms, with the
    correlation between them (Zou and Donner 2008). Test, two-sided: Boschloo's up to 100 outcomes in each arm,
    Fisher's above; where subjects repeat, that of Rao and Scott (1992) on effective sizes.
    """
    return compare_sets([a, b])[0]


def compare_sets(arms: Sequence[Arm]) -> list[Difference]:
    """Every pair of arms in order, with p adjusted for all of them (Benjamini and Hochberg 1995)."""
    import numpy

    if len(arms) < 2:
        return []
    outcomes = [numpy.asarray(arm.success, dtype=bool) for arm in arms]
    given = [numpy.asarray(arm.cluster) for arm in arms if arm.cluster is not None]
    if given and len(given) < len(arms):
        raise ValueError("expected clusters in every arm or in none")
    codes = dense(numpy.concatenate(given)) if given else numpy.arange(sum(found.size for found in outcomes))
    size = int(codes.max()) + 1 if codes.size else 0
    ends = numpy.cumsum([found.size for found in outcomes])[:-1]
    measured = [
        _Measured(arm.label, Subjects.of(found, of_arm, size))
        for arm, found, of_arm in zip(arms, outcomes, numpy.split(codes, ends), strict=True)
    ]
    pairs = list(combinations(measured, 2))
    tested = [_test(a, b) for a, b in pairs]
    adjusted = adjust([found.p_value for found in tested])
    return [_judged(a, b, found, p) for (a, b), found, p in zip(pairs, tested, adjusted, strict=True)]


def adjust(p_values: Sequence[float | None]) -> list[float | None]:
    """p adjusted for the false discovery rate (Benjamini and Hochberg 1995); a test without p takes no part."""
    import numpy

    present = numpy.array([p for p in p_values if p is not None])
    m = present.size
    order = numpy.argsort(-present)
    falling = numpy.minimum.accumulate(present[order] * m / numpy.arange(m, 0, -1))
    adjusted = numpy.empty(m)
    adjusted[order] = numpy.minimum(falling, 1.0)
    found = iter(adjusted.tolist())
    return [None if p is None else next(found) for p in p_values]


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Test the sizes of the arms against the shares that an assignment declared; ask only where one did.

    Count what was assigned: users if the declared unit is the user. An arm without a declared share expects
    nobody. Shares need not add up to 1, but must not be negative nor all zero (ValueError).
    """
    labels = sorted(counts.keys() | shares.keys())
    declared = [float(shares.get(label, 0.0)) for label in labels]
    if min(declared, default=0.0) < 0 or not 0 < sum(declared) < inf:
        raise ValueError(f"expected shares of at least 0 that are not all 0, found {dict(shares)}")
    observed = [counts.get(label, 0) for label in labels]
    n = sum(observed)
    expected = [n * declared_share / sum(declared) for declared_share in declared]
    p_value, test, note = _ratio_test(tuple(observed), tuple(expected))
    mismatch = p_value is not None and p_value < MISMATCH_BELOW
    if mismatch:
        note = f"sample-ratio mismatch (p below {MISMATCH_BELOW:g}): do not trust a comparison of these arms; {note}"
    return SampleRatio(
        dict(zip(labels, observed, strict=True)),
        dict(zip(labels, expected, strict=True)),
        p_value,
        test,
        mismatch,
        note.rstrip("; "),
    )


def weighted_share(strata: ArrayLike) -> WeightedShare:
    """Estimate a population's share from strata, rows of (population, graded, successes), each sampled at random.

    A population of 0 that has grades is one that nobody knows: it cannot be weighted and is left out.

    The post-stratified mean, its standard error with finite population correction (Cochran 1977, 5.3-5.4), and
    Wilson's interval on the effective n. Few grades show no spread of their own (two alike would pass for
    certainty), so each stratum's spread is that of its rate drawn towards the mean as by ``_DRAWN`` grades more.
    Raises ValueError where successes <= graded <= population does not hold in a known population.
    """
    import numpy

    given = numpy.asarray(strata, dtype=float).reshape(-1, 3)
    known = given[:, 0] > 0
    rows = given[known]
    if not ((given[:, 2] >= 0) & (given[:, 2] <= given[:, 1])).all() or not (rows[:, 1] <= rows[:, 0]).all():
        raise ValueError("expected 0 <= successes <= graded <= population in every stratum")
    whole, graded, successes = (int(total) for total in given.sum(axis=0))
    unweighted = successes / graded if graded else None
    sizes, sampled, won = rows[rows[:, 1] > 0].T
    n, of_unknown = int(sampled.sum()), int(given[~known, 1].sum())
    notes = [f"outcomes of an unknown population, which cannot be weighted: {of_unknown}"] if of_unknown else []
    if n == 0:
        coverage = 0.0 if whole else None
        notes = notes or ["nothing was graded"]
        return WeightedShare(whole, graded, successes, coverage, None, None, None, unweighted, notes[0])
    covered = float(sizes.sum())
    weights = sizes / covered
    rates = won / sampled
    rate = 1.0 if won.sum() == n else float(weights @ rates)  # weights may add up to a little less than 1
    drawn = (won + _DRAWN * rate) / (sampled + _DRAWN)
    left = weights**2 * (1 - sampled / sizes) / sampled
    variance = float(left @ (drawn * (1 - drawn)))
    interval = None
    if n == covered:
        notes.append("every one in these strata was graded: there is nothing to estimate")
    else:
        # where all outcomes are the same, the ratio's limit
        effective = rate * (1 - rate) / variance if variance > 0 else 1 / float(left.sum())
        interval = wilson(rate, min(effective, n / (1 - n / covered)))
        if variance == 0:
            notes.append("all outcomes are the same, which shows no standard error; the interval counts them")
    lone = int(((sampled == 1) & (sizes > 1)).sum())
    if lone:
        notes.append(f"strata with one graded of several: {lone}")
    if covered < whole:
        notes.append(f"strata that hold {1 - covered / whole:.1%} of the population have no grade and are left out")
    error = sqrt(variance) if variance > 0 else None
    return WeightedShare(whole, graded, successes, covered / whole, rate, error, interval, unweighted, "; ".join(notes))


def weighted_difference(strata_a: ArrayLike, strata_b: ArrayLike) -> WeightedDifference:
    """The difference of two populations' shares, each estimated as by ``weighted_share`` from samples of its own.

    Newcombe's interval (1998, method 10) from the two weighted intervals, which rest on the standard errors.
    """
    a, b = weighted_share(strata_a), weighted_share(strata_b)
    found = WeightedDifference(a.rate, b.rate, None, None, a.coverage, b.coverage, "")
    notes = [f"{name}: {of.note}" for name, of in (("a", a), ("b", b)) if of.note]
    if a.rate is None or b.rate is None:
        return replace(found, note="; ".join(notes))
    interval = None
    if a.interval is not None and b.interval is not None:
        interval = newcombe(a.rate, a.interval, b.rate, b.interval)
    return replace(found, difference=a.rate - b.rate, interval=interval, note="; ".join(notes))


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


@lru_cache(maxsize=4096)
def exact_test(successes_a: int, n_a: int, successes_b: int, n_b: int) -> tuple[float, Literal["boschloo", "fisher"]]:
    """p of the two-sided exact test of two rates, and which it was: Boschloo (1970) up to 100 per arm, then Fisher."""
    if max(n_a, n_b) > BOSCHLOO_UP_TO:
        return fisher_test(successes_a, n_a, successes_b, n_b), "fisher"
    if successes_a + successes_b in (0, n_a + n_b):
        return 1.0, "boschloo"
    from scipy.stats import boschloo_exact

    table = [[successes_a, successes_b], [n_a - successes_a, n_b - successes_b]]
    return min(1.0, float(boschloo_exact(table).pvalue)), "boschloo"  # its search may end a little above 1


@lru_cache(maxsize=4096)
def fisher_test(successes_a: int, n_a: int, successes_b: int, n_b: int) -> float:
    """p of Fisher's exact test of two rates, two-sided: all tables with these margins that are no likelier."""
    import numpy

    successes, n = successes_a + successes_b, n_a + n_b
    mean = successes * n_a / n
    deviation = sqrt(mean * (n - successes) * n_b / n / max(1, n - 1))
    reach = _reach(successes_a, mean, deviation)
    tables = numpy.arange(max(0, successes - n_b, int(mean - reach)), min(successes, n_a, int(mean + reach) + 1) + 1)
    return _no_likelier(
        _log_choose(n_a, tables) + _log_choose(n_b, successes - tables),
        _log_choose(n_a, successes_a) + _log_choose(n_b, successes_b),
        _log_choose(n, successes),
    )


@lru_cache(maxsize=4096)
def binomial_test(successes: int, n: int, rate: float) -> float:
    """p of the exact test that each of ``n`` succeeds with chance ``rate``, strictly between 0 and 1; two-sided."""
    import numpy

    reach = _reach(successes, n * rate, sqrt(n * rate * (1 - rate)))
    counts = numpy.arange(max(0, int(n * rate - reach)), min(n, int(n * rate + reach) + 1) + 1)
    odds = log(rate) - log1p(-rate)
    return _no_likelier(
        _log_choose(n, counts) + counts * odds, _log_choose(n, successes) + successes * odds, -n * log1p(-rate)
    )


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


class _Measured(NamedTuple):
    """An arm by subject."""

    label: str
    subjects: Subjects

    @property
    def share(self) -> Share:
        return self.subjects.share

    @property
    def clusters(self) -> Clusters:
        return self.subjects.clusters

    def worth(self) -> float:
        return self.clusters.worth(self.share.n)


def _json(value: Any) -> Any:
    if isinstance(value, Interval):
        return [value.low, value.high]
    if isinstance(value, Figures):
        return value.as_json()
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return value


def _totals(values: NDArray[Any], codes: NDArray[int64], size: int = 0) -> tuple[NDArray[float64], NDArray[float64]]:
    """Of each code the sum of its values and the number of its rows; exact, as long as values are halves or whole."""
    import numpy

    if values.size != codes.size:
        raise ValueError(f"expected a cluster code per row, found {codes.size} for {values.size}")
    rows = numpy.bincount(codes, minlength=size).astype(float)
    return numpy.bincount(codes, weights=values, minlength=size).astype(float), rows


def _degrees(n: int, clusters: Clusters) -> float:
    """Degrees of freedom of a variance over clusters: one less than they are worth, since a large one counts most."""
    return max(1.0, clusters.worth(n) - 1)


def _effective_n(
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
    effective = spread / clusters.variance * (1.0 if for_test else _t_ratio(n - 1, _degrees(n, clusters)))
    return min(float(n), max(1.0, effective)), ""


@lru_cache(maxsize=4096)
def _t_ratio(of_rows: int, of_clusters: float) -> float:
    """(t with the rows' degrees of freedom / t with the clusters')^2, by which Korn and Graubard shrink n."""
    from scipy.special import stdtrit

    quantile = (1 + LEVEL) / 2
    return float(stdtrit(of_rows, quantile) / stdtrit(of_clusters, quantile)) ** 2


class _Tested(NamedTuple):
    p_value: float | None
    test: Literal["boschloo", "fisher", "rao_scott"] | None
    correlation: float
    in_both: int


def _test(a: _Measured, b: _Measured) -> _Tested:
    if a.share.n == 0 or b.share.n == 0:
        return _Tested(None, None, 0.0, 0)
    in_both = int(((a.subjects.rows > 0) & (b.subjects.rows > 0)).sum())
    if in_both == 0 and a.share.clusters == a.share.n and b.share.clusters == b.share.n:
        return _Tested(*exact_test(int(a.share.successes), a.share.n, int(b.share.successes), b.share.n), 0.0, 0)
    correlation = correlation_of(a.subjects, b.subjects) if in_both else 0.0
    return _Tested(_rao_scott(a, b, correlation), "rao_scott", correlation, in_both)


def correlation_of(a: Subjects, b: Subjects) -> float:
    """How the means of two sets of the same subjects are correlated, by the subjects that are in both."""
    first, second = a.left_out, b.left_out
    size = sqrt(float(first @ first) * float(second @ second))
    return min(1.0, max(-1.0, float(first @ second) / size)) if size > 0 else 0.0


def _rao_scott(a: _Measured, b: _Measured, correlation: float) -> float | None:
    """p of equal rates, pooled over effective sizes, by Student's t with Satterthwaite's degrees of freedom."""
    if min(a.share.clusters, b.share.clusters) < 2:
        return None
    from scipy.special import stdtr

    (rate_a, n_a), (rate_b, n_b) = _for_test(a), _for_test(b)
    pooled = (rate_a * n_a + rate_b * n_b) / (n_a + n_b)
    of_a, of_b = pooled * (1 - pooled) / n_a, pooled * (1 - pooled) / n_b
    variance = of_a + of_b - 2 * correlation * sqrt(of_a * of_b)
    if rate_a == rate_b:
        return 1.0
    if variance <= 1e-12 * (of_a + of_b):
        return None
    degrees = (of_a + of_b) ** 2 / (
        of_a**2 / _degrees(a.share.n, a.clusters) + of_b**2 / _degrees(b.share.n, b.clusters)
    )
    if correlation:
        rows = a.subjects.rows + b.subjects.rows
        degrees = min(degrees, max(1.0, float(rows.sum() ** 2 / (rows @ rows)) - 1))
    return min(1.0, 2 * float(stdtr(degrees, -abs(rate_a - rate_b) / sqrt(variance))))


def _for_test(arm: _Measured) -> tuple[float, float]:
    rate, n = arm.share.rate, arm.share.n
    assert rate is not None
    return rate, _effective_n(rate, n, rate * (1 - rate), arm.clusters, for_test=True)[0]


def _judged(a: _Measured, b: _Measured, tested: _Tested, adjusted_p: float | None) -> Difference:
    p_value, test, correlation, in_both = tested
    found = Difference(
        a.label, b.label, a.share.n, b.share.n, in_both, None, None, p_value, test, adjusted_p, False, ""
    )
    empty = [arm.label for arm in (a, b) if arm.share.n == 0]
    if empty:
        return replace(found, note=f"too few: no outcome in {' and '.join(empty)}")
    assert a.share.rate is not None
    assert b.share.rate is not None
    assert a.share.interval is not None
    assert b.share.interval is not None
    few = [arm for arm in (a, b) if arm.worth() < MINIMUM_N]
    significant = not few and adjusted_p is not None and adjusted_p < ALPHA
    if few:
        counted = " and ".join(_counted(arm) for arm in few)
        what = "outcomes" if test != "rao_scott" else "subjects of even size"
        note = f"too few: {counted}; a verdict needs {MINIMUM_N} {what} in each set"
    elif significant:
        note = f"a significant difference (adjusted p below {ALPHA:g})"
    else:
        note = "no significant difference; that is not evidence of no difference"
    if test == "rao_scott":
        note += "; clustered by subject"
    if in_both:
        note += f"; {in_both} subjects are in both sets"
    return replace(
        found,
        difference=a.share.rate - b.share.rate,
        interval=newcombe(a.share.rate, a.share.interval, b.share.rate, b.share.interval, correlation),
        is_significant=significant,
        note=note,
    )


def _counted(arm: _Measured) -> str:
    count, worth = arm.share.clusters, int(arm.worth())
    return f"{count} in {arm.label}" + (f", of sizes so uneven that they are worth {worth}" if worth < count else "")


@lru_cache(maxsize=1024)
def _ratio_test(
    observed: tuple[int, ...], expected: tuple[float, ...]
) -> tuple[float | None, Literal["exact", "chi_square"] | None, str]:
    n = sum(observed)
    if n == 0 or len(observed) < 2:
        return None, None, "nothing to compare"
    if any(count and not hoped for count, hoped in zip(observed, expected, strict=True)):
        return 0.0, "exact", "an arm without a declared share has members"
    pairs = [(count, hoped) for count, hoped in zip(observed, expected, strict=True) if hoped]
    if len(pairs) < 2:
        return 1.0, "exact", "only one arm has a declared share"
    if min(hoped for _, hoped in pairs) < _SMALL_EXPECTED:
        if len(pairs) == 2:
            return binomial_test(pairs[0][0], n, pairs[0][1] / n), "exact", ""
        if comb(n + len(pairs) - 1, len(pairs) - 1) <= _OUTCOMES_LISTED_UP_TO:
            return _multinomial_test([count for count, _ in pairs], [hoped / n for _, hoped in pairs]), "exact", ""
    from scipy.special import chdtrc

    statistic = sum((count - hoped) ** 2 / hoped for count, hoped in pairs)
    small = min(hoped for _, hoped in pairs) < _SMALL_EXPECTED
    note = f"p is approximate: an arm expects fewer than {_SMALL_EXPECTED}" if small else ""
    return float(chdtrc(len(pairs) - 1, statistic)), "chi_square", note


def _multinomial_test(observed: list[int], chances: list[float]) -> float:
    """The exact p: the probability of all outcomes that are no likelier than the one observed."""
    import numpy
    from scipy.special import gammaln

    n, arms = sum(observed), len(observed)
    bars = numpy.array(list(combinations(range(n + arms - 1), arms - 1)))
    edges = numpy.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, n + arms - 1)))
    outcomes = numpy.vstack([observed, numpy.diff(edges, axis=1) - 1])
    logs = gammaln(n + 1) - gammaln(outcomes + 1).sum(axis=1) + outcomes @ numpy.log(chances)
    return _no_likelier(logs[1:], logs[0], 0.0)


def _reach(found: int, mean: float, deviation: float) -> float:
    """How far from the mean outcomes are listed: beyond 40 deviations no float is large enough to matter."""
    return max(40 * deviation + 40, 2 * abs(found - mean))


def _log_choose(n: int, k: Any) -> Any:
    from scipy.special import gammaln

    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _no_likelier(logs: NDArray[float64], found: float, total: float) -> float:
    """The probability of all outcomes that are no likelier than ``found``; each is exp(log - total)."""
    import numpy

    # equally likely outcomes may differ by rounding
    return min(1.0, float(numpy.exp(logs[logs <= found + 1e-7] - total).sum()))
