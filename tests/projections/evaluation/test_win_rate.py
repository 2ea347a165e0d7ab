"""Win rates, evidence over time and positions, against plain references and simulations."""

from __future__ import annotations

import json
from fractions import Fraction
from math import comb, exp

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binomtest, fisher_exact

from affidavit.projections.evaluation.win_rate import (
    LOSS,
    TIE,
    WIN,
    evidence,
    first_of_each_subject,
    position_check,
    win_rate,
)
from affidavit.projections.statistics.figures import Interval
from affidavit.projections.statistics.rates import clustered_share, share

VERDICTS = st.lists(st.tuples(st.sampled_from([WIN, TIE, LOSS]), st.integers(0, 5)), max_size=40)
DAYS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8)


def bounds(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def test_ties_are_read_in_three_ways() -> None:
    found = win_rate([WIN] * 6 + [LOSS] * 2 + [TIE] * 4)
    assert (found.n, found.wins, found.losses, found.ties) == (12, 6, 2, 4)
    assert found.of_all == share(6, 12)
    assert found.decided == share(6, 8)
    assert (found.half.rate, found.half.successes) == (8 / 12, 8)
    assert found.net_win == 4 / 12


@given(VERDICTS)
@settings(deadline=None)
def test_the_readings_are_those_of_plain_counts(verdicts: list[tuple[int, int]]) -> None:
    outcomes, cluster = [outcome for outcome, _ in verdicts], [code for _, code in verdicts]
    found = win_rate(outcomes, cluster)
    assert found.of_all == clustered_share([outcome == WIN for outcome in outcomes], cluster)
    decided = [(outcome == WIN, code) for outcome, code in verdicts if outcome != TIE]
    assert found.decided == clustered_share([won for won, _ in decided], [code for _, code in decided])
    if verdicts:
        assert found.half.rate is not None
        assert found.half.rate == pytest.approx(sum((outcome + 1) / 2 for outcome in outcomes) / len(outcomes))
        assert found.net_win == pytest.approx(sum(outcomes) / len(outcomes))
        low, high = bounds(found.half.interval)
        assert 0 <= low <= found.half.rate <= high <= 1
        assert bounds(found.net_win_interval) == (2 * low - 1, 2 * high - 1)
    else:
        assert (found.half.rate, found.net_win, found.net_win_interval) == (None, None, None)


@given(VERDICTS.filter(bool))
@settings(deadline=None)
def test_without_ties_all_readings_agree(verdicts: list[tuple[int, int]]) -> None:
    found = win_rate([outcome or WIN for outcome, _ in verdicts], [code for _, code in verdicts])
    assert found.of_all == found.decided
    assert found.half.effective_n == pytest.approx(found.of_all.effective_n)
    assert bounds(found.half.interval) == pytest.approx(bounds(found.of_all.interval))


def test_ties_narrow_the_half_reading() -> None:
    """Of 200 verdicts 100 tie: the scores' variance is half of p(1-p), so each row tells twice as much."""
    found = win_rate([WIN] * 50 + [LOSS] * 50 + [TIE] * 100)
    assert found.half.effective_n == pytest.approx(400)
    assert win_rate([TIE] * 50).half.effective_n == 50


def test_half_and_net_win_hold_the_truth_where_subjects_repeat() -> None:
    """Win, tie, loss chances that differ by subject; means 0.5, 0.2, 0.3, so net win is 0.2."""
    random = numpy.random.default_rng(3)
    held = 0
    for _ in range(400):
        cluster = numpy.repeat(numpy.arange(40), random.integers(1, 12, 40))
        chances = random.dirichlet([1.5, 0.6, 0.9], 40).cumsum(axis=1)
        draws = random.random(cluster.size)
        outcomes = numpy.where(draws < chances[cluster, 0], WIN, numpy.where(draws < chances[cluster, 1], TIE, LOSS))
        low, high = bounds(win_rate(outcomes, cluster).net_win_interval)
        held += low <= 0.2 <= high
    assert 0.91 <= held / 400 <= 0.99


def test_a_code_per_verdict_is_needed() -> None:
    with pytest.raises(ValueError, match="found 1 for 2"):
        win_rate([WIN, LOSS], [0])


@given(DAYS)
@settings(deadline=None)
def test_the_e_value_is_the_mixture_by_exact_fractions(days: list[tuple[int, int]]) -> None:
    """2^n / ((n + 1) * C(n, wins)), the average likelihood over one half's."""
    found = evidence(days)
    wins = losses = 0
    largest = Fraction(1)
    for day, (won, lost) in zip(found.days, days, strict=True):
        wins, losses = wins + won, losses + lost
        n = wins + losses
        e_value = Fraction(2**n, (n + 1) * comb(n, wins))
        largest = max(largest, e_value)
        assert (day.wins, day.losses) == (wins, losses)
        assert day.e_value == pytest.approx(float(e_value))
        assert day.max_e_value == pytest.approx(float(largest))
        assert day.p_anytime == pytest.approx(float(1 / largest))
    assert (found.wins, found.losses) == (wins, losses)
    assert found.p_anytime == pytest.approx(float(1 / largest))


def test_the_e_value_averages_to_one_where_a_win_is_as_likely_as_a_loss() -> None:
    """The martingale property: over all verdicts to come, weighted by their chance, e stays where it is."""
    for n in (1, 5, 30):
        mean = sum(comb(n, wins) / 2**n * evidence([(wins, n - wins)]).e_value for wins in range(n + 1))
        assert mean == pytest.approx(1)
    now = evidence([(7, 3)]).e_value
    assert (evidence([(8, 3)]).e_value + evidence([(7, 4)]).e_value) / 2 == pytest.approx(now)


@given(st.integers(0, 60), st.integers(0, 60))
@settings(deadline=None)
def test_the_interval_ends_where_the_mixture_reaches_20(wins: int, losses: int) -> None:
    low, high = bounds(evidence([(wins, losses)]).interval)
    assert 0 <= low <= high <= 1

    def e_value(rate: float) -> float:
        mixture = 1 / ((wins + losses + 1) * comb(wins + losses, wins))
        return float(mixture / (rate**wins * (1 - rate) ** losses))

    if wins:
        assert e_value(low) == pytest.approx(20, rel=1e-6)
    else:
        assert low == 0
    if losses:
        assert e_value(high) == pytest.approx(20, rel=1e-6)
    else:
        assert high == 1


def test_the_mixture_is_the_integral_over_every_win_chance() -> None:
    integral = quad(lambda rate: rate**9 * (1 - rate) ** 4, 0, 1)[0]
    assert evidence([(9, 4)]).e_value == pytest.approx(integral * 2**13)


def test_looking_every_day_rarely_gives_a_false_alarm_where_a_fixed_test_often_does() -> None:
    """500 histories of 100 days with 5 verdicts a day, even chances, looked at each evening."""
    random = numpy.random.default_rng(11)
    alarms = naive = outside = 0
    for _ in range(500):
        wins = random.binomial(5, 0.5, 100)
        found = evidence([(int(won), int(5 - won)) for won in wins])
        assert found.p_anytime is not None
        alarms += found.p_anytime <= 0.05
        outside += any(not day.interval.low <= 0.5 <= day.interval.high for day in found.days)
        n = 5 * numpy.arange(1, 101)
        naive += bool((abs(wins.cumsum() - n / 2) > 1.96 * numpy.sqrt(n) / 2).any())
    assert alarms == outside, "interval and p are the same test"
    assert 0 < alarms / 500 <= 0.05
    assert naive / 500 > 0.25


def test_the_interval_holds_another_win_chance_on_all_days_at_once() -> None:
    random = numpy.random.default_rng(12)
    missed = 0
    for _ in range(300):
        days = [(int(won), int(5 - won)) for won in random.binomial(5, 0.7, 100)]
        missed += any(not day.interval.low <= 0.7 <= day.interval.high for day in evidence(days).days)
    assert missed / 300 <= 0.05


def test_a_real_difference_is_found_and_its_direction_said() -> None:
    found = evidence([(14, 6)] * 10)
    assert found.is_significant
    assert found.note.startswith("a win is more likely than a loss")
    assert "turns of one subject are not" in found.note
    assert evidence([(6, 14)] * 10).note.startswith("a loss is more likely than a win")


def test_evidence_once_reached_stays_though_later_days_turn() -> None:
    found = evidence([(12, 0), (0, 12)])
    assert found.is_significant
    assert found.e_value < 1 < found.max_e_value
    assert "which later verdicts do not bear out" in found.note


def test_evidence_that_other_verdicts_precede_gives_no_verdict() -> None:
    days = [(14, 6)] * 10
    found, since = evidence(days, since_first=False), evidence(days)
    assert (found.is_significant, found.p_anytime) == (False, None)
    assert (found.e_value, found.max_e_value, found.days) == (since.e_value, since.max_e_value, since.days)
    assert "however often one looked" in since.note
    assert "however often" not in found.note
    assert "looks that all begin at the first verdict, so a sliding window has none" in found.note
    assert evidence([], since_first=False).p_anytime is None
    json.dumps(found.as_json(), allow_nan=False)


def test_a_window_that_slides_over_a_fair_coin_would_often_alarm_and_gives_no_verdict() -> None:
    """10 verdicts a day, the last 10 days, looked at every third day for 200 days."""
    random = numpy.random.default_rng(14)
    would = did = 0
    for _ in range(8):
        won = random.binomial(10, 0.5, 200).tolist()
        looks = [[(wins, 10 - wins) for wins in won[day - 10 : day]] for day in range(10, 201, 3)]
        would += any(evidence(look).is_significant for look in looks)
        did += any(evidence(look, since_first=False).is_significant for look in looks)
    assert (would >= 1, did) == (True, 0)


def test_no_verdict_is_no_evidence_and_overwhelming_evidence_is_finite() -> None:
    for days in ([], [(0, 0)]):
        found = evidence(days)
        assert (found.e_value, found.p_anytime, bounds(found.interval)) == (1.0, 1.0, (0.0, 1.0))
        assert found.note == "too few: no decided verdict"
    found = evidence([(100_000, 0)])
    assert found.e_value == pytest.approx(exp(690))
    json.dumps(found.as_json(), allow_nan=False)


def test_a_subject_counts_with_the_first_decided_verdict() -> None:
    outcomes = [TIE, WIN, LOSS, LOSS, WIN, WIN]
    cluster = ["ann", "bob", "ann", "bob", "ann", "eve"]
    assert first_of_each_subject(outcomes, cluster, [0, 0, 1, 1, 2, 2], 4) == [(1, 0), (0, 1), (1, 0), (0, 0)]
    assert first_of_each_subject([], [], [], 2) == [(0, 0), (0, 0)]


def test_one_verdict_of_each_subject_keeps_false_alarms_rare_where_all_turns_do_not() -> None:
    """Subjects who always win or always lose, evenly many: turns repeat them, first verdicts are fair coins."""
    random = numpy.random.default_rng(5)
    all_turns = firsts = 0
    for _ in range(300):
        turns = random.integers(1, 30, 60)
        cluster = numpy.repeat(numpy.arange(60), turns)
        outcomes = numpy.where(random.random(60) < 0.5, WIN, LOSS)[cluster]
        days = cluster // 3
        firsts += evidence(first_of_each_subject(outcomes, cluster, days, 20)).is_significant
        won, lost = (numpy.bincount(days[outcomes == code], minlength=20) for code in (WIN, LOSS))
        all_turns += evidence(list(zip(won.tolist(), lost.tolist(), strict=True))).is_significant
    assert firsts / 300 <= 0.05
    assert all_turns / 300 > 0.3


def test_a_judge_that_prefers_the_first_answer_is_found() -> None:
    found = position_check(70, 30, 45, 55)
    assert (found.when_first, found.when_second) == (share(70, 100), share(45, 100))
    assert found.difference == pytest.approx(0.25)
    assert found.p_value == pytest.approx(fisher_exact([[70, 30], [45, 55]]).pvalue)
    assert found.first_won == share(70 + 55, 200)
    assert (found.prefers, found.is_balanced) == ("first", True)
    assert found.e_value == pytest.approx(evidence([(125, 75)]).e_value)
    assert found.note == "the judge prefers the answer shown first (e-value at least 20)"
    assert position_check(45, 55, 70, 30).prefers == "second"


def test_a_preference_takes_an_e_value_of_20_and_not_a_single_looks_p() -> None:
    found = position_check(60, 40, 45, 55)
    assert found.p_value is not None
    assert found.p_value < 0.05
    assert found.e_value < 20
    assert found.prefers == "none"


def test_looking_at_positions_every_day_rarely_calls_them_a_preference() -> None:
    """20 verdicts a day for 60 days, positions drawn, 60 % wins: the single look's p alarms in a third."""
    random = numpy.random.default_rng(15)
    alarms = unbalanced = naive = 0
    for _ in range(60):
        first, won = random.random(1200) < 0.5, random.random(1200) < 0.6
        of = numpy.stack([won & first, ~won & first, won & ~first, ~won & ~first]).cumsum(axis=1)[:, 19::20]
        looks = [position_check(*counts) for counts in of.T.tolist()]
        alarms += any(look.prefers != "none" for look in looks)
        unbalanced += not all(look.is_balanced for look in looks)
        naive += any(look.p_value is not None and look.p_value < 0.05 for look in looks)
    assert alarms / 60 <= 0.05
    assert unbalanced <= 1
    assert naive / 60 > 0.15


def test_the_position_interval_is_newcombes() -> None:
    assert bounds(position_check(56, 14, 48, 32).interval) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_better_answer_shown_first_too_often_is_no_preference_but_unbalanced() -> None:
    """The share won by the first answer is then far from one half, and only the difference tells why."""
    found = position_check(160, 40, 40, 10)
    assert found.first_won.rate == pytest.approx(170 / 250)
    assert (found.difference, found.prefers) == (0.0, "none")
    assert not found.is_balanced
    assert found.balance_p == pytest.approx(binomtest(200, 250).pvalue)
    assert found.balance_e_value == pytest.approx(evidence([(200, 50)]).e_value)
    assert found.e_value > 20, "which says nothing of the judge then"
    assert "positions are not balanced" in found.note


def test_ties_count_for_the_balance_of_positions_only() -> None:
    found = position_check(30, 30, 30, 30, first_ties=100, second_ties=10)
    assert found.shown_first == share(160, 230)
    assert found.first_won.n == 120


def test_few_verdicts_give_no_verdict_on_positions() -> None:
    found = position_check(19, 0, 0, 40)
    assert (found.prefers, found.note[:7]) == ("none", "too few")
    empty = position_check(0, 0, 0, 0)
    assert (empty.difference, empty.p_value, empty.balance_p, empty.is_balanced) == (None, None, None, True)
    assert (empty.e_value, empty.balance_e_value) == (1.0, 1.0)
    json.dumps(empty.as_json(), allow_nan=False)


def test_random_positions_are_rarely_called_a_preference_even_where_turns_repeat_subjects() -> None:
    """Verdicts fixed per subject, positions drawn: the draw is what is tested."""
    random = numpy.random.default_rng(6)
    alarms = 0
    for _ in range(400):
        won = numpy.repeat(random.random(20) < 0.6, 10)
        first = random.random(won.size) < 0.5
        counts = [
            int((won & first).sum()),
            int((~won & first).sum()),
            int((won & ~first).sum()),
            int((~won & ~first).sum()),
        ]
        alarms += position_check(*counts).prefers != "none"
    assert alarms / 400 <= 0.07
