"""What a run cost, by the user's prices."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.event import Event
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.projections.runs.cost import cost_of
from affidavit.projections.runs.record import RunRecord


def test_the_users_prices_give_the_cost(run: RunRecord) -> None:
    prices = {"local/target": {"eval": 2.0}, "reasoner": {"reasoning": 10.0}}
    cost = cost_of(run, prices)
    assert cost.eval == pytest.approx(615 * 2 / 1e6)
    assert cost.reasoning == pytest.approx(85 * 10 / 1e6)
    assert cost.total == pytest.approx((615 * 2 + 85 * 10) / 1e6)
    assert cost.not_priced == ()


def test_what_has_no_price_has_no_cost(run: RunRecord) -> None:
    cost = cost_of(run, {"local/target": {"eval": 2.0}})
    assert (cost.reasoning, cost.total) == (None, None)
    assert cost.not_priced == ("reasoning: no price for reasoner",)


def test_models_of_different_prices_share_no_cost(record_of: Any, run_events: list[Event]) -> None:
    started = run_events[0].model_copy(update={"models": ("a", "b")})
    run = record_of([started, *run_events[1:]])
    prices = {"a": {"eval": 1.0}, "b": {"eval": 2.0}, "reasoner": {"reasoning": 1.0}}
    cost = cost_of(run, prices)
    assert cost.eval is None
    assert cost.not_priced == ("evaluation: 2 models with different prices share one token count",)


def test_recorded_calls_are_priced_by_their_own_model_prompt_and_completion_apart(run_with_calls: RunRecord) -> None:
    prices = {
        "local/target": {"prompt": 1.0, "completion": 2.0},
        "local/judge": {"prompt": 3.0, "completion": 4.0},
        "reasoner": {"prompt": 10.0, "completion": 20.0},
    }
    cost = cost_of(run_with_calls, prices)
    assert cost.eval == pytest.approx((1000 * 1 + 100 * 2 + 500 * 3 + 50 * 4) / 1e6)
    assert cost.reasoning == pytest.approx((2000 * 10 + 200 * 20) / 1e6)
    assert cost.total == pytest.approx((1000 + 200 + 1500 + 200 + 20_000 + 4_000) / 1e6)
    assert [row.model for row in cost.by_model] == ["local/target", "local/judge", "reasoner"]
    assert [row.cost for row in cost.by_model] == [pytest.approx(each / 1e6) for each in (1200, 1700, 24_000)]
    assert (cost.not_priced, cost.is_lower_bound) == ((), False)


def test_a_model_without_a_price_is_named_and_the_others_are_priced(run_with_calls: RunRecord) -> None:
    prices = {"local/target": {"prompt": 1.0, "completion": 2.0}, "local/judge": {"prompt": 3.0}}
    cost = cost_of(run_with_calls, prices)
    assert [row.cost for row in cost.by_model] == [pytest.approx(1200 / 1e6), None, None]
    assert (cost.eval, cost.reasoning, cost.total) == (None, None, None)
    assert cost.not_priced == (
        "local/judge: no price for completion tokens",
        "reasoner: no price for prompt tokens",
        "reasoner: no price for completion tokens",
    )


def test_unknown_tokens_make_the_cost_a_lower_bound(record_of: Any, run_events: list[Event]) -> None:
    lost = ModelRequested(site="train", occurrence=9, attempt=1, model="local/target", purpose="train", body="{}")
    run = record_of([*run_events[:2], *_calls("baseline", "local/target", "baseline", 1000, 100), lost])
    cost = cost_of(run, {"local/target": {"prompt": 1.0, "completion": 2.0}})
    assert cost.total == pytest.approx(1200 / 1e6)
    assert cost.is_lower_bound
    assert cost.not_priced == ("local/target: 1 of 2 attempts have no token count",)
    assert cost.by_model[0].is_lower_bound


@pytest.mark.parametrize(
    "table",
    [{"a": 1.0}, {"a": {"input": 1.0}}, {"a": {"prompt": "1"}}, {"a": {"prompt": -1}}, {"a": {"prompt": True}}]
    + [{"a": {"prompt": bad}} for bad in (float("nan"), float("inf"), None)],
)
def test_a_broken_price_table_is_refused(run: RunRecord, table: Any) -> None:
    with pytest.raises(Refused, match="price table, a"):
        cost_of(run, table)


@pytest.fixture
def run_with_calls(record_of: Any, run_events: list[Event]) -> RunRecord:
    found: RunRecord = record_of(
        [
            *run_events[:2],
            *_calls("baseline", "local/target", "baseline", 1000, 100),
            *_calls("judge", "local/judge", "judge", 500, 50),
            *_calls("rewrite", "reasoner", "reasoning", 2000, 200),
        ]
    )
    return found


def _calls(site: str, model: str, purpose: str, prompt: int, completion: int) -> list[Event]:
    return [
        ModelRequested(site=site, occurrence=0, attempt=1, model=model, purpose=purpose, body="{}"),
        ModelAnswered(
            site=site,
            occurrence=0,
            attempt=1,
            outcome="replied",
            prompt_tokens=prompt,
            completion_tokens=completion,
            body="{}",
        ),
    ]
