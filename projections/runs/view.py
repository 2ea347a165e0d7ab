"""The read model of optimisation runs: what lists, lineage and trends are queried from.

Scores are the shortest decimals of the entries, as text. What a run's status is, or its best score, is not
stored: it is derived from these rows as of the size that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Index, MetaData, Table

from ...domain.event import Recorded
from ...domain.model_calls import EVENTS as CALL_EVENTS
from ...domain.model_calls import ModelAnswered, ModelRequested
from ...domain.number import format_number
from ...domain.optimization.events import (
    EVENTS,
    IterationCompleted,
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunImported,
    RunPlanned,
    RunStarted,
)
from ..columns import TEXT, WHOLE
from ..view import Row, View
from .changed import mark_changed

METADATA = MetaData()


def _table(name: str, keys: Sequence[Column[int] | Column[str]], *others: Column[int] | Column[str]) -> Table:
    for key in keys:
        key.primary_key = True
        key.autoincrement = False
        key.nullable = False
    return Table(name, METADATA, Column("seq", WHOLE, nullable=False), *keys, *others, sqlite_with_rowid=False)


RUNS = _table(
    "runs",
    [Column("run", TEXT)],
    Column("directory", TEXT),
    Column("recorded_at", TEXT),
    Column("timestamp", TEXT),
    Column("strategy", TEXT),
    Column("models", TEXT),
    Column("reasoning_model", TEXT),
    Column("max_iterations", WHOLE),
    Column("parent_run", TEXT),
    Column("parent_iteration", WHOLE),
    Column("imported_from", TEXT),
    Column("test_samples", WHOLE),
)
PLANS = _table("plans", [Column("run", TEXT)], Column("held_out", WHOLE))
EVALUATIONS = _table(
    "evaluations",
    [Column("run", TEXT), Column("evaluation", WHOLE)],
    Column("prompt", WHOLE),
    Column("purpose", TEXT),
    Column("kind", TEXT),
    Column("score", TEXT),
    Column("n", WHOLE),
    Column("failed", WHOLE),
    Column("tokens", WHOLE),
    Column("metrics", TEXT),
    Column("sample_set", TEXT),
)
REWRITES = _table(
    "rewrites",
    [Column("run", TEXT), Column("rewrite", WHOLE)],
    Column("parent", WHOLE),
    Column("prompt", WHOLE),
    Column("tokens", WHOLE),
)
ITERATIONS = _table(
    "iterations",
    [Column("run", TEXT), Column("iteration", WHOLE)],
    Column("evaluation", WHOLE),
    Column("val_evaluation", WHOLE),
    Column("rewrite", WHOLE),
    Column("eval_tokens", WHOLE),
    Column("reasoning_tokens", WHOLE),
    Column("elapsed_seconds", TEXT),
)
ENDINGS = _table(
    "endings",
    [Column("run", TEXT)],
    Column("pos", WHOLE),
    Column("status", TEXT),
    Column("reason", TEXT),
    Column("best", WHOLE),
    Column("final_evaluation", WHOLE),
    Column("eval_tokens", WHOLE),
    Column("reasoning_tokens", WHOLE),
    Column("duration_seconds", TEXT),
)
IMPORTS = _table("imports", [Column("run", TEXT)], Column("findings", WHOLE))
CALLS = _table(
    "calls",
    [Column("run", TEXT), Column("pos", WHOLE)],
    Column("requested", WHOLE),
    Column("site", TEXT),
    Column("occurrence", WHOLE),
    Column("attempt", WHOLE),
    Column("purpose", TEXT),
    Column("model", TEXT),
    Column("iteration", WHOLE),
    Column("phase", WHOLE),
    Column("prompt_tokens", WHOLE),
    Column("completion_tokens", WHOLE),
    Column("not_counted", WHOLE),
    Column("gave_up", WHOLE),
)
"""Requests and answers. A request has no tokens; of an answer, tokens that the server did not count are 0."""
Index("evaluations_by_purpose", EVALUATIONS.c.purpose, EVALUATIONS.c.run)
Index("runs_by_seq", RUNS.c.seq)
Index("runs_by_parent", RUNS.c.parent_run)


def rows(recorded: Recorded) -> Sequence[Row]:
    """The rows that one event adds, each with the event's seq first."""
    event, seq = recorded.event, recorded.seq
    run = recorded.stream.removeprefix("run/")
    match event:
        case PromptEvaluated():
            score = _decimal(event.score)
            scored = (event.prompt, event.purpose, event.kind, score, event.n, event.failed, event.tokens)
            metrics = json.dumps(sorted(event.scores_by_metric))
            return [(EVALUATIONS, (seq, run, event.evaluation, *scored, metrics, event.sample_set))]
        case IterationCompleted():
            cost = (event.eval_tokens, event.reasoning_tokens, _decimal(event.elapsed_seconds))
            refers = (event.evaluation, event.val_evaluation, event.rewrite)
            return [(ITERATIONS, (seq, run, event.iteration, *refers, *cost))]
        case RewriteProposed():
            return [(REWRITES, (seq, run, event.rewrite, event.parent, event.prompt, event.tokens))]
        case RunStarted():
            return [(RUNS, _started(recorded, event))]
        case RunPlanned():
            return [(PLANS, (seq, run, int(event.held_out)))]
        case RunCompleted():
            outcome = (event.reason, event.best, event.final_evaluation)
            totals = (event.eval_tokens, event.reasoning_tokens, _decimal(event.duration_seconds))
            return [(ENDINGS, (seq, run, recorded.pos, "completed", *outcome, *totals))]
        case RunFailed():
            return [(ENDINGS, (seq, run, recorded.pos, "failed", event.reason, None, None, None, None, None))]
        case RunImported():
            return [(IMPORTS, (seq, run, sum(event.findings.values())))]
        case ModelRequested() | ModelAnswered() if recorded.stream.startswith("run/"):
            return [(CALLS, (seq, run, recorded.pos, *called(event)))]
        case _:
            return []


def called(event: ModelRequested | ModelAnswered) -> tuple[Any, ...]:
    """A request or an answer as the columns of ``CALLS`` have it, from ``requested`` on."""
    call = (event.site, event.occurrence, event.attempt)
    if isinstance(event, ModelRequested):
        return 1, *call, event.purpose, event.model, event.iteration, event.phase, 0, 0, 0, 0
    counts = (event.prompt_tokens, event.completion_tokens)
    not_counted = int(event.outcome != "refused" and None in counts)
    return 0, *call, None, None, None, None, *(count or 0 for count in counts), not_counted, int(bool(event.gave_up))


def _started(recorded: Recorded, event: RunStarted) -> tuple[object, ...]:
    return (
        recorded.seq,
        event.run,
        event.directory,
        recorded.at,
        event.timestamp,
        event.strategy,
        ", ".join(event.models),
        event.reasoning_model,
        event.max_iterations,
        event.parent_run,
        event.parent_iteration,
        event.imported_from,
        None if event.split is None else event.split.test,
    )


def _decimal(value: float | None) -> str | None:
    return None if value is None else format_number(value)


RUNS_VIEW = View("runs", 4, METADATA, rows, frozenset(kind.type_name for kind in (*EVENTS, *CALL_EVENTS)), mark_changed)
