"""Whether the arms of an experiment have the sizes that the declared shares lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import comb, inf
from typing import Literal

from .exact import binomial_test, multinomial_test
from .figures import Figures

MISMATCH_BELOW = 0.001
"""Sample ratios are looked at again and again, and a false alarm costs a whole comparison."""

_SMALL_EXPECTED = 5
_OUTCOMES_LISTED_UP_TO = 20_000


@dataclass(frozen=True, slots=True)
class SampleRatio(Figures):
    """Do the arms have the sizes that the declared shares lead to?"""

    observed: dict[str, int]
    expected: dict[str, float]
    p_value: float | None
    test: Literal["exact", "chi_square"] | None
    mismatch: bool
    note: str


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Test the sizes of the arms against the shares that an assignment declared; ask only where one did.

    Count what was assigned: users if the declared unit is the user. An arm without a declared share expects
    nobody. Shares need not add up to 1, but must not be negative nor all zero (ValueError).
    """
    labels = sorted(counts.keys() | shares.keys())
    declared = [float(shares.get(label, 0.0)) for label in labels]
    if min(declared, default=0.0) < 0 or not 0 < sum(declared) < inf:
        raise ValueError(f"expected shares of at least 0 that are not all 0, found {dict(shares)}")
    observed = [counts.get(label, 0) for label in labels]
    n = sum(observed)
    expected = [n * declared_share / sum(declared) for declared_share in declared]
    p_value, test, note = _ratio_test(tuple(observed), tuple(expected))
    mismatch = p_value is not None and p_value < MISMATCH_BELOW
    if mismatch:
        note = f"sample-ratio mismatch (p below {MISMATCH_BELOW:g}): do not trust a comparison of these arms; {note}"
    return SampleRatio(
        dict(zip(labels, observed, strict=True)),
        dict(zip(labels, expected, strict=True)),
        p_value,
        test,
        mismatch,
        note.rstrip("; "),
    )


@lru_cache(maxsize=1024)
def _ratio_test(
    observed: tuple[int, ...], expected: tuple[float, ...]
) -> tuple[float | None, Literal["exact", "chi_square"] | None, str]:
    n = sum(observed)
    if n == 0 or len(observed) < 2:
        return None, None, "nothing to compare"
    if any(count and not hoped for count, hoped in zip(observed, expected, strict=True)):
        return 0.0, "exact", "an arm without a declared share has members"
    pairs = [(count, hoped) for count, hoped in zip(observed, expected, strict=True) if hoped]
    if len(pairs) < 2:
        return 1.0, "exact", "only one arm has a declared share"
    if min(hoped for _, hoped in pairs) < _SMALL_EXPECTED:
        if len(pairs) == 2:
            return binomial_test(pairs[0][0], n, pairs[0][1] / n), "exact", ""
        if comb(n + len(pairs) - 1, len(pairs) - 1) <= _OUTCOMES_LISTED_UP_TO:
            return multinomial_test([count for count, _ in pairs], [hoped / n for _, hoped in pairs]), "exact", ""
    from scipy.special import chdtrc

    statistic = sum((count - hoped) ** 2 / hoped for count, hoped in pairs)
    small = min(hoped for _, hoped in pairs) < _SMALL_EXPECTED
    note = f"p is approximate: an arm expects fewer than {_SMALL_EXPECTED}" if small else ""
    return float(chdtrc(len(pairs) - 1, statistic)), "chi_square", note
