"""What a run came to, in words: right ones, and no more than the record supports."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from affidavit.api.record import RecordingLedger
from affidavit.domain.event import Event, NewEvent, Withheld
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.domain.optimization.events import (
    AnalysisNoted,
    PhaseCompleted,
    PhaseStarted,
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunPlanned,
    RunStarted,
    Sample,
    mean_score,
)
from affidavit.ledger.application import Ledger
from affidavit.projections.runs.explanation import Explanation, explain
from affidavit.projections.runs.explanation_text import explanation_text
from affidavit.projections.runs.record import RunRecord
from affidavit.projections.runs.summary import summarise

Explained = Callable[[Sequence[Event]], Explanation]


@pytest.fixture
def explained(record_of: Any) -> Explained:
    def build(events: Sequence[Event]) -> Explanation:
        record: RunRecord = record_of(events)
        found = explain(record, 7)
        json.dumps(found.as_json(), allow_nan=False)
        return found

    return build


def plan(**told: Any) -> RunPlanned:
    return RunPlanned.model_validate(
        {
            "seed": 1,
            "rows_count": 1,
            "held_out": True,
            "versions": {"affidavit": "0"},
            "draws": (),
            "options": {"threshold_source": "default"},
            "rows": [{"id": "a"}],
            "split": {},
            "sources": {},
            **told,
        }
    )


def evaluation(number: int, prompt: int, purpose: str, scores: Sequence[float | None], **told: Any) -> PromptEvaluated:
    """Samples ``<part>-<index>``; a score of None is a failed call."""
    part = "test" if purpose in ("baseline", "final", "target") else purpose
    samples = told.pop("samples", None) or tuple(
        Sample(
            id=f"{part}-{index}",
            input=f"question {index}",
            response=f"answer {index} to prompt {prompt}",
            ideal="right",
            score=score,
            failed=score is None,
        )
        for index, score in enumerate(scores)
    )
    mean = mean_score(samples)
    return PromptEvaluated.model_validate(
        {
            "evaluation": number,
            "prompt": prompt,
            "purpose": purpose,
            "score": mean,
            "n": len(samples),
            "failed": sum(sample.failed for sample in samples),
            "scores_by_metric": {"rouge": mean} if mean is not None else {},
            "detail_mean": mean,
            "samples": samples,
            **told,
        }
    )


@pytest.fixture
def events(run_events: list[Event]) -> list[Event]:
    """The run of the other tests with ten held-out samples of which nine gain and one loses."""
    started, ended = run_events[0], run_events[-1]
    assert isinstance(started, RunStarted)
    before = [0.2, 0.3, 0.4, 0.1, 0.2, 0.3, 0.5, 0.1, 0.2, 0.9]
    after = [0.7, 0.8, 0.6, 0.9, 0.5, 0.6, 0.9, 0.4, 0.3, 0.5]
    return [
        started,
        plan(),
        evaluation(0, 0, "baseline", before),
        *run_events[2:-2],
        evaluation(6, 1, "final", after),
        ended,
    ]


def test_the_gain_is_paired_by_held_out_sample_with_interval_p_and_direction(
    explained: Explained, events: list[Event]
) -> None:
    found = explained(events)
    paired = found.as_json()["outcome"]["paired"]
    assert (paired["n"], paired["differing"], paired["direction"]) == (10, 10, "gain")
    assert paired["mean_difference"] == pytest.approx(0.3)
    assert paired["interval"][0] < 0.3 < paired["interval"][1]
    assert paired["is_significant"]
    text = found.text()
    assert "final − baseline, on the samples that both scored: +0.3000" in text
    assert "a significant gain" in text
    assert "samples: 4 train, 2 val, 3 test" in text


def test_w18_a_significant_loss_is_called_a_loss(explained: Explained, events: list[Event]) -> None:
    """The peer ticks a loss as significant without saying which way it goes."""
    worse = evaluation(6, 1, "final", [0.0] * 10)
    text = explained([*events[:-2], worse, events[-1]]).text()
    assert "a significant loss" in text
    assert "a significant gain" not in text


def test_w17_training_scores_stand_apart_from_held_out_ones(explained: Explained, events: list[Event]) -> None:
    text = explained(events).text()
    heading = text.index("Iterations, scored on training samples: not to be compared with the scores above")
    assert text.index("baseline  0.3200") < heading < text.index("0.2500  mean")


def test_w11_every_change_has_its_own_effect_and_why_it_was_made(explained: Explained, events: list[Event]) -> None:
    found = explained(events)
    first, second, third = found.as_json()["changes"]
    assert (first["change_summary"], first["effect"]["delta"]) == ("Added a length limit", pytest.approx(0.5))
    assert (second["change_summary"], second["effect"]["delta"]) == ("Switched to XML", pytest.approx(-0.2))
    assert (third["effect"]["basis"], third["paired"]) == ("never_measured", None)
    assert first["paired"]["note"].startswith("too few")
    assert first["adjusted_p"] == pytest.approx(0.125)
    assert found.as_json()["changes_count"] == {
        "changes": 3,
        "helped": 1,
        "no_effect": 0,
        "hurt": 1,
        "unknown": 1,
        "tested": 2,
        "significant_alone": 0,
        "significant": 0,
    }
    assert "| I added a length limit because it failed." in found.text()


def test_w18_models_and_passes_are_averaged_per_sample(explained: Explained, events: list[Event]) -> None:
    """The peer counts a model that is listed twice as twice the evidence."""

    def twice(found: Event) -> PromptEvaluated:
        assert isinstance(found, PromptEvaluated)
        assert isinstance(found.samples, tuple)
        return evaluation(found.evaluation, found.prompt, found.purpose, [], samples=(*found.samples, *found.samples))

    once = explained(events).as_json()["outcome"]
    found = explained([*events[:2], twice(events[2]), *events[3:-2], twice(events[-2]), events[-1]])
    doubled = found.as_json()["outcome"]
    assert doubled["paired"] == once["paired"]
    assert (doubled["final"]["answers"], doubled["final"]["samples"]) == (20, 10)
    assert "n = 10, 20 answers, averaged per sample" in found.text()


def test_w25_failed_calls_are_said_and_left_out(explained: Explained, events: list[Event]) -> None:
    half = evaluation(6, 1, "final", [0.7, None, 0.6, None, 0.5, None, 0.9, None, 0.3, None])
    found = explained([*events[:-2], half, events[-1]])
    assert found.as_json()["outcome"]["paired"]["n"] == 5
    assert found.as_json()["outcome"]["final"]["scored"] == 5
    assert any(line.startswith("final: 5 of 10 samples have no score") for line in found.as_json()["warnings"])
    assert "n = 10, 5 without a score" in found.text()


def test_what_left_no_score_is_told_by_its_code_and_is_no_failed_call(
    explained: Explained, events: list[Event]
) -> None:
    reasons = ["judge_undecided", "metric_failed", "judge_undecided", None]
    samples = tuple(
        Sample(id=f"test-{index}", input="q", response="r", failed=True, reason=reason)
        for index, reason in enumerate(reasons)
    )
    found = explained([*events[:-2], evaluation(6, 1, "final", [], samples=samples), events[-1]])
    (warning,) = [line for line in found.as_json()["warnings"] if line.startswith("final:")]
    assert warning.startswith(
        "final: 4 of 4 samples have no score (judge_undecided × 2, metric_failed × 1, reason not recorded × 1); "
    )
    assert "calls failed" not in found.text()


def test_w25_a_run_whose_final_calls_all_failed_has_no_gain(explained: Explained, events: list[Event]) -> None:
    none = evaluation(6, 1, "final", [None] * 10)
    found = explained([*events[:-2], none, events[-1]])
    assert found.as_json()["outcome"]["paired"] is None
    assert "not compared: one of the two evaluations has no score" in found.text()
    assert "significant" not in found.text().split("Iterations")[0]


@pytest.mark.parametrize("name", ["sandbox/reader", "stand-in-simulated"])
def test_a_simulated_model_is_labelled_on_top(explained: Explained, events: list[Event], name: str) -> None:
    started = events[0].model_copy(update={"reasoning_model": name})
    found = explained([started, *events[1:]])
    assert found.as_json()["simulated"] == [name]
    assert found.text().startswith(f"SIMULATED: {name}")
    assert "SIMULATED" not in explained(events).text()


def test_a_simulated_judge_is_known_by_its_calls(explained: Explained, events: list[Event]) -> None:
    call = ModelRequested(site="judge", occurrence=0, attempt=1, model="sandbox/judge", purpose="judge", body="{}")
    assert explained([*events[:2], call, *events[2:]]).as_json()["simulated"] == ["sandbox/judge"]


def test_scoring_what_was_trained_on_is_warned_of(explained: Explained, events: list[Event]) -> None:
    found = explained([events[0], plan(held_out=False), *events[2:]])
    assert found.as_json()["warnings"][0].startswith("nothing was held out")
    assert "nothing held out" in found.text()


def overfitting(found: Explanation) -> list[str]:
    return [line for line in found.as_json()["warnings"] if "overfitting" in line]


def test_a_reported_prompt_that_does_worse_off_training_by_more_than_chance_is_warned_of(
    explained: Explained, events: list[Event]
) -> None:
    worse = evaluation(6, 1, "final", [0.0, 0.1] * 5)
    found = explained([*events[:-2], worse, events[-1]])
    (warning,) = overfitting(found)
    gap = found.as_json()["generalisation"]["gap"]
    assert (gap["against"], gap["train"], gap["other"]) == ("held-out", pytest.approx(0.75), pytest.approx(0.05))
    assert 0 < gap["interval"][0] < 0.7 < gap["interval"][1]
    assert "0.7500 on training samples and 0.0500 on held-out ones" in warning
    assert "different samples" in warning


@pytest.mark.parametrize("scores", [[0.7, 0.8, 0.6, 0.9, 0.5, 0.6, 0.9, 0.4, 0.3, 0.5], [0.99, 1.0] * 5])
def test_a_difference_that_may_be_chance_or_goes_the_other_way_is_no_overfitting(
    explained: Explained, events: list[Event], scores: list[float]
) -> None:
    found = explained([*events[:-2], evaluation(6, 1, "final", scores), events[-1]])
    assert found.as_json()["generalisation"]["gap"]["interval"][0] <= 0
    assert overfitting(found) == []


def test_without_a_final_evaluation_training_is_compared_with_validation(
    explained: Explained, events: list[Event]
) -> None:
    ended = events[-1].model_copy(update={"final_evaluation": None})
    gap = explained([*events[:-2], ended]).as_json()["generalisation"]["gap"]
    assert (gap["against"], gap["other"]) == ("validation", pytest.approx(0.625))


def test_scores_of_other_metrics_or_of_training_samples_show_no_overfitting(
    explained: Explained, events: list[Event]
) -> None:
    other = evaluation(6, 1, "final", [0.0, 0.1] * 5, scores_by_metric={"bleu": 0.05})
    assert explained([*events[:-2], other, events[-1]]).as_json()["generalisation"]["gap"] is None
    worse = evaluation(6, 1, "final", [0.0, 0.1] * 5)
    found = explained([events[0], plan(held_out=False), *events[2:-2], worse, events[-1]])
    assert found.as_json()["generalisation"]["gap"] is None


def test_a_branch_warns_of_picking_the_best_of_several(explained: Explained, events: list[Event]) -> None:
    started = events[0].model_copy(update={"parent_run": "041", "parent_iteration": 2})
    found = explained([started, *events[1:]])
    assert any("branch of run 041" in line for line in found.as_json()["warnings"])
    assert "branched from run 041, iteration 2" in found.text()


def test_why_it_stopped_and_what_convergence_meant(explained: Explained, events: list[Event]) -> None:
    text = explained(events).text()
    assert "stopped by max_iterations after 12.5 s: the planned number of iterations was done" in text
    assert "threshold: 0.9 (the default): not reached, by the final score" in explained(events).text()
    ended = events[-1].model_copy(update={"reason": "early_stopped"})
    assert any("stopped early" in line for line in explained([*events[:-1], ended]).as_json()["warnings"])


@pytest.mark.parametrize(
    ("threshold", "told"),
    [
        (0.7, "the training score of iteration 2, 0.7500, reached the threshold 0.7; the final score, 0.6200, did not"),
        (
            0.6,
            "the training score of iteration 2, 0.7500, reached the threshold 0.6; the final score, 0.6200, did, too",
        ),
        (0.9, "threshold 0.9 was reached; no recorded score of an iteration reaches it; the final score, 0.6200, does"),
    ],
)
def test_convergence_names_the_score_that_reached_the_threshold_and_whether_the_final_one_did(
    explained: Explained, events: list[Event], threshold: float, told: str
) -> None:
    started = events[0].model_copy(update={"threshold": threshold})
    ended = events[-1].model_copy(update={"reason": "converged"})
    found = explained([started, *events[1:-1], ended])
    assert told in found.as_json()["stopped"]["meaning"]
    assert "not reached" not in found.text()
    assert told in " ".join(found.text().split())


def test_a_reported_prompt_that_is_not_recorded_is_said_to_be_so(explained: Explained, events: list[Event]) -> None:
    text = explained([*events[:-1], events[-1].model_copy(update={"best": None})]).text()
    assert "the prompt that was reported is not recorded" in text
    assert "reported: a prompt that is not recorded" in text


def test_the_verdict_comes_first(explained: Explained, events: list[Event]) -> None:
    lines = explained(events).text().splitlines()
    assert lines[1].startswith("  gain: +0.3000, 95 % interval [+0.")
    assert lines[1].endswith(", n = 10, p = 0.0293: significant")
    assert lines[2] == "  reported: the prompt of iteration 2, made by change 1"
    lost = explained([*events[:-2], evaluation(6, 1, "final", [0.0] * 10), events[-1]]).text().splitlines()[1]
    assert lost.startswith("  loss: −0.3200")
    few = explained([*events[:2], evaluation(0, 0, "baseline", [0.1]), *events[3:]]).text().splitlines()[1]
    assert few.endswith(": too few")
    assert "gain: cannot be said, there is no final evaluation" in explained(events[:6]).text().splitlines()[1]


def test_why_a_change_was_made_is_quoted_without_headings_and_the_new_prompt(
    explained: Explained, events: list[Event]
) -> None:
    said = "## Analysis\nAnswers ramble.\n\n## Summary of change\nShorter\n\n## Revised prompt\nAnswer in one sentence."
    reply = [_rewritten(event, said) for event in events]
    found = explained(reply)
    assert [change["rationale"] for change in found.as_json()["changes"]] == ["Answers ramble."] * 3
    assert "| Answers ramble." in found.text()
    assert "## " not in found.text()
    long = explained([_rewritten(event, "Because. " * 200) for event in events]).text().splitlines()
    assert sum(line.startswith("      | ") for line in long) == 4


def test_a_change_of_no_iteration_takes_one_line(explained: Explained, events: list[Event]) -> None:
    lines = explained(events).text().splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("  Change 3"))
    assert "never measured" in lines[place]
    assert lines[place + 1].startswith("  all changes:")
    assert "affidavit history 043" in lines[-1]


@pytest.mark.parametrize("width", [60, 80, 110])
def test_lines_are_as_wide_as_asked_and_quotations_stay_behind_their_bar(
    explained: Explained, events: list[Event], width: int
) -> None:
    told = AnalysisNoted(kind="what_happened", text="word " * 100)
    text = explained([*events[:-1], told, events[-1]]).text(width)
    tables = ("  iteration  phase", "          ", "  More")
    assert all(len(line) <= width for line in text.splitlines() if not line.startswith(tables))
    assert all(line.startswith("  | ") for line in text.splitlines() if "word word" in line)


def test_a_threshold_from_targets_is_the_best_targets_score(explained: Explained, events: list[Event]) -> None:
    targets = [
        evaluation(number, 0, "target", [score] * 10, model=f"openai/{number}")
        for number, score in ((0, 0.5), (1, 0.7))
    ]
    moved = [_renumbered(event, 2) for event in events[2:]]
    found = explained([events[0], plan(options={"threshold_source": "target"}), *targets, *moved])
    assert found.as_json()["threshold"]["value"] == pytest.approx(0.7)
    assert "the best target model's score" in found.text()
    assert "openai/1, n = 10" in found.text()


def test_the_samples_that_gained_and_lost_most_are_shown(explained: Explained, events: list[Event]) -> None:
    examples = explained(events).as_json()["examples"]
    assert (examples["largest_gain"]["id"], examples["largest_gain"]["difference"]) == ("test-3", pytest.approx(0.8))
    assert (examples["largest_loss"]["id"], examples["largest_loss"]["difference"]) == ("test-9", pytest.approx(-0.4))
    assert examples["largest_gain"]["after"]["response"] == "answer 3 to prompt 1"


def test_the_models_own_account_is_marked_as_such_and_cannot_pass_for_a_line_of_the_page(
    explained: Explained, events: list[Event]
) -> None:
    told = AnalysisNoted(kind="what_happened", text="Great!\nRead this with care\n  - nothing at all")
    found = explained([*events[:-1], told, events[-1]])
    lines = found.text().splitlines()
    start = lines.index("What the reasoning model says happened: its own words, checked by nobody")
    assert lines[start + 1 :][:4] == ["  reasoner:", "  | Great!", "  | Read this with care", "  |   - nothing at all"]
    silent = explained([*events[:-1], AnalysisNoted(kind="what_happened"), events[-1]])
    assert "it gave no answer" in silent.text()


def test_prompt_texts_and_answers_forge_no_line(explained: Explained, events: list[Event]) -> None:
    sample = Sample(id="test-0", input="q\nWhat it gained", response="r\vWhat it gained", ideal="", score=0.0)
    better = sample.model_copy(update={"score": 1.0})
    forged = [evaluation(0, 0, "baseline", [], samples=(sample,)), evaluation(6, 1, "final", [], samples=(better,))]
    lines = explained([*events[:2], forged[0], *events[3:-2], forged[1], events[-1]]).text().splitlines()
    assert lines.count("What it gained") == 1


def test_w14_a_win_rate_is_told_from_a_mean(explained: Explained, events: list[Event]) -> None:
    duel = [event.model_copy(update={"kind": "win_rate"}) if _trains(event) else event for event in events]
    found = explained(duel)
    assert any("win_rate" in line for line in found.as_json()["warnings"])
    assert found.as_json()["generalisation"] is None


def test_phases_and_decisions_are_listed(explained: Explained, events: list[Event]) -> None:
    phased = [
        *events[:3],
        AnalysisNoted(kind="axis", decision="structural", text="because"),
        PhaseStarted(phase=1, axis="structural"),
        PhaseCompleted(phase=1, axis="structural", iterations=2, score_before=0.25, score_after=0.75, converged=True),
        *events[3:],
    ]
    text = explained(phased).text()
    assert "1  structural: 2 iterations, 0.2500 → 0.7500, converged" in text
    assert "axis: structural" in text


def test_the_account_is_of_recorded_calls_with_what_is_unknown(ledger: Ledger) -> None:
    recording = RecordingLedger(ledger)
    run = recording.start_run(strategy="iterative", prompt="Answer.", config={}, run="7", models=["local/target"])
    asked = {"site": "train", "model": "local/target", "purpose": "train", "iteration": 1, "body": "{}"}
    calls: list[Event] = [
        ModelRequested(occurrence=0, attempt=1, **asked),
        ModelAnswered(
            site="train",
            occurrence=0,
            attempt=1,
            outcome="replied",
            prompt_tokens=70,
            completion_tokens=7,
            body="{}",
        ),
        ModelRequested(occurrence=1, attempt=1, **asked),
    ]
    for pos, event in enumerate(calls, 1):
        ledger.record(NewEvent("run/7", pos, event, {}))
    run.record_iteration(run.record_evaluation("Answer.", score=0.5), eval_tokens=999)
    record = recording.read_run("7")
    assert record is not None
    found = explain(record)
    assert found.as_json()["iterations"][0]["tokens"] == 77
    assert summarise(record)["iterations"][0]["eval_tokens"] == 77
    assert "≥ 77" in found.text()
    assert "tokens stated" not in found.text()
    assert "1 attempt in flight, never answered" in found.text()
    assert explanation_text(json.loads(json.dumps(found.as_json()))) == found.text()


def test_a_run_under_way_says_so(explained: Explained, events: list[Event]) -> None:
    found = explained(events[:6])
    assert "it has no end on record: what follows is what is recorded so far" in found.text()
    assert "not compared: there is no final evaluation" in found.text()


def test_a_failed_run_says_why(explained: Explained, events: list[Event]) -> None:
    text = explained([*events[:2], RunFailed(reason="baseline_failed", message="none of 3\nWarnings")]).text()
    assert "stopped by baseline_failed: no sample of the baseline could be scored" in text
    assert "  | Warnings" in text


def test_erased_content_is_withheld_and_the_figures_stay(withheld_run: RunRecord) -> None:
    found = explain(withheld_run)
    json.dumps(found.as_json())
    text = found.text()
    assert "baseline  0.3000  n = 3" in text
    assert "not compared: the samples are withheld" in text
    assert "[withheld digest-of-rationale]" in text
    assert "Answer in one sentence" not in text


def test_a_withheld_account_of_the_model_is_a_placeholder(explained: Explained, events: list[Event]) -> None:
    told = AnalysisNoted(kind="what_happened", text=Withheld("abc", "erased"))
    assert "[withheld abc]" in explained([*events[:-1], told, events[-1]]).text()


def test_imported_runs_are_explained_as_far_as_their_files_tell(imported: dict[str, RunRecord]) -> None:
    for record in imported.values():
        found = explain(record)
        json.dumps(found.as_json(), allow_nan=False)
        assert "model calls: the tokens are those that the run states" in " ".join(found.text().split())
    text = explain(imported["001"]).text()
    assert "too few: with 4 pairs that differ no p below 0.125 is possible" in text
    assert "as the run's own files report it: improvement +0.4134, p = 0.1250" in text


def test_an_unchanged_prompt_gains_nothing_but_noise(explained: Explained, events: list[Event]) -> None:
    ended = events[-1]
    assert isinstance(ended, RunCompleted)
    same = evaluation(6, 0, "final", [0.3] * 10)
    found = explained([*events[:-2], same, ended.model_copy(update={"best": 0})])
    assert found.as_json()["prompt"]["unchanged"] is True
    assert any("noise of the models" in line for line in found.as_json()["warnings"])


def _renumbered(event: Event, by: int) -> Event:
    numbers = {
        name: getattr(event, name) + by
        for name in ("evaluation", "val_evaluation", "parent", "final_evaluation")
        if getattr(event, name, None) is not None
    }
    return event.model_copy(update=numbers)


def _rewritten(event: Event, rationale: str) -> Event:
    return event.model_copy(update={"rationale": rationale}) if isinstance(event, RewriteProposed) else event


def _trains(event: Event) -> bool:
    return isinstance(event, PromptEvaluated) and event.purpose == "train"
