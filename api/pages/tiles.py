"""A tile: one figure in words, with what it is of."""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup


class Tile(NamedTuple):
    """A figure; ``note`` says of what it is, ``tone`` is ``good``, ``bad``, ``warn`` or nothing.

    Where it is compared with one of before: ``bounds`` is its interval, ``change`` and ``change_bounds`` say by how
    much it differs from ``before``, ``verdict`` whether that is clear. They are empty where there is nothing to
    compare with.
    """

    label: str
    value: str
    note: str = ""
    tone: str = ""
    bounds: str = ""
    change: str = ""
    change_bounds: str = ""
    before: str = ""
    verdict: str = ""
    picture: Markup = Markup("")
