"""What agents published: requests grouped in their sessions, and interactions, texts opened as they are shown.

Whom a filter names is given as aliases. A text that is erased shows as empty, with the digest of what was there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, text

from ...domain.evaluation.events import InteractionPublished
from ...domain.event import Withheld
from ...ledger.opening import EventReader

NamesOf = Callable[[Iterable[str]], dict[str, str | None]]

_SHOWN = {
    "role": "User",
    "content": "",
    "user_action": "none",
    "user_action_description": "",
    "interacted_image_url": "",
    "shadow_content": "",
    "expert_content": "",
    "tools_used": [],
    "retrieved_learnings": [],
}
"""What is shown of an entry, and what stands where the caller left it out. Image data and citations are not."""

_FIELDS = "i.seq, i.request, i.session, i.idx, i.interaction_id, i.created_at, i.speaker, i.has_shadow, r.user"
_NEWEST = "ORDER BY i.created_at DESC, i.seq DESC LIMIT :limit"


def find_sessions(
    views: Connection,
    events: EventReader,
    size: int,
    *,
    users: Sequence[str] | None = None,
    sessions: Sequence[str] | None = None,
    requests: Sequence[str] | None = None,
    source: str | None = None,
    start_at: int | None = None,
    end_at: int | None = None,
    limit: int = 30,
    offset: int = 0,
    names_of: NamesOf,
) -> tuple[list[dict[str, Any]], bool]:
    """A page of sessions, that with the newest request first, each with its matching requests; and if more follow.

    None filters nothing, an empty list matches nothing. Bounds are inclusive.
    """
    named = {"user": users, "session": sessions, "request": requests}
    given: dict[str, Any] = {f"{column}s": list(among) for column, among in named.items() if among is not None}
    if any(not among for among in given.values()):
        return [], False
    conditions = ["seq < :size", *(f"{column} IN :{column}s" for column, among in named.items() if among is not None)]
    bounds = {"source = :source": source, "requested_at >= :start_at": start_at, "requested_at <= :end_at": end_at}
    for condition, bound in bounds.items():
        if bound is not None:
            conditions.append(condition)
            given[condition.rpartition(":")[2]] = bound
    where = " AND ".join(conditions)
    lists: list[BindParameter[Any]] = [
        bindparam(f"{column}s", expanding=True) for column, among in named.items() if among is not None
    ]
    given |= {"size": size, "limit": limit + 1, "offset": offset}
    page = text(
        f"SELECT session FROM requests WHERE {where} GROUP BY session "
        "ORDER BY max(requested_at) DESC, max(seq) DESC LIMIT :limit OFFSET :offset"
    ).bindparams(*lists)
    found = [str(row.session) for row in views.execute(page, given)]
    shown = found[:limit]
    matching = text(
        f"SELECT * FROM requests WHERE {where} AND session IN :shown ORDER BY requested_at, seq"
    ).bindparams(*lists, bindparam("shown", expanding=True))
    rows = list(views.execute(matching, given | {"shown": shown}).mappings()) if shown else []
    names = _Names(names_of, [alias for row in rows for alias in (row["user"], row["session"], row["request"])])
    turns = _turns_of(views, events, size, [row["request"] for row in rows], names)
    grouped: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        published = {
            "request_id": names[row["request"]],
            "user_id": names[row["user"]],
            "session_id": names[row["session"]],
            "created_at": row["requested_at"],
            "source": row["source"],
            "agent_version": row["agent_version"],
            "evaluation_only": bool(row["evaluation_only"]),
            "seq": row["seq"],
        }
        grouped[row["session"]].append({"request": published, "interactions": turns[row["request"]]})
    listed = [{"session_id": names[session], "requests": grouped[session]} for session in shown]
    return listed, len(found) > limit


def find_interactions(
    views: Connection,
    events: EventReader,
    size: int,
    *,
    users: Sequence[str] | None = None,
    start_at: int | None = None,
    end_at: int | None = None,
    limit: int,
    names_of: NamesOf,
) -> list[dict[str, Any]]:
    """Interactions of these users, or of all, the newest first. Bounds are inclusive."""
    conditions = ["i.seq < :size"]
    given: dict[str, Any] = {"size": size, "limit": limit}
    if users is not None:
        conditions.append("r.user IN :users")
        given["users"] = list(users)
    if start_at is not None:
        conditions.append("i.created_at >= :start_at")
        given["start_at"] = start_at
    if end_at is not None:
        conditions.append("i.created_at <= :end_at")
        given["end_at"] = end_at
    query = text(
        f"SELECT {_FIELDS} FROM interactions i JOIN requests r ON r.request = i.request "
        f"WHERE {' AND '.join(conditions)} {_NEWEST}"
    )
    if users is not None:
        query = query.bindparams(bindparam("users", expanding=True))
    rows = list(views.execute(query, given).mappings())
    names = _Names(names_of, [alias for row in rows for alias in (row["user"], row["session"], row["request"])])
    return [_interaction(events, row, names) for row in rows]


class _Names:
    """Names for aliases; of one whose name is erased it says which it was."""

    def __init__(self, names_of: NamesOf, aliases: Iterable[str]) -> None:
        self._names = names_of(dict.fromkeys(aliases))

    def __getitem__(self, alias: str) -> str:
        name = self._names.get(alias)
        return f"[withheld {alias}]" if name is None else name


def _turns_of(
    views: Connection, events: EventReader, size: int, requests: Sequence[str], names: _Names
) -> defaultdict[str, list[dict[str, Any]]]:
    query = text(
        f"SELECT {_FIELDS} FROM interactions i JOIN requests r ON r.request = i.request "
        "WHERE i.request IN :requests AND i.seq < :size ORDER BY i.seq"
    ).bindparams(bindparam("requests", expanding=True))
    turns: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    if requests:
        for row in views.execute(query, {"requests": list(requests), "size": size}).mappings():
            turns[row["request"]].append(_interaction(events, row, names))
    return turns


def _interaction(events: EventReader, row: Any, names: _Names) -> dict[str, Any]:
    recorded = events.event(row["seq"])
    event = None if recorded is None else recorded.event
    turn = event.turn if isinstance(event, InteractionPublished) else None
    said: dict[str, Any] = turn if isinstance(turn, dict) else {}
    shown = {
        "interaction_id": row["interaction_id"],
        "user_id": names[row["user"]],
        "request_id": names[row["request"]],
        "session_id": names[row["session"]],
        "created_at": row["created_at"],
        **{name: said.get(name, default) for name, default in _SHOWN.items()},
        "speaker": row["speaker"],
        "index": row["idx"],
        "seq": row["seq"],
    }
    if isinstance(turn, Withheld):
        shown["withheld"] = turn.digest
    return shown
