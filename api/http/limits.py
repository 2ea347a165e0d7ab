"""How much may be asked: by one caller requests a minute and bodies of a size; by all together, requests at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """All of them may be set. A batch is one NDJSON body; each of its lines is held to ``body_bytes``.

    ``requests_at_once``, and ``bodies_bytes`` in memory for them, are those of all callers together.
    Gradings on demand have a limit of their own, in the workers' settings.
    """

    body_bytes: int = 10 * MIB
    batch_bytes: int = 256 * MIB
    batch_lines: int = 10_000
    body_seconds: float = 30.0
    batch_seconds: float = 600.0
    requests_per_minute: int = 6000
    requests_at_once: int = 256
    bodies_bytes: int = 512 * MIB


class RateLimiter:
    """A token bucket for each caller: it holds six seconds' worth, and fills evenly. ``clock`` gives seconds."""

    def __init__(
        self, per_minute: int, clock: Callable[[], float] = time.monotonic, *, most_callers: int = 10_000
    ) -> None:
        self._per_minute = per_minute
        self._burst = float(math.ceil(per_minute / 10))
        self._clock = clock
        self._most = most_callers
        self._buckets: dict[str, tuple[float, float]] = {}
        self._mutex = threading.Lock()

    def take(self, caller: str) -> float:
        """Take one token: 0, or how many seconds until there is one."""
        now, rate = self._clock(), self._per_minute / 60
        with self._mutex:
            held, seen = self._buckets.pop(caller, (self._burst, now))
            held = min(self._burst, held + (now - seen) * rate)
            wait = 0.0 if held >= 1 else (1 - held) / rate
            self._buckets[caller] = (held if wait else held - 1, now)  # at the end: the first is the idlest
            if len(self._buckets) > self._most:
                del self._buckets[next(iter(self._buckets))]
            return wait


class InProgress:
    """How much is being done at once, and how much may be. Whoever finds it full comes again; nobody waits here."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._now = 0
        self._mutex = threading.Lock()

    @property
    def now(self) -> int:
        return self._now

    def enter(self, count: int = 1) -> bool:
        """Begin so many; False, and none is begun, where there would be more than may be."""
        with self._mutex:
            if self._now + count > self.most:
                return False
            self._now += count
            return True

    def leave(self, count: int = 1) -> None:
        """End as many of those that began."""
        with self._mutex:
            self._now -= count
