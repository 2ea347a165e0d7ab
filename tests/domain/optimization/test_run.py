"""Given what happened in a run, when an event wants to be recorded, then it is accepted or refused by name."""

from __future__ import annotations

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.event import Event
from affidavit.domain.optimization.events import (
    IterationCompleted,
    PhaseCompleted,
    PhaseStarted,
    PromptEvaluated,
    Purpose,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunImported,
    RunSealed,
    RunStarted,
    SourceKept,
)
from affidavit.domain.optimization.run import RunState, decide, evolve


def started() -> Event:
    return RunStarted(run="1", directory="1", timestamp="t", strategy="s", system_prompt="p0", config={})


def evaluated(
    evaluation: int, prompt: int, purpose: Purpose = "train", *, text: str | None = None, parent: int | None = None
) -> Event:
    return PromptEvaluated(evaluation=evaluation, prompt=prompt, purpose=purpose, system_prompt=text, parent=parent)


def rewritten(rewrite: int, parent: int, prompt: int | None, *, text: str | None = None) -> Event:
    return RewriteProposed(rewrite=rewrite, parent=parent, prompt=prompt, system_prompt=text, rationale="r")


def iterated(iteration: int, evaluation: int, *, val: int | None = None, rewrite: int | None = None) -> Event:
    return IterationCompleted(iteration=iteration, evaluation=evaluation, val_evaluation=val, rewrite=rewrite)


def completed(best: int | None = None, final: int | None = None) -> Event:
    return RunCompleted(reason="budget", converged=False, best=best, final_evaluation=final)


def phase(number: int) -> Event:
    return PhaseStarted(phase=number, axis="a")


def phase_done(number: int) -> Event:
    return PhaseCompleted(phase=number, axis="a", iterations=1)


SEALED = RunSealed(profile="native", version=1, upto=1, files=0, bytes=0, manifest={})
IMPORTED = RunImported(system="s", files=0, findings={}, detail={"files": [], "findings": []})
KEPT = SourceKept(name="notes.txt", content="x")
NO_RUN_EVENT = type("Elsewhere", (Event,), {"type_name": "test.elsewhere.v1"})()
REWRITTEN = [started(), evaluated(0, 0), rewritten(0, 0, 1, text="p1"), evaluated(1, 1, parent=0)]


@pytest.mark.parametrize(
    ("given", "when"),
    [
        ([], started()),
        ([started()], evaluated(0, 0)),
        ([started()], evaluated(0, 1, text="p1")),
        ([started()], completed()),
        ([started()], RunFailed(reason="error")),
        ([started(), evaluated(0, 0)], evaluated(1, 0, "val", parent=0)),
        ([started(), evaluated(0, 0)], rewritten(0, 0, 1, text="p1")),
        ([started(), evaluated(0, 0)], rewritten(0, 0, 0)),
        ([started(), evaluated(0, 0)], rewritten(0, 0, None)),
        (REWRITTEN, iterated(1, 1, rewrite=0)),
        (REWRITTEN, iterated(7, 1)),
        ([started(), evaluated(0, 0, "variant")], iterated(1, 0)),
        ([*REWRITTEN, evaluated(2, 1, "val")], iterated(1, 1, val=2, rewrite=0)),
        (REWRITTEN, completed(best=1)),
        ([*REWRITTEN, evaluated(2, 1, "final")], completed(best=1, final=2)),
        ([*REWRITTEN, evaluated(2, 1, "final")], completed(final=2)),
        ([started()], phase(1)),
        ([started(), phase(1)], phase_done(1)),
        ([started(), phase(1), phase_done(1)], phase(2)),
        ([started(), phase(1)], completed()),
        ([started(), completed()], SEALED),
        ([started(), completed()], IMPORTED),
        ([started(), RunFailed(reason="error")], KEPT),
        ([started()], SEALED),
    ],
)
def test_it_may_follow(given: list[Event], when: Event) -> None:
    assert decide(_state(given), when) is when


