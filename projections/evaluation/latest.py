"""When evaluation was last busy: where a window ends that nobody has chosen."""

from __future__ import annotations

from sqlalchemy import Connection

from .view import DAY

_NEWEST = (
    "SELECT day FROM results WHERE seq < :size AND day <= :today ORDER BY day DESC LIMIT 1",
    "SELECT day FROM verdicts WHERE seq < :size AND day <= :today ORDER BY day DESC LIMIT 1",
)


def last_day(views: Connection, size: int, now: int) -> int | None:
    """The last day (since 1970, UTC) up to ``now`` (seconds) whose sessions have results or on which verdicts were
    given, over the first ``size`` entries. What claims to be of the future does not count."""
    bound = {"size": size, "today": now // DAY}
    found = [row[0] for query in _NEWEST if (row := views.exec_driver_sql(query, bound).first()) is not None]
    return max(found, default=None)
