"""How much may be asked: by one caller requests a minute and bodies of a size; by all together, requests at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """All of them may be set. A batch is one NDJSON body; each of its lines is held to ``body_bytes``.

    ``requests_at_once``, and ``bodies_bytes`` in memory for them, are those of all callers together, and are shared
    among them (see ``Shares``).
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

    def enter(self) -> bool:
        """Begin one; False, and none is begun, where as many are being done as may be."""
        with self._mutex:
            if self._now >= self.most:
                return False
            self._now += 1
            return True

    def leave(self) -> None:
        """End one that began."""
        with self._mutex:
            self._now -= 1


class Shares:
    """What all callers share: each may hold as much as is left free. So whoever comes next finds room, however much
    the others ask for: one caller gets half of it at most, two get a third each. Nobody waits here.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._held: dict[str, int] = {}
        self._mutex = threading.Lock()

    def take(self, caller: str, count: int = 1) -> bool:
        """Take so much more, 1 or more; False, and nothing is taken, where the caller would hold more than is free."""
        with self._mutex:
            held = self._held.get(caller, 0) + count
            if held > self._most - self._taken:
                return False
            self._held[caller] = held
            self._taken += count
            return True

    def give_back(self, caller: str, count: int = 1) -> None:
        """Give back what was taken."""
        with self._mutex:
            self._taken -= count
            self._held[caller] -= count
            if not self._held[caller]:
                del self._held[caller]


class Held:
    """What one request holds of what all share; leaving the block gives back the rest."""

    def __init__(self, shares: Shares, caller: str) -> None:
        self._shares = shares
        self._caller = caller
        self._held = 0

    def take(self, count: int) -> bool:
        """As ``Shares.take``."""
        taken = self._shares.take(self._caller, count)
        self._held += count if taken else 0
        return taken

    def give_back(self, count: int) -> None:
        """Give back what was taken, 1 or more."""
        self._held -= count
        self._shares.give_back(self._caller, count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self.give_back(self._held)
