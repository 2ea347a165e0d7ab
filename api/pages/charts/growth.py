"""How the log grew: entries over time, and up to where they are signed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from ..formats import at as told_at
from ..formats import num
from .svg import Scale, element, path, picture, ticks

WIDTH, HEIGHT = 640, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 30
_HOURS = 3 * 86_400


def draw_growth(points: Sequence[tuple[float, int]], signed: int | None) -> Markup:
    """``points`` are (seconds since 1970, entries by then) in order, at least one; ``signed`` how many are signed."""
    first, last = points[0][0], points[-1][0]
    size = points[-1][1]
    x = Scale(first, last, _LEFT, WIDTH - _RIGHT)
    y = Scale(0, size, HEIGHT - _BOTTOM, _TOP)
    drawn = [(x(seconds), y(entries)) for seconds, entries in points]
    base = HEIGHT - _BOTTOM
    parts = [
        element(
            "g",
            element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y(tick), y2=y(tick), class_="stroke-grid"),
            element("text", num(tick), x=_LEFT - 8, y=y(tick) + 4, text_anchor="end", class_="text-soft"),
        )
        for tick in ticks(0, size, 4)
        if tick == int(tick)
    ]
    area = f"{path([(drawn[0][0], base), *drawn, (drawn[-1][0], base)])}Z"
    parts.append(element("path", d=area, class_="fill-tint"))
    parts.append(element("path", d=path(drawn), fill="none", stroke_width=2, class_="stroke-series-1"))
    for anchor, seconds, place in (("start", first, _LEFT), ("end", last, WIDTH - _RIGHT)):
        if anchor == "start" or last > first:
            label = element("text", _label(seconds, last - first), x=place, y=HEIGHT - 8, text_anchor=anchor)
            parts.append(element("g", label, class_="text-soft"))
    end = drawn[-1]
    parts.append(element("circle", cx=end[0], cy=end[1], r=4, class_="fill-series-1"))
    told = f"{num(size)} entries by {told_at(last)}"
    if signed is not None:
        told += f", of which {num(signed)} are signed"
    return picture(WIDTH, HEIGHT, "Entries of the log over time", *parts, description=told, class_="growth")


def _label(seconds: float, span: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC" if span < _HOURS else f"{moment:%Y-%m-%d}"
