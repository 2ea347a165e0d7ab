"""What callers said of how sessions ended. It stands beside the judges' results and in no number of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import BindParameter, Connection, Text, bindparam, text

from ...domain.evaluation.events import SessionOutcomeReported
from ...ledger.store.opening import EventReader
from .requests import NamesOf

_NEWEST = (
    "JOIN (SELECT session, max(seq) AS newest FROM outcomes WHERE seq < :size GROUP BY session) n ON o.seq = n.newest "
)
_REPORTED = (
    "SELECT o.*, r.user, r.source FROM outcomes o {newest}"
    "JOIN requests r ON r.seq = (SELECT q.seq FROM requests q WHERE q.session = o.session AND q.seq < :size "
    "ORDER BY q.requested_at, q.seq LIMIT 1)"
)


def find_outcomes(
    views: Connection,
    events: EventReader,
    size: int,
    *,
    sessions: Sequence[str] | None = None,
    users: Sequence[str] | None = None,
    source: str | None = None,
    outcome: str | None = None,
    label: str | None = None,
    start_at: int | None = None,
    end_at: int | None = None,
    limit: int | None = 100,
    offset: int = 0,
    every_revision: bool = False,
    names_of: NamesOf,
) -> list[dict[str, Any]]:
    """The outcome in force of each session, or every one, that which occurred last first.

    ``source`` is the first request's.
    """
    given: dict[str, Any] = {"size": size}
    conditions = ["o.seq < :size"]
    lists: list[BindParameter[Any]] = []
    for column, among in (("o.session", sessions), ("r.user", users)):
        if among is not None:
            name = column[2:] + "s"
            conditions.append(f"{column} IN :{name}")
            lists.append(bindparam(name, type_=Text(), expanding=True))
            given[name] = list(among)
    bounds = {
        "r.source = :source": source,
        "o.outcome = :outcome": outcome,
        "o.occurred_at >= :start_at": start_at,
        "o.occurred_at <= :end_at": end_at,
    }
    for condition, bound in bounds.items():
        if bound is not None:
            conditions.append(condition)
            given[condition.rpartition(":")[2]] = bound
    reported = _REPORTED.format(newest="" if every_revision else _NEWEST)
    query = text(f"{reported} WHERE {' AND '.join(conditions)} ORDER BY o.occurred_at DESC, o.seq DESC").bindparams(
        *lists
    )
    found = []
    for row in views.execute(query, given).mappings():
        record = _record(views, events, row)
        if record is not None and label in (None, record["label"]):
            found.append((row, record))
    page = found[offset:] if limit is None else found[offset : offset + limit]
    names = names_of([alias for row, _ in page for alias in (row["user"], row["session"])])

    def shown(alias: str) -> str:
        return names[alias] or f"[withheld {alias}]"

    return [
        {"user_id": shown(row["user"]), "session_id": shown(row["session"]), "source": row["source"], **record}
        for row, record in page
    ]


def trajectory_digest(views: Connection, events: EventReader, session: str, before: int) -> str:
    """SHA-256 (hex) over the leaf hashes of the session's interactions below entry ``before``, in their order."""
    digest = sha256()
    query = text("SELECT seq FROM interactions WHERE session = :session AND seq < :before ORDER BY seq")
    for row in views.execute(query, {"session": session, "before": before}):
        digest.update(events.reader.hashes(0, row.seq, 1))
    return digest.hexdigest()


def _record(views: Connection, events: EventReader, row: Any) -> dict[str, Any] | None:
    recorded = events.event(row["seq"])
    if recorded is None or not isinstance(recorded.event, SessionOutcomeReported):
        return None
    event = recorded.event
    detail = event.detail if isinstance(event.detail, dict) else {}
    return {
        "outcome_id": f"{event.session}.{event.revision}",
        "outcome_revision": event.revision,
        "outcome": event.outcome,
        "occurred_at": event.occurred_at,
        "label": detail.get("label"),
        "value": event.value,
        "metadata": detail.get("metadata"),
        "outcome_contract_digest": events.reader.hashes(0, recorded.seq, 1).hex(),
        "finalized_trajectory_digest": trajectory_digest(views, events, event.session, recorded.seq),
        "created_at": int(datetime.fromisoformat(recorded.at).astimezone(UTC).timestamp()),
        "seq": recorded.seq,
    }
