"""Rankings against hand-made tournaments, and what holds for every tournament."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.optimization.randomness import RunRandom
from affidavit.domain.optimization.strategies.ranking import (
    METHODS,
    Duel,
    Method,
    WinMatrix,
    average_win_rate,
    borda,
    copeland,
    elo,
    mid_ranks,
    next_pair,
    rank,
)

ALL: tuple[Method, ...] = ("auto", "copeland", "borda", "elo", "average_win_rate")
LADDER = [Duel(0, 1, 0), Duel(0, 2, 0), Duel(1, 2, 1)]
"""0 beats 1 and 2, 1 beats 2."""


@st.composite
def tournaments(draw: st.DrawFn) -> tuple[list[int], list[Duel]]:
    contestants = list(range(draw(st.integers(2, 6))))
    pair = st.permutations(contestants).map(lambda order: (order[0], order[1]))
    met = draw(st.lists(st.tuples(pair, st.sampled_from(("a", "b", None))), max_size=25))
    return contestants, [Duel(a, b, {"a": a, "b": b, None: None}[won]) for (a, b), won in met]


def test_the_matrix_counts_wins_ties_and_meetings() -> None:
    matrix = WinMatrix([Duel(0, 1, 0), Duel(1, 0, 0), Duel(0, 1, 1), Duel(0, 1, None)])
    assert (matrix.wins(0, 1), matrix.wins(1, 0), matrix.ties(0, 1), matrix.ties(1, 0)) == (2, 1, 1, 1)
    assert (matrix.met(0, 1), matrix.met(1, 0)) == (4, 4)
    assert (matrix.rate(0, 1), matrix.rate(1, 0), matrix.rate(0, 2)) == (0.625, 0.375, 0.5)


def test_values_of_a_ladder() -> None:
    assert copeland([0, 1, 2], LADDER) == [2.0, 0.0, -2.0]
    assert borda([0, 1, 2], LADDER) == [1.0, 0.5, 0.0]
    assert average_win_rate([0, 1, 2], LADDER) == [1.0, 0.5, 0.0]


def test_borda_weighs_opponents_and_the_average_win_rate_weighs_duels() -> None:
    duels = [Duel(0, 1, 0)] * 3 + [Duel(0, 2, 2)]
    assert borda([0, 1, 2], duels)[0] == 0.5
    assert average_win_rate([0, 1, 2], duels)[0] == 0.75


def test_elo_moves_equals_by_half_of_k() -> None:
    """1500 against 1500 moves by 16; the next passes expect more of the winner and move less."""
    first = 16.0
    second = 32 * (1 - 1 / (1 + 10 ** (-2 * first / 400)))
    third = 32 * (1 - 1 / (1 + 10 ** (-2 * (first + second) / 400)))
    assert elo([0, 1], [Duel(0, 1, 0)]) == pytest.approx([1500 + first + second + third, 1500 - first - second - third])
    assert elo([0, 1], [Duel(0, 1, None)]) == [1500, 1500]


def test_elo_leaves_out_duels_with_those_who_are_not_ranked() -> None:
    assert elo([0, 1], [Duel(0, 9, 9)]) == [1500, 1500]


def test_mid_ranks_share_places() -> None:
    assert mid_ranks([3.0, 1.0, 3.0, 2.0]) == [1.5, 4.0, 1.5, 3.0]


@pytest.mark.parametrize("method", ALL)
def test_a_ladder_is_ranked_by_every_method(method: Method) -> None:
    assert rank([2, 1, 0], LADDER, method) == [0, 1, 2]


@pytest.mark.parametrize("method", ALL)
def test_equals_keep_their_order(method: Method) -> None:
    assert rank([4, 2, 9], [], method) == [4, 2, 9]
    assert rank([4, 2, 9], [Duel(4, 2, None)], method) == [4, 2, 9]


def test_methods_disagree_and_the_fusion_weighs_them_alike() -> None:
    """0 wins often against a weak 1 and loses once to 2; 2 has that one win."""
    duels = [Duel(0, 1, 0)] * 3 + [Duel(0, 2, 2)]
    assert rank([0, 1, 2], duels, "copeland") == [2, 0, 1]
    assert rank([0, 1, 2], duels) == [2, 0, 1]


@given(tournaments(), st.sampled_from(ALL))
def test_a_ranking_has_everybody_once(tournament: tuple[list[int], list[Duel]], method: Method) -> None:
    contestants, duels = tournament
    assert sorted(rank(contestants, duels, method)) == contestants


@given(tournaments())
def test_values_stay_in_bounds_and_balance(tournament: tuple[list[int], list[Duel]]) -> None:
    contestants, duels = tournament
    assert sum(copeland(contestants, duels)) == 0
    assert sum(borda(contestants, duels)) == pytest.approx(len(contestants) / 2)
    assert all(0 <= rate <= 1 for rate in average_win_rate(contestants, duels))
    assert sum(elo(contestants, duels)) == pytest.approx(1500 * len(contestants))


@given(tournaments(), st.sampled_from(sorted(METHODS)))
def test_who_won_every_duel_against_everybody_is_first(
    tournament: tuple[list[int], list[Duel]], method: Method
) -> None:
    contestants, duels = tournament
    champion = contestants[-1]
    others = [duel for duel in duels if champion not in (duel.a, duel.b)]
    won = [Duel(other, champion, champion) for other in contestants[:-1]] * (1 + len(others))
    assert rank(contestants, others + won, method)[0] == champion
    assert rank(contestants, others + won)[0] == champion


@given(tournaments(), st.integers(0, 2**32))
def test_a_pair_is_of_two_and_follows_from_the_seed(tournament: tuple[list[int], list[Duel]], seed: int) -> None:
    contestants, duels = tournament
    a, b = next_pair(contestants, duels, RunRandom(seed))
    assert a != b
    assert {a, b} <= set(contestants)
    assert next_pair(contestants, duels, RunRandom(seed)) == (a, b)


def test_a_proven_loser_is_not_sampled_as_the_best() -> None:
    contestants = [0, 1, 2]
    duels = [Duel(0, 1, 0)] * 40 + [Duel(0, 2, 0)] * 40 + [Duel(1, 2, None)] * 4
    drawn = RunRandom(3)
    assert {next_pair(contestants, duels, drawn)[0] for _ in range(30)} == {0}


def test_everybody_meets_while_nothing_is_known() -> None:
    drawn = RunRandom(1)
    pairs = [next_pair([0, 1, 2], [], drawn) for _ in range(60)]
    assert {frozenset(pair) for pair in pairs} == {frozenset({0, 1}), frozenset({0, 2}), frozenset({1, 2})}


def test_a_duel_that_is_decided_is_not_repeated_while_another_is_open() -> None:
    """0 has lost to 1 for certain; that 1 may be beaten by 2 is what is left to learn."""
    duels = [Duel(0, 1, 1)] * 60
    drawn = RunRandom(5)
    pairs = [next_pair([0, 1, 2], duels, drawn) for _ in range(40)]
    assert sum(2 in pair for pair in pairs) >= 38
    assert all(first != 0 for first, _ in pairs)
