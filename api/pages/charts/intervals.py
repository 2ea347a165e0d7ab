"""Estimates with their intervals, one below the other against one line: what differs from it and how surely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .bars import shortened
from .svg import Scale, element, picture, ticks

WIDTH = 900
_ROW, _TOP = 30, 14
_MOST_LETTERS = 46
_LETTER, _SMALL_LETTER = 6.8, 6.3
"""What a letter of the two sizes takes at most, on average, in the widest of the fonts."""

_APART = 64
"""Between two labels of the axis, at least."""

_SHAPES = ("circle", "square", "diamond")


@dataclass(frozen=True, slots=True)
class Estimate:
    """``value`` with its bounds, all None where there is none; ``printed`` stands beside it in words.

    ``shape`` tells kinds of estimates apart: 0, 1 or 2.
    """

    label: str
    value: float | None
    low: float | None
    high: float | None
    printed: str
    shape: int = 0


def intervals(
    rows: Sequence[Estimate],
    title: str,
    axis: Callable[[float], str],
    *,
    reference: float | None = None,
    about: str = "",
    width: int = WIDTH,
) -> Markup:
    """``axis`` prints the axis; ``reference`` is where nothing differs, ``about`` says what lies there."""
    known = [bound for row in rows for bound in (row.value, row.low, row.high) if bound is not None]
    if not rows:
        return Markup("")
    if reference is not None:
        known.append(reference)
    low, high = min(known, default=0.0), max(known, default=1.0)
    room = 0.06 * (high - low) or 0.05
    left = _LETTER * max(len(shortened(row.label, _MOST_LETTERS)) for row in rows) + 16
    right = width - _SMALL_LETTER * max(len(row.printed) for row in rows) - 14
    x = Scale(low - room, high + room, left, max(left + 80, right))
    foot = _TOP + _ROW * len(rows)
    drawn = []
    for value in ticks(low - room, high + room, max(2, int((x.end - x.start) / _APART))):
        drawn.append(element("line", x1=x(value), x2=x(value), y1=_TOP, y2=foot, class_="stroke-grid", stroke_width=1))
        drawn.append(element("text", axis(value), x=x(value), y=foot + 18, class_="text-soft small middle"))
    if reference is not None:
        drawn.append(
            element(
                "line",
                x1=x(reference),
                x2=x(reference),
                y1=_TOP - 6,
                y2=foot + 4,
                class_="stroke-ink dash",
                stroke_width=1.5,
            )
        )
    drawn += [_row(row, _TOP + (place + 0.5) * _ROW, x) for place, row in enumerate(rows)]
    if about:
        drawn.append(element("text", about, x=(x.start + x.end) / 2, y=foot + 36, class_="text-soft small middle"))
    return picture(width, foot + (44 if about else 26), title, *drawn, class_="wide")


def against_zero(value: float, low: float, high: float, title: str) -> Markup:
    """One difference, small: its interval and the line where nothing differs."""
    reach = max(abs(low), abs(high)) * 1.08 or 1.0
    x = Scale(-reach, reach, 4, 196)
    return picture(
        200,
        20,
        title,
        element("line", x1=x(0.0), x2=x(0.0), y1=1, y2=19, class_="stroke-ink dash", stroke_width=1.5),
        element(
            "line", x1=x(low), x2=x(high), y1=10, y2=10, class_="stroke-accent", stroke_width=4, stroke_opacity=0.4
        ),
        element("circle", cx=x(value), cy=10, r=4.5, class_="fill-accent"),
    )


def _row(row: Estimate, y: float, x: Scale) -> Markup:
    drawn = [
        element("title", f"{row.label}: {row.printed}"),
        element("text", shortened(row.label, _MOST_LETTERS), x=0, y=y + 4, class_="text"),
        element("text", row.printed, x=x.end + 14, y=y + 4, class_="text small"),
    ]
    looks = f"series-{row.shape + 1}"
    if row.low is not None and row.high is not None:
        drawn.append(
            element("line", x1=x(row.low), x2=x(row.high), y1=y, y2=y, class_=f"stroke-{looks}", stroke_width=2.5)
        )
        drawn += [
            element("line", x1=x(end), x2=x(end), y1=y - 5, y2=y + 5, class_=f"stroke-{looks}", stroke_width=2.5)
            for end in (row.low, row.high)
        ]
    if row.value is not None:
        drawn.append(_mark(row.shape, x(row.value), y, f"fill-{looks}"))
    return element("g", *drawn)


def _mark(shape: int, x: float, y: float, looks: str) -> Markup:
    match _SHAPES[shape % len(_SHAPES)]:
        case "circle":
            return element("circle", cx=x, cy=y, r=5.5, class_=looks)
        case "square":
            return element("rect", x=x - 5, y=y - 5, width=10, height=10, class_=looks)
        case _:
            return element("path", d=f"M{x:.2f},{y - 7:.2f}l7,7l-7,7l-7,-7Z", class_=looks)
