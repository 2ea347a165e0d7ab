"""Exact tests of rates and of counts: the probability of all outcomes that are no likelier than the one observed."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import log, log1p, sqrt
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

BOSCHLOO_UP_TO = 100


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


def multinomial_test(observed: list[int], chances: list[float]) -> float:
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
