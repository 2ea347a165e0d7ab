"""What an outside scorer says of a session, as an event: from whichever door it comes."""

from __future__ import annotations

from typing import Any

from ..domain.evaluation.events import ScoreImported
from ..domain.event import Meta, NewEvent
from ..domain.registry import invalid_is_refused
from ..ledger.application import Ledger
from .settings import recorder_name

NAMED_SESSION = "named-session"
"""The kind of alias of a session's id that nobody's session has, or several do."""


def score_event(
    ledger: Ledger,
    pos: int,
    *,
    source: str,
    source_run_id: str,
    session_id: str | None,
    scorer: str,
    value: float,
    scored_at: int,
    more: dict[str, Any] | None = None,
    actor: str | None = None,
) -> NewEvent:
    """The event of one score, at ``pos`` of its run's stream. Makes aliases; ``Refused`` where a field is wrong.

    A session id that one person's session has is sealed under that person; any other under a scope of its own, so
    that it can be erased with whoever turns out to have it.
    """
    run = ledger.alias("run", f"{source}\n{source_run_id}")
    sessions = [] if session_id is None else ledger.find_aliases("session", session_id)
    named = None
    if len(sessions) == 1:
        scope = sessions[0][1]
    elif session_id is not None:
        named = ledger.alias(NAMED_SESSION, session_id)
        scope = f"{NAMED_SESSION}/{named}"
    else:
        scope = f"run/{run}"
    with invalid_is_refused():
        event = ScoreImported(
            source=source,
            run=run,
            scorer=scorer,
            value=value,
            scored_at=scored_at,
            sessions=() if named is not None else tuple(alias for alias, _ in sessions),
            named=named,
            detail={"source_run_id": source_run_id, "session_id": session_id, **(more or {})},
        )
    meta = Meta(recorder=recorder_name(), scope=scope)
    if actor is not None:
        meta["actor"] = actor
    return NewEvent(f"score/{run}", pos, event, meta)
