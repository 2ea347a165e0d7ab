"""The token account of a run: what each iteration and each purpose cost, as far as it was recorded.

None means "not recorded" and is never counted as 0. An iteration's own figures are the account of training;
the evaluations speak for the baseline, the validations and the final score. What the run itself reports as
totals stands beside, because it may count more (calls outside iterations) or less (validations).

These are the counts that a run's facts state. Where its calls are on record, their sums are ``calls_account``, and
that is what is priced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum, inf
from typing import Any

from ..domain.errors import Refused
from ..domain.optimization.events import PromptEvaluated
from .calls_account import CallsAccount, Tally
from .run_record import RunRecord

PER = 1_000_000
"""Prices are per million tokens."""

PRICES = ("prompt", "completion", "eval", "reasoning")
"""What a price table may hold of a model: the first two price recorded calls, the others runs without any."""

REASONING = "reasoning"


@dataclass(frozen=True, slots=True)
class IterationTokens:
    """What one iteration cost; ``val`` is None where its validation is not recorded or there was none."""

    iteration: int
    eval: int
    reasoning: int
    val: int | None


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one model's recorded calls cost. ``cost`` is None without a price for it."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    is_lower_bound: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """In the price table's currency. What has no price is in ``not_priced``, and in no figure.

    ``eval`` is all that is not ``reasoning``. ``by_model`` is empty for a run without recorded calls.
    ``is_lower_bound``: some calls have no token count, so that every figure they belong to is the least it can be.
    """

    eval: float | None
    reasoning: float | None
    total: float | None
    not_priced: tuple[str, ...] = ()
    by_model: tuple[ModelCost, ...] = ()
    is_lower_bound: bool = False


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


def cost_of(account: TokenAccount, record: RunRecord, prices: Mapping[str, Mapping[str, float]]) -> Cost:
    """Price a run by a table of models, per million tokens; ``Refused`` for a table that is no such thing.

    ``{model: {"prompt": price, "completion": price}}`` prices recorded calls, each by its own model. A run without
    recorded calls has no such detail: ``{model: {"eval": price, "reasoning": price}}`` prices its ``account``, and
    where its models have different prices, evaluation has none.
    """
    _check(prices)
    if record.calls.has_calls:
        return _cost_of_calls(record.calls, prices)
    started = record.started
    eval_prices = {model: prices.get(model, {}).get("eval") for model in started.models}
    evaluated, missing = _price(account.eval_total, eval_prices, "evaluation")
    model = started.reasoning_model
    reasoned_prices = {} if model is None else {model: prices.get(model, {}).get(REASONING)}
    reasoned, also_missing = _price(account.reasoning, reasoned_prices, REASONING)
    total = None if evaluated is None or reasoned is None else evaluated + reasoned
    return Cost(evaluated, reasoned, total, (*missing, *also_missing, *account.not_recorded))


def _cost_of_calls(calls: CallsAccount, prices: Mapping[str, Mapping[str, float]]) -> Cost:
    costs: dict[bool, list[float | None]] = {True: [], False: []}
    for place, tally in calls.places():
        costs[place.purpose == REASONING].append(_tally_cost(tally, prices.get(place.model, {})))
    by_model = calls.by("model")
    missing = [
        f"{model}: no price for {kind} tokens"
        for model, tally in by_model.items()
        for kind, count in (("prompt", tally.prompt_tokens), ("completion", tally.completion_tokens))
        if count and kind not in prices.get(model, {})
    ]
    unknown = [
        f"{model}: {tally.unknown} of {tally.calls + tally.retries} attempts have no token count"
        for model, tally in by_model.items()
        if not tally.is_whole
    ]
    return Cost(
        _total(costs[False]),
        _total(costs[True]),
        _total([*costs[False], *costs[True]]),
        (*missing, *unknown),
        tuple(
            ModelCost(
                model,
                tally.prompt_tokens,
                tally.completion_tokens,
                _tally_cost(tally, prices.get(model, {})),
                not tally.is_whole,
            )
            for model, tally in by_model.items()
        ),
        bool(unknown),
    )


def _tally_cost(tally: Tally, prices: Mapping[str, float]) -> float | None:
    counts = {"prompt": tally.prompt_tokens, "completion": tally.completion_tokens}
    if any(count and kind not in prices for kind, count in counts.items()):
        return None
    return fsum(count * prices[kind] for kind, count in counts.items() if count) / PER


def _total(costs: list[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return fsum(known) if len(known) == len(costs) else None


def _check(prices: Mapping[str, Mapping[str, float]]) -> None:
    for model, table in prices.items():
        if not isinstance(table, Mapping) or not table.keys() <= set(PRICES):
            raise Refused("price_table", f"price table, {model}: expected an object with some of {', '.join(PRICES)}")
        for name, price in table.items():
            is_number = isinstance(price, (int, float)) and not isinstance(price, bool)
            if not is_number or not 0 <= price < inf:
                place = f"price table, {model}, {name}"
                raise Refused("price_table", f"{place}: expected a number from 0 on, found {price!r}")


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _gaps(by_purpose: Mapping[str, list[PromptEvaluated]]) -> Iterable[str]:
    for purpose, evaluations in by_purpose.items():
        silent = sum(found.tokens is None for found in evaluations)
        if silent:
            yield f"{purpose}: {silent} of {len(evaluations)} evaluations have no token count"


def _price(tokens: int | None, prices: Mapping[str, float | None], what: str) -> tuple[float | None, list[str]]:
    if tokens == 0:
        return 0.0, []
    if tokens is None:
        return None, [f"{what}: no tokens are recorded"]
    if not prices:
        return None, [f"{what}: the run names no model"]
    unknown = [model for model, price in prices.items() if price is None]
    if unknown:
        return None, [f"{what}: no price for {model}" for model in unknown]
    known = {price for price in prices.values() if price is not None}
    if len(known) > 1:
        return None, [f"{what}: {len(prices)} models with different prices share one token count"]
    return tokens * known.pop() / PER, []
