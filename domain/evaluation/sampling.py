"""Sampling: which sessions are graded, and which a regeneration draws. No state, and no chance of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

Stratum = tuple[str, str]
"""(UTC day of a session's first request as ``YYYY-MM-DD``, source of that request)."""

DEFAULT_ORG = "self-host-org"
"""What stands for the org of a ledger in ``sticky_fraction``, as in the system whose fractions these are."""


def sticky_fraction(org: str, user: str, session: str) -> float:
    """A number in [0, 1] that is the same for a session each time.

    The first 8 bytes (big-endian) of SHA-256(org NUL user NUL session), divided by 2^64.
    """
    digest = hashlib.sha256("\0".join((org, user, session)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_sampled(fraction: float, rate: float | None) -> bool:
    """Whether a session of this fraction is in a sample of this rate: at 1 always, at 0 and without a rate never."""
    return rate is not None and rate > 0 and (rate >= 1 or fraction < rate)


def draw(seed: str, strata: Mapping[Stratum, Sequence[str]], n: int) -> dict[Stratum, list[str]]:
    """Draw at most ``n`` sessions of each stratum; a stratum that is no larger is taken whole.

    Sessions are taken in the order of SHA-256(seed NUL day NUL source NUL alias). The result is a function of the
    seed and of the *set* of aliases in each stratum: orders of dicts and lists, platform and Python version do not
    come in. It is a uniform sample without replacement: seed, day and alias have fixed forms, so no two sessions
    hash the same text; under a seed that nobody knew before, their hashes are as good as independent and uniform,
    every order of them is as likely as any other, and so every subset of ``n`` is as likely to come first. Strata are
    independent of each other, as the day and the source are in the text. Anyone with the seed can draw it again.
    """
    return {
        (day, source): sorted(set(aliases), key=lambda alias: _order(seed, day, source, alias))[:n]
        for (day, source), aliases in sorted(strata.items())
    }


def _order(seed: str, day: str, source: str, alias: str) -> tuple[bytes, str]:
    return hashlib.sha256("\0".join((seed, day, source, alias)).encode()).digest(), alias
