"""The run's own random numbers: a seeded generator whose draws are the same on every Python."""

from __future__ import annotations

import random
from collections.abc import MutableSequence, Sequence
from math import fsum, log
from typing import TypeVar

T = TypeVar("T")

_CHECK_DRAWS = 4


class RunRandom:
    """Draws for one run, from its recorded seed.

    Everything is made of ``random.Random(seed).random()``, the only sequence that Python promises to keep for a
    seed (https://docs.python.org/3/library/random.html#notes-on-reproducibility); its ``shuffle``, ``sample``
    and distributions may change between versions.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def below(self, n: int) -> int:
        """A whole number in [0, n)."""
        return int(self._random.random() * n)

    def choice(self, items: Sequence[T]) -> T:
        """One of ``items``, each as likely."""
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Put ``items`` into a random order (Fisher–Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """``k`` different ones of ``items``, or all of them, in random order."""
        drawn = list(items)
        self.shuffle(drawn)
        return drawn[:k]

    def beta(self, a: int, b: int) -> float:
        """A draw from Beta(a, b) for whole a, b ≥ 1, by two sums of exponentials (Gamma with whole shape)."""
        x, y = self._gamma(a), self._gamma(b)
        return x / (x + y)

    def _gamma(self, shape: int) -> float:
        return -fsum(log(1.0 - self._random.random()) for _ in range(shape))


def check_draws(seed: int) -> list[str]:
    """The first draws of ``seed`` as exact text, so that a replay on another Python sees whether they are its own."""
    drawn = RunRandom(seed)
    return [*(drawn.random().hex() for _ in range(_CHECK_DRAWS)), drawn.beta(3, 2).hex()]
