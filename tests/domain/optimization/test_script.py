"""The script of a run, driven by hand: models are functions of (question, how often it was asked)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from affidavit.domain.event import Event
from affidavit.domain.model_calls import Ask, Reply
from affidavit.domain.optimization.conversation import (
    BeginPhase,
    Calls,
    Complete,
    Consult,
    Conversation,
    EndPhase,
    Fact,
    Progress,
    Propose,
    Question,
    Score,
)
from affidavit.domain.optimization.dataset import DataRow
from affidavit.domain.optimization.effects import effect_of
from affidavit.domain.optimization.events import (
    AnalysisNoted,
    IterationCompleted,
    PhaseCompleted,
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunStarted,
    Sample,
)
from affidavit.domain.optimization.metrics import CustomMetric, find_metrics
from affidavit.domain.optimization.options import Options
from affidavit.domain.optimization.run import RunState, decide, evolve
from affidavit.domain.optimization.script import Stretch, Task, optimise
from affidavit.domain.optimization.splits import split_indices
from affidavit.domain.optimization.study import Strategies, Study

ROWS = tuple(
    DataRow(id=f"s{number}", messages=({"role": "user", "content": f"q{number}"},), ideal="yes") for number in range(10)
)
Model = Callable[[Question], str | None]


@dataclass
class Played:
    """What a script put on record, and what it asked."""

    facts: list[Fact] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact.event for fact in self.facts if isinstance(fact.event, kind)]

    def evaluated(self, purpose: str) -> list[PromptEvaluated]:
        return [event for event in self.of(PromptEvaluated) if event.purpose == purpose]


def options(**changes: Any) -> Options:
    settings = {"strategy": "climb", "models": ("m",), "metrics": ("exact",), "val_ratio": 0.2, "train_ratio": 0.7}
    return Options.model_validate({**settings, **changes})


def task(*stretches: Stretch, rows: tuple[DataRow, ...] = ROWS, criteria: str | None = None) -> Task:
    first = stretches[0].options
    split = split_indices(len(rows), first.train_ratio, first.val_ratio, first.split_seed)
    return Task("p0", rows, split, stretches, find_metrics(first.metrics), criteria)


def climb(study: Study) -> Conversation:
    """Try prompts p1, p2, … one after the other."""
    prompt, parent = study.start, None
    while True:
        (scored,) = yield Score((prompt,), parent=parent)
        progress = yield Complete(scored)
        PROGRESS.append(progress)
        if progress.converged or progress.stop:
            return
        (reply,) = yield Consult((Ask("climb.next", ({"role": "user", "content": study.history()},)),))
        prompt, parent = f"p{study.iteration - 1}", scored
        yield Propose(scored, prompt, reply.text or "", f"to {prompt}", study.history(), because=(reply,))


PROGRESS: list[Progress] = []


def play(work: Task, model: Model, strategies: Strategies | None = None) -> Played:
    """Drive a script to its end, and hold each fact to the rules of a run."""
    PROGRESS.clear()
    played, state, seq = Played(), RunState(), 0
    start = RunStarted(run="1", directory="1", timestamp="", strategy="climb", system_prompt=work.prompt, config={})
    evolve(state, decide(state, start))
    script = optimise(work, strategies or {"climb": climb, "phased": phased})
    answer: Any = None
    while True:
        try:
            step = script.send(answer)
        except StopIteration:
            played.progress = list(PROGRESS)
            return played
        match step:
            case Calls():
                replies = []
                for question in step.questions:
                    seq += 1
                    text = model(question)
                    reason = "" if text is not None else "timed_out"
                    replies.append(Reply(text, reason, seq, 10, 1) if text is not None else Reply(None, reason, seq))
                played.asked += step.questions
                answer = tuple(replies)
            case Fact():
                assert isinstance(step.event, Event)
                evolve(state, decide(state, step.event))
                played.facts.append(step)
                answer = None


def samples_of(evaluation: PromptEvaluated) -> tuple[Sample, ...]:
    assert isinstance(evaluation.samples, tuple)
    return evaluation.samples


def prompt_of(question: Question) -> str:
    return question.ask.messages[0]["content"]


def right_for(shares: dict[str, float]) -> Model:
    """Answers rightly for the first part of the rows, by prompt."""

    def model(question: Question) -> str:
        if question.to == "reasoner":
            return "because"
        number = int(question.ask.messages[-1]["content"][1:])
        return "yes" if number < 10 * shares.get(prompt_of(question), 0.0) else "no"

    return model


def test_it_goes_from_the_baseline_to_the_final_score_of_the_prompt_it_reports() -> None:
    played = play(task(Stretch(options(max_iterations=3))), right_for({"p0": 0.2, "p1": 1.0, "p2": 0.5}))

    assert [event.type_name for event in played.of(Event)] == [
        "prompt.evaluated.v1",
        *["prompt.evaluated.v1", "prompt.evaluated.v1", "iteration.completed.v1", "rewrite.proposed.v1"],
        *["prompt.evaluated.v1", "prompt.evaluated.v1", "iteration.completed.v1"],
        "prompt.evaluated.v1",
        "analysis.noted.v1",
        "run.completed.v1",
    ]
    (baseline,), (final,), (ended,) = played.evaluated("baseline"), played.evaluated("final"), played.of(RunCompleted)
    assert [sample.id for sample in samples_of(baseline)] == [sample.id for sample in samples_of(final)]
    assert (ended.best, final.prompt, final.score, ended.converged, ended.reason) == (1, 1, 1.0, True, "converged")


def test_w12_what_is_reported_as_best_is_the_text_that_was_finally_evaluated() -> None:
    shares = {"p0": 0.9, "p1": 0.1, "p2": 0.1}
    played = play(task(Stretch(options(max_iterations=3, threshold=1.0))), right_for(shares))

    (final,), (ended,) = played.evaluated("final"), played.of(RunCompleted)
    assert ended.best == final.prompt == 0
    assert {prompt_of(question) for question in played.asked if question.purpose == "final"} == {"p0"}


def test_the_iteration_that_converges_is_on_record_with_its_validation() -> None:
    played = play(task(Stretch(options())), right_for({"p0": 1.0}))

    (iteration,) = played.of(IterationCompleted)
    assert iteration.val_evaluation is not None
    assert [progress.converged for progress in played.progress] == [True]


def test_w25_a_failed_call_is_a_failed_sample_with_a_reason_and_no_score() -> None:
    def model(question: Question) -> str | None:
        return None if question.ask.messages[-1]["content"] == "q3" else "yes"

    work = task(Stretch(options(max_iterations=1, train_ratio=1.0)))
    played = play(work, model)

    (train,) = played.evaluated("train")
    failed = [sample for sample in samples_of(train) if sample.failed]
    assert [(sample.id, sample.score, sample.response, sample.reason) for sample in failed] == [
        ("s3", None, "", "timed_out")
    ]
    assert (train.n, train.failed, train.score) == (10, 1, 1.0)


def test_w25_a_run_whose_baseline_got_no_reply_fails_and_asks_no_more() -> None:
    played = play(task(Stretch(options())), lambda question: None)

    (failure,) = played.of(RunFailed)
    assert failure.reason == "baseline_failed"
    assert failure.message == "none of 3 samples was scored: timed_out 3"
    assert {question.purpose for question in played.asked} == {"baseline"}


def test_w25_a_final_evaluation_without_replies_is_no_success() -> None:
    played = play(
        task(Stretch(options(max_iterations=1))), lambda question: None if question.purpose == "final" else "yes"
    )

    (ended,), (final,) = played.of(RunCompleted), played.evaluated("final")
    assert (final.score, final.failed, ended.converged) == (None, 3, False)


def test_w17_each_effect_is_between_evaluations_of_the_same_samples() -> None:
    played = play(task(Stretch(options(max_iterations=2, threshold=1.0))), right_for({"p0": 0.2, "p1": 0.7}))

    (rewrite,) = played.of(RewriteProposed)
    effect = effect_of(rewrite, played.of(PromptEvaluated))
    trained = played.evaluated("train")
    means = [event.score or 0.0 for event in trained]
    assert effect.basis == "paired"
    assert effect.n == len(samples_of(trained[0]))
    assert effect.delta == pytest.approx(means[1] - means[0])


def test_w11_the_history_that_the_reasoner_sees_has_the_newest_effect_in_it() -> None:
    played = play(task(Stretch(options(max_iterations=4, threshold=1.0))), right_for({"p0": 0.2, "p1": 0.7, "p2": 0.1}))

    asked = [question.ask.messages[0]["content"] for question in played.asked if question.ask.site == "climb.next"]
    first, second, third = played.of(RewriteProposed)
    assert asked[0] == first.history == "(no changes yet)"
    assert "✓ helped): to p1" in asked[1]
    assert asked[1] == second.history
    assert "✗ hurt): to p2" in asked[2]
    assert asked[2] == third.history


def test_early_stopping_counts_validations_since_the_best() -> None:
    shares = {"p0": 0.7}
    work = task(Stretch(options(threshold=1.0, early_stopping_patience=2)))
    played = play(work, right_for(shares))

    assert [progress.stop for progress in played.progress] == [None, None, "early_stopped"]
    assert played.of(RunCompleted)[0].reason == "early_stopped"
    assert played.of(RunCompleted)[0].best == 0


def test_a_batch_is_drawn_anew_for_each_iteration_and_never_converges_by_itself() -> None:
    settings = options(batch_size=2, full_eval_steps=3, max_iterations=3, val_ratio=0.0, threshold=0.0)
    played = play(task(Stretch(settings)), right_for({}))

    trained = played.evaluated("train")
    assert [(event.sample_set, event.n) for event in trained] == [("batch", 2), ("batch", 2), ("whole", 7)]
    assert len({tuple(sample.id for sample in samples_of(event)) for event in trained}) == 3
    assert [event.full_evaluation for event in played.of(IterationCompleted)] == [False, False, True]
    assert [progress.converged for progress in played.progress] == [False, False, True]


def test_targets_are_scored_on_held_out_samples_and_set_the_threshold() -> None:
    def model(question: Question) -> str:
        return "yes" if question.to == "strong" or question.ask.messages[-1]["content"] in ("q1", "q2") else "no"

    settings = options(threshold_source="target", targets=("strong", "weak"), max_iterations=1)
    played = play(task(Stretch(settings)), model)

    assert [(event.model, event.prompt) for event in played.evaluated("target")] == [("strong", 0), ("weak", 0)]
    assert next(event.score for event in played.evaluated("target")) == 1.0
    assert played.progress[0].converged is False


def test_several_models_and_passes_answer_each_sample() -> None:
    settings = options(models=("m", "n"), eval_runs=2, max_iterations=0)
    played = play(task(Stretch(settings)), lambda question: "yes" if question.to == "m" else "no")

    (baseline,) = played.evaluated("baseline")
    assert (baseline.n, baseline.passes, baseline.score, baseline.std) == (12, 2, 0.5, 0.0)
    assert [sample.model for sample in samples_of(baseline)[:4]] == ["m", "m", "n", "n"]


def test_the_judge_scores_answers_and_what_it_does_not_decide_has_no_score() -> None:
    def model(question: Question) -> str:
        if question.to == "judge":
            return '{"score": 5, "reason": "fine"}' if "q1" in question.ask.messages[0]["content"] else "well…"
        return "yes"

    settings = options(metrics=(), judge="j", max_iterations=0, train_ratio=1.0)
    played = play(task(Stretch(settings), criteria="Be kind."), model)

    (baseline,) = played.evaluated("baseline")
    scored = {sample.id: (sample.scores, sample.reason) for sample in samples_of(baseline)}
    assert scored["s1"] == ({"llm_judge": 1.0}, None)
    assert scored["s2"] == ({}, "judge_undecided")
    fact = next(fact for fact in played.facts if fact.event is baseline)
    assert fact.judge_prompt_version is not None
    assert len(fact.because) == 20
    assert fact.because[:4] == (1, 11, 2, 12)


def test_without_reasons_to_iterate_the_initial_prompt_is_what_is_reported() -> None:
    played = play(task(Stretch(options(max_iterations=0))), right_for({"p0": 0.5}))

    (ended,) = played.of(RunCompleted)
    assert (ended.best, ended.reason) == (0, "max_iterations")
    assert not played.of(AnalysisNoted)


def test_an_iterations_tokens_are_those_of_the_replies_that_it_took() -> None:
    played = play(task(Stretch(options(max_iterations=2, threshold=1.0))), right_for({}))

    assert [event.eval_tokens for event in played.of(IterationCompleted)] == [55, 55]
    assert [event.reasoning_tokens for event in played.of(IterationCompleted)] == [0, 11]
    assert [event.tokens for event in played.evaluated("val")] == [22, 22]


def test_calls_say_which_iteration_and_phase_they_are_for() -> None:
    played = play(task(Stretch(options(strategy="phased", max_iterations=2, threshold=1.0))), right_for({}))

    trained = [(question.iteration, question.phase) for question in played.asked if question.purpose == "train"]
    assert sorted(set(trained)) == [(1, 1), (2, 2)]
    assert {question.iteration for question in played.asked if question.purpose in ("baseline", "final")} == {None}
    assert [(event.phase, event.axis, event.iterations) for event in played.of(PhaseCompleted)] == [
        (1, "one", 1),
        (2, "two", 1),
    ]


def phased(study: Study) -> Conversation:
    """Two phases of an iteration each; the second is left open when the run is told to stop."""
    for axis in ("one", "two"):
        yield BeginPhase(axis)
        (scored,) = yield Score((study.start,))
        progress = yield Complete(scored)
        if progress.stop:
            return
        yield EndPhase(None, scored.score, converged=False)


def test_a_branch_does_what_its_parent_did_and_then_goes_its_own_way() -> None:
    before = options(max_iterations=3, threshold=1.0)
    whole = play(task(Stretch(before)), right_for({"p0": 0.3}))
    after = options(max_iterations=4, threshold=1.0, reasoning_model="x/y")
    branch = play(task(Stretch(before, until=2), Stretch(after)), right_for({"p0": 0.3}))

    def upto(played: Played) -> list[Event]:
        events = [fact.event for fact in played.facts]
        second = next(at for at, event in enumerate(events) if getattr(event, "iteration", None) == 2)
        return events[: second + 1]

    assert upto(branch) == upto(whole)
    assert [event.iteration for event in branch.of(IterationCompleted)] == [1, 2, 3, 4]


def test_a_branch_with_another_strategy_begins_with_the_prompt_of_the_iteration_it_leaves() -> None:
    before = options(max_iterations=3, threshold=1.0)
    after = options(strategy="phased", max_iterations=4, threshold=1.0)
    played = play(task(Stretch(before, until=2), Stretch(after)), right_for({}))

    trained = [prompt_of(question) for question in played.asked if question.purpose == "train"]
    assert list(dict.fromkeys(trained)) == ["p0", "p1"]
    assert [event.phase for event in played.of(IterationCompleted)] == [None, None, 1, 2]


def test_the_initial_prompt_is_reported_where_validation_finds_nothing_better() -> None:
    """The strategy never completes an iteration with it: what it comes to is better in training only."""

    def overfit(study: Study) -> Conversation:
        (first,) = yield Score((study.start,))
        yield Propose(first, "p1", "because")
        (scored,) = yield Score(("p1",), parent=first)
        yield Complete(scored)

    def model(question: Question) -> str:
        good = question.purpose == "train" if prompt_of(question) == "p1" else question.purpose != "train"
        return "yes" if good else "no"

    settings = options(strategy="overfit", max_iterations=1)
    played = play(task(Stretch(settings)), model, {"overfit": overfit})

    assert [(event.prompt, event.score) for event in played.evaluated("val")] == [(0, 1.0), (1, 0.0)]
    (final,), (ended,) = played.evaluated("final"), played.of(RunCompleted)
    assert (final.prompt, ended.best, final.score) == (0, 0, 1.0)


def test_w25_a_score_that_stands_for_few_of_the_samples_reaches_no_threshold() -> None:
    def model(question: Question) -> str | None:
        return "yes" if question.ask.messages[-1]["content"] == "q1" or question.purpose == "baseline" else None

    settings = options(max_iterations=1, train_ratio=1.0, threshold=0.9)
    played = play(task(Stretch(settings)), model)

    (final,), (ended,) = played.evaluated("final"), played.of(RunCompleted)
    assert (final.score, final.failed, ended.converged) == (1.0, 9, False)
    assert [progress.converged for progress in played.progress] == [False]


def test_a_strategy_that_goes_on_after_it_is_told_to_stop_is_not_asked_again() -> None:
    def deaf(study: Study) -> Conversation:
        while True:
            (scored,) = yield Score((study.start,))
            yield Complete(scored)

    played = play(
        task(Stretch(options(strategy="deaf", max_iterations=2, threshold=1.0))), right_for({}), {"deaf": deaf}
    )

    assert len(played.of(IterationCompleted)) == 2
    assert len(played.evaluated("train")) == 2
    assert played.of(RunCompleted)[0].reason == "max_iterations"


def test_a_strategy_that_yields_no_request_fails() -> None:
    def wrong(study: Study) -> Conversation:
        yield "score it"  # type: ignore[misc] # what a strategy of somebody else may do

    with pytest.raises(TypeError, match="found 'score it'"):
        play(task(Stretch(options(strategy="wrong"))), right_for({}), {"wrong": wrong})


def test_why_no_sample_was_scored_is_said() -> None:
    def fails(response: str, ideal: str) -> float:
        raise ValueError("oops")

    work = replace(task(Stretch(options())), metrics=(CustomMetric("mine", fails),))
    (failure,) = play(work, right_for({})).of(RunFailed)

    assert failure.message == (
        "none of 3 samples was scored: metric_failed 3; sample s4: metric mine: ValueError: oops"
    )


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_no_rewrite_is_proposed_that_is_never_scored(iterations: int) -> None:
    played = play(task(Stretch(options(max_iterations=iterations, threshold=1.0))), right_for({}))

    evaluations = played.of(PromptEvaluated)
    assert all(effect_of(rewrite, evaluations).basis == "paired" for rewrite in played.of(RewriteProposed))
    assert len(played.of(RewriteProposed)) == iterations - 1
