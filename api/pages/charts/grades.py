"""The grades of one session through time: what each grading found, and which one counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from ....projections.evaluation.session_record import Judgement
from .svg import Scale, element, path, picture

WIDTH, HEIGHT = 920, 168
LEFT, RIGHT = 110.0, 20.0
ROWS = (("success", True, 30.0), ("undecided", None, 70.0), ("failure", False, 110.0))
_MARK = 7.0


def grades_picture(judgements: Sequence[Judgement], last_at: int) -> Markup:
    """Gradings by when they were recorded, in rows by what they found; a line stands where the session last spoke."""
    times = [_seconds(found.at) for found in judgements]
    low, high = min(*times, last_at), max(*times, last_at)
    x = Scale(low, high, LEFT + 14, WIDTH - RIGHT - 14)
    drawn = []
    for label, _, y in ROWS:
        drawn.append(element("text", label, x=0, y=y + 4, class_="text"))
        drawn.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="stroke-grid"))
    said = x(last_at)
    drawn.append(element("line", x1=said, x2=said, y1=12, y2=124, class_="stroke-soft dash"))
    heights = {success: y for _, success, y in ROWS}
    points = [(x(at), heights[found.success]) for at, found in zip(times, judgements, strict=True)]
    drawn.append(element("path", d=path(points), fill="none", class_="stroke-line", stroke_width=1.5))
    for (place, y), found in zip(points, judgements, strict=True):
        drawn.append(_mark(place, y, found))
    drawn.append(element("text", _at(low), x=LEFT, y=144, class_="text-soft small"))
    drawn.append(element("text", _at(high), x=WIDTH - RIGHT, y=144, class_="text-soft small end"))
    note = "● success   ✕ failure   □ undecided   a ring marks the grade that counts   ┆ the last request"
    drawn.append(element("text", note, x=LEFT, y=163, class_="text-soft small"))
    told = "; ".join(f"{found.at[:19]} {_word(found)}" for found in judgements)
    return picture(WIDTH, HEIGHT, "Grades of the session through time", *drawn, description=told, class_="wide")


def _mark(x: float, y: float, found: Judgement) -> Markup:
    parts = [element("title", f"{found.at[:19]}: {_word(found)}")]
    if found.counts:
        parts.append(element("circle", cx=x, cy=y, r=12, fill="none", class_="stroke-accent", stroke_width=2.5))
    match found.success:
        case True:
            parts.append(element("circle", cx=x, cy=y, r=_MARK, class_="fill-good"))
        case False:
            cross = f"M{x - 6:.2f},{y - 6:.2f}l12,12M{x + 6:.2f},{y - 6:.2f}l-12,12"
            parts.append(element("path", d=cross, fill="none", class_="stroke-bad", stroke_width=3))
        case None:
            box = {"x": x - 6, "y": y - 6, "width": 12, "height": 12}
            parts.append(element("rect", class_="fill-paper stroke-warn", stroke_width=2.5, **box))
    return element("g", *parts)


def _word(found: Judgement) -> str:
    word = "undecided" if found.success is None else "success" if found.success else "failure"
    return f"{word}, counts" if found.counts else word


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _at(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return "beyond the calendar"
