"""What agents published: requests grouped in their sessions, and interactions, texts opened as they are shown.

Whom a filter names is given as aliases. A text that is erased shows as empty, with the digest of what was there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, Text, bindparam, text

from ...domain.evaluation.events import InteractionPublished, RulesRetrieved
from ...domain.event import Withheld
from ...ledger.store.opening import EventReader

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

MAX_SHOWN = 16 * 1024 * 1024
"""About how many characters of interactions one answer shows; the rest is for the next."""

_FIELDS = "i.seq, i.request, i.session, i.idx, i.interaction_id, i.created_at, i.speaker, i.has_shadow, r.user"
_NEWEST = "ORDER BY i.created_at DESC, i.seq DESC LIMIT :limit OFFSET :offset"


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

    None filters nothing, an empty list matches nothing. Bounds are inclusive. A page ends before the session that
    would take it beyond ``MAX_SHOWN``; of a session that is longer alone, ``has_more`` says that requests are left out.
    ``retrieved`` is what searches found that named the request, else the session.
    """
    named = {"user": users, "session": sessions, "request": requests}
    given: dict[str, Any] = {f"{column}s": list(among) for column, among in named.items() if among is not None}
    if any(not among for among in given.values()):
        return [], False
    conditions = ["seq < :size", *(f'"{column}" IN :{column}s' for column, among in named.items() if among is not None)]
    bounds = {"source = :source": source, "requested_at >= :start_at": start_at, "requested_at <= :end_at": end_at}
    for condition, bound in bounds.items():
        if bound is not None:
            conditions.append(condition)
            given[condition.rpartition(":")[2]] = bound
    where = " AND ".join(conditions)
    lists: list[BindParameter[Any]] = [
        bindparam(f"{column}s", type_=Text(), expanding=True) for column, among in named.items() if among is not None
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
    ).bindparams(*lists, bindparam("shown", type_=Text(), expanding=True))
    rows = list(views.execute(matching, given | {"shown": shown}).mappings()) if shown else []
    names = _Names(names_of, [alias for row in rows for alias in (row["user"], row["session"], row["request"])])
    of_session: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        of_session[row["session"]].append(row)
    listed: list[dict[str, Any]] = []
    room = MAX_SHOWN
    for session in shown:
        document, held = _session(views, events, size, of_session[session], names, names_of)
        if listed and held > room:
            break
        listed.append(document)
        room -= held
    return listed, len(found) > len(listed)


def newest_day(views: Connection, size: int) -> int | None:
    """The day of the newest request, in days since 1970."""
    row = views.exec_driver_sql("SELECT day FROM requests WHERE seq < ? ORDER BY day DESC LIMIT 1", (size,)).first()
    return None if row is None else int(row[0])


def _session(
    views: Connection, events: EventReader, size: int, rows: Sequence[Any], names: _Names, names_of: NamesOf
) -> tuple[dict[str, Any], int]:
    """A session with its requests, and about how many characters they are."""
    session = rows[0]["session"]
    retrieved = _retrieved(views, events, size, session, names_of)
    requests: list[dict[str, Any]] = []
    held = 0
    for row in rows:
        turns = _turns_of(views, events, size, row["request"], names)
        length = sum(_length(turn) for turn in turns)
        if requests and held + length > MAX_SHOWN:
            break
        held += length
        published = {
            "request_id": names[row["request"]],
            "user_id": names[row["user"]],
            "session_id": names[row["session"]],
            "created_at": row["requested_at"],
            "source": row["source"],
            "agent_version": row["agent_version"],
            "evaluation_only": bool(row["evaluation_only"]),
            "seq": row["seq"],
            "retrieved": retrieved.pop(names[row["request"]], []),
        }
        requests.append({"request": published, "interactions": turns})
    document = {
        "session_id": names[session],
        "requests": requests,
        "retrieved": [found for several in retrieved.values() for found in several],
        "has_more": len(requests) < len(rows),
    }
    return document, held


def _retrieved(
    views: Connection, events: EventReader, size: int, session: str, names_of: NamesOf
) -> dict[str | None, list[dict[str, Any]]]:
    """What searches found that named this session, by the request that they named, too."""
    recorded = events.stream(f"retrieval/{session}", size)
    searches = [(found, found.event) for found in recorded if isinstance(found.event, RulesRetrieved)]
    names = names_of([event.request for _, event in searches if event.request is not None])
    query = text("SELECT seq, rule FROM rules WHERE seq IN :rules").bindparams(bindparam("rules", expanding=True))
    wanted = list({rule for _, event in searches for rule in event.rules})
    rules = {row.seq: row.rule for row in views.execute(query, {"rules": wanted})} if wanted else {}
    by_request: defaultdict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for found, event in searches:
        request = None if event.request is None else names[event.request]
        by_request[request].append(
            {
                "seq": found.seq,
                "created_at": int(datetime.fromisoformat(found.at).astimezone(UTC).timestamp()),
                "request_id": request,
                "query": event.query if isinstance(event.query, str) else "",
                "rules": [{"rule": rules.get(rule), "seq": rule} for rule in event.rules],
            }
        )
    return by_request


def find_interactions(
    views: Connection,
    events: EventReader,
    size: int,
    *,
    users: Sequence[str] | None = None,
    start_at: int | None = None,
    end_at: int | None = None,
    limit: int,
    offset: int = 0,
    names_of: NamesOf,
) -> tuple[list[dict[str, Any]], bool]:
    """Interactions of these users, or of all, the newest first, up to ``MAX_SHOWN``; and if more follow.

    Bounds are inclusive.
    """
    conditions = ["i.seq < :size"]
    given: dict[str, Any] = {"size": size, "limit": limit + 1, "offset": offset}
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
        query = query.bindparams(bindparam("users", type_=Text(), expanding=True))
    rows = list(views.execute(query, given).mappings())
    names = _Names(names_of, [alias for row in rows for alias in (row["user"], row["session"], row["request"])])
    shown: list[dict[str, Any]] = []
    room = MAX_SHOWN
    for row in rows[:limit]:
        shown.append(_interaction(events, row, names))
        room -= _length(shown[-1])
        if room < 0:
            break
    return shown, len(rows) > len(shown)


def _length(shown: dict[str, Any]) -> int:
    return len(str(shown))


class _Names:
    """Names for aliases; of one whose name is erased it says which it was."""

    def __init__(self, names_of: NamesOf, aliases: Iterable[str]) -> None:
        self._names = names_of(dict.fromkeys(aliases))

    def __getitem__(self, alias: str) -> str:
        name = self._names.get(alias)
        return f"[withheld {alias}]" if name is None else name


def _turns_of(views: Connection, events: EventReader, size: int, request: str, names: _Names) -> list[dict[str, Any]]:
    query = text(
        f"SELECT {_FIELDS} FROM interactions i JOIN requests r ON r.request = i.request "
        "WHERE i.request = :request AND i.seq < :size ORDER BY i.seq"
    )
    rows = views.execute(query, {"request": request, "size": size}).mappings()
    return [_interaction(events, row, names) for row in rows]


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
