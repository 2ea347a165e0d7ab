"""The family of a run as a picture: one row a run, a line down to each run that was branched from it.

The last branch of a run goes on straight below it, the others turn off to the right, so that no lines cross and a
line of branches, however long, stays narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ....projections.lineage import Kin
from ..formats import signed
from .svg import element, picture

_ROW, _LANE, _LEFT, _WIDTH = 30, 22, 18, 640
_MOST_LANES = 12
_NAME = 30
_COLOURS = {"completed": "good", "failed": "bad", "open": "accent"}


@dataclass(frozen=True, slots=True)
class Limb:
    """A run in its place: ``lane`` counts from 0 at the left, ``parent`` is the row of the run it comes from."""

    kin: Kin
    lane: int
    parent: int | None


def lay_out(members: Sequence[Kin]) -> list[Limb]:
    """Places for a family whose members stand each after the one it was branched from, as ``family_of`` has them."""
    last = {kin.parent: kin.run for kin in members}
    rows = {kin.run: row for row, kin in enumerate(members)}
    limbs: list[Limb] = []
    for row, kin in enumerate(members):
        parent = None if kin.parent is None or row == 0 else rows[kin.parent]
        if parent is None:
            limbs.append(Limb(kin, 0, None))
        else:
            turns = last[kin.parent] != kin.run
            limbs.append(Limb(kin, limbs[parent].lane + turns, parent))
    return limbs


def lineage_picture(limbs: Sequence[Limb], asked: str, came_to: Mapping[str, tuple[str, float | None]]) -> Markup:
    """``came_to`` has the status and the improvement of each run; ``asked`` is the run that is marked."""
    marks, lines = [], []
    right = _x(max(limb.lane for limb in limbs)) + 18
    for row, limb in enumerate(limbs):
        x, y = _x(limb.lane), _y(row)
        if limb.parent is not None:
            lines.append(_line(_x(limbs[limb.parent].lane), _y(limb.parent), x, y))
        status, improvement = came_to[limb.kin.run]
        marks.append(_mark(status, x, y))
        marks.append(_label(limb.kin, right, y, status, improvement, limb.kin.run == asked))
    height = _ROW * len(limbs) + 10
    told = f"{len(limbs)} runs, each below the one it was branched from; the list below says the same"
    return picture(_WIDTH, height, f"Family of run {asked}", *lines, *marks, description=told, class_="wide")


def _x(lane: int) -> float:
    return _LEFT + _LANE * min(lane, _MOST_LANES)


def _y(row: int) -> float:
    return _ROW * row + 20


def _line(x0: float, y0: float, x: float, y: float) -> Markup:
    bend = f"M{x0:g},{y0:g}V{y:g}" if x == x0 else f"M{x0:g},{y0:g}V{y - 12:g}Q{x0:g},{y:g} {x0 + 12:g},{y:g}H{x:g}"
    return element("path", d=bend, fill="none", stroke_width=2, class_="stroke-soft")


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


def _label(kin: Kin, x: float, y: float, status: str, improvement: float | None, is_asked: bool) -> Markup:
    name = kin.run if len(kin.run) <= _NAME else f"{kin.run[: _NAME - 1]}…"
    words = [status]
    if improvement is not None:
        words.append(f"Δ {signed(improvement)}")
    if kin.parent_iteration is not None:
        words.append(f"left after iteration {kin.parent_iteration}")
    return element(
        "text",
        element("tspan", name + (" (this run)" if is_asked else ""), class_="text bold" if is_asked else "text"),
        element("tspan", "".join(f" · {word}" for word in words), class_="text-soft"),
        x=x,
        y=y + 4,
    )
