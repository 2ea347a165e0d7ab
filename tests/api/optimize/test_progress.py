"""The display of a run: what a person sees of it while it goes."""

from __future__ import annotations

import io
import sys

import pytest

from affidavit.api.cli.run_progress import RunProgress, shown_progress
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.domain.optimization.events import IterationCompleted, PhaseStarted, PromptEvaluated, RewriteProposed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def requested(occurrence: int, purpose: str = "train", attempt: int = 1) -> ModelRequested:
    return ModelRequested(
        site="eval.train", occurrence=occurrence, attempt=attempt, model="m", purpose=purpose, iteration=2, body=""
    )


def answered(asked: ModelRequested, outcome: str = "replied", **more: object) -> ModelAnswered:
    return ModelAnswered.model_validate(
        {"site": asked.site, "occurrence": asked.occurrence, "attempt": asked.attempt, "outcome": outcome, **more}
    )


def evaluated(number: int, purpose: str, score: float | None, failed: int = 0) -> PromptEvaluated:
    return PromptEvaluated.model_validate(
        {"evaluation": number, "prompt": 0, "purpose": purpose, "score": score, "n": 4, "failed": failed}
    )


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def progress(lines: list[str]) -> RunProgress:
    times = iter([10.0, *[75.0] * 100])
    return RunProgress(5, simulated=True, put=lines.append, clock=lambda: next(times))


def test_what_happens_now(progress: RunProgress, lines: list[str]) -> None:
    progress.fact(evaluated(0, "baseline", 0.25), 1, fed=False)
    progress.fact(PhaseStarted(phase=1, axis="structural"), 2, fed=False)
    progress.fact(evaluated(1, "train", 0.5, failed=1), 3, fed=False)
    progress.fact(evaluated(2, "val", 0.4), 4, fed=False)
    completed = IterationCompleted(iteration=1, evaluation=1, val_evaluation=2, eval_tokens=1500, reasoning_tokens=200)
    progress.fact(completed, 5, fed=False)
    rewrite = {"rewrite": 0, "parent": 1, "rationale": "r", "change_summary": "Asked for\n one line"}
    progress.fact(RewriteProposed.model_validate(rewrite), 6, fed=False)
    first, second, judged = requested(0), requested(1, "reasoning"), requested(2, "judge")
    for asked in (first, second, judged):
        progress.sent(asked)
    progress.answered(first, answered(first, prompt_tokens=1200, completion_tokens=30), fed=False)
    progress.answered(second, answered(second, prompt_tokens=7, completion_tokens=8), fed=False)
    assert progress.lines() == [
        "SIMULATED: no language model",
        "phase 1 structural · iteration 2 of at most 5 · 1:05",
        "scores baseline 0.2500 · train 0.5000 · validation 0.4000 · best 0.4000 (validation)",
        "calls  2 done · 1 in flight",
        "tokens answers 1,200 + 30 · reasoner 7 + 8",
    ]
    assert lines == [
        "baseline 0.2500 (n = 4)",
        "phase 1: structural",
        "iteration 1: train 0.5000, validation 0.4000, 1 sample has no score",
        "  change 1: Asked for one line",
    ]


def test_a_sample_that_is_answered_twice_is_counted_once(progress: RunProgress, lines: list[str]) -> None:
    samples = [{"id": name, "input": "", "response": "", "score": 0.5} for name in ("a", "b", "a", "b")]
    facts = {"evaluation": 0, "prompt": 0, "purpose": "baseline", "score": 0.5, "n": 4, "failed": 1, "passes": 2}
    progress.fact(PromptEvaluated.model_validate({**facts, "samples": samples}), 1, fed=False)
    assert lines == ["baseline 0.5000 (n = 2, 4 answers, averaged per sample, 1 failed)"]


def test_what_is_fed_is_counted_and_neither_told_nor_paid_for(progress: RunProgress, lines: list[str]) -> None:
    progress.fact(evaluated(0, "baseline", 0.25), 1, fed=True)
    asked = requested(0)
    progress.answered(asked, answered(asked, prompt_tokens=1200, completion_tokens=30), fed=True)
    assert lines == []
    assert progress.lines()[2:] == [
        "scores baseline 0.2500",
        "calls  0 done · 0 in flight · 1 fed from the ledger",
        "tokens none yet",
    ]


def test_attempts_that_fail_are_told_when_asked_for(progress: RunProgress, lines: list[str]) -> None:
    for number, verbose in enumerate((False, True)):
        progress.verbose = verbose
        asked = requested(number)
        progress.sent(asked)
        progress.answered(asked, answered(asked, "timed_out", reason="timed_out"), fed=False)
        again = requested(number, attempt=2)
        progress.sent(again)
        progress.answered(again, answered(again, "refused", reason="server_error", gave_up=True), fed=False)
    assert lines == ["  eval.train 1, attempt 1: timed_out", "  eval.train 1, attempt 2: server_error, given up"]
    assert progress.lines()[3] == "calls  2 done · 0 in flight · 2 tried again"


def test_a_terminal_shows_it_in_place_and_colours_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    with shown_progress(5, simulated=True, quiet=False, verbose=False) as progress:
        progress.fact(evaluated(0, "baseline", 0.25), 1, fed=False)
        printed = terminal.getvalue()  # while it goes: the panel is not behind the line above it
    assert "SIMULATED: no language model" in printed
    assert "scores baseline 0.2500" in printed
    assert "baseline 0.2500 (n = 4)" in printed
    assert "\x1b[3" not in printed


@pytest.mark.parametrize(("quiet", "printed"), [(False, "baseline 0.2500 (n = 4)\n"), (True, "")])
def test_a_pipe_gets_lines_alone(quiet: bool, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with shown_progress(5, simulated=True, quiet=quiet, verbose=False) as progress:
        progress.fact(evaluated(0, "baseline", 0.25), 1, fed=False)
    assert pipe.getvalue() == printed


def test_control_characters_of_a_model_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    rewrite = {"rewrite": 0, "parent": 1, "rationale": "r", "change_summary": "\x1b[2Jgone"}
    with shown_progress(5, simulated=False, quiet=False, verbose=False) as progress:
        progress.fact(RewriteProposed.model_validate(rewrite), 1, fed=False)
    assert pipe.getvalue() == "  change 1: \\u001b[2Jgone\n"
