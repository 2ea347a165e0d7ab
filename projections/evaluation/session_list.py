"""Sessions by pages, the one that began last first, each with what is known of it at a glance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Text, bindparam, text

from .effective import RESULT_COUNTS, VERDICT_COUNTS
from .graded import has, of_texts
from .newest import Key, newest
from .segments import ESCALATED, SUCCESS, SUPERSEDED, Segments, alias_of
from .trend import outcome_of

NamesOf = Callable[[Iterable[str]], dict[str, str | None]]
RECENT_REQUESTS = 2000
GradedAs = Literal["graded", "success", "failure", "escalated"]


@dataclass(frozen=True, slots=True)
class Glance:
    """A session at a glance. ``name`` and ``user_name`` are None where they are erased or closed.

    ``source`` is the first request's, ``agent_version`` that of the last one. ``success`` is of the grade
    recorded last that counts, None where there is none; ``undecided`` says that grading was tried since, in vain.
    Wins, ties and losses are those of the served answers under the version asked for.
    """

    session: str
    name: str | None
    user: str
    user_name: str | None
    source: str
    agent_version: str
    began_at: int
    last_at: int
    requests: int
    turns: int
    shadows: int
    success: bool | None
    escalated: bool
    failure_type: str | None
    made: str | None
    undecided: str | None
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A page of sessions. ``older`` is where to go on; ``exhausted`` as in ``Newest``."""

    sessions: tuple[Glance, ...]
    older: Key | None
    exhausted: bool


def newest_sessions(
    views: Connection,
    size: int,
    *,
    version: str,
    names_of: NamesOf,
    source: str | None = None,
    graded: GradedAs | None = None,
    before: Key | None = None,
    limit: int = 50,
) -> SessionPage:
    """Sessions, newest first; of one first source, or graded so, where that is asked. Verdicts are of ``version``.

    Narrowed by grade, a session with grades under two agent versions stands there twice.
    """

    def chosen(segments: Segments) -> NDArray[np.bool_]:
        rows = segments.rows
        mask: NDArray[np.bool_] = np.ones(len(rows), dtype=np.bool_)
        if source is not None:
            mask &= of_texts(rows["source"], segments.texts, [source])
        if graded is not None:
            mask &= ~has(rows, SUPERSEDED)
        match graded:
            case "success":
                mask &= has(rows, SUCCESS)
            case "failure":
                mask &= ~has(rows, SUCCESS)
            case "escalated":
                mask &= has(rows, ESCALATED)
        return mask

    kind: Literal["begun", "graded"] = "begun" if graded is None else "graded"
    page = newest(views, kind, size, chosen=chosen, before=before, limit=limit)
    sessions = [alias_of("session", row["session"]) for row, _ in page.rows]
    return SessionPage(tuple(glances(views, size, sessions, version, names_of)), page.older, page.exhausted)


def recent_sources(views: Connection, size: int) -> list[str]:
    """The sources of the newest ``RECENT_REQUESTS`` requests, by name."""
    rows = views.exec_driver_sql(
        "SELECT DISTINCT source FROM (SELECT source FROM requests WHERE seq < ? ORDER BY seq DESC LIMIT ?) r "
        "ORDER BY source",
        (size, RECENT_REQUESTS),
    )
    return [row[0] for row in rows]


def glances(views: Connection, size: int, sessions: Sequence[str], version: str, names_of: NamesOf) -> list[Glance]:
    """These sessions at a glance, in this order; those that have no request are left out."""
    given = {"sessions": list(dict.fromkeys(sessions)), "size": size, "version": version}
    requests = _by_session(views, _REQUESTS, given)
    turns = _by_session(views, _TURNS, given)
    grades = _by_session(views, _GRADES, given)
    undecided = _by_session(views, _UNDECIDED, given)
    verdicts = _by_session(views, _VERDICTS, given)
    names = names_of([*requests, *(row["user"] for found in requests.values() for row in found)])
    shown = []
    for session in sessions:
        asked = requests.get(session)
        if asked is None:
            continue
        (envelope,) = asked
        spoken = next(iter(turns.get(session, ())), {"turns": 0, "shadows": 0})
        grade = (grades.get(session) or [None])[-1]
        tried = (undecided.get(session) or [None])[-1]
        outcomes = [outcome_of(row["better"], bool(row["first"])) for row in verdicts.get(session, ())]
        shown.append(
            Glance(
                session=session,
                name=names.get(session),
                user=envelope["user"],
                user_name=names.get(envelope["user"]),
                source=envelope["source"],
                agent_version=envelope["agent_version"],
                began_at=envelope["began_at"],
                last_at=envelope["last_at"],
                requests=envelope["requests"],
                turns=spoken["turns"],
                shadows=spoken["shadows"] or 0,
                success=None if grade is None else bool(grade["success"]),
                escalated=grade is not None and bool(grade["escalated"]),
                failure_type=None if grade is None else grade["failure_type"],
                made=None if grade is None else grade["made"],
                undecided=None
                if tried is None or (grade is not None and grade["seq"] > tried["seq"])
                else tried["reason"],
                wins=outcomes.count("win"),
                ties=outcomes.count("tie"),
                losses=outcomes.count("loss"),
            )
        )
    return shown


_OF_SESSION = "FROM requests f WHERE f.session = r.session AND f.seq < :size ORDER BY"
_FIRST, _LAST = f"{_OF_SESSION} f.requested_at, f.seq LIMIT 1", f"{_OF_SESSION} f.requested_at DESC, f.seq DESC LIMIT 1"
_REQUESTS = f"""SELECT r.session, count(*) AS requests, min(r.requested_at) AS began_at, max(r.requested_at) AS last_at,
    (SELECT f.user {_FIRST}) AS user, (SELECT f.source {_FIRST}) AS source,
    (SELECT f.agent_version {_LAST}) AS agent_version
    FROM requests r WHERE r.session IN :sessions AND r.seq < :size GROUP BY r.session"""
_TURNS = """SELECT session, count(*) AS turns, sum(has_shadow) AS shadows FROM interactions
    WHERE session IN :sessions AND seq < :size GROUP BY session"""
_GRADES = f"""SELECT t.session, t.seq, t.success, t.escalated, t.failure_type, t.made FROM results t
    WHERE t.session IN :sessions AND t.seq < :size AND {RESULT_COUNTS} ORDER BY t.seq"""
_UNDECIDED = """SELECT session, seq, reason FROM undecided
    WHERE session IN :sessions AND judge = 'grade' AND seq < :size ORDER BY seq"""
# The || keeps SQLite to the index of sessions.
_VERDICTS = f"""SELECT t.session, t.better, t.reflexio_is_request_1 AS first FROM verdicts t
    WHERE t.session IN :sessions AND t.version || '' = :version AND t.seq < :size AND {VERDICT_COUNTS}"""


def _by_session(views: Connection, query: str, given: dict[str, Any]) -> dict[str, list[Any]]:
    statement = text(query).bindparams(bindparam("sessions", type_=Text(), expanding=True))
    wanted = {name: value for name, value in given.items() if f":{name}" in query}
    found: dict[str, list[Any]] = {}
    for row in views.execute(statement, wanted).mappings():
        found.setdefault(row["session"], []).append(row)
    return found
