"""How a run's prompts came out of one another: each iteration with what its prompt was made from, and the branches.

An iteration's difference is the effect of the change that made its prompt, which is measured on the samples that both
prompts share; it is not the difference to the iteration before, which may have been a dead end or another batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, select

from ...domain.number import parse_number
from ...domain.optimization.effects import Basis, Direction
from .record import Iteration, RunRecord, Text
from .scores import leading_iteration
from .tokens import counted_tokens
from .view import ENDINGS, EVALUATIONS, RUNS

MOST_BRANCHES = 200
"""How many branches of one run are read."""


@dataclass(frozen=True, slots=True)
class Step:
    """An iteration. ``score`` is on training samples, ``val`` on those for validation.

    ``made_from`` is the latest earlier iteration that scored the prompt that this one's was made from, 0 for the
    initial prompt, None where that is not known or was never an iteration; ``change`` counts from 1. ``seconds`` is
    the wall time since the iteration before. ``is_shared``: in a branch, an iteration that its parent run paid for.
    """

    number: int
    score: float | None
    kind: str
    sample_set: str
    n: int | None
    failed: int | None
    val: float | None
    val_n: int | None
    phase: int | None
    axis: str | None
    change: int | None
    summary: Text | None
    made_from: int | None
    delta: float | None
    delta_n: int | None
    basis: Basis | None
    direction: Direction | None
    tokens: int
    tokens_are_whole: bool
    elapsed_seconds: float | None
    seconds: float | None
    is_best: bool
    is_full: bool
    is_shared: bool
    seq: int


@dataclass(frozen=True, slots=True)
class Branch:
    """A run that left this one after iteration ``after``; ``score`` is its final one."""

    run: str
    after: int | None
    strategy: str
    status: str
    score: float | None


def run_steps(record: RunRecord) -> list[Step]:
    """The iterations of a run in order of their numbers."""
    effects, best = record.effects(), best_iteration(record)
    axes = {phase.phase: phase.axis for phase in record.phases_started}
    shared = 0 if record.planned is None else record.planned.branch_after or 0
    found: list[Step] = []
    scored: dict[int, int] = {0: 0}
    before = 0.0
    for item, tokens in zip(record.iterations, counted_tokens(record)["iterations"], strict=True):
        rewrite = item.rewrite
        effect = None if rewrite is None else effects[rewrite.rewrite]
        elapsed = item.event.elapsed_seconds
        found.append(
            Step(
                number=item.number,
                score=item.score,
                kind=item.train.kind,
                sample_set=item.train.sample_set,
                n=item.train.n,
                failed=item.train.failed,
                val=None if item.val is None else item.val.score,
                val_n=None if item.val is None else item.val.n,
                phase=item.event.phase,
                axis=None if item.event.phase is None else axes.get(item.event.phase),
                change=None if rewrite is None else rewrite.rewrite + 1,
                summary=None if rewrite is None else rewrite.change_summary,
                made_from=_made_from(record, item, scored),
                delta=None if effect is None else effect.delta,
                delta_n=None if effect is None else effect.n,
                basis=None if effect is None else effect.basis,
                direction=None if effect is None else effect.direction,
                tokens=tokens["eval_tokens"] + tokens["reasoning_tokens"],
                tokens_are_whole=tokens.get("is_whole", True),
                elapsed_seconds=elapsed,
                seconds=None if elapsed is None else max(0.0, elapsed - before),
                is_best=best is not None and item.number == best,
                is_full=item.event.full_evaluation,
                is_shared=item.number <= shared,
                seq=item.seq,
            )
        )
        scored[item.train.prompt] = item.number
        before = before if elapsed is None else elapsed
    return found


def best_iteration(record: RunRecord) -> int | None:
    """The iteration whose prompt the run reported, 0 for the initial one; before its end the one that is ahead."""
    if record.completed is not None:
        best = record.completed.best
        if best is None:
            return None
        first = next((item.number for item in record.iterations if item.train.prompt == best), None)
        return 0 if first is None and best == 0 else first
    leading = leading_iteration(record)
    return None if leading is None else leading.number


def branches_of(connection: Connection, size: int, run: str) -> tuple[list[Branch], int]:
    """The first ``MOST_BRANCHES`` branches of a run, as of ``size`` entries, in order of recording; and how many."""
    ending = and_(ENDINGS.c.run == RUNS.c.run, ENDINGS.c.seq < size)
    final = and_(
        EVALUATIONS.c.run == RUNS.c.run,
        EVALUATIONS.c.evaluation == ENDINGS.c.final_evaluation,
        EVALUATIONS.c.seq < size,
    )
    of_run = and_(RUNS.c.parent_run == run, RUNS.c.seq < size)
    query = (
        select(RUNS, ENDINGS.c.status, EVALUATIONS.c.score)
        .select_from(RUNS.outerjoin(ENDINGS, ending).outerjoin(EVALUATIONS, final))
        .where(of_run)
        .order_by(RUNS.c.seq)
        .limit(MOST_BRANCHES)
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    count = len(rows)
    if count == MOST_BRANCHES:
        count = connection.execute(select(func.count()).select_from(RUNS).where(of_run)).scalar_one()
    return [_branch(row) for row in rows], count


def _branch(row: dict[str, Any]) -> Branch:
    status = row["status"] or ("open" if row["imported_from"] is None else "interrupted")
    score = None if row["score"] is None else parse_number(row["score"])
    return Branch(row["run"], row["parent_iteration"], row["strategy"], status, score)


def _made_from(record: RunRecord, item: Iteration, scored: dict[int, int]) -> int | None:
    if item.rewrite is None:
        return 0 if item.train.prompt == 0 else None
    return scored.get(record.evaluations[item.rewrite.parent].prompt)
