"""How often the served answer beats its shadow: the rate in three readings, the evidence over time, positions.

A verdict is a win (the served answer is better), a loss or a tie. docs/statistics.md has each formula and where it
is from. Like all figures these are computed when read and never sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING, Literal

from ..statistics.exact import binomial_test, fisher_test
from ..statistics.figures import ALPHA, MINIMUM_N, Figures, Interval
from ..statistics.rates import Share, Subjects, dense, newcombe, share
from ..statistics.sample_ratio import MISMATCH_BELOW

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import ArrayLike, NDArray

WIN, TIE, LOSS = 1, 0, -1

_MOST_LOG_E = 690.0
"""JSON has no infinity: an e-value stops at 10^299.6."""


@dataclass(frozen=True, slots=True)
class WinRate(Figures):
    """``n`` verdicts in three readings, which differ in what a tie is: no win, no verdict, half a win.

    ``of_all`` is the peer's ``win_rate`` and ``net_win`` its ``net_win``, both 0 there and None here without a
    verdict. ``net_win`` is 2 × ``half`` - 1, and so is its interval.
    """

    n: int
    wins: int
    losses: int
    ties: int
    of_all: Share
    decided: Share
    half: Share
    net_win: float | None
    net_win_interval: Interval | None


@dataclass(frozen=True, slots=True)
class EvidenceDay(Figures):
    """What is known after a day. ``wins`` and ``losses`` count from the first day on; ``interval`` is of the share of
    wins among decided verdicts, and all days' intervals hold it at once with 95 %."""

    wins: int
    losses: int
    e_value: float
    max_e_value: float
    p_anytime: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Evidence(Figures):
    """The evidence against "a win is as likely as a loss", valid for looks that all begin at the same verdict.

    However often one looks so and whenever one stops. Where verdicts precede these, nobody can tell that looks did
    not slide along with a window: then there is no verdict, and ``p_anytime`` is None.
    """

    wins: int
    losses: int
    e_value: float
    max_e_value: float
    p_anytime: float | None
    interval: Interval
    is_significant: bool
    note: str
    days: tuple[EvidenceDay, ...]


@dataclass(frozen=True, slots=True)
class PositionCheck(Figures):
    """Does the judge prefer a position?

    ``when_first`` and ``when_second`` are the win shares of the served answer by the position that it was shown
    in; ``difference`` is the first minus the second. ``first_won`` is the share of decided verdicts won by
    whichever answer was shown first: 0.5 where positions are random and the judge does not care.
    ``shown_first`` is how often the served answer came first, ties included. ``e_value`` and ``balance_e_value``
    are the evidence against one half in ``first_won`` and ``shown_first``, and the verdicts ``prefers`` and
    ``is_balanced`` rest on them: they hold for any number of looks that all begin at the first verdict.
    ``p_value`` and ``balance_p`` are tests for a single look.
    """

    when_first: Share
    when_second: Share
    difference: float | None
    interval: Interval | None
    p_value: float | None
    first_won: Share
    e_value: float
    shown_first: Share
    balance_p: float | None
    balance_e_value: float
    is_balanced: bool
    prefers: Literal["first", "second", "none"]
    note: str


def win_rate(outcomes: ArrayLike, clusters: ArrayLike | None = None) -> WinRate:
    """Count ``WIN``, ``LOSS`` and ``TIE`` codes; ``clusters`` is a code per row for its subject."""
    import numpy

    found = numpy.asarray(outcomes)
    codes = numpy.arange(found.size) if clusters is None else dense(clusters)
    if codes.size != found.size:
        raise ValueError(f"expected a cluster code per verdict, found {codes.size} for {found.size}")
    rows = numpy.bincount(codes)
    won = numpy.bincount(codes[found == WIN], minlength=rows.size)
    lost = numpy.bincount(codes[found == LOSS], minlength=rows.size)
    n, wins, losses = found.size, int(won.sum()), int(lost.sum())
    ties = n - wins - losses
    halves = wins + ties / 2
    spread = max(0.0, (wins + ties / 4) / n - (halves / n) ** 2) if n else 0.0
    half = share(halves, n, clusters=Subjects((rows + won - lost) / 2, rows).clusters, spread=spread)
    return WinRate(
        n=n,
        wins=wins,
        losses=losses,
        ties=ties,
        of_all=Subjects(won, rows).share,
        decided=Subjects(won, won + lost).share,
        half=half,
        net_win=None if half.rate is None else (wins - losses) / n,
        net_win_interval=None
        if half.interval is None
        else Interval(2 * half.interval.low - 1, 2 * half.interval.high - 1),
    )


