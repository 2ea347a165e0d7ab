"""Token accounts and their cost."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.domain.event import Event
from affidavit.domain.optimization.events import PromptEvaluated
from affidavit.projections.run_record import RunRecord
from affidavit.projections.tokens import cost_of, token_account


def test_every_purpose_is_counted_and_the_runs_own_totals_stand_beside(run: RunRecord) -> None:
    account = token_account(run)
    assert account.as_json()["by_purpose"] == {
        "baseline": 90,
        "train": 330,
        "val": 100,
        "final": 95,
        "reasoning": 85,
    }
    assert (account.eval_total, account.reported_eval, account.reported_reasoning) == (615, 515, 130)
    assert [(row.eval, row.reasoning, row.val) for row in account.iterations] == [
        (100, 0, 50),
        (110, 40, 50),
        (120, 45, None),
    ]
    assert account.not_recorded == ()


def test_what_was_not_recorded_is_said_and_is_not_0(record_of: Any, run_events: list[Event]) -> None:
    events = [
        event.model_copy(update={"tokens": None})
        if isinstance(event, PromptEvaluated) and event.purpose == "val"
        else event
        for event in run_events
    ]
    account = token_account(record_of(events))
    assert account.val is None
    assert account.not_recorded == ("val: 2 of 2 evaluations have no token count",)


def test_a_run_without_iterations_has_no_training_count(record_of: Any, run_events: list[Event]) -> None:
    account = token_account(record_of(run_events[:1]))
    assert (account.baseline, account.train, account.reasoning, account.eval_total) == (None, None, None, 0)


def test_the_users_prices_give_the_cost(run: RunRecord) -> None:
    prices = {"local/target": {"eval": 2.0}, "reasoner": {"reasoning": 10.0}}
    cost = cost_of(token_account(run), run, prices)
    assert cost.eval == pytest.approx(615 * 2 / 1e6)
    assert cost.reasoning == pytest.approx(85 * 10 / 1e6)
    assert cost.total == pytest.approx((615 * 2 + 85 * 10) / 1e6)
    assert cost.not_priced == ()


def test_what_has_no_price_has_no_cost(run: RunRecord) -> None:
    cost = cost_of(token_account(run), run, {"local/target": {"eval": 2.0}})
    assert (cost.reasoning, cost.total) == (None, None)
    assert cost.not_priced == ("reasoning: no price for reasoner",)


def test_models_of_different_prices_share_no_cost(record_of: Any, run_events: list[Event]) -> None:
    started = run_events[0].model_copy(update={"models": ("a", "b")})
    run = record_of([started, *run_events[1:]])
    prices = {"a": {"eval": 1.0}, "b": {"eval": 2.0}, "reasoner": {"reasoning": 1.0}}
    cost = cost_of(token_account(run), run, prices)
    assert cost.eval is None
    assert cost.not_priced == ("evaluation: 2 models with different prices share one token count",)
