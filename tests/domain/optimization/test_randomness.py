from __future__ import annotations

from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.optimization.randomness import RunRandom, check_draws


def test_the_draws_of_a_seed_are_these_on_every_python() -> None:
    assert check_draws(7) == [
        "0x1.4b9ad0f953a6ep-2",
        "0x1.34f0696513270p-3",
        "0x1.4d474883171ffp-1",
        "0x1.28b2f3a47e100p-4",
        "0x1.43a8c9e3674a2p-1",
    ]
    drawn = RunRandom(7)
    assert [drawn.below(10) for _ in range(8)] == [3, 1, 6, 0, 5, 3, 0, 5]
    assert drawn.sample("abcdef", 3) == ["b", "e", "d"]


@given(st.integers(), st.lists(st.integers(), max_size=12, unique=True), st.integers(0, 15))
def test_a_sample_is_of_different_items_and_no_larger_than_what_there_is(seed: int, items: list[int], k: int) -> None:
    drawn = RunRandom(seed).sample(items, k)

    assert len(drawn) == min(k, len(items))
    assert set(drawn) <= set(items)
    assert len(set(drawn)) == len(drawn)


@given(st.integers(), st.integers(1, 1000))
def test_a_draw_lies_in_its_bounds(seed: int, n: int) -> None:
    drawn = RunRandom(seed)

    assert 0 <= drawn.random() < 1
    assert 0 <= drawn.below(n) < n
    assert 0 < drawn.beta(1, n) <= 1


def test_every_order_comes_about_as_often() -> None:
    drawn, counts = RunRandom(1), dict.fromkeys(["abc", "acb", "bac", "bca", "cab", "cba"], 0)
    for _ in range(6000):
        letters = list("abc")
        drawn.shuffle(letters)
        counts["".join(letters)] += 1

    assert all(850 < count < 1150 for count in counts.values())  # 5 standard deviations


def test_beta_has_its_mean() -> None:
    drawn = RunRandom(1)

    assert abs(mean(drawn.beta(3, 1) for _ in range(4000)) - 0.75) < 0.02
