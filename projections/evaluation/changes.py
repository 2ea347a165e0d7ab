"""By how much a figure of the current window differs from that of the prior one, with the interval of the difference.

A user may have sessions in both windows, so the two figures are correlated; by how much, the users' own residuals say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..statistics.figures import LEVEL, Figures, Interval
from ..statistics.rates import Subjects, correlation_of, newcombe

Values = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Change(Figures):
    """The current figure minus the prior one; ``interval`` is None where a side shows no spread between users.

    ``n`` and ``n_before`` count sessions, ``users_in_both`` the users with sessions in both windows. ``users_worth``
    is how many users of even size the users of the window that has fewer are worth.
    """

    n: int
    n_before: int
    users_in_both: int
    users_worth: float
    difference: float
    interval: Interval | None


def sides(current: Values, users: Values, prior: Values, users_before: Values) -> tuple[Subjects, Subjects]:
    """Values of two windows by user. Users are codes below their largest + 1, the same in both windows."""
    size = max((int(codes.max()) + 1 for codes in (users, users_before) if len(codes)), default=0)
    return Subjects.of(current, users, size), Subjects.of(prior, users_before, size)


def share_change(now: Subjects, before: Subjects) -> Change | None:
    """The difference of two shares of true values (Newcombe 1998, method 10, with the correlation of Zou and Donner
    2008). None where a window is empty."""
    of_now, of_before = now.share, before.share
    if of_now.rate is None or of_before.rate is None:
        return None
    assert of_now.interval is not None
    assert of_before.interval is not None
    correlation = correlation_of(now, before)
    interval = newcombe(of_now.rate, of_now.interval, of_before.rate, of_before.interval, correlation)
    return _change(now, before, of_now.rate - of_before.rate, interval)


def mean_change(now: Subjects, before: Subjects) -> Change | None:
    """The difference of two means, by the jackknife over users and Student's t with Satterthwaite's degrees of
    freedom, with users in both windows at most those of both together. None where a window is empty."""
    if now.mean.mean is None or before.mean.mean is None:
        return None
    difference = now.mean.mean - before.mean.mean
    found = _change(now, before, difference, None)
    if min(now.clusters.count, before.clusters.count) < 2:
        return found
    from scipy.special import stdtrit

    of_now, of_before = now.clusters.variance, before.clusters.variance
    correlation = correlation_of(now, before)
    variance = of_now + of_before - 2 * correlation * sqrt(of_now * of_before)
    if variance <= 0:
        return found
    degrees = (of_now + of_before) ** 2 / (of_now**2 / _degrees(now.rows) + of_before**2 / _degrees(before.rows))
    if correlation:
        degrees = min(degrees, _degrees(now.rows + before.rows))
    margin = float(stdtrit(degrees, (1 + LEVEL) / 2)) * sqrt(variance)
    return replace(found, interval=Interval(difference - margin, difference + margin))


def _change(now: Subjects, before: Subjects, difference: float, interval: Interval | None) -> Change:
    in_both = int(np.count_nonzero((now.rows > 0) & (before.rows > 0)))
    worth = min(_even(now.rows), _even(before.rows))
    return Change(now.n, before.n, in_both, worth, difference, interval)


def _degrees(rows: Values) -> float:
    return max(1.0, _even(rows) - 1)


def _even(rows: Values) -> float:
    """How many users of even size users with so many rows are worth (Kish 1965)."""
    return float(rows.sum() ** 2 / (rows @ rows))
