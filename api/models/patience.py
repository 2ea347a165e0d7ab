"""When to try a call again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from .chat import Exchange

PROVIDER_REASONS = frozenset(
    {"unreachable", "timed_out", "rate_limited", "server_error", "not_allowed", "model_unknown", "redirected"}
)
"""Reason codes that speak of the provider as a whole, and not of what was asked."""

_AGAIN = frozenset({"unreachable", "timed_out", "rate_limited", "server_error"})


@dataclass(frozen=True, slots=True)
class Patience:
    """At most ``tries`` sends of one question.

    The wait before try n + 1 is ``first`` seconds doubled n - 1 times, at most ``longest``, of which a random half is
    taken off so that clients do not come back together. A ``Retry-After`` is kept to up to ``longest``; a server
    that asks for more is not asked again.
    """

    tries: int = 4
    first: float = 0.5
    longest: float = 30.0
    random: Callable[[], float] = random.random

    def wait(self, tried: int, exchange: Exchange) -> float | None:
        """Seconds until the next try after ``tried`` of them, None to give up."""
        if exchange.reason not in _AGAIN or tried >= self.tries:
            return None
        if exchange.retry_after is not None and exchange.retry_after > self.longest:
            return None
        backoff = min(self.longest, self.first * 2.0 ** (tried - 1)) * (0.5 + self.random() / 2)
        return max(backoff, exchange.retry_after or 0.0)
