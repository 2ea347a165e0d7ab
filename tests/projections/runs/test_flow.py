"""What each iteration was made from, and the branches of a run."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.domain.event import Event
from affidavit.domain.optimization.events import IterationCompleted, PromptEvaluated, RewriteProposed, RunCompleted
from affidavit.projections.runs.flow import best_iteration, run_steps
from affidavit.projections.runs.record import RunRecord


def test_each_iteration_has_the_effect_of_the_change_that_made_its_prompt(run: RunRecord) -> None:
    steps = run_steps(run)
    assert [(step.number, step.made_from, step.change) for step in steps] == [(1, 0, None), (2, 1, 1), (3, 2, 2)]
    assert [step.direction for step in steps] == [None, "helped", "hurt"]
    assert steps[0].delta is None
    assert steps[1].delta == pytest.approx(0.5)
    assert steps[1].delta_n == 4


def test_an_iteration_after_a_dead_end_is_made_from_the_one_before_it(record_of: Any, run_events: list[Event]) -> None:
    third = next(event for event in run_events if isinstance(event, RewriteProposed) and event.rewrite == 2)
    again = next(event for event in run_events if isinstance(event, PromptEvaluated) and event.evaluation == 5)
    rest = [
        third.model_copy(update={"parent": 3}),
        again.model_copy(update={"evaluation": 6, "prompt": 3, "parent": 3, "system_prompt": None}),
        IterationCompleted(iteration=4, evaluation=6, rewrite=2),
    ]
    before = run_events[: run_events.index(third)]
    steps = run_steps(record_of([*before, *rest]))
    assert [step.made_from for step in steps] == [0, 1, 2, 2]


def test_best_is_the_reported_prompt_and_before_the_end_the_one_ahead(record_of: Any, run_events: list[Event]) -> None:
    ended = run_events[-1]
    assert isinstance(ended, RunCompleted)
    assert best_iteration(record_of(run_events)) == 2
    assert best_iteration(record_of(run_events[:-1])) == 2
    unscored = ended.model_copy(update={"best": 0, "final_evaluation": None})
    assert best_iteration(record_of([*run_events[:-2], unscored])) == 1
    assert best_iteration(record_of([*run_events[:-2], unscored.model_copy(update={"best": None})])) is None


def test_withheld_samples_leave_the_scores_and_take_the_measured_effect(withheld_run: RunRecord) -> None:
    steps = run_steps(withheld_run)
    assert [step.score for step in steps] == [0.25, 0.75, 0.55]
    assert {step.basis for step in steps[1:]} == {"means"}
    assert steps[1].summary is not None
