"""What could not be judged: counted beside what was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from .windows import Windows

_SHADOW = """SELECT substr(t.at, 1, 10), t.reason, count(DISTINCT t.turn) FROM undecided t WHERE t.judge = 'shadow'
    AND t.version = :version AND t.seq < :size AND t.at >= :first AND t.at < :after AND NOT EXISTS (
    SELECT 1 FROM verdicts v WHERE v.turn = t.turn AND v.version = t.version AND v.seq < :size) GROUP BY 1, 2"""
_GRADE = """SELECT substr(t.at, 1, 10), t.reason, count(DISTINCT t.session) FROM undecided t WHERE t.judge = 'grade'
    AND t.seq < :size AND t.at >= :first AND t.at < :after AND NOT EXISTS (SELECT 1 FROM results r
    WHERE r.session = t.session AND r.seq > t.seq AND r.seq < :size) GROUP BY 1, 2"""


def undecided_turns(views: Connection, version: str, from_at: int, to_at: int, size: int) -> dict[str, Any]:
    """Turns whose judging under a version ended without a verdict in this time, and have none since."""
    return _counted(views, _SHADOW, {"version": version, **_between(from_at, to_at), "size": size})


def undecided_sessions(views: Connection, windows: Windows, size: int) -> dict[str, Any]:
    """Sessions whose grading ended without a grade in this time, and have none since."""
    return _counted(views, _GRADE, {**_between(windows.first, windows.last), "size": size})


def _counted(views: Connection, query: str, bound: dict[str, Any]) -> dict[str, Any]:
    reasons: dict[str, int] = {}
    daily: dict[str, int] = {}
    for date, reason, count in views.exec_driver_sql(query, bound):
        reasons[reason] = reasons.get(reason, 0) + count
        daily[date] = daily.get(date, 0) + count
    return {"n": sum(reasons.values()), "reasons": dict(sorted(reasons.items())), "daily": dict(sorted(daily.items()))}


def _between(from_at: int, to_at: int) -> dict[str, str]:
    """Bounds in the form of an entry's time, the last second included."""
    return {"first": _at(from_at), "after": _at(to_at + 1)}


def _at(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    except (OverflowError, ValueError, OSError):
        return "9999-12-31T23:59:59.999999Z"
