"""Sets compared: differences of their rates, with intervals and tests that know of repeated subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

from .exact import exact_test
from .figures import ALPHA, MINIMUM_N, Figures, Interval
from .rates import Clusters, Share, Subjects, correlation_of, degrees_of, dense, effective_n, newcombe

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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
        of_a**2 / degrees_of(a.share.n, a.clusters) + of_b**2 / degrees_of(b.share.n, b.clusters)
    )
    if correlation:
        rows = a.subjects.rows + b.subjects.rows
        degrees = min(degrees, max(1.0, float(rows.sum() ** 2 / (rows @ rows)) - 1))
    return min(1.0, 2 * float(stdtr(degrees, -abs(rate_a - rate_b) / sqrt(variance))))


def _for_test(arm: _Measured) -> tuple[float, float]:
    rate, n = arm.share.rate, arm.share.n
    assert rate is not None
    return rate, effective_n(rate, n, rate * (1 - rate), arm.clusters, for_test=True)[0]


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