def first_of_each_subject(
    outcomes: ArrayLike, clusters: ArrayLike, days: ArrayLike, count: int
) -> list[tuple[int, int]]:
    """(wins, losses) of each of ``count`` days, of every subject only the first decided verdict.

    Rows stand in the order of recording; ``days`` are numbers from 0. Subjects are independent where their
    turns are not, so evidence from these counts needs no further assumption.
    """
    import numpy

    found, subjects = numpy.asarray(outcomes), dense(clusters)
    decided = numpy.flatnonzero(found != TIE)
    first_decided = numpy.full(int(subjects.max(initial=-1)) + 1, found.size)
    numpy.minimum.at(first_decided, subjects[decided], decided)
    first = first_decided[first_decided < found.size]
    won, day = found[first] == WIN, numpy.asarray(days, dtype=numpy.int64)[first]
    wins, losses = (numpy.bincount(day[chosen], minlength=count) for chosen in (won, ~won))
    return list(zip(wins.tolist(), losses.tolist(), strict=True))


def evidence(days: Sequence[tuple[int, int]], *, one_of_each: bool = False, since_first: bool = True) -> Evidence:
    """Follow the evidence over days of (wins, losses), ties left out.

    ``one_of_each`` says that they are counts of one verdict for each subject, as ``first_of_each_subject`` gives;
    ``since_first`` that no verdict precedes the first day.

    The e-value is the likelihood of all verdicts so far, averaged over every win chance from 0 to 1 alike, over
    their likelihood at one half: 2^n B(wins + 1, losses + 1), Robbins' mixture (1970), a martingale when a win
    is as likely as a loss. So it passes 1/α at any time with chance at most α (Ville 1939), and 1 / (largest so
    far) is a p-value (Ramdas et al. 2023). The interval holds the win chances that the same mixture does not
    reject.
    """
    import numpy

    if not days:
        p_anytime = 1.0 if since_first else None
        return Evidence(0, 0, 1.0, 1.0, p_anytime, Interval(0.0, 1.0), False, "too few: no decided verdict", ())
    from scipy.special import betaln

    wins, losses = numpy.cumsum(numpy.asarray(days, dtype=float), axis=0).T
    mixture = betaln(wins + 1, losses + 1)
    e_values = numpy.exp(numpy.minimum(mixture + (wins + losses) * log(2), _MOST_LOG_E))
    most = numpy.maximum(numpy.maximum.accumulate(e_values), 1.0)
    low, high = _not_rejected(wins, losses, mixture)
    followed = tuple(
        EvidenceDay(int(won), int(lost), e_value, max_e_value, 1 / max_e_value, Interval(lowest, highest))
        for won, lost, e_value, max_e_value, lowest, highest in zip(
            *(column.tolist() for column in (wins, losses, e_values, most, low, high)), strict=True
        )
    )
    last = followed[-1]
    return Evidence(
        last.wins,
        last.losses,
        last.e_value,
        last.max_e_value,
        last.p_anytime if since_first else None,
        last.interval,
        since_first and last.p_anytime <= ALPHA,
        _evidence_note(last, one_of_each, since_first),
        followed,
    )


