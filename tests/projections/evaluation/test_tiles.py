"""Which graded sessions are known to have begun."""

from __future__ import annotations

import numpy as np
import pytest

from affidavit.projections.evaluation.columns import Columns
from affidavit.projections.evaluation.segments import DTYPES
from affidavit.projections.evaluation.tiles import _known_to_begin


@pytest.mark.parametrize("seconds", [1, 40, 10_000])
def test_sessions_are_found_however_many_began_in_their_second(seconds: int) -> None:
    rng = np.random.default_rng(seconds)
    begun, single = np.zeros(100, dtype=DTYPES["begun"]), np.zeros(60, dtype=DTYPES["graded"])
    begun["at"] = np.sort(rng.integers(0, seconds, 100))
    begun["session"] = rng.permutation(100)
    places = rng.permutation(100)[:40]
    single["at"][:40], single["session"][:40] = begun["at"][places], begun["session"][places]
    single["at"][:5] += 7  # graded by another time than their first request's
    single["at"][40:], single["session"][40:] = rng.integers(0, seconds, 20), np.arange(1000, 1020)
    assert _known_to_begin(Columns(single), Columns(begun)) == 40
    assert _known_to_begin(Columns(single), Columns(begun[:0])) == 0
    assert _known_to_begin(Columns(single[:0]), Columns(begun)) == 0
