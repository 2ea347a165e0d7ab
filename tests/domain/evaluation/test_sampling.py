"""Sampling: the sticky fraction's vectors, and draws that anyone can repeat."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.evaluation.sampling import draw, is_sampled, sticky_fraction

SEED = "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(
    ("org", "user", "session", "fraction"),
    [("self-host-org", "u1", "s1", 0.3546117906364577), ("org", "alice", "sess-42", 0.7529467582968793)],
)
def test_the_sticky_fraction_is_the_peers(org: str, user: str, session: str, fraction: float) -> None:
    assert sticky_fraction(org, user, session) == fraction


def test_a_rate_of_one_takes_all_and_none_or_zero_takes_nothing() -> None:
    assert is_sampled(1.0, 1.0)
    assert not is_sampled(0.0, 0.0)
    assert not is_sampled(0.0, None)
    assert is_sampled(0.04, 0.05)
    assert not is_sampled(0.05, 0.05)


def test_a_draw_is_the_same_whatever_the_order_of_strata_and_sessions() -> None:
    strata = {("2026-11-22", "a"): [f"session-{n:016x}" for n in range(30)], ("2026-11-23", "a"): ["session-1"]}
    turned = {key: list(reversed(sessions)) for key, sessions in reversed(strata.items())}
    drawn = draw(SEED, strata, 5)
    assert drawn == draw(SEED, turned, 5)
    assert list(drawn) == sorted(strata)
    assert drawn["2026-11-22", "a"][:2] == ["session-0000000000000006", "session-000000000000001c"]  # golden


def test_another_seed_draws_others() -> None:
    strata = {("2026-11-22", "a"): [f"session-{n:016x}" for n in range(100)]}
    assert draw(SEED, strata, 10) != draw(SEED[::-1], strata, 10)


def test_every_session_of_a_stratum_is_drawn_about_as_often() -> None:
    sessions = [f"session-{n:016x}" for n in range(10)]
    counts: Counter[str] = Counter()
    for n in range(2000):
        counts.update(draw(f"{n:032x}", {("2026-11-22", ""): sessions}, 3)["2026-11-22", ""])
    assert min(counts.values()) > 500
    assert max(counts.values()) < 700


@given(st.sets(st.integers(0, 200)), st.integers(1, 50))
def test_a_stratum_gives_n_of_its_own_or_all_it_has(numbers: set[int], n: int) -> None:
    sessions = [f"session-{number:016x}" for number in numbers]
    (drawn,) = draw(SEED, {("2026-11-22", "s"): sessions}, n).values()
    assert len(drawn) == len(set(drawn)) == min(n, len(sessions))
    assert set(drawn) <= set(sessions)
