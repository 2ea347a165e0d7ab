"""What the judges left undecided: single turns and sessions with the code of why, and how many failed of late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping

from ...domain.evaluation.events import SessionUndecided, ShadowUndecided
from ...ledger.store.opening import EventReader
from .effective import same

NamesOf = Callable[[Iterable[str]], dict[str, str | None]]

# Which undecided judgings have no verdict since is asked as in counts.py, which counts them.
_IS_OPEN = f"""CASE u.judge
    WHEN 'shadow' THEN NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.turn = u.turn AND v.version = u.version
            AND v.seq < :size)
        AND NOT EXISTS (SELECT 1 FROM undecided n WHERE n.turn = u.turn AND {same("n.version", "u.version")}
            AND n.seq > u.seq AND n.seq < :size)
    ELSE NOT EXISTS (SELECT 1 FROM results r WHERE r.session = u.session AND r.seq > u.seq AND r.seq < :size)
        AND NOT EXISTS (SELECT 1 FROM undecided n WHERE n.session = u.session AND n.judge = 'grade'
            AND n.seq > u.seq AND n.seq < :size)
    END"""
_OPEN = f"FROM undecided u WHERE u.seq < :size AND {_IS_OPEN}"
_FIELDS = """u.seq, u.judge, u.turn, u.session, u.agent_version, u.version, u.reason, u.calls, u.made, u.job, u.at,
    (SELECT i.interaction_id FROM interactions i WHERE i.seq = u.turn AND i.seq < :size) AS interaction_id,
    (SELECT q.user FROM requests q WHERE q.session = u.session AND q.seq < :size LIMIT 1) AS user"""
_PAGE = f"SELECT {_FIELDS} {_OPEN} ORDER BY u.seq DESC LIMIT :limit OFFSET :offset"
_TRIED = "SELECT * FROM undecided WHERE seq < :before ORDER BY seq DESC LIMIT :most"
_NEWEST = f"SELECT {_FIELDS} FROM ({_TRIED}) u WHERE {_IS_OPEN} ORDER BY u.seq DESC"

LOOKED_AT_MOST = 2000
"""Judgings that one page of the newest passes at most: most of them may have a verdict since."""


def list_undecided(
    views: Connection, events: EventReader, size: int, *, limit: int, offset: int, names_of: NamesOf
) -> dict[str, Any]:
    """Turns, under a version of the prompt, and sessions whose judging ended undecided and that have no verdict since.

    Newest first, by pages, each with the last time that it was tried. ``reasons`` counts all of them by code.
    """
    reasons = {
        row.reason: row.n
        for row in views.exec_driver_sql(
            f"SELECT u.reason, count(*) AS n {_OPEN} GROUP BY u.reason ORDER BY u.reason", {"size": size}
        )
    }
    given = {"size": size, "limit": limit, "offset": offset}
    listed = _shown(views.exec_driver_sql(_PAGE, given).mappings().all(), events, names_of)
    total = sum(reasons.values())
    return {
        "undecided": listed,
        "total": total,
        "reasons": reasons,
        "limit": limit,
        "offset": offset,
        "has_more": offset + len(listed) < total,
    }


@dataclass(frozen=True, slots=True)
class UndecidedPage:
    """Judgings that wait for a verdict still, as ``list_undecided`` shows them, with the aliases beside.

    ``reasons`` counts those among the ``looked_at`` judgings that this page passed. ``older`` is the seq to go on
    from, None where nothing is older.
    """

    undecided: tuple[dict[str, Any], ...]
    reasons: dict[str, int]
    looked_at: int
    older: int | None


def newest_undecided(
    views: Connection, events: EventReader, size: int, *, before: int | None = None, limit: int, names_of: NamesOf
) -> UndecidedPage:
    """The newest of what ``list_undecided`` lists, recorded below ``before``. Its cost does not grow with history."""
    start = size if before is None else min(before, size)
    bound = {"before": start, "most": LOOKED_AT_MOST}
    passed = views.exec_driver_sql(f"SELECT count(*), min(seq) FROM ({_TRIED}) u", bound).one()
    rows = views.exec_driver_sql(_NEWEST, {**bound, "size": size}).mappings().all()
    older = None
    if len(rows) > limit:
        older = rows[limit - 1]["seq"]
    elif passed[0] == LOOKED_AT_MOST:
        older = passed[1]
    shown = rows[:limit]
    listed = [
        {**document, "session": row["session"], "user": row["user"]}
        for document, row in zip(_shown(shown, events, names_of), shown, strict=True)
    ]
    reasons = Counter(row["reason"] for row in rows)
    return UndecidedPage(tuple(listed), dict(reasons.most_common()), passed[0], older)


def failures_since(views: Connection, size: int, start: int) -> dict[str, Any]:
    """Judgings that ended undecided from entry ``start`` on, whatever came of the matter later."""
    kinds, reasons = Counter[str](), Counter[str]()
    for row in views.exec_driver_sql(
        "SELECT judge, reason, count(*) AS n FROM undecided WHERE seq >= ? AND seq < ? GROUP BY judge, reason",
        (start, size),
    ):
        kinds[row.judge] += row.n
        reasons[row.reason] += row.n
    return {"turns": kinds["shadow"], "sessions": kinds["grade"], "reasons": dict(sorted(reasons.items()))}


def _shown(rows: Sequence[RowMapping], events: EventReader, names_of: NamesOf) -> list[dict[str, Any]]:
    names = names_of({alias for row in rows for alias in (row["session"], row["user"]) if alias})

    def shown(alias: str | None) -> str:
        return "" if not alias else names.get(alias) or f"[withheld {alias}]"

    return [
        {
            "kind": "turn" if row["judge"] == "shadow" else "session",
            "session_id": shown(row["session"]),
            "user_id": shown(row["user"]),
            "interaction_id": None if row["turn"] is None else str(row["interaction_id"] or row["turn"]),
            "turn_seq": row["turn"],
            "agent_version": row["agent_version"],
            "judge_prompt_version": row["version"],
            "judge_model": _model(events, row["seq"]),
            "reason": row["reason"],
            "calls": row["calls"],
            "made": row["made"],
            "job_id": row["job"],
            "at": row["at"],
            "seq": row["seq"],
        }
        for row in rows
    ]


def _model(events: EventReader, seq: int) -> str | None:
    found = events.event(seq)
    if found is None or not isinstance(found.event, ShadowUndecided | SessionUndecided):
        return None
    return found.event.model
