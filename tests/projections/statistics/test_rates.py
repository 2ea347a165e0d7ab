"""Rates against textbook values, plain references and simulations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import product
from math import comb, factorial, prod, sqrt
from random import Random

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, boschloo_exact, chisquare, false_discovery_control, fisher_exact, t

from affidavit.projections.statistics.comparing import Arm, adjust, compare_sets, difference
from affidavit.projections.statistics.exact import binomial_test, exact_test, fisher_test
from affidavit.projections.statistics.figures import Interval
from affidavit.projections.statistics.rates import (
    Clusters,
    Subjects,
    clustered_share,
    clusters_in_each,
    mean_interval,
    newcombe,
    share,
    wilson,
)
from affidavit.projections.statistics.sample_ratio import sample_ratio
from affidavit.projections.statistics.weighting import weighted_difference, weighted_share

Z = 1.959963984540054
ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40)
P_VALUES = st.lists(st.none() | st.floats(0, 1), max_size=12)


def arm(label: str, successes: int, n: int) -> Arm:
    return Arm(label, [True] * successes + [False] * (n - successes))


def columns(rows: list[tuple[bool, int]]) -> tuple[list[bool], list[int]]:
    return [success for success, _ in rows], [cluster for _, cluster in rows]


def bounds(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def plain_variance(values: list[float], clusters: list[int]) -> float:
    """The jackknife's variance of a mean, from the means that leave out one cluster each."""
    mean = sum(values) / len(values)
    given = sorted(set(clusters))
    without = [[value for value, of in zip(values, clusters, strict=True) if of != left_out] for left_out in given]
    return (len(given) - 1) / len(given) * sum((sum(rest) / len(rest) - mean) ** 2 for rest in without)


def worth(clusters: list[int]) -> float:
    """Kish 1965."""
    return float(len(clusters) ** 2 / sum(count**2 for count in Counter(clusters).values()))


def sizes_of(kind: str, subjects: int, random: numpy.random.Generator) -> NDArray[numpy.int64]:
    if kind == "zipf":
        return numpy.minimum(random.zipf(1.6, subjects), 500)
    sizes = numpy.full(subjects, 5 if kind == "even" else 1)
    if kind == "one dominates":
        sizes[0] = 3 * subjects
    return sizes


def test_wilson_gives_the_intervals_of_newcombes_table() -> None:
    """Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3."""
    assert bounds(share(81, 263).interval) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert bounds(share(15, 148).interval) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert bounds(share(0, 20).interval) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert bounds(share(1, 29).interval) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_bounds_are_the_rates_that_a_score_test_just_accepts(counts: tuple[int, int]) -> None:
    successes, n = counts
    interval = wilson(successes / n, n)
    for bound in bounds(interval):
        assert abs(successes / n - bound) == pytest.approx(Z * sqrt(bound * (1 - bound) / n), abs=1e-9)
    assert 0 <= interval.low <= successes / n <= interval.high <= 1


def test_no_outcome_has_no_rate() -> None:
    found = clustered_share([], [])
    assert (found.n, found.rate, found.interval, found.note) == (0, None, None, "no outcome")


@given(ROWS)
@settings(deadline=None)
def test_the_clustered_share_is_that_of_a_plain_count(rows: list[tuple[bool, int]]) -> None:
    """Effective n: p(1-p) / variance, shrunk by (t of rows / t of the clusters' worth)^2, from 1 to n."""
    success, cluster = columns(rows)
    n, m, rate = len(rows), len(set(cluster)), sum(success) / len(rows)
    kish = worth(cluster)
    if m == n:
        expected = float(n)
    elif m == 1 or rate in (0, 1):
        expected = kish
    else:
        variance = plain_variance([float(outcome) for outcome in success], cluster)
        shrunk = (t.ppf(0.975, n - 1) / t.ppf(0.975, max(1, kish - 1))) ** 2
        expected = n if variance < 1e-15 else min(n, max(1, shrunk * rate * (1 - rate) / variance))
    found = clustered_share(success, cluster)
    assert (found.n, found.successes, found.clusters, found.rate) == (n, sum(success), m, rate)
    assert found.effective_n == pytest.approx(expected)
    assert bounds(found.interval) == pytest.approx(bounds(wilson(rate, expected)))
    assert found.method == ("wilson" if m == n else "wilson_clustered")


