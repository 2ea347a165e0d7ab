"""The family of a run as a picture: a row for each run, as long as its iterations.

A branch turns off its parent's line at the iteration after which it was taken, and goes on in a row of its own below.
Of the branches of one run the one that left last stands nearest to it, so that no lines cross.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from markupsafe import Markup

from ....projections.runs.lineage import Kin
from ..formats import signed
from .svg import element, picture

_ROW, _LEFT, _TOP, _NARROWEST = 30, 14, 20, 640
_LABEL = 370
"""The room right of a line for the words about the run."""
_LINES, _WIDEST = 300, 24
"""The room for the iterations of the line that ends last, and how wide one is at most."""
_TURN = 10
"""How far right of where it leaves its parent a branch begins."""
_DOTS = 8.0
"""How wide an iteration must be for a dot of its own."""
_NAME = 30
_COLOURS = {"completed": "good", "failed": "bad", "open": "accent"}


@dataclass(frozen=True, slots=True)
class Limb:
    """A run in its place: ``depth`` counts from 0 at the oldest that is shown, ``parent`` is the row of the run it
    comes from. Its line begins ``start`` iterations from the left, where it leaves its parent's, and is ``length``
    iterations long."""

    kin: Kin
    depth: int
    parent: int | None
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Came:
    """What a run came to."""

    status: str
    improvement: float | None
    iterations: int


def lay_out(members: Sequence[Kin], iterations: Mapping[str, int]) -> list[Limb]:
    """Places for a family whose oldest run stands first, as ``family_of`` has them: each below its parent.

    A branch that says it left after more iterations than its parent has leaves after the last.
    """
    branches: dict[str | None, list[Kin]] = {}
    for kin in members[1:]:
        branches.setdefault(kin.parent, []).append(kin)
    limbs: list[Limb] = []
    waiting: list[tuple[Kin, int | None]] = [(members[0], None)]
    while waiting:
        kin, row = waiting.pop()
        parent = None if row is None else limbs[row]
        depth = start = 0
        if parent is not None:
            depth = parent.depth + 1
            start = parent.start + _left_after(kin, parent.length)
        length = iterations.get(kin.run, 0)
        waiting += (
            (branch, len(limbs))
            for branch in sorted(
                branches.get(kin.run, ()), key=lambda branch: (_left_after(branch, length), branch.seq)
            )
        )
        limbs.append(Limb(kin, depth, row, start, length))
    return limbs


def lineage_picture(limbs: Sequence[Limb], asked: str, came_to: Mapping[str, Came]) -> Markup:
    """``asked`` is the run that is marked."""
    step = min(_WIDEST, _LINES / max(1, *(limb.start + limb.length for limb in limbs)))
    lines, marks, width = [], [], _NARROWEST
    for row, limb in enumerate(limbs):
        came = came_to[limb.kin.run]
        start, y = _LEFT + step * limb.start + _TURN * limb.depth, _y(row)
        end = start + step * limb.length
        if limb.parent is not None:
            lines.append(_turn(start - _TURN, _y(limb.parent), start, y))
        lines.append(element("path", d=f"M{start:g},{y}H{end:g}", fill="none", stroke_width=3, class_="stroke-soft"))
        if step >= _DOTS:
            lines += [element("circle", cx=start + step * n, cy=y, r=3, class_="fill-soft") for n in range(limb.length)]
        marks.append(_mark(came.status, end, y))
        marks.append(_label(limb.kin, end + 14, y, came, limb.kin.run == asked))
        width = max(width, ceil(end) + _LABEL)
    told = f"{len(limbs)} runs, each below the one it was branched from; the list below says the same"
    height = _ROW * len(limbs) + 10
    return picture(width, height, f"Family of run {asked}", *lines, *marks, description=told, class_="wide")


def _left_after(kin: Kin, most: int) -> int:
    return min(max(0, kin.parent_iteration or 0), most)


def _y(row: int) -> int:
    return _ROW * row + _TOP


def _turn(x0: float, y0: int, x: float, y: int) -> Markup:
    down = f"M{x0:g},{y0}V{y - _TURN}Q{x0:g},{y} {x:g},{y}"
    return element("path", d=down, fill="none", stroke_width=2, class_="stroke-soft")


def _mark(status: str, x: float, y: float) -> Markup:
    """Shape and colour say the same: a disc, a cross, a ring, a square."""
    colour = _COLOURS.get(status, "warn")
    if status == "failed":
        back = element("circle", cx=x, cy=y, r=7, class_="fill-paper")
        cross = f"M{x - 5:g},{y - 5:g}l10,10m0,-10l-10,10"
        return element("g", back, element("path", d=cross, fill="none", stroke_width=3, class_="stroke-bad"))
    if status == "completed":
        return element("circle", cx=x, cy=y, r=6, class_=f"fill-{colour}")
    if status == "open":
        return element("circle", cx=x, cy=y, r=5, stroke_width=3, class_=f"fill-paper stroke-{colour}")
    return element("rect", x=x - 5, y=y - 5, width=10, height=10, class_=f"fill-{colour}")


def _label(kin: Kin, x: float, y: float, came: Came, is_asked: bool) -> Markup:
    name = kin.run if len(kin.run) <= _NAME else f"{kin.run[: _NAME - 1]}…"
    words = [came.status]
    if came.improvement is not None:
        words.append(f"Δ {signed(came.improvement)}")
    if kin.parent_iteration is not None:
        words.append(f"left after iteration {kin.parent_iteration}")
    return element(
        "text",
        element("tspan", name + (" (this run)" if is_asked else ""), class_="text bold" if is_asked else "text"),
        element("tspan", "".join(f" · {word}" for word in words), class_="text-soft"),
        x=x,
        y=y + 4,
    )