def position_check(
    first_wins: int,
    first_losses: int,
    second_wins: int,
    second_losses: int,
    *,
    first_ties: int = 0,
    second_ties: int = 0,
) -> PositionCheck:
    """Compare the verdicts where the served answer was shown first with those where it came second.

    Positions are drawn at random for each verdict, so where the position changes no verdict the answer shown first
    wins by a fair coin, even where turns repeat a subject: it is the draw that is tested, by the e-value of
    ``evidence``. For the same reason Fisher's test is exact. The interval takes verdicts for independent (Newcombe
    1998, method 10).
    """
    when_first = share(first_wins, first_wins + first_losses)
    when_second = share(second_wins, second_wins + second_losses)
    first_won = share(first_wins + second_losses, when_first.n + when_second.n)
    placed_first = when_first.n + first_ties
    shown_first = share(placed_first, placed_first + when_second.n + second_ties)
    balance_p = binomial_test(placed_first, shown_first.n, 0.5) if shown_first.n else None
    balance_e_value = _e_value(placed_first, shown_first.n - placed_first)
    is_balanced = balance_e_value * MISMATCH_BELOW < 1
    won = first_wins + second_losses
    of_position = _e_value(won, first_won.n - won)
    difference = interval = p_value = None
    if when_first.rate is not None and when_second.rate is not None:
        assert when_first.interval is not None
        assert when_second.interval is not None
        difference = when_first.rate - when_second.rate
        interval = newcombe(when_first.rate, when_first.interval, when_second.rate, when_second.interval)
        p_value = fisher_test(first_wins, when_first.n, second_wins, when_second.n)
    prefers: Literal["first", "second", "none"] = "none"
    if min(when_first.n, when_second.n) < MINIMUM_N:
        note = f"too few: a verdict on positions needs {MINIMUM_N} decided verdicts in each"
    elif not is_balanced:
        # then whichever answer is better wins from the position that it had more often
        note = "no verdict on a preference"
    elif of_position * ALPHA >= 1 and difference is not None and difference * (2 * won - first_won.n) > 0:
        prefers = "first" if difference > 0 else "second"
        note = f"the judge prefers the answer shown {prefers} (e-value at least {1 / ALPHA:g})"
    else:
        note = "no significant preference for a position; that is not evidence of none"
    if not is_balanced:
        note += f"; positions are not balanced (e-value at least {1 / MISMATCH_BELOW:g}), so they were not drawn evenly"
    return PositionCheck(
        when_first,
        when_second,
        difference,
        interval,
        p_value,
        first_won,
        of_position,
        shown_first,
        balance_p,
        balance_e_value,
        is_balanced,
        prefers,
        note,
    )


def _e_value(successes: int, failures: int) -> float:
    """The evidence against even chances, as in ``evidence``, from all trials so far."""
    from scipy.special import betaln

    return exp(min(float(betaln(successes + 1, failures + 1)) + (successes + failures) * log(2), _MOST_LOG_E))


def _not_rejected(
    wins: NDArray[float64], losses: NDArray[float64], mixture: NDArray[float64]
) -> tuple[NDArray[float64], NDArray[float64]]:
    """Of each day the win chances p whose e-value, mixture / (p^wins (1-p)^losses), is below 1/α.

    It falls up to the observed share and rises after it, so each end is found by halving; the outer end of the
    last half is given, which never narrows.
    """
    import numpy
    from scipy.special import xlog1py, xlogy

    n = wins + losses
    observed = numpy.divide(wins, n, out=numpy.full_like(n, 0.5), where=n > 0)
    outer, inner = numpy.stack([numpy.zeros_like(n), numpy.ones_like(n)]), numpy.stack([observed, observed])
    for _ in range(40):
        middle = (outer + inner) / 2
        rejected = mixture - xlogy(wins, middle) - xlog1py(losses, -middle) >= -log(ALPHA)
        outer, inner = numpy.where(rejected, middle, outer), numpy.where(rejected, inner, middle)
    return outer[0], outer[1]


def _evidence_note(last: EvidenceDay, one_of_each: bool, since_first: bool) -> str:
    assumed = (
        "; of each subject the first decided verdict counts"
        if one_of_each
        else "; assumes independent verdicts, and turns of one subject are not: count one of each to be strict"
    )
    if last.wins + last.losses == 0:
        return "too few: no decided verdict"
    if not since_first:
        return (
            "no verdict: other verdicts precede these, and the guarantee holds for looks that all begin at the first "
            "verdict, so a sliding window has none" + assumed
        )
    if last.p_anytime > ALPHA:
        return "not enough evidence of a difference yet; one may go on looking" + assumed
    if last.interval.low <= 0.5 <= last.interval.high:
        return "there was enough evidence of a difference, which later verdicts do not bear out" + assumed
    more, less = ("win", "loss") if last.wins > last.losses else ("loss", "win")
    return f"a {more} is more likely than a {less}, however often one looked (p at most {ALPHA:g})" + assumed
