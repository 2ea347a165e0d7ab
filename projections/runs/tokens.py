"""The token account of a run: what each iteration and each purpose cost, as far as it was recorded.

None means "not recorded" and is never counted as 0. An iteration's own figures are the account of training;
the evaluations speak for the baseline, the validations and the final score. What the run itself reports as
totals stands beside, because it may count more (calls outside iterations) or less (validations).

``token_account`` counts what a run's facts state. Where its calls are on record their sums are exact, and
``counted_tokens``, which answers and tables show, has those instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...domain.optimization.events import PromptEvaluated
from .record import RunRecord


@dataclass(frozen=True, slots=True)
class IterationTokens:
    """What one iteration cost; ``val`` is None where its validation is not recorded or there was none."""

    iteration: int
    eval: int
    reasoning: int
    val: int | None


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """Counted tokens. ``eval_total`` is all purposes but reasoning; ``reported_*`` are the run's own totals."""

    iterations: tuple[IterationTokens, ...]
    baseline: int | None
    train: int | None
    val: int | None
    final: int | None
    reasoning: int | None
    eval_total: int
    reported_eval: int | None
    reported_reasoning: int | None
    not_recorded: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The account as JSON data; a purpose that was not recorded is null."""
        return {
            "by_purpose": {
                "baseline": self.baseline,
                "train": self.train,
                "val": self.val,
                "final": self.final,
                "reasoning": self.reasoning,
            },
            "eval_total": self.eval_total,
            "reasoning_total": self.reasoning,
            "reported": {
                "total_eval_tokens": self.reported_eval,
                "total_reasoning_tokens": self.reported_reasoning,
            },
            "iterations": [
                {
                    "iteration": row.iteration,
                    "eval_tokens": row.eval,
                    "reasoning_tokens": row.reasoning,
                    "val_tokens": row.val,
                }
                for row in self.iterations
            ],
            "not_recorded": list(self.not_recorded),
        }


def token_account(record: RunRecord) -> TokenAccount:
    """Count the tokens of a run."""
    iterations = tuple(
        IterationTokens(
            item.number,
            item.event.eval_tokens,
            item.event.reasoning_tokens,
            None if item.val is None else item.val.tokens,
        )
        for item in record.iterations
    )
    by_purpose = {
        purpose: [found for found in record.evaluations if found.purpose == purpose]
        for purpose in ("baseline", "val", "final")
    }
    sums = {purpose: _sum(found.tokens for found in all_of) for purpose, all_of in by_purpose.items()}
    train = sum(row.eval for row in iterations) if iterations else None
    completed = record.completed
    return TokenAccount(
        iterations,
        sums["baseline"],
        train,
        sums["val"],
        sums["final"],
        sum(row.reasoning for row in iterations) if iterations else None,
        sum(count or 0 for count in (*sums.values(), train)),
        None if completed is None else completed.eval_tokens,
        None if completed is None else completed.reasoning_tokens,
        tuple(_gaps(by_purpose)),
    )


def counted_tokens(record: RunRecord) -> dict[str, Any]:
    """The tokens of a run and of each iteration as JSON data; ``source`` says whose counts they are.

    ``calls``: sums over the recorded calls. An iteration's are those of every call made for it, its validation and
    judge among ``eval_tokens`` and the rewrite after it in ``reasoning_tokens``; what a branch was fed is in none.
    ``stated``: what the run's facts state, which may leave some of that out.
    """
    stated = token_account(record).as_json()
    calls = record.calls
    if not calls.has_calls:
        return {"source": "stated", "is_whole": not stated["not_recorded"], **stated}
    total, spent = calls.total(), _reasoning_apart(record)
    whole = {number: tally.is_whole for number, tally in calls.by("iteration").items()}
    numbers = [item.number for item in record.iterations]
    reasoning = sum(of_reasoning for _, of_reasoning in spent.values())
    return {
        "source": "calls",
        "is_whole": total.is_whole,
        "by_purpose": {purpose: tally.tokens for purpose, tally in calls.by("purpose").items()},
        "eval_total": total.tokens - reasoning,
        "reasoning_total": reasoning,
        "reported": stated["reported"],
        "iterations": [
            {
                "iteration": number,
                "eval_tokens": spent.get(number, (0, 0))[0],
                "reasoning_tokens": spent.get(number, (0, 0))[1],
                "is_whole": whole.get(number, True),
            }
            for number in numbers
        ],
        "not_recorded": [],
    }


def run_totals(record: RunRecord) -> tuple[int | None, int | None]:
    """A run's tokens without reasoning, and for reasoning: of its calls where they are recorded, else as stated."""
    if record.calls.has_calls:
        counted = counted_tokens(record)
        return counted["eval_total"], counted["reasoning_total"]
    completed = record.completed
    return (None, None) if completed is None else (completed.eval_tokens, completed.reasoning_tokens)


def _reasoning_apart(record: RunRecord) -> dict[int | None, tuple[int, int]]:
    """What the recorded calls of each iteration cost: everything but reasoning, and reasoning."""
    spent: dict[int | None, tuple[int, int]] = {}
    for place, tally in record.calls.places():
        evaluating, reasoning = spent.get(place.iteration, (0, 0))
        if place.purpose == "reasoning":
            spent[place.iteration] = evaluating, reasoning + tally.tokens
        else:
            spent[place.iteration] = evaluating + tally.tokens, reasoning
    return spent


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _gaps(by_purpose: Mapping[str, list[PromptEvaluated]]) -> Iterable[str]:
    for purpose, evaluations in by_purpose.items():
        silent = sum(found.tokens is None for found in evaluations)
        if silent:
            yield f"{purpose}: {silent} of {len(evaluations)} evaluations have no token count"
