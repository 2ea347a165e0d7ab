"""By how much a figure of the current window differs from that of the prior one, with the interval of the difference.

A user may have sessions in both windows, so the two figures are correlated; by how much, the users' own residuals say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rates import LEVEL, Clusters, Figures, Interval, clusters_of, left_out_residuals, newcombe, share

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


def share_change(current: Values, users: Values, prior: Values, users_before: Values) -> Change | None:
    """The difference of two shares of true values (Newcombe 1998, method 10, with the correlation of Zou and Donner
    2008). Users are codes below their largest + 1, the same in both windows. None where a window is empty."""
    if not len(current) or not len(prior):
        return None
    now, before, in_both = _sides(current, users, prior, users_before)
    of_now, of_before = (
        share(int(side.totals.sum()), int(side.rows.sum()), clusters=side.clusters) for side in (now, before)
    )
    assert of_now.rate is not None
    assert of_now.interval is not None
    assert of_before.rate is not None
    assert of_before.interval is not None
    correlation = _correlation(now, before)
    interval = newcombe(of_now.rate, of_now.interval, of_before.rate, of_before.interval, correlation)
    return Change(of_now.n, of_before.n, in_both, _worth(now, before), of_now.rate - of_before.rate, interval)


def mean_change(current: Values, users: Values, prior: Values, users_before: Values) -> Change | None:
    """The difference of two means, by the jackknife over users and Student's t with Satterthwaite's degrees of
    freedom, with users in both windows at most those of both together. None where a window is empty."""
    if not len(current) or not len(prior):
        return None
    now, before, in_both = _sides(current, users, prior, users_before)
    difference = float(current.mean() - prior.mean())
    found = Change(len(current), len(prior), in_both, _worth(now, before), difference, None)
    if min(now.clusters.count, before.clusters.count) < 2:
        return found
    from scipy.special import stdtrit

    of_now, of_before = now.clusters.variance, before.clusters.variance
    correlation = _correlation(now, before)
    variance = of_now + of_before - 2 * correlation * sqrt(of_now * of_before)
    if variance <= 0:
        return found
    degrees = (of_now + of_before) ** 2 / (of_now**2 / _degrees(now.rows) + of_before**2 / _degrees(before.rows))
    if correlation:
        degrees = min(degrees, _degrees(now.rows + before.rows))
    margin = float(stdtrit(degrees, (1 + LEVEL) / 2)) * sqrt(variance)
    return replace(found, interval=Interval(difference - margin, difference + margin))


@dataclass(frozen=True, slots=True)
class _Side:
    totals: Values
    rows: Values
    clusters: Clusters

    def residuals(self) -> Values:
        return left_out_residuals(np.zeros(self.rows.size, dtype=np.int64), self.totals, self.rows, 1)


def _sides(current: Values, users: Values, prior: Values, users_before: Values) -> tuple[_Side, _Side, int]:
    size = int(max(users.max(), users_before.max())) + 1
    now, before = _side(current, users, size), _side(prior, users_before, size)
    return now, before, int(np.count_nonzero((now.rows > 0) & (before.rows > 0)))


def _side(values: Values, users: Values, size: int) -> _Side:
    codes = users.astype(np.int64)
    totals = np.bincount(codes, weights=values, minlength=size)
    rows = np.bincount(codes, minlength=size).astype(float)
    return _Side(totals, rows, clusters_of(totals, rows))


def _correlation(now: _Side, before: _Side) -> float:
    first, second = now.residuals(), before.residuals()
    size = sqrt(float(first @ first) * float(second @ second))
    return min(1.0, max(-1.0, float(first @ second) / size)) if size > 0 else 0.0


def _degrees(rows: Values) -> float:
    return max(1.0, _even(rows) - 1)


def _worth(now: _Side, before: _Side) -> float:
    return min(_even(now.rows), _even(before.rows))


def _even(rows: Values) -> float:
    """How many users of even size users with so many rows are worth (Kish 1965)."""
    return float(rows.sum() ** 2 / (rows @ rows))