@pytest.mark.parametrize(
    ("given", "when", "rule"),
    [
        ([started()], started(), "run_started_once"),
        ([started(), completed()], started(), "run_started_once"),
        ([], evaluated(0, 0), "run_not_started"),
        ([], SEALED, "run_not_started"),
        ([], NO_RUN_EVENT, "run_not_started"),
        ([started(), completed()], evaluated(0, 0), "run_ended"),
        ([started(), RunFailed(reason="error")], completed(), "run_ended"),
        ([started(), completed()], RunFailed(reason="error"), "run_ended"),
        ([started()], NO_RUN_EVENT, "not_a_run_event"),
        ([started()], evaluated(1, 0), "evaluation_in_order"),
        ([started(), evaluated(0, 0)], evaluated(0, 0), "evaluation_in_order"),
        ([started()], evaluated(0, 2, text="p2"), "prompt_in_order"),
        ([started(), evaluated(0, 0)], rewritten(0, 0, 2, text="p2"), "prompt_in_order"),
        ([started()], evaluated(0, 0, text="p0"), "prompt_text_once"),
        ([started()], evaluated(0, 1), "prompt_text_once"),
        ([started(), evaluated(0, 0)], rewritten(0, 0, 1), "prompt_text_once"),
        (REWRITTEN, rewritten(1, 0, 1, text="p1"), "prompt_text_once"),
        ([started()], evaluated(0, 0, parent=0), "evaluation_known"),
        ([started(), evaluated(0, 0)], evaluated(1, 0, parent=-1), "evaluation_known"),
        ([started()], rewritten(0, 0, 1, text="p1"), "evaluation_known"),
        ([started()], iterated(1, 0), "evaluation_known"),
        ([started(), evaluated(0, 0)], iterated(1, 0, val=1), "evaluation_known"),
        ([started(), evaluated(0, 0)], completed(final=1), "evaluation_known"),
        ([started(), evaluated(0, 0)], rewritten(1, 0, 1, text="p1"), "rewrite_in_order"),
        ([*REWRITTEN, iterated(1, 1)], iterated(1, 1), "iteration_once"),
        ([started(), evaluated(0, 0, "val")], iterated(1, 0), "evaluation_purpose"),
        ([started(), evaluated(0, 0), evaluated(1, 0)], iterated(1, 0, val=1), "evaluation_purpose"),
        ([started(), evaluated(0, 0)], completed(final=0), "evaluation_purpose"),
        ([*REWRITTEN, evaluated(2, 0, "val")], iterated(1, 1, val=2), "one_prompt_per_iteration"),
        (REWRITTEN, iterated(1, 0, rewrite=0), "rewrite_made_this_prompt"),
        (REWRITTEN, iterated(1, 1, rewrite=1), "rewrite_made_this_prompt"),
        (REWRITTEN, iterated(1, 1, rewrite=-1), "rewrite_made_this_prompt"),
        ([started(), evaluated(0, 0)], iterated(1, 0, rewrite=-1), "rewrite_made_this_prompt"),
        ([started(), phase(1)], phase(2), "phase_open"),
        ([started()], phase(2), "phase_in_order"),
        ([started(), phase(1), phase_done(1)], phase(1), "phase_in_order"),
        ([started()], phase_done(1), "phase_not_open"),
        ([started(), phase(1)], phase_done(2), "phase_not_open"),
        ([started(), phase(1), phase_done(1)], phase_done(1), "phase_not_open"),
        ([started()], completed(best=0), "best_was_evaluated"),
        ([*REWRITTEN, evaluated(2, 0, "final")], completed(best=1, final=2), "best_is_what_was_scored"),
    ],
)
def test_it_is_refused_by_name(given: list[Event], when: Event, rule: str) -> None:
    with pytest.raises(Refused) as refused:
        decide(_state(given), when)
    assert refused.value.rule == rule


def test_deciding_changes_nothing() -> None:
    state, twin = _state(REWRITTEN), _state(REWRITTEN)
    decide(state, iterated(1, 1, rewrite=0))
    assert state == twin


def test_the_state_keeps_no_sample_of_an_evaluation() -> None:
    event = PromptEvaluated(evaluation=0, prompt=1, purpose="train", system_prompt="p1", samples=())
    kept = evolve(_state([started()]), event).evaluations[0]
    assert (kept.system_prompt, kept.samples) == (None, None)


def _state(given: list[Event]) -> RunState:
    state = RunState()
    for event in given:
        evolve(state, decide(state, event))
    return state
