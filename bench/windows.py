"""Paired windows: the sides of a comparison take turns, so that a noisy machine disturbs all of them alike.

One window runs every side once, another one first each time. The sides of a window stand close together in
time, so their ratio says more than either time; reported is the median of the ratios, with an interval that
assumes nothing about how they are distributed: the order statistics between which the true median lies
with at least 95 % (the sign test turned around). Fewer than six windows cannot give 95 %; the interval is
then their whole range, and ``coverage`` says how little that is.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, comb
from statistics import median

Side = Callable[[], float]
"""Does one window's work and returns the seconds that what is measured took."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Median:
    """A median, or another quantile, with its interval; ``coverage`` is how surely the interval holds the true one."""

    value: float
    low: float
    high: float
    coverage: float
    n: int


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleave(sides: Mapping[str, Side], windows: int) -> dict[str, list[float]]:
    """Seconds per window of each side, after one window that is thrown away; a single one only shows that it runs."""
    names = list(sides)
    warm_up = min(1, windows - 1)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for window in range(-warm_up, windows):
        first = window % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # each side pays for its own garbage only
            taken = sides[name]()
            if window >= 0:
                seconds[name].append(taken)
    return seconds


def ratios(ours: Sequence[float], other: Sequence[float]) -> list[float]:
    """Our speed over the other's, window by window, for the same amount of work."""
    return [theirs / mine for mine, theirs in zip(ours, other, strict=True)]


def median_of(values: Sequence[float]) -> Median:
    """The median of ``values`` and its interval between two of them."""
    ordered = sorted(values)
    n = len(ordered)
    rank = 0  # how many values lie outside of the interval at each end
    while rank < (n - 1) // 2 and _coverage(n, rank + 1) >= CONFIDENCE:
        rank += 1
    return Median(median(ordered), ordered[rank], ordered[n - 1 - rank], _coverage(n, rank), n)


def quantile_of(values: Sequence[float], p: float) -> Median:
    """The ``p`` quantile of ``values`` and its interval between two of them, by the same reasoning.

    Where so few values cannot hold it with 95 %, the interval ends at the largest, and ``coverage`` says how surely.
    """
    ordered = sorted(values)
    n = len(ordered)
    below = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    """How likely it is that exactly so many values lie below the true quantile."""
    place = min(n - 1, ceil(n * p) - 1)
    low, high = place, min(n - 1, place + 1)
    while sum(below[low + 1 : high + 1]) < CONFIDENCE and (low > 0 or high < n - 1):
        if high < n - 1 and (low == 0 or below[high + 1] >= below[low]):
            high += 1
        else:
            low -= 1
    return Median(ordered[place], ordered[low], ordered[high], sum(below[low + 1 : high + 1]), n)


def _coverage(n: int, rank: int) -> float:
    """How surely the median lies between the values that leave ``rank`` outside at each end."""
    return 1 - sum(comb(n, outside) for outside in range(rank + 1)) / float(2 ** (n - 1))
