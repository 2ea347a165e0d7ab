"""What a run cost, by a price table that the user supplies.

Recorded calls are priced each by its own model, prompt and completion apart. A run without any, such as an import, has
only the token counts that its facts state. What has no price has no cost, and so has a total that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum, inf

from ...domain.errors import Refused
from .calls_account import CallsAccount, Tally
from .record import RunRecord
from .tokens import token_account

PER = 1_000_000
"""Prices are per million tokens."""

PRICES = ("prompt", "completion", "eval", "reasoning")
"""What a price table may hold of a model: the first two price recorded calls, the others runs without any."""

REASONING = "reasoning"


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


def cost_of(record: RunRecord, prices: Mapping[str, Mapping[str, float]]) -> Cost:
    """Price a run by a table of models, per million tokens; ``Refused`` for a table that is no such thing.

    ``{model: {"prompt": price, "completion": price}}`` prices recorded calls, each by its own model. A run without
    recorded calls has no such detail: ``{model: {"eval": price, "reasoning": price}}`` prices its token account, and
    where its models have different prices, evaluation has none.
    """
    _check(prices)
    if record.calls.has_calls:
        return _cost_of_calls(record.calls, prices)
    account, started = token_account(record), record.started
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
