"""Token accounts, as far as a run's facts state them."""

from __future__ import annotations

from typing import Any

from affidavit.domain.event import Event
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.domain.optimization.events import PromptEvaluated
from affidavit.projections.runs.record import RunRecord
from affidavit.projections.runs.tokens import counted_tokens, token_account


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


def test_where_calls_are_recorded_every_figure_is_of_them(record_of: Any, run_events: list[Event]) -> None:
    asked = [
        ("baseline", "baseline", None, 1),
        ("train", "train", 1, 10),
        ("val", "val", 1, 100),
        ("judge.val", "judge", 1, 1_000),
        ("rewrite", "reasoning", 1, 10_000),
        ("what_happened", "reasoning", None, 100_000),
    ]
    calls = [
        event
        for site, purpose, iteration, tokens in asked
        for event in (
            ModelRequested(
                site=site, occurrence=0, attempt=1, model="m", purpose=purpose, iteration=iteration, body="{}"
            ),
            ModelAnswered(
                site=site,
                occurrence=0,
                attempt=1,
                outcome="replied",
                prompt_tokens=tokens,
                completion_tokens=0,
                body="{}",
            ),
        )
    ]
    record = record_of([run_events[0], *calls, *run_events[1:]])
    found = counted_tokens(record)
    assert found["source"] == "calls"
    assert (found["eval_total"], found["reasoning_total"]) == (1_111, 110_000)
    assert found["eval_total"] + found["reasoning_total"] == record.calls.total().tokens
    assert [(row["eval_tokens"], row["reasoning_tokens"]) for row in found["iterations"]] == [
        (1_110, 10_000),
        (0, 0),
        (0, 0),
    ]


def test_without_recorded_calls_they_are_what_the_run_states(run: RunRecord) -> None:
    found = counted_tokens(run)
    assert (found["source"], found["eval_total"], found["iterations"][1]["eval_tokens"]) == ("stated", 615, 110)
