"""A share over time: a point with its interval for each day or week, and below how many outcomes stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from ..formats import MINUS, num, share
from .svg import Scale, element, path, picture, ticks

WIDTH, HEIGHT = 1200, 350
_LEFT, _RIGHT, _TOP, _FOOT = 52, 1110, 18, 220
_BARS_TOP, _BARS_FOOT = 274, 316
_LABELLED_AT_MOST = 32
_DATES_AT_MOST = 12


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket: ``rate`` and its 95 % bounds, 0 to 1, of ``n`` graded sessions; ``of`` how many are known to have
    begun, fewer than ``n`` where graded ones came without their beginning."""

    at: int
    rate: float
    low: float
    high: float
    n: int
    of: int


def trend(points: Sequence[Point], step: int, overall: tuple[float, float, float] | None, title: str) -> Markup:
    """``points`` in order of time, ``step`` seconds long each; one that is missing leaves a gap in the line.

    ``overall`` is the share of all of them with its bounds.
    """
    if not points:
        return Markup("")
    first, last = points[0].at, points[-1].at
    x = Scale(first, last + step, _LEFT, _RIGHT)
    low, high = _reach([point.low for point in points], [point.high for point in points])
    y = Scale(low, high, _FOOT, _TOP)
    most = max(max(point.n, point.of) for point in points)
    tall = Scale(0, max(1, most), 0, _BARS_FOOT - _BARS_TOP)
    width = (_RIGHT - _LEFT) * step / (last + step - first)
    drawn = [
        *_grid(low, high, y),
        *_dates(points, step, x, width),
        _caption(_LEFT, _BARS_TOP - 24, "graded sessions, n (outline: all known to have begun)"),
        *([] if overall is None else _overall(overall, y)),
        *_line(points, step, x, y, width),
        *(_point(point, x(point.at) + width / 2, width, y, tall, labelled=_labelled(points)) for point in points),
    ]
    described = f"{len(points)} points from {_date(first)} to {_date(last)}"
    return picture(WIDTH, HEIGHT, title, *drawn, description=described, class_="wide")


def _reach(lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float]:
    """Whole tens of per cent around all intervals, at least thirty apart."""
    low, high = int(10 * min(lows)), -int(-10 * max(highs) // 1)
    while high - low < 3:
        low, high = max(0, low - 1), min(10, high + 1)
    return low / 10, high / 10


def _grid(low: float, high: float, y: Scale) -> list[Markup]:
    found = []
    for value in ticks(low, high, 6):
        found.append(
            element("line", x1=_LEFT, x2=_RIGHT, y1=y(value), y2=y(value), class_="stroke-grid", stroke_width=1)
        )
        found.append(element("text", share(value), x=_LEFT - 8, y=y(value) + 4, class_="text-soft end"))
    return found


def _dates(points: Sequence[Point], step: int, x: Scale, width: float) -> list[Markup]:
    slots = (points[-1].at - points[0].at) // step + 1
    every = -(-slots // _DATES_AT_MOST)
    return [
        element(
            "text",
            _date(points[0].at + slot * step),
            x=x(points[0].at + slot * step) + width / 2,
            y=_BARS_FOOT + 22,
            class_="text-soft middle",
        )
        for slot in range(0, slots, every)
    ]


def _overall(overall: tuple[float, float, float], y: Scale) -> list[Markup]:
    rate, low, high = overall
    return [
        element("rect", x=_LEFT, y=y(high), width=_RIGHT - _LEFT, height=y(low) - y(high), class_="fill-soft band"),
        element("line", x1=_LEFT, x2=_RIGHT, y1=y(rate), y2=y(rate), class_="stroke-soft dash", stroke_width=1.5),
        element("text", f"all {share(rate, 1)}", x=_RIGHT + 8, y=y(rate) + 4, class_="text"),
    ]


def _line(points: Sequence[Point], step: int, x: Scale, y: Scale, width: float) -> list[Markup]:
    """Through the points, broken where a bucket has none."""
    runs: list[list[Point]] = []
    for point in points:
        if runs and point.at - runs[-1][-1].at == step:
            runs[-1].append(point)
        else:
            runs.append([point])
    return [
        element(
            "path",
            d=path((x(point.at) + width / 2, y(point.rate)) for point in run),
            fill="none",
            stroke_width=1,
            stroke_opacity=0.55,
            class_="stroke-accent",
        )
        for run in runs
        if len(run) > 1
    ]


def _point(point: Point, middle: float, width: float, y: Scale, tall: Scale, *, labelled: bool) -> Markup:
    told = (
        f"{_date(point.at)}: {share(point.rate, 1)} ({share(point.low, 1)} to {share(point.high, 1)}), "
        f"n = {num(point.n)} graded; {num(point.of)} sessions began"
    )
    bar = min(26.0, 0.7 * width)
    drawn = [
        element("title", told),
        element(
            "rect",
            x=middle - width / 2,
            y=_TOP,
            width=width,
            height=_BARS_FOOT - _TOP,
            fill="none",
            pointer_events="all",
        ),
        element(
            "line",
            x1=middle,
            x2=middle,
            y1=y(point.low),
            y2=y(point.high),
            stroke_width=min(8.0, 0.4 * width),
            stroke_opacity=0.28,
            class_="stroke-accent",
        ),
        element("circle", cx=middle, cy=y(point.rate), r=min(4.0, 0.3 * width), class_="fill-accent"),
    ]
    if point.of > point.n:
        drawn.append(
            element(
                "rect",
                x=middle - bar / 2,
                y=_BARS_FOOT - tall(point.of),
                width=bar,
                height=tall(point.of),
                fill="none",
                class_="stroke-soft",
                stroke_width=1,
            )
        )
    drawn.append(
        element(
            "rect",
            x=middle - bar / 2,
            y=_BARS_FOOT - tall(point.n),
            width=bar,
            height=tall(point.n),
            class_="fill-soft",
        )
    )
    if labelled:
        top = _BARS_FOOT - tall(max(point.n, point.of)) - 4
        drawn.append(element("text", num(point.n), x=middle, y=top, class_="text small middle"))
    return element("g", *drawn)


def _labelled(points: Sequence[Point]) -> bool:
    return len(points) <= _LABELLED_AT_MOST


def _caption(x: float, y: float, words: str) -> Markup:
    return element("text", words, x=x, y=y, class_="text-soft small")


def _date(at: int) -> str:
    """Day and month; years that no calendar here knows are numbers."""
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return str(at).replace("-", MINUS)
    return f"{moment.day} {moment:%b}"
