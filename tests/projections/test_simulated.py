"""Simulated models are known by their names, wherever a run names or calls one."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.domain.event import Event
from affidavit.domain.model_calls import ModelRequested
from affidavit.domain.optimization.events import PromptEvaluated, Sample
from affidavit.projections.simulated import is_simulated, simulated_models


@pytest.mark.parametrize(
    ("model", "simulated"),
    [
        ("sandbox/reader", True),
        ("local/Simulated-7b", True),
        ("openai/target", False),
        ("local/sandbox/reader", False),
    ],
)
def test_a_name_tells_whether_a_model_is_simulated(model: str, simulated: bool) -> None:
    assert is_simulated(model) is simulated


def test_each_is_named_once_wherever_it_stands(record_of: Any, run_events: list[Event]) -> None:
    started = run_events[0].model_copy(update={"models": ("sandbox/z", "openai/a"), "reasoning_model": "sandbox/r"})
    judge = ModelRequested(site="judge", occurrence=0, attempt=1, model="sandbox/judge", purpose="judge", body="{}")
    answer = Sample(id="a", input="", response="", score=0.5, model="sandbox/answers")
    changed = [
        event.model_copy(update={"model": "sandbox/z", "samples": (answer,)})
        if isinstance(event, PromptEvaluated) and event.purpose == "baseline"
        else event
        for event in run_events[1:]
    ]
    record = record_of([started, judge, *changed])
    assert simulated_models(record) == ["sandbox/answers", "sandbox/judge", "sandbox/r", "sandbox/z"]


def test_a_run_of_real_models_has_none(record_of: Any, run_events: list[Event]) -> None:
    assert simulated_models(record_of(run_events)) == []
