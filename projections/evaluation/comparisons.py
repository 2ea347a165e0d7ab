"""Lists of single judgements, with their texts: results, recent shadow comparisons, top disagreements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection

from ...domain.evaluation.events import InteractionPublished, SessionGraded, ShadowJudged
from ...domain.event import Withheld
from ...ledger.store.opening import EventReader
from .effective import RESULT_COUNTS, VERDICT_COUNTS
from .graded import has, of_texts
from .segments import LOST, SIGNIFICANT
from .trend import MICRO, load_verdicts, outcome_of
from .view import DAY

NamesOf = Callable[[Iterable[str]], dict[str, str | None]]
RECENT_DAYS = 30


def open_results(events: EventReader, seqs: Sequence[int], names_of: NamesOf) -> list[dict[str, Any]]:
    """The results recorded at these seqs, in this order, in the peer's shape, with who graded them beside."""
    found = []
    for seq in seqs:
        recorded = events.event(seq)
        if recorded is None or not isinstance(recorded.event, SessionGraded):
            continue
        graded = recorded.event
        detail = {} if isinstance(graded.detail, Withheld) else graded.detail
        user = recorded.meta.get("scope", "").removeprefix("user/")
        found.append((seq, recorded, graded, detail, user))
    named = names_of([name for _, _, graded, _, user in found for name in (graded.session, user) if name])
    return [
        {
            "result_id": seq if graded.result_id is None else graded.result_id,
            "user_id": _shown(named, user),
            "agent_version": graded.agent_version,
            "session_id": _shown(named, graded.session),
            "is_success": graded.success,
            "failure_type": graded.failure_type,
            "failure_reason": detail.get("failure_reason")
            if not isinstance(graded.detail, Withheld)
            else str(graded.detail),
            "evaluation_name": graded.evaluation_name,
            "created_at": graded.started_at,
            "regular_vs_shadow": detail.get("regular_vs_shadow"),
            "number_of_correction_per_session": graded.corrections,
            "user_turns_to_resolution": graded.turns,
            "is_escalated": graded.escalated,
            "tags": detail.get("tags"),
            "seq": seq,
            "session": graded.session,
            "graded_at": recorded.at,
            "made": graded.made,
            "judge_model": graded.model,
            "judge_prompt_version": recorded.meta.get("judge_prompt_version"),
        }
        for seq, recorded, graded, detail, user in found
    ]


def evaluation_results(
    views: Connection,
    events: EventReader,
    size: int,
    *,
    limit: int,
    agent_version: str | None,
    start_at: int | None,
    end_at: int | None,
    names_of: NamesOf,
) -> list[dict[str, Any]]:
    """The results that count, newest session first, of one version and between two times where they are given."""
    rows = views.exec_driver_sql(
        "SELECT t.seq FROM results t WHERE t.seq < :size AND (:version IS NULL OR t.agent_version = :version) "
        "AND (:start IS NULL OR (t.day >= :first_day AND t.started_at >= :start)) "
        "AND (:end IS NULL OR (t.day <= :last_day AND t.started_at <= :end)) "
        f"AND {RESULT_COUNTS} "
        "ORDER BY t.day DESC, t.started_at DESC, t.result_id DESC, t.seq DESC LIMIT :limit",
        {
            "size": size,
            "limit": limit,
            "version": agent_version,
            "start": start_at,
            "end": end_at,
            "first_day": None if start_at is None else start_at // DAY,
            "last_day": None if end_at is None else end_at // DAY,
        },
    )
    return open_results(events, [row[0] for row in rows], names_of)


def recent_comparisons(
    views: Connection,
    events: EventReader,
    size: int,
    *,
    version: str,
    now: int,
    limit: int,
    names_of: NamesOf,
    texts: bool = False,
) -> list[dict[str, Any]]:
    """The newest verdicts under ``version`` of the last 30 days up to ``now`` (seconds), at most 100, newest first.

    With ``texts`` the two answers and the user's message stand beside each verdict.
    """
    rows = views.exec_driver_sql(
        f"SELECT t.seq FROM verdicts t WHERE t.seq < :size AND t.version = :version AND t.day BETWEEN :first AND :last "
        f"AND t.judged_at BETWEEN :start AND :end AND {VERDICT_COUNTS} "
        "ORDER BY t.day DESC, t.judged_at DESC, t.seq DESC LIMIT :limit",
        {**_window(now - RECENT_DAYS * DAY, now), "size": size, "version": version, "limit": max(1, min(limit, 100))},
    )
    return _open_verdicts(views, events, [row[0] for row in rows], size, names_of, texts)


