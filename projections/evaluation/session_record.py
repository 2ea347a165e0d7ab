"""One session whole: what was said, with shadows, rules and verdicts beside each turn, and every judgement in time.

Texts stay what they are: open, or ``Withheld`` where they are closed or erased.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, String, bindparam, text

from ...domain.evaluation.events import (
    InteractionPublished,
    RulesRetrieved,
    ScoreImported,
    SessionGraded,
    SessionOutcomeReported,
    SessionUndecided,
)
from ...domain.event import Withheld
from ...ledger.store.opening import EventReader
from ..simulated import is_simulated
from .effective import RESULT_COUNTS, VERDICT_COUNTS
from .trend import outcome_of

Text = str | Withheld | None

TURNS = 40
"""Turns on one page."""

MOST_LISTED = 100
"""Judgements, outcomes and scores of a session that are shown, the newest of them."""


@dataclass(frozen=True, slots=True)
class CitedRule:
    """A rule that an answer cites. ``title`` is the citation's, else the rule's. ``seq`` is of the version that was in
    force when the answer was recorded, None where the ledger has no such rule."""

    kind: str
    rule: str
    title: str
    seq: int | None
    text: str | None


@dataclass(frozen=True, slots=True)
class TurnVerdict:
    """A verdict on a turn. ``counts`` says whether figures of its version are computed from it."""

    seq: int
    version: str
    outcome: str
    significant: bool
    counts: bool


@dataclass(frozen=True, slots=True)
class SessionTurn:
    """A turn as it was said. ``undecided`` is the code of a judging of it that gave no verdict, the last one."""

    seq: int
    request: str
    first_of_request: bool
    at: int
    speaker: str
    role: str
    content: Text
    shadow: Text
    has_shadow: bool
    tools: str
    cited: tuple[CitedRule, ...]
    verdicts: tuple[TurnVerdict, ...]
    undecided: str | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """A grading of the session, in the order in which they were recorded.

    ``success`` is None for one that ended undecided, with its code in ``reason``; else ``reason`` says why it failed.
    ``stale`` says that more was said since than the judge saw. ``counts`` is whether figures are computed from it.
    """

    seq: int
    at: str
    success: bool | None
    reason: Text
    failure_type: str | None
    corrections: int | None
    turns: int | None
    escalated: bool
    made: str
    job: str | None
    model: str | None
    simulated: bool
    version: str | None
    agent_version: str
    evaluation_name: str
    through: int | None
    interactions: int | None
    call: int | None
    counts: bool
    stale: bool
    suspicions: int


@dataclass(frozen=True, slots=True)
class Reported:
    """An outcome that a caller reported. ``in_force`` is true of the last revision."""

    seq: int
    outcome: str
    occurred_at: int
    value: float | None
    revision: int
    label: Text
    in_force: bool


@dataclass(frozen=True, slots=True)
class Scored:
    """A score of an outside scorer. ``replaced`` says that the same run and scorer gave another since."""

    seq: int
    source: str
    scorer: str
    value: float
    scored_at: int
    replaced: bool


@dataclass(frozen=True, slots=True)
class Searched:
    """A search for rules that named the session, and the rules that it found, best first."""

    seq: int
    at: str
    query: Text
    rules: tuple[CitedRule, ...]


def session_turns(
    views: Connection, events: EventReader, size: int, session: str, *, offset: int = 0, limit: int = TURNS
) -> tuple[SessionTurn, ...]:
    """The turns of a session as they were spoken, from ``offset`` on."""
    rows = views.exec_driver_sql(
        "SELECT seq, request, created_at, speaker, has_shadow FROM interactions WHERE session = ? AND seq < ? "
        "ORDER BY created_at, seq LIMIT ? OFFSET ?",
        (session, size, limit, offset),
    ).all()
    seqs = [row.seq for row in rows]
    verdicts = _verdicts(views, size, seqs)
    undecided = _undecided(views, size, seqs)
    cited = _cited(views, seqs)
    previous = None
    turns = []
    for row in rows:
        recorded = events.event(row.seq)
        said = recorded.event.turn if recorded and isinstance(recorded.event, InteractionPublished) else None
        texts: dict[str, Any] = said if isinstance(said, dict) else {}
        closed = said if isinstance(said, Withheld) else None
        tools = texts.get("tools_used")
        turns.append(
            SessionTurn(
                seq=row.seq,
                request=row.request,
                first_of_request=row.request != previous,
                at=row.created_at,
                speaker=row.speaker,
                role=str(texts.get("role") or row.speaker),
                content=closed or str(texts.get("content") or ""),
                shadow=closed or (str(texts.get("shadow_content") or "") if row.has_shadow else None),
                has_shadow=bool(row.has_shadow),
                tools=json.dumps(tools, ensure_ascii=False, indent=2) if tools else "",
                cited=tuple(_rule(views, row.seq, *named) for named in cited.get(row.seq, ())),
                verdicts=tuple(verdicts.get(row.seq, ())),
                undecided=undecided.get(row.seq),
            )
        )
        previous = row.request
    return tuple(turns)


def session_judgements(
    views: Connection, events: EventReader, size: int, session: str, through: int | None
) -> tuple[Judgement, ...]:
    """The newest ``MOST_LISTED`` gradings of a session, those that ended undecided among them, oldest first.

    ``through`` is the seq of the interaction recorded last: what was graded without it is stale.
    """
    rows = views.exec_driver_sql(
        f"SELECT t.seq, {RESULT_COUNTS} AS counts FROM results t WHERE t.session = :session AND t.seq < :size "
        "UNION ALL SELECT u.seq, false FROM undecided u WHERE u.session = :session AND u.judge = 'grade' "
        "AND u.seq < :size ORDER BY 1 DESC LIMIT :most",
        {"session": session, "size": size, "most": MOST_LISTED},
    ).all()
    found = []
    for seq, counts in reversed(rows):
        recorded = events.event(seq)
        if recorded is None or not isinstance(recorded.event, SessionGraded | SessionUndecided):
            continue
        event = recorded.event
        graded = event if isinstance(event, SessionGraded) else None
        reason: Text = event.reason if isinstance(event, SessionUndecided) else None
        suspicions = 0
        if graded is not None:
            detail = graded.detail
            reason = detail if isinstance(detail, Withheld) else detail.get("failure_reason")
            suspicions = 0 if isinstance(detail, Withheld) else len(detail.get("suspicions") or ())
        found.append(
            Judgement(
                seq=seq,
                at=recorded.at,
                success=None if graded is None else graded.success,
                reason=reason,
                failure_type=None if graded is None else graded.failure_type,
                corrections=None if graded is None else graded.corrections,
                turns=None if graded is None else graded.turns,
                escalated=graded is not None and graded.escalated,
                made=event.made,
                job=event.job,
                model=event.model,
                simulated=event.model is not None and is_simulated(event.model),
                version=recorded.meta.get("judge_prompt_version"),
                agent_version=event.agent_version,
                evaluation_name=event.evaluation_name,
                through=event.through,
                interactions=None if graded is None else graded.interactions,
                call=None if graded is None else graded.call,
                counts=bool(counts),
                stale=event.through is not None and through is not None and event.through < through,
                suspicions=suspicions,
            )
        )
    return tuple(found)


def session_outcomes(views: Connection, events: EventReader, size: int, session: str) -> tuple[Reported, ...]:
    """The newest ``MOST_LISTED`` outcomes that callers reported, the last revision first."""
    rows = views.exec_driver_sql(
        "SELECT seq FROM outcomes WHERE session = ? AND seq < ? ORDER BY seq DESC LIMIT ?", (session, size, MOST_LISTED)
    ).all()
    found: list[Reported] = []
    for (seq,) in rows:
        recorded = events.event(seq)
        if recorded is None or not isinstance(recorded.event, SessionOutcomeReported):
            continue
        event = recorded.event
        label = event.detail if isinstance(event.detail, Withheld) else event.detail.get("label")
        found.append(
            Reported(seq, event.outcome, event.occurred_at, event.value, event.revision, label, in_force=not found)
        )
    return tuple(found)


def session_scores(
    views: Connection, events: EventReader, size: int, session: str, named: Sequence[str]
) -> tuple[Scored, ...]:
    """The newest ``MOST_LISTED`` scores of a session: those that name it, and those of its id, by the aliases
    ``named`` of that id. The newest first."""
    query = text(
        "SELECT s.seq, s.source, s.scorer, s.scored_at, EXISTS (SELECT 1 FROM scores n WHERE n.source = s.source "
        "AND n.run = s.run AND n.scorer = s.scorer AND n.seq > s.seq AND n.seq < :size) AS replaced FROM scores s "
        "WHERE s.seq IN (SELECT seq FROM score_sessions WHERE session = :session AND seq < :size "
        "UNION SELECT seq FROM scores WHERE named IN :named AND seq < :size) ORDER BY s.seq DESC LIMIT :most"
    ).bindparams(bindparam("named", type_=String(), expanding=True))
    given = {"session": session, "named": list(named), "size": size, "most": MOST_LISTED}
    found = []
    for row in views.execute(query, given):
        recorded = events.event(row.seq)
        if recorded is not None and isinstance(recorded.event, ScoreImported):
            value = recorded.event.value
            found.append(Scored(row.seq, row.source, row.scorer, value, row.scored_at, bool(row.replaced)))
    return tuple(found)


def session_searches(views: Connection, events: EventReader, size: int, session: str) -> tuple[Searched, ...]:
    """The newest ``MOST_LISTED`` searches for rules that named the session, the last one first."""
    stream = f"retrieval/{session}"
    start = max(0, events.reader.next_pos(stream) - MOST_LISTED)
    found = [
        (recorded, recorded.event)
        for recorded in events.stream(stream, size, start)
        if isinstance(recorded.event, RulesRetrieved)
    ]
    seqs = list({rule for _, event in found for rule in event.rules})
    rows = _among(views, "SELECT seq, kind, rule, title, text FROM rules WHERE seq IN :seqs", seqs)
    rules = {row.seq: CitedRule(row.kind, row.rule, row.title, row.seq, row.text) for row in rows}
    return tuple(
        Searched(recorded.seq, recorded.at, event.query, tuple(rules[rule] for rule in event.rules if rule in rules))
        for recorded, event in reversed(found)
    )


def _rule(views: Connection, before: int, kind: str, rule: str, title: str) -> CitedRule:
    row = views.exec_driver_sql(
        "SELECT seq, title, text FROM rules WHERE rule = ? AND seq < ? ORDER BY seq DESC LIMIT 1", (rule, before)
    ).first()
    if row is None:
        return CitedRule(kind, rule, title, None, None)
    return CitedRule(kind, rule, title or row.title, row.seq, row.text)


def _cited(views: Connection, seqs: Sequence[int]) -> dict[int, list[tuple[str, str, str]]]:
    found: defaultdict[int, list[tuple[str, str, str]]] = defaultdict(list)
    for row in _among(views, "SELECT seq, kind, rule, title FROM citations WHERE seq IN :seqs ORDER BY seq, n", seqs):
        found[row.seq].append((row.kind, row.rule, row.title))
    return found


def _verdicts(views: Connection, size: int, seqs: Sequence[int]) -> dict[int, list[TurnVerdict]]:
    found: defaultdict[int, list[TurnVerdict]] = defaultdict(list)
    query = (
        "SELECT t.seq, t.turn, coalesce(t.version, '') AS version, t.better, t.reflexio_is_request_1 AS first, "
        f"t.significant, {VERDICT_COUNTS} AS counts FROM verdicts t WHERE t.turn IN :seqs AND t.seq < :size "
        "ORDER BY t.seq"
    )
    for row in _among(views, query, seqs, size=size):
        outcome = outcome_of(row.better, bool(row.first))
        found[row.turn].append(TurnVerdict(row.seq, row.version, outcome, bool(row.significant), bool(row.counts)))
    return found


def _undecided(views: Connection, size: int, seqs: Sequence[int]) -> dict[int, str]:
    query = "SELECT turn, reason FROM undecided WHERE turn IN :seqs AND seq < :size ORDER BY seq"
    return {row.turn: row.reason for row in _among(views, query, seqs, size=size)}


def _among(views: Connection, query: str, seqs: Sequence[int], **given: Any) -> Iterable[Any]:
    if not seqs:
        return []
    statement = text(query).bindparams(bindparam("seqs", expanding=True))
    return views.execute(statement, {"seqs": list(seqs), **given})
