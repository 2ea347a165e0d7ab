"""The results that an overview is computed from: those of its windows, of all sources or of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from .columns import Columns
from .segments import REPEATED, SUPERSEDED, Load, alias_of, load_segments
from .view import DAY
from .windows import Windows

Rows = Columns
Codes = NDArray[Any]


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
        return _between(self.rows, self.windows.first, self.windows.last)

    @property
    def current(self) -> Rows:
        return _between(self.rows, self.windows.current, self.windows.last)

    @property
    def prior(self) -> Rows:
        return _between(self.rows, self.windows.prior, self.windows.current - 1)

    def of_sources(self, sources: Sequence[str]) -> Graded:
        """Those whose session's first request had one of these sources."""
        rows, drawn, begun = (
            found[of_texts(found["source"], self.texts, sources)] for found in (self.rows, self.drawn, self.begun)
        )
        return replace(self, rows=rows, drawn=drawn, begun=begun)

    def under(self, version: str) -> Graded:
        """Those that were graded under one version of the judge's prompt; ``""`` where nobody said under which."""
        rows, drawn = (found[of_texts(found["prompt"], self.texts, [version])] for found in (self.rows, self.drawn))
        return replace(self, rows=rows, drawn=drawn)

    def versions(self) -> dict[str, int]:
        """The trend's results by the version of the judge's prompt, the version that graded last first."""
        trend = self.trend
        counts = np.bincount(trend["prompt"], minlength=1)
        latest = np.full(len(counts), -1, dtype=np.int64)
        np.maximum.at(latest, trend["prompt"], trend["seq"])
        present = sorted(np.flatnonzero(counts).tolist(), key=lambda code: -int(latest[code]))
        return {self.texts[code]: int(counts[code]) for code in present}

    def users_of(self, rows: Rows) -> list[str]:
        """The alias of each row's user."""
        return [alias_of("user", number) for number in self.users[rows["user"]].tolist()]


def load_graded(views: Connection, windows: Windows, size: int, load: Load = load_segments) -> Graded:
    """What an overview of these windows is computed from, over the first ``size`` entries."""
    graded = load(views, "graded", *windows.days, size)
    begun = load(views, "begun", windows.first // DAY, windows.last // DAY, size)
    texts = {text: number for number, text in enumerate(graded.texts)}
    numbers = np.array([texts.setdefault(text, len(texts)) for text in begun.texts], dtype=np.int32)
    began = _between(Columns(begun.rows), windows.first, windows.last)
    began = began.replacing("source", numbers[began["source"]]) if len(began) else began
    rows = _between(Columns(graded.rows), min(windows.first, windows.prior), windows.last)
    users, codes = np.unique(rows["user"], return_inverse=True)
    rows = rows.replacing("user", codes)
    drawn = _between(rows[~of_texts(rows["made"], graded.texts, ["on_demand"])], windows.first, windows.last)
    superseded = has(rows, SUPERSEDED)
    if superseded.any():
        rows = rows[~superseded]
    return Graded(windows, rows, drawn, began, tuple(texts), users, graded.cited, graded.rules)


def _between(rows: Rows, first: int, last: int) -> Rows:
    """The rows from ``first`` up to and with ``last``, of rows that stand in order of time."""
    at = rows["at"]
    return rows[slice(int(np.searchsorted(at, first)), int(np.searchsorted(at, last, side="right")))]


def of_texts(numbers: Codes, texts: Sequence[str], wanted: Sequence[str]) -> NDArray[np.bool_]:
    """Which of ``numbers`` stand for one of the ``wanted`` texts."""
    known = set(wanted)
    chosen = np.array([text in known for text in texts], dtype=np.bool_)
    return chosen[numbers] if len(numbers) else np.zeros(0, dtype=np.bool_)


def counts_of(numbers: Codes, texts: Sequence[str]) -> dict[str, int]:
    """How often each text stands there, by text. The empty text stands for what nobody said."""
    counts = np.bincount(numbers, minlength=1).tolist()
    return dict(sorted((texts[code], count) for code, count in enumerate(counts) if count))


def has(rows: Rows | NDArray[Any], flag: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (rows["flags"] & flag) != 0
    return found


def one_a_session(rows: Rows) -> Rows:
    """Of each session the result that was recorded last."""
    repeated = has(rows, REPEATED)
    if not repeated.any():
        return rows
    several = np.flatnonzero(repeated)
    sessions, seqs = rows["session"][several], rows["seq"][several]
    return rows[np.concatenate([np.flatnonzero(~repeated), several[last_of_each(sessions, seqs)]])]


def last_of_each(sessions: Codes, *order: Codes) -> NDArray[np.intp]:
    """Of each session the place that comes last in ``order``, of which the last one counts first."""
    places = np.lexsort((*order, sessions))
    last: NDArray[np.intp] = places[np.append(sessions[places][1:] != sessions[places][:-1], True)]
    return last
