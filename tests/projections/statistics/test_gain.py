"""Significance: the peer's own figure, and the paired comparison beside it."""

from __future__ import annotations

import random
import subprocess
import sys
from math import sqrt

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, bootstrap, t, wilcoxon

from affidavit.domain.optimization.events import Sample
from affidavit.projections.statistics.gain import PairedComparison, paired_comparison, peer_significance, welch_interval


def compared(before: list[float], after: list[float], seed: int = 1) -> PairedComparison:
    return paired_comparison(samples(before), samples(after), seed)


def samples(scores: list[float]) -> list[Sample]:
    return [Sample(id=f"s{number}", input="", response="", score=score) for number, score in enumerate(scores)]


def test_the_peers_p_is_scipys_default_wilcoxon() -> None:
    baseline = [0.5641025641025642, 0.28571428571428575, 0.4, 0.3870967741935484]
    final = [0.8421052631578948, 0.8, 0.8, 0.8484848484848484]
    assert peer_significance(baseline, final) == (0.125, False)
    assert peer_significance(baseline * 3, final * 3)[0] == wilcoxon(baseline * 3, final * 3).pvalue


def test_the_peer_pairs_by_position_up_to_the_shorter_list() -> None:
    assert peer_significance([0.1, 0.2, 0.3], [0.2, 0.4]) == peer_significance([0.1, 0.2], [0.2, 0.4])


@pytest.mark.parametrize(("before", "after"), [([], []), ([0.1], [0.2]), ([0.1, 0.2], [0.1, 0.2])])
def test_the_peer_gives_no_p_without_two_pairs_and_a_difference(before: list[float], after: list[float]) -> None:
    assert peer_significance(before, after) == (None, None)


def test_the_peer_calls_a_loss_significant_and_the_comparison_says_that_it_is_one() -> None:
    before = [0.5 + number / 100 for number in range(10)]
    after = [score - 0.1 - number / 1000 for number, score in enumerate(before)]
    assert peer_significance(before, after)[1] is True
    found = compared(before, after)
    assert (found.direction, found.is_significant) == ("loss", True)
    assert found.note == (
        "a significant loss (Wilcoxon signed-rank test, p below 0.05); "
        "with fewer than 20 samples the interval is approximate"
    )


def test_the_interval_holds_the_mean_and_the_same_seed_gives_the_same_figures() -> None:
    before, after = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [0.3, 0.3, 0.5, 0.45, 0.7, 0.9, 0.8]
    found = compared(before, after)
    assert found.interval is not None
    assert found.mean_difference is not None
    assert found.interval[0] < found.mean_difference < found.interval[1]
    assert found == compared(before, after)
    assert found.interval != compared(before, after, seed=2).interval
    assert found.p_value == pytest.approx(2 / 2**7)
    assert found.is_significant


def test_zeros_are_ranked_as_pratt_ranks_them() -> None:
    before, after = [0.5] * 60, [0.5] * 20 + [0.5 + number / 100 for number in range(-10, 30)]
    differences = [round(new - old, 12) for old, new in zip(before, after, strict=True)]
    expected = wilcoxon(differences, zero_method="pratt", method="asymptotic").pvalue
    assert compared(before, after).p_value == pytest.approx(expected)


@given(st.lists(st.sampled_from([-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.5]), min_size=2, max_size=9).filter(any))
@settings(max_examples=30, deadline=None)
def test_below_50_pairs_p_is_that_of_every_permutation(differences: list[float]) -> None:
    expected = wilcoxon(differences, zero_method="pratt", method=PermutationMethod()).pvalue
    assert compared([0.0] * len(differences), differences).p_value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        ([], [], "no sample was scored in both evaluations"),
        ([0.1], [0.2], "too few: with 1 pair that differs no p below 1 is possible, whatever the gain"),
        (
            [0.1, 0.2, 0.3, 0.4],
            [0.9, 0.9, 0.9, 0.9],
            "too few: with 4 pairs that differ no p below 0.125 is possible, whatever the gain",
        ),
        ([0.1, 0.2], [0.1, 0.2], "every pair has the same score before and after"),
    ],
)
def test_too_few_pairs_are_said_in_words(before: list[float], after: list[float], note: str) -> None:
    found = compared(before, after)
    assert found.note == note
    assert not found.is_significant


@pytest.mark.parametrize(
    "differences",
    [[0.0] * 5 + [0.3], [0.1, -0.1] * 3, [1e-300, 0.1, 0.1, 0.1, 0.1, 0.2], [0.0] * 60 + [0.1]],
)
def test_degenerate_differences_give_figures_without_warnings(differences: list[float]) -> None:
    found = compared([0.0] * len(differences), differences)
    assert found.interval is not None
    assert found.p_value is not None
    assert 0 <= found.p_value <= 1


