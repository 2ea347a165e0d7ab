"""Lists that begin with what is newest and go back as far as a page needs, day by day over the cached columns.

A page costs the days that it shows, not the history: a stretch of days is loaded, then one twice as long, until the
page is full or ``LOOKED_AT_MOST`` rows were passed. Where a page ends is a key, so that what is recorded meanwhile
moves nothing from page to page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from .segments import Kind, Segments, load_segments
from .stale import SOURCE_TABLES
from .view import DAY

LOOKED_AT_MOST = 200_000
"""Rows that one page passes at most: a filter that nothing meets must not read everything there ever was."""

_MICRO = 1_000_000
_LONGEST = 4096


class Key(NamedTuple):
    """A place in a list: the time in the unit of the rows, then the seq. What comes after it is older."""

    at: int
    seq: int


@dataclass(frozen=True, slots=True)
class Newest:
    """Rows, newest first, each with the texts that its numbers stand for.

    ``older`` is where to go on, None where nothing is older. Where ``exhausted`` is False the page stopped looking
    before it was full.
    """

    rows: tuple[tuple[Any, tuple[str, ...]], ...]
    older: Key | None
    exhausted: bool


def newest(
    views: Connection,
    kind: Kind,
    size: int,
    *,
    chosen: Callable[[Segments], NDArray[np.bool_]],
    before: Key | None,
    limit: int,
) -> Newest:
    """The newest ``limit`` rows below ``before`` that ``chosen`` picks out of the first ``size`` entries."""
    unit = DAY * (_MICRO if kind == "judged" else 1)
    last = None if before is None else (before.at - (before.seq < 0)) // unit  # no seq is below 0: that time is passed
    found: list[tuple[Any, tuple[str, ...]]] = []
    stretch, looked = 1, 0
    while (day := _day_before(views, kind, last, size)) is not None:
        segments = load_segments(views, kind, day - stretch + 1, day, size)
        rows = segments.rows
        mask = chosen(segments)
        if before is not None:
            mask &= (rows["at"] < before.at) | ((rows["at"] == before.at) & (rows["seq"] < before.seq))
        page = newest_of(rows[mask], limit + 1 - len(found))
        found += [(row, segments.texts) for row in page]
        if len(found) > limit:
            return Newest(tuple(found[:limit]), _key(found[limit - 1][0]), True)
        looked += len(rows)
        last = day - stretch
        if looked >= LOOKED_AT_MOST and _day_before(views, kind, last, size) is not None:
            return Newest(tuple(found), Key((last + 1) * unit, -1), False)
        stretch = min(2 * stretch, _LONGEST)
    return Newest(tuple(found), None, True)


def newest_of(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """The newest of these rows, newest first."""
    if len(rows) > 4 * count:  # only those at least as new as the last one that is shown need sorting
        edge = np.partition(rows["at"], len(rows) - count)[len(rows) - count]
        rows = rows[rows["at"] >= edge]
    page: NDArray[Any] = rows[np.lexsort((rows["seq"], rows["at"]))[::-1][:count]]
    return page


def _key(row: Any) -> Key:
    return Key(int(row["at"]), int(row["seq"]))


def _day_before(views: Connection, kind: Kind, last: int | None, size: int) -> int | None:
    """The newest day up to ``last`` that has rows."""
    query = f"SELECT day FROM {SOURCE_TABLES[kind]} WHERE seq < :size"
    bound = {"size": size}
    if last is not None:
        query += " AND day <= :last"
        bound["last"] = last
    row = views.exec_driver_sql(f"{query} ORDER BY day DESC LIMIT 1", bound).first()
    return None if row is None else int(row[0])
