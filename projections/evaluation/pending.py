"""What waits to be judged, as the read model shows it. Every query is a filter on ``seq`` and goes by an index.

Live work is looked for from a low-water mark on: a seq below which nothing waits any more. Who follows the log keeps
it in memory, so that a look costs what is new; the first look, from 0 on, goes through everything once, in pages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Text, bindparam, text

from ...domain.evaluation.sampling import Stratum

_CHUNK = 500

_NO_LIVE_VERDICT = (
    "NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.turn=i.seq AND v.job IS NULL AND v.seq < :size) "
    "AND NOT EXISTS (SELECT 1 FROM undecided u WHERE u.turn=i.seq AND u.job IS NULL AND u.seq < :size {which})"
)
_NO_LIVE_GRADE = (
    "NOT EXISTS (SELECT 1 FROM results g WHERE g.session=r.session AND g.made='live' AND g.seq < :size) AND "
    "NOT EXISTS (SELECT 1 FROM undecided u WHERE u.session=r.session AND u.judge='grade' AND u.made='live' "
    "AND u.seq < :size)"
)
_IS_LAST = (
    "NOT EXISTS (SELECT 1 FROM requests l WHERE l.session=r.session AND l.seq < :size "
    "AND (l.requested_at, l.seq) > (r.requested_at, r.seq))"
)


def turns_to_judge(views: Connection, size: int, *, low: int = 0, limit: int = 1000) -> list[int]:
    """Seqs, from ``low`` on in order, of the agent's published turns with a shadow of which no live judging concluded.

    A turn that a job has judged still waits; one that was imported does not.
    """
    query = (
        "SELECT i.seq FROM interactions i WHERE i.has_shadow=1 AND i.seq >= :low AND i.seq < :size "
        f"AND i.speaker='agent' AND i.imported=0 AND {_NO_LIVE_VERDICT.format(which='')} ORDER BY i.seq LIMIT :limit"
    )
    return [row.seq for row in views.execute(text(query), {"low": low, "size": size, "limit": limit})]


def turns_to_try_again(
    views: Connection, size: int, reasons: Collection[str], *, before: str, tries: int, limit: int = 1000
) -> list[int]:
    """Turns without a live verdict whose undecided rows, fewer than ``tries``, all have one of ``reasons`` (codes).

    The newest of them is of before the time ``before``, in the form of ``at``.
    """
    query = (
        "SELECT u.turn FROM undecided u WHERE u.judge='shadow' AND u.job IS NULL AND u.seq < :size AND NOT EXISTS "
        "(SELECT 1 FROM verdicts v WHERE v.turn=u.turn AND v.job IS NULL AND v.seq < :size) GROUP BY u.turn "
        "HAVING count(*) FILTER (WHERE u.reason NOT IN :reasons) = 0 AND count(*) < :tries AND max(u.at) < :before "
        "ORDER BY u.turn LIMIT :limit"
    )
    return [row.turn for row in _in_reasons(views, query, size, reasons, before, tries, limit)]


class DueSession(NamedTuple):
    """A session that was idle long enough. ``last`` is the seq of its last request, ``source`` that of its first."""

    last: int
    session: str
    user: str
    source: str
    evaluation_only: bool


def sessions_to_grade(
    views: Connection, size: int, *, idle_since: int, low: int = 0, limit: int = 1000
) -> list[DueSession]:
    """Published sessions whose last request came at ``idle_since`` or before, and that no live grading concluded.

    In order of their last requests, from seq ``low`` on. Whether they are sampled is not asked here.
    """
    query = (
        f"SELECT {_DUE} FROM requests r WHERE r.seq >= :low AND r.seq < :size AND r.imported=0 "
        f"AND r.requested_at <= :idle_since AND {_IS_LAST} AND {_NO_LIVE_GRADE} ORDER BY r.seq LIMIT :limit"
    )
    rows = views.execute(text(query), {"low": low, "size": size, "idle_since": idle_since, "limit": limit})
    return [_due(row) for row in rows]


def sessions_to_try_again(
    views: Connection, size: int, reasons: Collection[str], *, before: str, tries: int, limit: int = 1000
) -> list[DueSession]:
    """As ``turns_to_try_again``, for live gradings."""
    query = (
        f"SELECT {_DUE} FROM requests r WHERE r.seq < :size AND {_IS_LAST} AND r.session IN ("
        "SELECT u.session FROM undecided u WHERE u.judge='grade' AND u.made='live' AND u.seq < :size AND NOT EXISTS "
        "(SELECT 1 FROM results g WHERE g.session=u.session AND g.made='live' AND g.seq < :size) GROUP BY u.session "
        "HAVING count(*) FILTER (WHERE u.reason NOT IN :reasons) = 0 AND count(*) < :tries AND max(u.at) < :before) "
        "ORDER BY r.seq LIMIT :limit"
    )
    return [_due(row) for row in _in_reasons(views, query, size, reasons, before, tries, limit)]


def first_active_request(views: Connection, size: int, *, idle_since: int, low: int = 0) -> int:
    """The seq, from ``low`` on, of the first published request that came after ``idle_since``; ``size`` for none."""
    query = (
        "SELECT r.seq FROM requests r WHERE r.seq >= :low AND r.seq < :size AND r.imported=0 "
        "AND r.requested_at > :idle_since ORDER BY r.seq LIMIT 1"
    )
    row = views.execute(text(query), {"low": low, "size": size, "idle_since": idle_since}).one_or_none()
    return size if row is None else int(row.seq)


@dataclass(frozen=True, slots=True)
class SessionRows:
    """A session as of a size. ``agent_version`` is its last request's; ``interactions`` are seqs as spoken.

    Its first request came at ``started_at`` (seconds), its last at ``last_at``.
    """

    session: str
    user: str
    agent_version: str
    agent_versions: frozenset[str]
    started_at: int
    last_at: int
    interactions: tuple[int, ...]

    @property
    def through(self) -> int | None:
        """The seq of the interaction recorded last."""
        return max(self.interactions, default=None)


def session_rows(views: Connection, size: int, session: str) -> SessionRows | None:
    """What a grading needs to know of a session, None where it has no request."""
    given = {"session": session, "size": size}
    requests = views.execute(
        text(
            'SELECT "user", agent_version, requested_at FROM requests WHERE session=:session AND seq < :size '
            "ORDER BY requested_at, seq"
        ),
        given,
    ).all()
    if not requests:
        return None
    spoken = views.execute(
        text("SELECT seq FROM interactions WHERE session=:session AND seq < :size ORDER BY created_at, seq"), given
    )
    versions = frozenset(row.agent_version for row in requests)
    first, last = requests[0], requests[-1]
    seqs = tuple(row.seq for row in spoken)
    times = (first.requested_at, last.requested_at)
    return SessionRows(session, first.user, last.agent_version, versions, *times, seqs)


def earliest_session(views: Connection, size: int, sessions: Sequence[str]) -> str | None:
    """Which of ``sessions``, who share an id, has the earliest request; None where none has any."""
    query = text(
        "SELECT session FROM requests WHERE session IN :sessions AND seq < :size ORDER BY requested_at, seq LIMIT 1"
    ).bindparams(bindparam("sessions", type_=Text(), expanding=True))
    row = views.execute(query, {"sessions": list(sessions), "size": size}).one_or_none()
    return None if row is None else str(row.session)


class Grading(NamedTuple):
    """A result on the ledger: its seq and the number under which it is known."""

    seq: int
    result_id: int


def newest_grading(views: Connection, size: int, session: str, agent_version: str, through: int) -> Grading | None:
    """The newest grading, not imported, of exactly the content up to ``through``."""
    query = text(
        "SELECT seq, result_id FROM results WHERE session=:session AND agent_version=:version AND through=:through "
        "AND made<>'import' AND seq < :size ORDER BY seq DESC LIMIT 1"
    )
    given = {"session": session, "version": agent_version, "through": through, "size": size}
    row = views.execute(query, given).one_or_none()
    return None if row is None else Grading(row.seq, row.result_id)


class Candidates(NamedTuple):
    """What a regeneration may judge: sessions by stratum, and how many (session, agent version, source) there are."""

    strata: dict[Stratum, list[str]]
    tuples: int


def regeneration_candidates(views: Connection, size: int, from_at: int, to_at: int) -> Candidates:
    """Sessions with a request in ``[from_at, to_at]``, by (UTC day, source) of their first request of all."""
    window = {"from": from_at, "to": to_at, "size": size}
    within = "FROM requests WHERE requested_at >= :from AND requested_at <= :to AND seq < :size"
    counted = views.execute(
        text(f"SELECT count(*) AS n FROM (SELECT DISTINCT session, agent_version, source {within}) d"), window
    ).one()
    rows = views.execute(
        text(
            "SELECT s.session, f.requested_at, f.source FROM "
            f"(SELECT DISTINCT session {within}) s JOIN requests f ON f.seq = (SELECT seq FROM requests o "
            "WHERE o.session=s.session AND o.seq < :size ORDER BY o.requested_at, o.seq LIMIT 1)"
        ),
        window,
    )
    strata: defaultdict[Stratum, list[str]] = defaultdict(list)
    for row in rows:
        strata[utc_day(row.requested_at), row.source].append(row.session)
    return Candidates(dict(strata), counted.n)


def turns_to_judge_anew(views: Connection, size: int, sessions: Sequence[str], version: str) -> dict[str, list[int]]:
    """The turns of ``sessions`` with a shadow that no verdict of ``version`` speaks of, by session.

    A turn that waits for its live verdict is none of them: it gets that.
    """
    query = (  # the plus keeps SQLite to the index of sessions
        "SELECT i.session, i.seq FROM interactions i WHERE i.session IN :sessions AND +i.has_shadow=1 "
        "AND i.speaker='agent' AND i.seq < :size "
        "AND NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.turn=i.seq AND v.version=:version AND v.seq < :size) "
        "AND (i.imported=1 OR EXISTS (SELECT 1 FROM verdicts v WHERE v.turn=i.seq AND v.job IS NULL AND v.seq < :size) "
        "OR EXISTS (SELECT 1 FROM undecided u WHERE u.turn=i.seq AND u.job IS NULL AND u.seq < :size)) ORDER BY i.seq"
    )
    found: defaultdict[str, list[int]] = defaultdict(list)
    for chunk in _chunks(sessions):
        given = {"sessions": chunk, "size": size, "version": version}
        for row in views.execute(text(query).bindparams(bindparam("sessions", type_=Text(), expanding=True)), given):
            found[row.session].append(row.seq)
    return dict(found)


def utc_day(at: int) -> str:
    """The UTC day of a time in seconds, ``YYYY-MM-DD``; a time that no calendar has stands in its first or last day."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return "0001-01-01" if at < 0 else "9999-12-31"


_DUE = (
    "r.seq AS last, r.session, r.user, r.evaluation_only, (SELECT f.source FROM requests f WHERE f.session=r.session "
    "AND f.seq < :size ORDER BY f.requested_at, f.seq LIMIT 1) AS source"
)


def _due(row: Row[Any]) -> DueSession:
    return DueSession(row.last, row.session, row.user, row.source, bool(row.evaluation_only))


def _in_reasons(
    views: Connection, query: str, size: int, reasons: Collection[str], before: str, tries: int, limit: int
) -> Iterator[Row[Any]]:
    statement = text(query).bindparams(bindparam("reasons", type_=Text(), expanding=True))
    given = {"size": size, "reasons": sorted(reasons), "before": before, "tries": tries, "limit": limit}
    return iter(views.execute(statement, given))


def _chunks(items: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), _CHUNK):
        yield list(items[start : start + _CHUNK])
