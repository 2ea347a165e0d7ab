"""The verdicts of one version since its first, of each user the first decided one: what evidence is followed over.

Which of a user's verdicts is the first does not depend on a window, so that every window reads its end off the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ..columns import equals
from ..statistics.rates import dense
from .columns import Columns
from .graded import Rows, has, of_texts
from .segments import LOST, TIED, Load, load_segments
from .tiles import runs
from .view import DAY
from .win_rate import Evidence, evidence

_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class SinceFirst:
    """Times are in microseconds and ascend. ``at`` are those of all verdicts, ``decided`` those of each user's first
    decided one, and ``won`` whether the served answer won that. ``days`` have verdicts, from ``begins`` on."""

    at: NDArray[np.int64]
    decided: NDArray[np.int64]
    won: NDArray[np.bool_]
    days: NDArray[np.int64]
    begins: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Rows) -> SinceFirst:
        """From the effective verdicts of a version, all from the first on, in order of time."""
        at, lost = rows["at"], has(rows, LOST)
        found = np.flatnonzero(~has(rows, TIED))
        users = dense(rows["user"])[found]
        first = np.full(int(users.max(initial=-1)) + 1, len(rows))
        np.minimum.at(first, users, found)
        first = np.sort(first[first < len(rows)])
        days, place = runs(at // (DAY * _MICRO))
        return cls(at, at[first], ~lost[first], days, np.searchsorted(place, np.arange(len(days))))

    def until(self, last: int) -> tuple[Evidence, int]:
        """The evidence day by day up to and with ``last`` (microseconds), and how many verdicts that are."""
        last = min(last, 2**63 - 1)
        verdicts = int(np.searchsorted(self.at, last, side="right"))
        count = int(np.searchsorted(self.begins, verdicts))
        decided = self.decided[: np.searchsorted(self.decided, last, side="right")]
        place, won = np.searchsorted(self.days, decided // (DAY * _MICRO)), self.won[: len(decided)]
        wins, losses = (np.bincount(place[chosen], minlength=count).tolist() for chosen in (won, ~won))
        return evidence(list(zip(wins, losses, strict=True)), one_of_each=True), verdicts


@dataclass(frozen=True, slots=True)
class Followed:
    """The evidence since the first verdict, ``since`` (seconds; None where none counts), and of how many verdicts."""

    evidence: Evidence
    since: int | None
    verdicts: int


def followed(
    views: Connection,
    version: str,
    source: str | None,
    from_at: int,
    to_at: int,
    size: int,
    since_first: Callable[[], SinceFirst] | None = None,
) -> Followed | None:
    """The evidence up to the end of a window (seconds); None where no verdict of the version precedes the window.

    ``since_first`` gives what ``load_since_first`` does of the version and source, which is loaded else.
    """
    first = _first(views, version, size)
    if first is None or first >= from_at * _MICRO:
        return None
    loaded = load_since_first(views, version, source, size, to_at=to_at) if since_first is None else since_first()
    found, verdicts = loaded.until(to_at * _MICRO)
    return Followed(found, int(loaded.at[0]) // _MICRO if verdicts else None, verdicts)


def _first(views: Connection, version: str, size: int) -> int | None:
    """When a version gave its first verdict, in microseconds."""
    named, values = equals("version", version or None)
    found = views.exec_driver_sql(
        f"SELECT judged_at FROM verdicts WHERE {named} AND seq < ? ORDER BY judged_at LIMIT 1", (*values, size)
    ).scalar()
    return None if found is None else int(found)


def load_since_first(
    views: Connection,
    version: str,
    source: str | None,
    size: int,
    *,
    to_at: int | None = None,
    load: Load = load_segments,
) -> SinceFirst:
    """Over the first ``size`` entries, of one ``source`` where it is given, of days up to ``to_at`` (seconds)."""
    first = _first(views, version, size)
    named, values = equals("version", version or None)
    last = views.exec_driver_sql(f"SELECT max(judged_at) FROM verdicts WHERE {named}", values).scalar()
    days = (1, 0) if first is None or last is None else (first // (DAY * _MICRO), int(last) // (DAY * _MICRO))
    found = load(views, "judged", days[0], days[1] if to_at is None else min(days[1], to_at // DAY), size)
    chosen = of_texts(found.rows["version"], found.texts, [version])
    if source is not None:
        chosen &= of_texts(found.rows["source"], found.texts, [source])
    rows = Columns(found.rows)
    return SinceFirst.of(rows if chosen.all() else rows[chosen])