@pytest.mark.parametrize("differences", [[0.1], [0.1, 0.2], [0.1, 0.2, 0.3, 0.4, 0.5], [0.1] * 40])
def test_few_pairs_and_pairs_without_spread_have_no_interval_but_a_p(differences: list[float]) -> None:
    found = compared([0.0] * len(differences), differences)
    assert found.interval is None
    assert found.p_value is not None


def test_what_most_samples_lost_is_no_significant_gain_though_the_mean_rose() -> None:
    found = compared([0.5] * 33, [0.48 - number / 10_000 for number in range(30)] + [1.0, 0.98, 0.99])
    assert found.p_value is not None
    assert found.p_value < 0.05
    assert (found.direction, found.is_significant, found.verdict) == ("gain", False, "not significant")
    assert found.note == (
        "ranks and mean disagree: of 33 samples 3 got better and 30 worse (Wilcoxon signed-rank test, p below 0.05), "
        "while the mean rose"
    )


def test_a_gain_is_not_significant_where_the_interval_of_its_mean_holds_0() -> None:
    found = compared([0.5] * 30, [0.5 + number / 1000 for number in range(1, 29)] + [0.26, 0.25])
    assert found.p_value is not None
    assert found.interval is not None
    assert found.p_value < 0.05
    assert found.interval[0] < 0 < found.interval[1]
    assert not found.is_significant


def test_tenths_have_the_p_of_tenths() -> None:
    """Of six pairs that differ by 0.1, five up and one down: 14 of 64 patterns of signs are as far from the middle."""
    before = [0.7, 0.3, 0.1, 0.8, 0.6, 0.2]
    found = compared(before, [0.8, 0.4, 0.2, 0.9, 0.7, 0.1])
    assert found.p_value == 0.21875
    assert compared([0.1 + 0.2], [0.3]).differing == 0


@pytest.mark.parametrize(("pairs", "told"), [(0, "no sample differs"), (5, "too few to tell"), (6, "significant gain")])
def test_the_verdict_tells_too_few_from_not_significant(pairs: int, told: str) -> None:
    assert compared([0.0] * 8, [0.1] * pairs + [0.0] * (8 - pairs)).verdict == told


def test_samples_are_paired_by_id_and_a_repeated_one_counts_once() -> None:
    before = [Sample(id="a", input="", response="", score=0.2), Sample(id="b", input="", response="", score=0.4)]
    after = [
        Sample(id="b", input="", response="", score=0.6),
        Sample(id="a", input="", response="", score=0.2),
        Sample(id="a", input="", response="", score=0.4),
        Sample(id="c", input="", response="", score=1.0),
        Sample(id="b", input="", response="", score=None, failed=True),
    ]
    found = paired_comparison(before, after, 1)
    assert found.n == 2
    assert found.mean_difference == pytest.approx(0.15)


def test_welchs_interval_is_that_of_its_formula() -> None:
    """Variances 0.01 and 0.04 over three scores each: standard error √(0.05 / 3), 50 / 17 degrees of freedom."""
    half = t.ppf(0.975, 50 / 17) * sqrt(0.05 / 3)
    assert welch_interval([0.9, 0.7, 0.8], [0.5, 0.1, 0.3]) == pytest.approx((0.5 - half, 0.5 + half))


@pytest.mark.parametrize(("a", "b"), [([], [0.1, 0.2]), ([0.5], [0.1, 0.2]), ([0.5, 0.5], [0.1, 0.1, 0.1])])
def test_without_spread_or_scores_welch_has_no_interval(a: list[float], b: list[float]) -> None:
    assert welch_interval(a, b) is None
    assert welch_interval(b, a) is None


def test_scipy_is_imported_only_when_a_number_is_asked_for() -> None:
    program = "import sys, affidavit.projections.runs.summary; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("n", [8, 20, 49, 50, 120])
def test_the_interval_is_the_one_that_scipys_bootstrap_gives(n: int) -> None:
    stream = random.Random(n)
    differences = [round(stream.gauss(0.1, 0.3), 2) for _ in range(n)]
    in_order_of_ids = [differences[number] for number in sorted(range(n), key=lambda number: f"s{number}")]
    expected = bootstrap(
        (numpy.array(in_order_of_ids),), numpy.mean, n_resamples=9_999, rng=numpy.random.default_rng(7)
    ).confidence_interval
    found = compared([0.0] * n, differences, seed=7)
    assert found.interval == pytest.approx((expected.low, expected.high), abs=1e-12)
