"""The win rate day by day, small: the rate, the turns behind it, and the bound since the first verdict, which holds
however often one looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from ..formats import num, share
from .svg import Scale, element, path, picture

WIDTH, HEIGHT = 540, 250
_LEFT, _RIGHT = 44, 530
_RATE = (96.0, 22.0)
_BARS = (146.0, 116.0)
_BOUND = (232.0, 176.0)


@dataclass(frozen=True, slots=True)
class Day:
    """Verdicts of one day; ``bound`` is that on the share of wins among the first decided turns of each user, from the
    version's first verdict up to the end of the day."""

    number: int
    date: str
    n: int
    wins: int
    ties: int
    losses: int
    bound: tuple[float, float]


def sparkline(days: Sequence[Day], title: str) -> Markup:
    """``days`` that have verdicts, in order; ``number`` counts days, so that one without leaves its place empty."""
    if not days:
        return Markup("")
    first, last = days[0].number, days[-1].number
    x = Scale(first, last + 1, _LEFT, _RIGHT)
    width = (_RIGHT - _LEFT) / (last + 1 - first)
    drawn = [
        *_rates(days, x, width),
        *_counts(days, x, width),
        *_bound(days, x, width),
        element("text", days[0].date, x=_LEFT, y=HEIGHT - 4, class_="text-soft small"),
        element("text", days[-1].date, x=_RIGHT, y=HEIGHT - 4, class_="text-soft small end"),
        *(_hover(day, x(day.number), width) for day in days),
    ]
    return picture(WIDTH, HEIGHT, title, *drawn, class_="wide")


def _rates(days: Sequence[Day], x: Scale, width: float) -> list[Markup]:
    y = Scale(0, 1, *_RATE)
    drawn = [_caption("wins / n by day, ties in n", _RATE[1] - 8), *_axis(y)]
    points = [(x(day.number) + width / 2, y(day.wins / day.n)) for day in days]
    begins = [place for place, day in enumerate(days) if place == 0 or day.number - days[place - 1].number != 1]
    line = "".join(path(points[start:end]) for start, end in pairwise([*begins, len(points)]))
    drawn.append(element("path", d=line, fill="none", stroke_width=1.5, class_="stroke-accent"))
    drawn += [element("circle", cx=cx, cy=cy, r=min(3.0, 0.35 * width), class_="fill-accent") for cx, cy in points]
    return drawn


def _counts(days: Sequence[Day], x: Scale, width: float) -> list[Markup]:
    most = max(day.n for day in days)
    tall = Scale(0, max(1, most), 0, _BARS[0] - _BARS[1])
    drawn = [_caption(f"turns judged by day, n; at most {num(most)}", _BARS[1] - 5)]
    drawn += [
        element(
            "rect",
            x=x(day.number) + 0.15 * width,
            y=_BARS[0] - tall(day.n),
            width=0.7 * width,
            height=tall(day.n),
            class_="fill-soft",
        )
        for day in days
    ]
    return drawn


def _bound(days: Sequence[Day], x: Scale, width: float) -> list[Markup]:
    """The bound as steps: what holds from the end of a day on."""
    y = Scale(0, 1, *_BOUND)
    above: list[tuple[float, float]] = []
    below: list[tuple[float, float]] = []
    ends = [*(x(day.number) for day in days[1:]), x(days[-1].number) + width]
    for day, end in zip(days, ends, strict=True):
        low, high = day.bound
        above += [(x(day.number), y(high)), (end, y(high))]
        below += [(x(day.number), y(low)), (end, y(low))]
    return [
        _caption("bound since the first verdict: share of wins, first decided turn of each user", _BOUND[1] - 8),
        element("path", d=path([*above, *reversed(below)]) + "Z", class_="fill-accent band"),
        *_axis(y),
        *(
            element("path", d=path(edge), fill="none", stroke_width=1.5, class_="stroke-accent")
            for edge in (above, below)
        ),
    ]


def _axis(y: Scale) -> list[Markup]:
    drawn = []
    for value in (0.0, 0.5, 1.0):
        looks = "stroke-soft dash" if value == 0.5 else "stroke-grid"
        drawn.append(element("line", x1=_LEFT, x2=_RIGHT, y1=y(value), y2=y(value), class_=looks, stroke_width=1))
        drawn.append(element("text", share(value), x=_LEFT - 6, y=y(value) + 4, class_="text-soft small end"))
    return drawn


def _hover(day: Day, start: float, width: float) -> Markup:
    low, high = day.bound
    told = (
        f"{day.date}: {day.wins} wins, {day.ties} ties, {day.losses} losses, n = {day.n}; since the first verdict, "
        f"first decided turn of each user: bound {share(low, 1)} to {share(high, 1)}"
    )
    area = element(
        "rect",
        x=start,
        y=_RATE[1],
        width=width,
        height=_BOUND[0] - _RATE[1],
        fill="none",
        pointer_events="all",
    )
    return element("g", element("title", told), area)


def _caption(words: str, y: float) -> Markup:
    return element("text", words, x=_LEFT, y=y, class_="text-soft small")
