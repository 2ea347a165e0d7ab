"""An inclusion proof drawn: the entry at the bottom, the hashes of the proof beside the way, the root on top."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ....ledger.tlog.route import Step
from ..formats import num
from .svg import element, picture

WIDTH = 640
ROW = 62
_BOX, _HEIGHT = 176, 42
_CENTRE, _LEFT, _RIGHT = WIDTH / 2, _BOX / 2 + 4, WIDTH - _BOX / 2 - 4
_MARGIN = 6


def draw_path(index: int, size: int, leaf: bytes, steps: Sequence[Step]) -> Markup:
    """The way from the leaf hash of entry ``index`` to the root of ``size`` entries."""
    height = ROW * len(steps) + _HEIGHT + 2 * _MARGIN
    lines: list[Markup] = []
    boxes: list[Markup] = []
    y = height - _MARGIN - _HEIGHT
    boxes.append(_box(_CENTRE, y, "merkle-leaf" if steps else "merkle-root", leaf, f"entry {num(index)}"))
    for number, step in enumerate(steps, 1):
        beside = _LEFT if step.is_left else _RIGHT
        above = y - ROW
        lines.append(_line(_CENTRE, y, _CENTRE, above + _HEIGHT, "merkle-way"))
        lines.append(_elbow(beside, y, above + _HEIGHT))
        boxes.append(_box(beside, y, "merkle-given", step.sibling, entries(step.first, step.stop)))
        is_root = number == len(steps)
        told = f"root of {num(size)} entries" if is_root else entries(step.node_first, step.node_stop)
        boxes.append(_box(_CENTRE, above, "merkle-root" if is_root else "merkle-made", step.node, told))
        y = above
    return picture(
        WIDTH,
        height,
        f"The way from entry {num(index)} to the root of {num(size)} entries",
        *lines,
        *boxes,
        description=f"{len(steps)} {'hash' if len(steps) == 1 else 'hashes'} of the proof, each joined with the hash "
        "below it; the table lists them all",
        class_="merkle",
    )


def entries(first: int, stop: int) -> str:
    """The entries ``first`` up to ``stop``, which is excluded, in words."""
    return f"entry {num(first)}" if stop - first == 1 else f"entries {num(first)} to {num(stop - 1)}"


def _box(x: float, y: float, kind: str, digest: bytes, told: str) -> Markup:
    return element(
        "g",
        element("title", f"{told}: {digest.hex()}"),
        element("rect", x=x - _BOX / 2, y=y, width=_BOX, height=_HEIGHT, rx=5),
        element("text", f"{digest.hex()[:8]}…{digest.hex()[-4:]}", x=x, y=y + 17, class_="merkle-hash"),
        element("text", told, x=x, y=y + 34, class_="merkle-told"),
        class_=kind,
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _elbow(x: float, y: float, upto: float) -> Markup:
    """From a hash beside the way to the node that it goes into."""
    turn = (y + upto) / 2
    way = f"M{x:g},{y:g}V{turn:g}H{_CENTRE + (-30 if x < _CENTRE else 30):g}V{upto:g}"
    return element("path", d=way, fill="none", class_="merkle-join")
