"""The results that an overview is computed from: those of its windows, of all sources or of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from .segments import REPEATED, SUPERSEDED, alias_of, between, load_segments
from .view import DAY
from .windows import Windows

Rows = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Graded:
    """The results of an overview's windows, and the sessions that began in its trend, of all sources or of some.

    ``drawn`` are the trend's results that chance chose, also where somebody has asked for another grade since. All
    stand in order of time. In ``rows`` users are numbers from 0 on, into ``users``. All share one numbering of
    sources, ``texts``.
    """

    windows: Windows
    rows: Rows
    drawn: Rows
    begun: Rows
    texts: tuple[str, ...]
    users: NDArray[np.uint64]
    cited: NDArray[np.int32]
    rules: tuple[tuple[str, str], ...]

    @property
    def trend(self) -> Rows:
        return between(self.rows, self.windows.first, self.windows.last)

    @property
    def current(self) -> Rows:
        return between(self.rows, self.windows.current, self.windows.last)

    @property
    def prior(self) -> Rows:
        return between(self.rows, self.windows.prior, self.windows.current - 1)

    def of_sources(self, sources: Sequence[str]) -> Graded:
        """Those whose session's first request had one of these sources."""
        rows, drawn, begun = (
            found[of_texts(found["source"], self.texts, sources)] for found in (self.rows, self.drawn, self.begun)
        )
        return replace(self, rows=rows, drawn=drawn, begun=begun)

    def users_of(self, rows: Rows) -> list[str]:
        """The alias of each row's user."""
        return [alias_of("user", number) for number in self.users[rows["user"]].tolist()]


def load_graded(views: Connection, windows: Windows, size: int) -> Graded:
    """What an overview of these windows is computed from, over the first ``size`` entries."""
    graded = load_segments(views, "graded", *windows.days, size)
    begun = load_segments(views, "begun", windows.first // DAY, windows.last // DAY, size)
    texts = {text: number for number, text in enumerate(graded.texts)}
    numbers = np.array([texts.setdefault(text, len(texts)) for text in begun.texts], dtype=np.int32)
    began = between(begun.rows, windows.first, windows.last).copy()
    began["source"] = numbers[began["source"]] if len(began) else began["source"]
    rows = between(graded.rows, min(windows.first, windows.prior), windows.last).copy()
    users, codes = np.unique(rows["user"], return_inverse=True)
    rows["user"] = codes
    drawn = between(rows[~of_texts(rows["made"], graded.texts, ["on_demand"])], windows.first, windows.last)
    superseded = has(rows, SUPERSEDED)
    if superseded.any():
        rows = rows[~superseded]
    return Graded(windows, rows, drawn, began, tuple(texts), users, graded.cited, graded.rules)


def of_texts(numbers: Rows, texts: Sequence[str], wanted: Sequence[str]) -> Rows:
    """Which of ``numbers`` stand for one of the ``wanted`` texts."""
    return np.isin(numbers, [number for number, text in enumerate(texts) if text in set(wanted)])


def counts_of(numbers: Rows, texts: Sequence[str]) -> dict[str, int]:
    """How often each text stands there, by text. The empty text stands for what nobody said."""
    counts = np.bincount(numbers, minlength=1).tolist()
    return dict(sorted((texts[code], count) for code, count in enumerate(counts) if count))


def has(rows: Rows, flag: int) -> Rows:
    found: Rows = (rows["flags"] & flag) != 0
    return found


def one_a_session(rows: Rows) -> Rows:
    """Of each session the result that was recorded last."""
    repeated = has(rows, REPEATED)
    if not repeated.any():
        return rows
    several = rows[repeated]
    several = several[np.lexsort((several["seq"], several["session"]))]
    last = np.append(several["session"][1:] != several["session"][:-1], True)
    return np.concatenate([rows[~repeated], several[last]])
