"""The run list: one line a run, with status, lineage and scores, as of any size of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from ..domain.number import parse_number
from .runs_view import ENDINGS, EVALUATIONS, IMPORTS, ITERATIONS, RUNS

Found = dict[str, Any]
"""A row by column name; its values have the types of the table's columns."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in the list. Scores are None where nothing was measured; ``seq`` is that of ``run.started``.

    ``best_train_score`` is the highest training score of an iteration, ``final_score`` the one on held-out
    samples: they are not comparable. ``ancestors`` are the runs it was branched from, nearest first.
    """

    run: str
    seq: int
    directory: str
    timestamp: str
    status: str
    strategy: str
    models: str
    reasoning_model: str | None
    iterations: int
    baseline_score: float | None
    best_train_score: float | None
    final_score: float | None
    eval_tokens: int
    reasoning_tokens: int
    duration_seconds: float | None
    parent_run: str | None
    parent_iteration: int | None
    ancestors: tuple[str, ...]
    imported_from: str | None
    findings: int


def list_runs(connection: Connection, size: int) -> list[RunLine]:
    """Every run that the first ``size`` entries know, in order of recording."""
    started = _rows(connection, RUNS, size)
    endings = {row["run"]: row for row in _rows(connection, ENDINGS, size)}
    findings = {row["run"]: row["findings"] for row in _rows(connection, IMPORTS, size)}
    scores: dict[str, dict[int, Found]] = {}
    for row in _rows(connection, EVALUATIONS, size):
        scores.setdefault(row["run"], {})[row["evaluation"]] = row
    iterations: dict[str, list[Found]] = {}
    for row in _rows(connection, ITERATIONS, size):
        iterations.setdefault(row["run"], []).append(row)
    parents = {row["run"]: row["parent_run"] for row in started}
    return [
        _line(
            row,
            endings.get(row["run"], {}),
            scores.get(row["run"], {}),
            iterations.get(row["run"], []),
            _ancestors(row["run"], parents),
            findings.get(row["run"], 0),
        )
        for row in sorted(started, key=lambda row: row["seq"])
    ]


def _rows(connection: Connection, table: Table, size: int) -> list[Found]:
    found = connection.execute(select(table).where(table.c.seq < size).order_by(table.c.seq))
    return [dict(row) for row in found.mappings()]


def _line(
    started: Found,
    ending: Found,
    scores: dict[int, Found],
    iterations: Sequence[Found],
    ancestors: tuple[str, ...],
    findings: int,
) -> RunLine:
    trained = [_score(scores.get(iteration["evaluation"])) for iteration in iterations]
    baselines = [_score(row) for row in scores.values() if row["purpose"] == "baseline"]
    duration = ending.get("duration_seconds")
    return RunLine(
        run=started["run"],
        seq=started["seq"],
        directory=started["directory"],
        timestamp=started["timestamp"],
        status=ending.get("status") or ("interrupted" if started["imported_from"] else "open"),
        strategy=started["strategy"],
        models=started["models"],
        reasoning_model=started["reasoning_model"],
        iterations=len(iterations),
        baseline_score=baselines[-1] if baselines else None,
        best_train_score=max((score for score in trained if score is not None), default=None),
        final_score=_score(scores.get(ending.get("final_evaluation", -1))),
        eval_tokens=sum(iteration["eval_tokens"] for iteration in iterations),
        reasoning_tokens=sum(iteration["reasoning_tokens"] for iteration in iterations),
        duration_seconds=None if duration is None else parse_number(duration),
        parent_run=started["parent_run"],
        parent_iteration=started["parent_iteration"],
        ancestors=ancestors,
        imported_from=started["imported_from"],
        findings=findings,
    )


def _score(evaluation: Found | None) -> float | None:
    score = None if evaluation is None else evaluation["score"]
    return parse_number(score) if isinstance(score, str) else None


def _ancestors(run: str, parents: dict[str, str | None]) -> tuple[str, ...]:
    found: list[str] = []
    parent = parents.get(run)
    while parent is not None and parent not in found and parent != run:
        found.append(parent)
        parent = parents.get(parent)
    return tuple(found)
