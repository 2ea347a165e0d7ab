"""The read model of agent evaluation: one row for each fact, never changed, and no text of anybody's.

What follows from several facts (a session's first source, which result counts, a share) is derived from these
rows when it is asked for, as of the size that is asked for: a filter on ``seq``. Sessions, users and requests are
aliases. Times are whole seconds, ``judged_at`` microseconds. Scores are the shortest decimals of the entries.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Index, MetaData, Table

from ...domain.evaluation.events import (
    EVENTS,
    AssignmentDeclared,
    ConfigChanged,
    InteractionPublished,
    JudgePromptPublished,
    RegenerationCancelled,
    RegenerationFinished,
    RegenerationStarted,
    RequestPublished,
    RulePublished,
    RulesRetrieved,
    ScoreImported,
    SessionGraded,
    SessionOutcomeReported,
    SessionUndecided,
    ShadowJudged,
    ShadowUndecided,
)
from ...domain.event import Recorded
from ...domain.number import format_number
from ..columns import TEXT, WHOLE
from ..view import Row, View
from .stale import mark_stale

METADATA = MetaData()
DAY = 86_400
"""Seconds; a column ``day`` counts them since 1970."""


def _table(name: str, columns: str, key: Sequence[str] = ("seq",)) -> Table:
    """A table whose first column is ``seq``; ``columns`` are ``name`` for text and ``name:i`` for integers."""
    made: list[Column[Any]] = [Column("seq", WHOLE, nullable=False, primary_key="seq" in key, autoincrement=False)]
    for column in columns.split():
        label, _, kind = column.partition(":")
        made.append(Column(label, WHOLE if kind else TEXT, primary_key=label in key, autoincrement=False))
    return Table(name, METADATA, *made, sqlite_with_rowid=False)


REQUESTS = _table(
    "requests",
    "request user session source agent_version evaluation_only:i requested_at:i interactions:i imported:i day:i",
)
INTERACTIONS = _table(
    "interactions", "request session idx:i interaction_id:i created_at:i speaker has_shadow:i imported:i"
)
CITATIONS = _table("citations", "n:i session created_at:i kind rule title", ("seq", "n"))
RESULTS = _table(
    "results",
    "session user agent_version evaluation_name success:i failure_type corrections:i turns:i escalated:i started_at:i "
    "through:i made job result_id:i model version day:i",
)
VERDICTS = _table(
    "verdicts",
    "turn:i session user agent_version reflexio_is_request_1:i better significant:i judged_at:i version made job "
    "verdict_id:i model day:i",
)
UNDECIDED = _table("undecided", "judge turn:i session agent_version evaluation_name version reason calls:i made job at")
OUTCOMES = _table("outcomes", "session outcome occurred_at:i revision:i")
SCORES = _table("scores", "source run scorer value scored_at:i named")
SCORE_SESSIONS = _table("score_sessions", "session", ("seq", "session"))
CONFIGS = _table(
    "configs",
    "at changed pin eval_sample_n_per_stratum:i eval_concurrency_limit:i sampling_rate evaluation_only_sampling_rate",
)
PROMPTS = _table("judge_prompts", "judge version digest")
RULES = _table("rules", "rule kind title text tags agent_version retired:i at")
RETRIEVALS = _table("retrievals", "user session request at")
RETRIEVED = _table("retrieved", "n:i rule_seq:i", ("seq", "n"))
ASSIGNMENTS = _table("assignments", "unit shares mechanism since:i")
JOBS = _table(
    "jobs",
    "job from_at:i to_at:i upto:i seed sample_n:i concurrency:i candidates:i strata:i sampled:i shadow:i at version",
)
JOB_ENDS = _table("job_ends", "job status completed:i failed:i reason at")

Index("requests_of_session", REQUESTS.c.session, REQUESTS.c.requested_at, REQUESTS.c.seq, REQUESTS.c.source)
Index("requests_by_day", REQUESTS.c.day)
Index("requests_by_alias", REQUESTS.c.request)
Index("requests_of_user", REQUESTS.c.user)
Index("interactions_of_session", INTERACTIONS.c.session)
Index("interactions_of_request", INTERACTIONS.c.request)
Index("interactions_by_time", INTERACTIONS.c.created_at)
Index("interactions_by_id", INTERACTIONS.c.interaction_id)
Index("interactions_to_judge", INTERACTIONS.c.has_shadow, INTERACTIONS.c.seq)
Index("citations_of_session", CITATIONS.c.session)
Index("citations_of_rule", CITATIONS.c.kind, CITATIONS.c.rule, CITATIONS.c.title, CITATIONS.c.seq)
Index("results_of_session", RESULTS.c.session)
Index("results_by_day", RESULTS.c.day)
Index("results_of_job", RESULTS.c.job)
Index("verdicts_of_turn", VERDICTS.c.turn)
Index("verdicts_of_session", VERDICTS.c.session)
Index("verdicts_by_day", VERDICTS.c.day, VERDICTS.c.judged_at)
Index("verdicts_of_version", VERDICTS.c.version, VERDICTS.c.judged_at)
Index("verdicts_of_job", VERDICTS.c.job)
Index("undecided_of_turn", UNDECIDED.c.turn)
Index("undecided_of_session", UNDECIDED.c.session)
Index("undecided_of_job", UNDECIDED.c.job)
Index("outcomes_of_session", OUTCOMES.c.session)
Index("scores_by_time", SCORES.c.scored_at)
Index("scores_of_run", SCORES.c.source, SCORES.c.run, SCORES.c.scorer)
Index("scores_named", SCORES.c.named)
Index("score_sessions_of_session", SCORE_SESSIONS.c.session)
Index("rules_by_id", RULES.c.rule)


def rows(recorded: Recorded) -> Sequence[Row]:
    """The rows that one event adds, each with the event's seq first."""
    event, seq, at = recorded.event, recorded.seq, recorded.at
    version, user = recorded.meta.get("judge_prompt_version"), _user(recorded)
    match event:
        case InteractionPublished():
            return _interaction(seq, event)
        case RequestPublished():
            flags = (
                int(event.evaluation_only),
                event.requested_at,
                event.interactions,
                int(event.imported),
                event.requested_at // DAY,
            )
            named = (event.request, event.user, event.session, event.source, event.agent_version)
            return [(REQUESTS, (seq, *named, *flags))]
        case ShadowJudged():
            judged = (int(event.reflexio_is_request_1), event.better, int(event.significant), event.judged_at)
            made = (version, event.made, event.job, event.verdict_id, event.model, event.judged_at // (DAY * 1_000_000))
            return [(VERDICTS, (seq, event.turn, event.session, user, event.agent_version, *judged, *made))]
        case SessionGraded():
            return [(RESULTS, _graded(seq, user, version, event))]
        case ShadowUndecided():
            judged_turn = (event.turn, event.session, event.agent_version, None, version)
            return [(UNDECIDED, (seq, "shadow", *judged_turn, event.reason, event.calls, event.made, event.job, at))]
        case SessionUndecided():
            whole = (None, event.session, event.agent_version, event.evaluation_name, version)
            return [(UNDECIDED, (seq, "grade", *whole, event.reason, event.calls, event.made, event.job, at))]
        case ScoreImported():
            scored = (format_number(event.value), event.scored_at, event.named)
            sessions = [(SCORE_SESSIONS, (seq, session)) for session in dict.fromkeys(event.sessions)]
            return [(SCORES, (seq, event.source, event.run, event.scorer, *scored)), *sessions]
        case SessionOutcomeReported():
            return [(OUTCOMES, (seq, event.session, event.outcome, event.occurred_at, event.revision))]
        case _:
            return _set_up(recorded)


def _set_up(recorded: Recorded) -> Sequence[Row]:
    event, seq, at = recorded.event, recorded.seq, recorded.at
    match event:
        case RulesRetrieved():
            found: list[Row] = [(RETRIEVED, (seq, n, rule)) for n, rule in enumerate(event.rules)]
            return [(RETRIEVALS, (seq, event.user, event.session, event.request, at)), *found]
        case RulePublished():
            text = (event.title, event.text, _listed(event.tags), event.agent_version)
            return [(RULES, (seq, event.rule, event.kind, *text, int(event.retired), at))]
        case ConfigChanged():
            rates = (_decimal(event.sampling_rate), _decimal(event.evaluation_only_sampling_rate))
            limits = (event.eval_sample_n_per_stratum, event.eval_concurrency_limit)
            pin = event.shadow_comparison_judge_prompt_version
            return [(CONFIGS, (seq, at, _listed(event.changed), pin, *limits, *rates))]
        case JudgePromptPublished():
            return [(PROMPTS, (seq, event.judge, event.version, event.digest))]
        case AssignmentDeclared():
            shares = json.dumps({name: format_number(share) for name, share in sorted(event.shares.items())})
            return [(ASSIGNMENTS, (seq, event.unit, shares, event.mechanism, event.since))]
        case RegenerationStarted():
            window = (event.job, event.from_at, event.to_at, event.upto, event.seed, event.sample_n, event.concurrency)
            counts = (event.candidates, event.strata, event.sampled, int(event.shadow))
            return [(JOBS, (seq, *window, *counts, at, recorded.meta.get("judge_prompt_version")))]
        case RegenerationCancelled():
            return [(JOB_ENDS, (seq, event.job, "cancelling", None, None, None, at))]
        case RegenerationFinished():
            return [(JOB_ENDS, (seq, event.job, event.status, event.completed, event.failed, event.reason, at))]
        case _:
            return []


def _interaction(seq: int, event: InteractionPublished) -> list[Row]:
    number = seq if event.interaction_id is None else event.interaction_id
    imported = int(event.interaction_id is not None)
    shown = (event.index, number, event.created_at, event.speaker, int(event.has_shadow), imported)
    cited: list[Row] = [
        (CITATIONS, (seq, n, event.session, event.created_at, cited.kind, cited.rule, cited.title))
        for n, cited in enumerate(event.citations)
    ]
    return [(INTERACTIONS, (seq, event.request, event.session, *shown)), *cited]


def _graded(seq: int, user: str | None, version: str | None, event: SessionGraded) -> tuple[Any, ...]:
    return (
        seq,
        event.session,
        user,
        event.agent_version,
        event.evaluation_name,
        int(event.success),
        event.failure_type,
        event.corrections,
        event.turns,
        int(event.escalated),
        event.started_at,
        event.through,
        event.made,
        event.job,
        seq if event.result_id is None else event.result_id,
        event.model,
        version,
        event.started_at // DAY,
    )


def _user(recorded: Recorded) -> str | None:
    """The alias of the user whose scope the event's sealed fields lie under."""
    category, _, alias = recorded.meta.get("scope", "").partition("/")
    return alias if category == "user" else None


def _decimal(value: float | None) -> str | None:
    return None if value is None else format_number(value)


def _listed(items: Sequence[str]) -> str:
    return json.dumps(list(items), ensure_ascii=False)


EVALUATION_VIEW = View("evaluation", 1, METADATA, rows, frozenset(kind.type_name for kind in EVENTS), mark_stale)
