"""Changes between two windows: their intervals, with users in both."""

from __future__ import annotations

import numpy as np
import pytest

from affidavit.projections.evaluation.changes import mean_change, share_change, sides
from affidavit.projections.statistics.comparing import Arm, difference


def test_a_change_of_shares_is_the_difference_of_two_sets() -> None:
    rng = np.random.default_rng(1)
    users, before = rng.integers(0, 40, 120), rng.integers(0, 40, 90)
    now, then = rng.random(120) < 0.7, rng.random(90) < 0.5
    found = share_change(*sides(now, users, then, before))
    expected = difference(Arm("a", now, users), Arm("b", then, before))
    assert found is not None
    assert found.interval is not None
    assert expected.interval is not None
    assert found.difference == pytest.approx(expected.difference)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.interval.low, expected.interval.high))
    assert found.users_in_both == expected.subjects_in_both


def test_the_same_users_with_the_same_habits_show_a_narrower_change_of_means() -> None:
    rng = np.random.default_rng(2)
    habit = rng.normal(0, 3, 200)
    now, then = habit + 1 + rng.normal(0, 0.1, 200), habit + rng.normal(0, 0.1, 200)
    users = np.arange(200)
    paired, apart = mean_change(*sides(now, users, then, users)), mean_change(*sides(now, users, then, users + 200))
    assert paired is not None
    assert apart is not None
    assert paired.interval is not None
    assert apart.interval is not None
    assert paired.difference == pytest.approx(1, abs=0.05)
    assert paired.interval.high - paired.interval.low < 0.1 < apart.interval.high - apart.interval.low
    assert (paired.users_in_both, apart.users_in_both) == (200, 0)


def test_means_of_independent_users_are_compared_as_by_welch() -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(3)
    now, then = rng.normal(2, 1, 30), rng.normal(1, 3, 50)
    found = mean_change(*sides(now, np.arange(30), then, np.arange(30, 80)))
    expected = ttest_ind(now, then, equal_var=False).confidence_interval()
    assert found is not None
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_means_of_the_same_few_users_are_compared_as_by_the_paired_test() -> None:
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(4)
    then = rng.normal(0, 1, 4)
    now, users = then + rng.normal(0, 0.5, 4), np.arange(4)
    found, expected = mean_change(*sides(now, users, then, users)), ttest_rel(now, then).confidence_interval()
    assert found is not None
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_a_change_says_how_many_even_users_the_smaller_window_is_worth() -> None:
    one_has_most = np.array([0] * 97 + [1, 2, 3])
    found = share_change(*sides(np.ones(100, dtype=bool), one_has_most, np.ones(50, dtype=bool), np.arange(50)))
    assert found is not None
    assert found.users_worth == pytest.approx(100**2 / (97**2 + 3))


def test_an_empty_window_has_no_change_and_a_single_user_no_interval() -> None:
    none, one = np.empty(0, dtype=np.int64), np.zeros(3, dtype=np.int64)
    assert share_change(*sides(none, none, np.ones(3, dtype=bool), one)) is None
    assert mean_change(*sides(np.ones(3), one, none, none)) is None
    found = mean_change(*sides(np.array([1.0, 2.0, 3.0]), one, np.array([1.0, 1.0, 1.0]), one + 1))
    assert found is not None
    assert (found.difference, found.interval) == (1.0, None)
