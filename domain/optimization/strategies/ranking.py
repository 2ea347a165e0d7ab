"""Who is best after some duels: four rankings, their fusion, and which two should meet next.

Contestants are numbers. Pairs that have not met say nothing: they count as even where a ranking needs a value.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from math import fsum, log, sqrt
from typing import Literal

from ..randomness import RunRandom

Method = Literal["auto", "copeland", "borda", "elo", "average_win_rate"]

_ELO_START = 1500.0
_ELO_K = 32.0
_ELO_SCALE = 400.0
_ELO_PASSES = 3
_ELO_DIGITS = 6  # so that no last bit of a power decides between equals
_CONFIDENCE = 0.51
"""The width of confidence bounds; double Thompson sampling needs more than one half."""


@dataclass(frozen=True, slots=True)
class Duel:
    """Two contestants that met; ``winner`` is one of them, None for a tie."""

    a: int
    b: int
    winner: int | None


class WinMatrix:
    """How often each contestant won against each other one, and how often neither did."""

    def __init__(self, duels: Sequence[Duel]) -> None:
        self._wins: dict[tuple[int, int], int] = {}
        self._ties: dict[tuple[int, int], int] = {}
        self._opponents: dict[int, dict[int, None]] = {}
        for duel in duels:
            self._opponents.setdefault(duel.a, {})[duel.b] = None
            self._opponents.setdefault(duel.b, {})[duel.a] = None
            if duel.winner is None:
                for pair in ((duel.a, duel.b), (duel.b, duel.a)):
                    self._ties[pair] = self._ties.get(pair, 0) + 1
            else:
                pair = (duel.winner, duel.a if duel.winner == duel.b else duel.b)
                self._wins[pair] = self._wins.get(pair, 0) + 1

    def opponents(self, one: int, among: Container[int]) -> list[int]:
        """Those of ``among`` that ``one`` has met, in the order of their first duels."""
        return [other for other in self._opponents.get(one, ()) if other in among]

    def wins(self, a: int, b: int) -> int:
        """How often ``a`` won against ``b``."""
        return self._wins.get((a, b), 0)

    def ties(self, a: int, b: int) -> int:
        """How often ``a`` met ``b`` and neither won."""
        return self._ties.get((a, b), 0)

    def met(self, a: int, b: int) -> int:
        """How often ``a`` met ``b``."""
        return self.wins(a, b) + self.wins(b, a) + self.ties(a, b)

    def points(self, a: int, b: int) -> float:
        """What ``a`` took from its duels with ``b``: 1 for a win, ½ for a tie."""
        return self.wins(a, b) + self.ties(a, b) / 2

    def rate(self, a: int, b: int) -> float:
        """The share of points that ``a`` took from ``b``; ½ where they have not met."""
        met = self.met(a, b)
        return self.points(a, b) / met if met else 0.5


def copeland(contestants: Sequence[int], duels: Sequence[Duel]) -> list[float]:
    """How many others each contestant beats more often than not, less how many beat it."""
    matrix, among = WinMatrix(duels), set(contestants)
    return [
        float(sum(_sign(matrix.rate(one, other) - 0.5) for other in matrix.opponents(one, among)))
        for one in contestants
    ]


def borda(contestants: Sequence[int], duels: Sequence[Duel]) -> list[float]:
    """The mean over all others of each contestant's share of points; each opponent weighs the same."""
    matrix, among, others = WinMatrix(duels), set(contestants), len(contestants) - 1
    means = []
    for one in contestants:
        rates = [matrix.rate(one, other) for other in matrix.opponents(one, among)]
        means.append(fsum([*rates, 0.5 * (others - len(rates))]) / others if others else 0.5)
    return means


def average_win_rate(contestants: Sequence[int], duels: Sequence[Duel]) -> list[float]:
    """Each contestant's share of the points of all its duels; each duel weighs the same."""
    matrix, among, rates = WinMatrix(duels), set(contestants), list[float]()
    for one in contestants:
        others = matrix.opponents(one, among)
        met = sum(matrix.met(one, other) for other in others)
        rates.append(fsum(matrix.points(one, other) for other in others) / met if met else 0.5)
    return rates


