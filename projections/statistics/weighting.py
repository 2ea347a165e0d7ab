"""What share of a population succeeds, estimated from samples of its strata."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING

from .figures import Figures, Interval
from .rates import newcombe, wilson

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_DRAWN = 2


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