@given(ROWS, st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_the_names_of_subjects_matter(
    rows: list[tuple[bool, int]], random: Random
) -> None:
    success, cluster = columns(rows)
    names = [f"user-{code}" for code in cluster]
    assert clustered_share(success, names) == clustered_share(success, cluster)
    assert clustered_share(success, [10**12 * code for code in cluster]) == clustered_share(success, cluster)
    random.shuffle(rows)
    assert clustered_share(*columns(rows)) == clustered_share(success, cluster)


def test_one_subject_counts_as_one_outcome_and_is_said() -> None:
    found = clustered_share([True, False, True, True], [3, 3, 3, 3])
    assert found.effective_n == 1
    assert bounds(found.interval) == bounds(wilson(0.75, 1))
    assert found.note == "one subject only: its rows count as one"


def test_equal_outcomes_of_repeated_subjects_count_once_each_and_this_is_said() -> None:
    found = clustered_share([True] * 40, [code // 4 for code in range(40)])
    assert found.effective_n == 10
    assert bounds(found.interval) == bounds(share(10, 10).interval)
    assert "all outcomes are the same" in found.note


@pytest.mark.parametrize(("subjects", "rate", "alike"), [(12, 0.5, 0.4), (30, 0.8, 0.3), (60, 0.3, 0.8)])
def test_the_clustered_interval_holds_the_truth_where_the_plain_one_does_not(
    subjects: int, rate: float, alike: float
) -> None:
    """Subjects whose chances are Beta-distributed with intraclass correlation ``alike``, 1 to 11 rows each."""
    random = numpy.random.default_rng(20)
    clustered = plain = 0
    repetitions = 500
    for _ in range(repetitions):
        cluster = numpy.repeat(numpy.arange(subjects), random.integers(1, 12, subjects))
        chances = random.beta(rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike, subjects)
        success = random.random(cluster.size) < chances[cluster]
        low, high = bounds(clustered_share(success, cluster).interval)
        clustered += low <= rate <= high
        low, high = bounds(share(int(success.sum()), success.size).interval)
        plain += low <= rate <= high
    assert 0.90 <= clustered / repetitions <= 0.99
    assert plain / repetitions < 0.85


@pytest.mark.parametrize("kind", ["even", "zipf", "one dominates"])
@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_the_clustered_interval_holds_the_truth_whatever_the_sizes(kind: str, rate: float) -> None:
    """60 subjects, intraclass correlation 0.3: an estimate that trusts one user's rows held it in 20 to 77 %."""
    random = numpy.random.default_rng(21)
    held = 0
    for _ in range(400):
        rows = sizes_of(kind, 60, random)
        totals = random.binomial(rows, random.beta(rate * 7 / 3, (1 - rate) * 7 / 3, 60))
        low, high = bounds(Subjects(totals, rows).share.interval)
        held += low <= rate <= high
    assert held / 400 > 0.88


def test_a_user_with_nearly_all_rows_leaves_nearly_all_rates_possible() -> None:
    rows, totals = numpy.array([600] + [1] * 40), numpy.array([550] + [0, 1] * 20)
    found = Subjects(totals, rows).share
    low, high = bounds(found.interval)
    assert (found.effective_n, high - low > 0.7) == (1.0, True)


def test_clusters_are_summed_up_by_group_as_one_by_one() -> None:
    random = numpy.random.default_rng(22)
    group, rows = random.integers(0, 5, 60), random.integers(1, 30, 60)
    totals = random.binomial(rows, 0.4)
    found = clusters_in_each(group, totals, rows, 7)
    for number in range(5):
        alone = Subjects(totals[group == number], rows[group == number]).clusters
        assert (found[number].count, found[number].n_squared) == (alone.count, alone.n_squared)
        assert found[number].variance == pytest.approx(alone.variance)
    assert found[5:] == [Clusters(0, 0.0, 0.0)] * 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=2, max_size=40))
@settings(deadline=None)
def test_a_mean_has_the_cluster_robust_t_interval(rows: list[tuple[int, int]]) -> None:
    values, cluster = [float(value) for value, _ in rows], [code for _, code in rows]
    found = mean_interval(values, cluster)
    mean = sum(values) / len(values)
    assert found.mean == pytest.approx(mean)
    if len(set(cluster)) == 1:
        assert (found.interval, found.note[:7]) == (None, "too few")
        return
    error = sqrt(plain_variance(values, cluster))
    assert found.standard_error == pytest.approx(error, abs=1e-6)
    margin = t.ppf(0.975, max(1, worth(cluster) - 1)) * error
    assert bounds(found.interval) == pytest.approx((mean - margin, mean + margin), abs=1e-4)


def test_without_repeated_subjects_the_mean_has_students_interval() -> None:
    values = [0, 1, 1, 2, 5, 3]
    expected = t.interval(0.95, 5, numpy.mean(values), numpy.std(values, ddof=1) / sqrt(6))
    assert bounds(mean_interval(values).interval) == pytest.approx(expected)


def test_newcombes_own_example() -> None:
    """56/70 against 48/80: Newcombe 1998, Statistics in Medicine 17:873-890, table II (a), method 10."""
    found = difference(arm("a", 56, 70), arm("b", 48, 80))
    assert found.difference == pytest.approx(0.2)
    assert bounds(found.interval) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.test == "boschloo"
    assert found.p_value == boschloo_exact([[56, 48], [14, 32]]).pvalue
    assert found.is_significant
    assert (found.adjusted_p, found.note) == (found.p_value, "a significant difference (adjusted p below 0.05)")
    extremes = difference(arm("a", 10, 10), arm("b", 0, 20))
    assert bounds(extremes.interval) == pytest.approx((0.6791, 1.0), abs=5e-5)


def test_a_negative_correlation_widens_and_a_positive_one_narrows() -> None:
    a, b = wilson(0.8, 50), wilson(0.6, 50)
    widths = [high - low for low, high in (bounds(newcombe(0.8, a, 0.6, b, by)) for by in (-0.5, 0.0, 0.5))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("n", "test"), [(100, "boschloo"), (101, "fisher")])
def test_boschloo_tests_up_to_100_in_each_arm_and_fisher_above(n: int, test: str) -> None:
    exact = boschloo_exact if test == "boschloo" else fisher_exact
    p_value, used = exact_test(40, n, 30, 60)
    assert p_value == pytest.approx(exact([[40, 30], [n - 40, 30]]).pvalue)
    assert used == test


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_fishers_and_the_binomial_p_are_scipys(n_a: int, n_b: int, of_a: float, of_b: float) -> None:
    a, b = round(of_a * n_a), round(of_b * n_b)
    expected = fisher_exact([[a, b], [n_a - a, n_b - b]]).pvalue
    assert fisher_test(a, n_a, b, n_b) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    rate = 0.01 + 0.98 * of_b
    assert binomial_test(a, n_a, rate) == pytest.approx(binomtest(a, n_a, rate).pvalue, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("counts", [(0, 30, 0, 40), (30, 30, 40, 40), (0, 300, 0, 400), (300, 300, 400, 400)])
def test_arms_without_any_difference_have_p_1(counts: tuple[int, int, int, int]) -> None:
    assert exact_test(*counts)[0] == 1.0


def test_repeated_subjects_are_tested_by_subject() -> None:
    """Two rows for each of 40 subjects, always alike, tell no more than one row each."""
    success = [number % 4 > 0 for number in range(40)], [number % 5 > 2 for number in range(40)]
    doubled = [
        Arm(label, [outcome for outcome in of for _ in range(2)], [start + row // 2 for row in range(80)])
        for label, of, start in zip("ab", success, (0, 100), strict=True)
    ]
    found = compare_sets(doubled)[0]
    assert found.test == "rao_scott"
    assert found.note.endswith("; clustered by subject")
    single = difference(Arm("a", success[0]), Arm("b", success[1]))
    assert found.difference == single.difference
    few = (t.ppf(0.975, 79) / t.ppf(0.975, 39)) ** 2
    rates = [(sum(of) / 40, wilson(sum(of) / 40, few * 39)) for of in success]
    assert bounds(found.interval) == pytest.approx(bounds(newcombe(*rates[0], *rates[1])))
    naive = difference(*(given._replace(cluster=None) for given in doubled))
    assert naive.p_value is not None
    assert found.p_value is not None
    assert naive.p_value < found.p_value
    pooled = (30 + 16) / 80
    statistic = (30 - 16) / 40 / sqrt(pooled * (1 - pooled) * 2 / 39)
    assert found.p_value == pytest.approx(2 * t.sf(statistic, 78), rel=1e-6)


def test_subjects_in_both_arms_are_counted_and_correlate_them() -> None:
    random = numpy.random.default_rng(4)
    skill = random.random(60)
    cluster = numpy.arange(60)
    first, second = (random.random(60) < skill) | (skill > 0.7), (random.random(60) < skill) | (skill > 0.7)
    paired = difference(Arm("a", first, cluster), Arm("b", second, cluster))
    apart = difference(Arm("a", first, cluster), Arm("b", second, cluster + 60))
    assert (paired.subjects_in_both, apart.subjects_in_both) == (60, 0)
    assert "60 subjects are in both sets" in paired.note
    assert (paired.test, apart.test) == ("rao_scott", "boschloo")
    correlation = float(numpy.corrcoef(first, second)[0, 1])
    a, b = share(int(first.sum()), 60), share(int(second.sum()), 60)
    assert a.rate is not None
    assert a.interval is not None
    assert b.rate is not None
    assert b.interval is not None
    assert bounds(paired.interval) == pytest.approx(
        bounds(newcombe(a.rate, a.interval, b.rate, b.interval, correlation))
    )
    pooled = (a.rate + b.rate) / 2
    statistic = abs(a.rate - b.rate) / sqrt(2 * pooled * (1 - pooled) / 60 * (1 - correlation))
    assert statistic > 0.2
    assert paired.p_value == pytest.approx(2 * t.sf(statistic, 59)), "60 pairs have 59 degrees of freedom"


def test_an_arm_against_itself_differs_by_nothing() -> None:
    itself = [True, False, True] * 10, list(range(30))
    found = difference(Arm("a", *itself), Arm("b", *itself))
    assert (found.difference, found.p_value, found.subjects_in_both) == (0.0, 1.0, 30)
    low, high = bounds(found.interval)
    assert -0.04 < low < 0 < high < 0.04


@pytest.mark.parametrize("shared", [False, True])
def test_equal_arms_of_repeated_subjects_are_rarely_called_different(shared: bool) -> None:
    """False alarms near 5 %, where the test by rows gives many more unless shared subjects even the arms out."""
    random = numpy.random.default_rng(9)
    alarms = missed = naive = 0
    repetitions = 300
    for _ in range(repetitions):
        chances = random.beta(1.2, 0.8, 80)
        clusters = [numpy.repeat(numpy.arange(40), random.integers(1, 12, 40)) for _ in range(2)]
        if not shared:
            clusters[1] += 40
        success = [random.random(cluster.size) < chances[cluster] for cluster in clusters]
        found = difference(Arm("a", success[0], clusters[0]), Arm("b", success[1], clusters[1]))
        assert found.p_value is not None
        alarms += found.p_value < 0.05
        low, high = bounds(found.interval)
        missed += not low <= 0 <= high
        naive += fisher_test(*(int(n) for of in success for n in (of.sum(), of.size))) < 0.05
    assert 0.02 < alarms / repetitions < 0.09
    assert missed / repetitions < 0.09
    assert shared or naive / repetitions > 0.2


@pytest.mark.parametrize("kind", ["even", "zipf", "one dominates"])
def test_equal_arms_of_uneven_subjects_are_rarely_called_different(kind: str) -> None:
    """The test that trusted one user's rows gave 20 to 64 % false alarms."""
    random = numpy.random.default_rng(10)
    alarms = missed = 0
    for _ in range(200):
        chances = random.beta(1.2, 0.8, 120)
        clusters = [numpy.repeat(numpy.arange(60) + of, sizes_of(kind, 60, random)) for of in (0, 60)]
        success = [random.random(cluster.size) < chances[cluster] for cluster in clusters]
        found = difference(Arm("a", success[0], clusters[0]), Arm("b", success[1], clusters[1]))
        alarms += found.p_value is not None and found.p_value < 0.05
        low, high = bounds(found.interval)
        missed += not low <= 0 <= high
    assert max(alarms, missed) / 200 < 0.1


def test_many_subjects_of_whom_one_has_most_rows_are_too_few() -> None:
    rows = [0] * 300 + list(range(1, 100))
    found = difference(Arm("a", [True] * 399, rows), Arm("b", [False] * 100, list(range(1000, 1100))))
    assert not found.is_significant
    assert found.note.startswith("too few: 100 in a, of sizes so uneven that they are worth 1; a verdict needs 20")


def test_below_20_in_an_arm_there_is_no_verdict() -> None:
    found = difference(arm("a", 19, 19), arm("b", 0, 20))
    assert found.p_value is not None
    assert found.p_value < 1e-6
    assert not found.is_significant
    assert found.note == "too few: 19 in a; a verdict needs 20 outcomes in each set"
    assert difference(arm("a", 20, 20), arm("b", 0, 20)).is_significant


def test_19_subjects_are_too_few_whatever_their_rows() -> None:
    rows = [number % 19 for number in range(190)]
    found = difference(Arm("a", [True] * 190, rows), Arm("b", [False] * 190, [20 + code for code in rows]))
    assert found.note.startswith("too few: 19 in a and 19 in b; a verdict needs 20 subjects")
    assert not found.is_significant


def test_one_subject_in_an_arm_gives_no_p() -> None:
    found = difference(Arm("a", [True, False], [0, 0]), Arm("b", [True, False], [1, 2]))
    assert (found.p_value, found.adjusted_p, found.is_significant) == (None, None, False)
    assert found.note.startswith("too few")


def test_an_empty_arm_gives_no_difference() -> None:
    found = difference(arm("a", 0, 0), arm("b", 3, 4))
    assert (found.difference, found.interval, found.p_value, found.test) == (None, None, None, None)
    assert found.note == "too few: no outcome in a"


def test_the_adjustment_is_that_of_benjamini_and_hochbergs_own_example() -> None:
    """Benjamini and Hochberg 1995, section 3.2: of 15 tests the four smallest p pass at 5 %."""
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p_values += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    adjusted = adjust(list(p_values))
    assert [p is not None and p <= 0.05 for p in adjusted] == [True] * 4 + [False] * 11
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)


@given(P_VALUES)
def test_the_adjustment_is_scipys_and_keeps_what_has_no_p(p_values: list[float | None]) -> None:
    adjusted = adjust(p_values)
    assert [p is None for p in adjusted] == [p is None for p in p_values]
    present = [p for p in p_values if p is not None]
    expected = false_discovery_control(present).tolist() if present else []
    assert [p for p in adjusted if p is not None] == pytest.approx(expected)


def test_sets_are_compared_in_pairs_with_p_adjusted_for_all() -> None:
    arms = [arm("a", 70, 100), arm("b", 50, 100), arm("c", 48, 90), arm("empty", 0, 0)]
    found = compare_sets(arms)
    names = [(pair.a, pair.b) for pair in found]
    assert names == [("a", "b"), ("a", "c"), ("a", "empty"), ("b", "c"), ("b", "empty"), ("c", "empty")]
    assert [pair.adjusted_p for pair in found] == adjust([pair.p_value for pair in found])
    assert found[0].adjusted_p == pytest.approx(3 * exact_test(70, 100, 50, 100)[0])
    assert compare_sets(arms[:1]) == []


def test_all_arms_name_their_subjects_or_none_does() -> None:
    with pytest.raises(ValueError, match="every arm or in none"):
        compare_sets([Arm("a", [True], [1]), Arm("b", [True])])
    with pytest.raises(ValueError, match="a cluster code per row, found 1 for 2"):
        clustered_share([True, False], [1])


def test_a_large_sample_ratio_is_tested_by_chi_square() -> None:
    found = sample_ratio({"a": 821588, "b": 815482}, {"a": 0.5, "b": 0.5})
    assert found.expected == {"a": 818535.0, "b": 818535.0}
    assert found.test == "chi_square"
    assert found.p_value == pytest.approx(chisquare([821588, 815482]).pvalue)
    assert found.mismatch
    assert found.note.startswith("sample-ratio mismatch")
    even = sample_ratio({"a": 901, "b": 99}, {"a": 0.9, "b": 0.1})
    assert (even.mismatch, even.note) == (False, "")


@pytest.mark.parametrize("counts", [(3, 2, 0), (0, 0, 4), (6, 1, 1), (1, 1, 1)])
def test_a_small_sample_ratio_is_tested_exactly(counts: tuple[int, int, int]) -> None:
    chances, n = (0.5, 0.3, 0.2), sum(counts)

    def likelihood(outcome: tuple[int, ...]) -> float:
        ways = factorial(n) // prod(factorial(count) for count in outcome)
        return ways * prod(chance**count for chance, count in zip(chances, outcome, strict=True))

    outcomes = [outcome for outcome in product(range(n + 1), repeat=3) if sum(outcome) == n]
    assert len(outcomes) == comb(n + 2, 2)
    expected = sum(likelihood(o) for o in outcomes if likelihood(o) <= likelihood(counts) * (1 + 1e-9))
    found = sample_ratio(dict(zip("abc", counts, strict=True)), dict(zip("abc", chances, strict=True)))
    assert found.test == "exact"
    assert found.p_value == pytest.approx(expected)


def test_two_small_arms_are_tested_by_the_binomial() -> None:
    found = sample_ratio({"a": 7, "b": 0}, {"a": 1, "b": 1})
    assert found.test == "exact"
    assert found.p_value == pytest.approx(2 / 2**7)


def test_members_of_an_undeclared_arm_are_a_mismatch_and_a_missing_arm_counts_as_empty() -> None:
    found = sample_ratio({"a": 50, "b": 50, "c": 1}, {"a": 0.5, "b": 0.5})
    assert (found.mismatch, found.p_value) == (True, 0.0)
    assert sample_ratio({"a": 50}, {"a": 0.5, "b": 0.5}).observed == {"a": 50, "b": 0}
    assert sample_ratio({}, {"a": 0.5, "b": 0.5}).p_value is None
    with pytest.raises(ValueError, match="expected shares of at least 0"):
        sample_ratio({"a": 1}, {"a": 0.0})


def test_the_weighted_share_is_the_populations_and_not_the_samples() -> None:
    """Cochran 1977, 5.3-5.4, by hand: (900 * 0.2 + 100 * 0.8) / 1000."""
    found = weighted_share([(900, 10, 2), (100, 10, 8), (50, 0, 0)])
    assert found.rate == pytest.approx(0.26)
    assert found.unweighted == 0.5
    assert found.coverage == pytest.approx(1000 / 1050)
    low, high = (2 + 2 * 0.26) / 12, (8 + 2 * 0.26) / 12
    variance = 0.81 * (1 - 10 / 900) * low * (1 - low) / 10 + 0.01 * (1 - 10 / 100) * high * (1 - high) / 10
    assert found.standard_error == pytest.approx(sqrt(variance))
    assert bounds(found.interval) == pytest.approx(bounds(wilson(0.26, 0.26 * 0.74 / variance)))
    assert found.note == "strata that hold 4.8% of the population have no grade and are left out"


def test_of_a_whole_population_nothing_is_left_to_estimate() -> None:
    found = weighted_share([(10, 10, 3), (5, 5, 5), (1, 1, 0)])
    assert (found.rate, found.standard_error, found.interval) == (0.5, None, None)
    assert found.note == "every one in these strata was graded: there is nothing to estimate"


def test_without_a_known_population_there_is_no_weighted_figure() -> None:
    found = weighted_share([(0, 9, 6), (0, 1, 0)])
    assert (found.rate, found.standard_error, found.interval, found.coverage) == (None, None, None, None)
    assert (found.population, found.graded, found.unweighted) == (0, 10, 0.6)
    assert found.note == "outcomes of an unknown population, which cannot be weighted: 10"


def test_strata_of_an_unknown_population_do_not_speak_for_the_known_ones() -> None:
    known = weighted_share([(900, 10, 2), (100, 10, 8)])
    found = weighted_share([(900, 10, 2), (0, 50, 50), (100, 10, 8)])
    assert (found.rate, found.interval, found.coverage) == (known.rate, known.interval, 1.0)
    assert found.note == "outcomes of an unknown population, which cannot be weighted: 50"


def test_a_weighted_difference_is_that_of_the_weighted_shares() -> None:
    strata = [(900, 60, 12), (100, 60, 48)], [(100, 60, 12), (900, 60, 48), (1000, 0, 0)]
    found = weighted_difference(*strata)
    a, b = (weighted_share(of) for of in strata)
    assert (found.rate_a, found.rate_b) == (a.rate, b.rate)
    assert found.difference == pytest.approx(0.26 - 0.74)
    assert (found.coverage_a, found.coverage_b) == (1.0, 0.5)
    assert a.interval is not None
    assert b.interval is not None
    assert bounds(found.interval) == pytest.approx(bounds(newcombe(0.26, a.interval, 0.74, b.interval)))
    assert a.standard_error is not None
    assert b.standard_error is not None
    low, high = bounds(found.interval)
    assert high - low == pytest.approx(2 * Z * sqrt(a.standard_error**2 + b.standard_error**2), rel=0.05)
    assert found.note == "b: strata that hold 50.0% of the population have no grade and are left out"


def test_a_weighted_difference_needs_both_sides() -> None:
    sampled, unknown, census = [(100, 20, 10)], [(0, 20, 10)], [(20, 20, 10)]
    for pair in ((sampled, unknown), (unknown, sampled)):
        found = weighted_difference(*pair)
        assert (found.difference, found.interval) == (None, None)
        assert "unknown population" in found.note
    found = weighted_difference(sampled, census)
    assert (found.difference, found.interval) == (0.0, None)
    assert "nothing to estimate" in found.note


def test_the_weighted_difference_holds_none_where_arms_differ_only_in_which_strata_were_graded() -> None:
    """Both arms: 450 sessions at 90 % and 50 at 50 %; a graded 60 and 45 of them, b 200 and 10."""
    random = numpy.random.default_rng(13)
    held = naive = 0
    for _ in range(300):
        won = [[450 * 9 // 10, 50 // 2] for _ in "ab"]
        graded = [(60, 45), (200, 10)]
        strata = [
            [
                (size, k, int(random.hypergeometric(w, size - w, k)))
                for size, w, k in zip((450, 50), of, ks, strict=True)
            ]
            for of, ks in zip(won, graded, strict=True)
        ]
        low, high = bounds(weighted_difference(*strata).interval)
        held += low <= 0 <= high
        low, high = bounds(
            difference(
                *(arm(x, sum(s for *_, s in of), sum(k for _, k, _ in of)) for x, of in zip("ab", strata, strict=True))
            ).interval
        )
        naive += low <= 0 <= high
    assert held / 300 > 0.9
    assert naive / 300 < 0.5


def test_with_many_grades_the_standard_error_is_the_textbooks() -> None:
    found = weighted_share([(90_000, 4_000, 800), (10_000, 1_000, 700)])
    variance = 0.81 * (1 - 4 / 90) * 0.16 / 3_999 + 0.01 * 0.9 * 0.21 / 999
    assert found.standard_error == pytest.approx(sqrt(variance), rel=2e-3)


@pytest.mark.parametrize("strata", [[(100, 5, 5), (200, 4, 4)], [(9, 1, 0)], [(50, 3, 3), (50, 3, 0)]])
def test_strata_without_spread_still_have_an_interval(strata: list[tuple[int, int, int]]) -> None:
    low, high = bounds(weighted_share(strata).interval)
    assert high - low > 0.25


def test_equal_outcomes_in_all_strata_count_for_as_much_as_their_weights_allow() -> None:
    found = weighted_share([(1000, 10, 10), (3000, 10, 10)])
    worth = 1 / (0.0625 * 0.99 / 10 + 0.5625 * (1 - 10 / 3000) / 10)
    assert bounds(found.interval) == pytest.approx(bounds(wilson(1.0, worth)))


def test_weights_that_do_not_add_up_in_floats_leave_a_rate_of_one_at_one() -> None:
    for size in range(3, 40):
        found = weighted_share([(size + day, 2, 2) for day in range(9)])
        assert (found.rate, found.standard_error) == (1.0, None), "a sample without spread shows no error of its own"


def test_strata_with_one_graded_are_counted() -> None:
    assert weighted_share([(100, 10, 5), (100, 1, 1), (1, 1, 1)]).note == "strata with one graded of several: 1"


def test_nothing_graded_has_no_rate_and_impossible_counts_are_refused() -> None:
    assert weighted_share([(5, 0, 0)]).rate is None
    assert weighted_share([]).coverage is None
    with pytest.raises(ValueError, match="successes <= graded <= population"):
        weighted_share([(5, 6, 1)])


@pytest.mark.parametrize(
    "strata",
    [
        [(2000, 0.9, 40), (500, 0.4, 40), (60, 0.1, 40), (800, 0.7, 40)],
        [(2000, 0.9, 40), (500, 0.4, 40), (60, 0.1, 40), (800, 0.7, 2)],
        [(20 + day, 0.95 - 0.2 * (day % 3), 2) for day in range(60)],
        [(40, 0.6, 20), (400, 0.95, 20)],
    ],
)
def test_the_weighted_interval_holds_the_populations_share(strata: list[tuple[int, float, int]]) -> None:
    random = numpy.random.default_rng(7)
    population = [random.random(size) < chance for size, chance, _ in strata]
    truth = sum(int(stratum.sum()) for stratum in population) / sum(size for size, _, _ in strata)
    held = 0
    for _ in range(300):
        won = [
            random.hypergeometric(stratum.sum(), (~stratum).sum(), k)
            for stratum, (_, _, k) in zip(population, strata, strict=True)
        ]
        found = weighted_share([(size, k, int(s)) for (size, _, k), s in zip(strata, won, strict=True)])
        low, high = bounds(found.interval)
        held += low <= truth <= high
    assert held / 300 > 0.88


def test_figures_are_plain_json() -> None:
    one = json.loads(json.dumps(clustered_share([True, False], [0, 1]).as_json()))
    assert one["interval"] == pytest.approx([0.0945, 0.9055], abs=5e-5)
    for figures in (
        difference(arm("a", 3, 5), arm("b", 1, 5)),
        mean_interval([1, 2]),
        sample_ratio({"a": 1}, {"a": 1, "b": 1}),
        weighted_share([(5, 3, 1)]),
        weighted_difference([(5, 3, 1)], [(5, 3, 2)]),
    ):
        json.dumps(figures.as_json(), allow_nan=False)


def test_numpy_and_scipy_are_imported_only_when_a_number_is_asked_for() -> None:
    modules = "sys, affidavit.projections.evaluation.win_rate, affidavit.projections.statistics.comparing"
    program = f"import {modules}; sys.exit(bool({{'numpy', 'scipy'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