def elo(contestants: Sequence[int], duels: Sequence[Duel]) -> list[float]:
    """Elo ratings (K 32, from 1500) after three passes over the duels between ``contestants``, in their order."""
    ratings = dict.fromkeys(contestants, _ELO_START)
    for _ in range(_ELO_PASSES):
        for duel in duels:
            if duel.a in ratings and duel.b in ratings:
                expected = 1.0 / (1.0 + 10.0 ** ((ratings[duel.b] - ratings[duel.a]) / _ELO_SCALE))
                found = 0.5 if duel.winner is None else float(duel.winner == duel.a)
                ratings[duel.a] += _ELO_K * (found - expected)
                ratings[duel.b] -= _ELO_K * (found - expected)
    return [round(ratings[one], _ELO_DIGITS) for one in contestants]


Scoring = Callable[[Sequence[int], Sequence[Duel]], list[float]]

METHODS: dict[str, Scoring] = {
    "copeland": copeland,
    "borda": borda,
    "elo": elo,
    "average_win_rate": average_win_rate,
}


def rank(contestants: Sequence[int], duels: Sequence[Duel], method: Method = "auto") -> list[int]:
    """``contestants``, best first; equals in the order in which they came.

    ``auto`` goes by the sum of the ranks that the four methods give, each weighing the same.
    """
    if method == "auto":
        ranks = [mid_ranks(scores(contestants, duels)) for scores in METHODS.values()]
        values = [-fsum(places) for places in zip(*ranks, strict=True)]
    else:
        values = METHODS[method](contestants, duels)
    return [contestants[place] for place in sorted(range(len(contestants)), key=lambda place: -values[place])]


def mid_ranks(scores: Sequence[float]) -> list[float]:
    """The rank of each score, 1 for the highest; equal scores share the mean of their ranks."""
    ordered = sorted(scores)
    n = len(ordered)
    return [1 + n - (bisect_left(ordered, score) + bisect_right(ordered, score) + 1) / 2 for score in scores]


def next_pair(contestants: Sequence[int], duels: Sequence[Duel], random: RunRandom) -> tuple[int, int]:
    """Two different contestants of at least two, by double Thompson sampling (Wu and Liu, 2016).

    The first is likely to be the best, the second the one whose duel with it is the most open. A tie counts as
    a win of each. Where the sampled second would be the first itself, the next likeliest stands in.
    """
    matrix = WinMatrix(duels)
    spread = _CONFIDENCE * log(max(1, len(duels)))
    first = _likely_best(contestants, matrix, spread, random)
    others = [one for one in contestants if one != first]
    draws = {one: _draw(matrix, one, first, random) for one in others}
    open_ones = [one for one in others if matrix.rate(one, first) - _margin(matrix, one, first, spread) <= 0.5]
    return first, max(open_ones or others, key=lambda one: draws[one])


def _likely_best(contestants: Sequence[int], matrix: WinMatrix, spread: float, random: RunRandom) -> int:
    """Of those that may still be the best by their confidence bounds, the winner of a sampled tournament."""
    may_beat = {
        one: sum(
            matrix.rate(one, other) + _margin(matrix, one, other, spread) > 0.5 for other in contestants if other != one
        )
        for one in contestants
    }
    beaten = dict.fromkeys(contestants, 0)
    for place, one in enumerate(contestants):
        for other in contestants[place + 1 :]:
            beaten[one if _draw(matrix, one, other, random) > 0.5 else other] += 1
    hopeful = [one for one in contestants if may_beat[one] == max(may_beat.values())]
    most = max(beaten[one] for one in hopeful)
    return random.choice([one for one in hopeful if beaten[one] == most])


def _draw(matrix: WinMatrix, a: int, b: int, random: RunRandom) -> float:
    ties = matrix.ties(a, b)
    return random.beta(1 + matrix.wins(a, b) + ties, 1 + matrix.wins(b, a) + ties)


def _margin(matrix: WinMatrix, a: int, b: int, spread: float) -> float:
    """Half the width of the confidence interval of a's rate against b; one half and more where they have not met."""
    met = matrix.met(a, b)
    return sqrt(spread / met) if met else 1.0


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