def top_disagreements(
    views: Connection,
    events: EventReader,
    size: int,
    *,
    version: str,
    from_at: int,
    to_at: int,
    limit: int,
    offset: int,
    names_of: NamesOf,
    source: str | None = None,
) -> dict[str, Any]:
    """Turns whose shadow was significantly better, over the whole window, newest first, by pages, with their texts."""
    judged = load_verdicts(views, from_at, to_at, size)
    wanted = of_texts(judged.rows["version"], judged.texts, [version])
    wanted &= has(judged.rows, LOST) & has(judged.rows, SIGNIFICANT)
    if source is not None:
        wanted &= of_texts(judged.rows["source"], judged.texts, [source])
    lost = judged.rows[wanted]
    total = len(lost)
    page = lost[np.lexsort((lost["seq"], lost["at"]))[::-1][offset : offset + limit]]
    seqs = [int(seq) for seq in page["seq"]]
    shown = _open_verdicts(views, events, seqs, size, names_of, texts=True)
    return {
        "disagreements": shown,
        "total": total,
        "limit": limit,
        "offset": offset,
        "has_more": offset + len(shown) < total,
        "judge_prompt_version": version,
    }


def _open_verdicts(
    views: Connection, events: EventReader, seqs: Sequence[int], size: int, names_of: NamesOf, texts: bool
) -> list[dict[str, Any]]:
    found = []
    for seq in seqs:
        recorded = events.event(seq)
        if recorded is not None and isinstance(recorded.event, ShadowJudged):
            found.append((recorded, recorded.event))
    named = names_of({judged.session for _, judged in found if judged.session is not None})
    shown = []
    for recorded, judged in found:
        detail = {} if isinstance(judged.detail, Withheld) else judged.detail
        withheld = str(judged.detail) if isinstance(judged.detail, Withheld) else None
        verdict = {
            "verdict_id": recorded.seq if judged.verdict_id is None else judged.verdict_id,
            "interaction_id": detail.get("interaction_id") or _interaction_id(views, judged.turn, size),
            "session_id": detail["session_id"]
            if judged.session is None and "session_id" in detail
            else _shown(named, judged.session or ""),
            "agent_version": judged.agent_version,
            "reflexio_is_request_1": judged.reflexio_is_request_1,
            "output": {
                "better_request": judged.better,
                "is_significantly_better": judged.significant,
                "comparison_reason": detail.get("comparison_reason", withheld),
            },
            "judge_prompt_version": recorded.meta.get("judge_prompt_version", ""),
            "created_at": _iso(judged.judged_at),
            "outcome": outcome_of(judged.better, judged.reflexio_is_request_1),
            "seq": recorded.seq,
            "turn_seq": judged.turn,
            "made": judged.made,
            "judge_model": judged.model,
            "prompt_digest": judged.prompt_digest,
            "call_seq": judged.call,
        }
        shown.append({**verdict, **_texts(events, judged.turn)} if texts else verdict)
    return shown


def _texts(events: EventReader, turn: int | None) -> dict[str, Any]:
    """The served answer, its shadow, and the user's message before it in the same request."""
    recorded = None if turn is None else events.event(turn)
    if recorded is None or not isinstance(recorded.event, InteractionPublished):
        return {"content": None, "shadow_content": None, "user_message": None}
    said = recorded.event
    if isinstance(said.turn, Withheld):
        return dict.fromkeys(("content", "shadow_content", "user_message"), str(said.turn))
    asked = None
    for earlier in events.stream(recorded.stream, before=recorded.seq):
        event = earlier.event
        if isinstance(event, InteractionPublished) and event.speaker == "user" and not isinstance(event.turn, Withheld):
            asked = event.turn.get("content")
    return {
        "content": said.turn.get("content"),
        "shadow_content": said.turn.get("shadow_content"),
        "user_message": asked,
    }


def _interaction_id(views: Connection, turn: int | None, size: int) -> str:
    if turn is None:
        return ""
    row = views.exec_driver_sql(
        "SELECT interaction_id FROM interactions WHERE seq = ? AND seq < ?", (turn, size)
    ).first()
    return str(turn if row is None else row[0])


def _window(from_at: int, to_at: int) -> dict[str, int]:
    return {"start": from_at * MICRO, "end": to_at * MICRO, "first": from_at // DAY, "last": to_at // DAY}


def _shown(named: dict[str, str | None], alias: str) -> str:
    if not alias:
        return ""
    name = named.get(alias)
    return f"[withheld {alias}]" if name is None else name


def _iso(microseconds: int) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)).isoformat()
