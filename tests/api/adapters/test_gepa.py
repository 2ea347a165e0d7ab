"""Recording gepa through its hooks, called as the real one called them.

``gepa_hooks.json`` is what gepa 0.1.4 told in a short run; ``tests/peers/record_with_gepa.py hooks`` writes it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.adapters.gepa import GepaRecorder, RecordingStopped, render_candidate
from affidavit.api.record import RecordingLedger
from affidavit.domain.errors import Refused
from affidavit.domain.optimization.events import PromptEvaluated, Sample
from affidavit.domain.optimization.foreign import HookCalled
from affidavit.ledger.application import Ledger
from affidavit.projections.runs.record import RunRecord

HOOKS: list[tuple[str, dict[str, Any]]] = json.loads((Path(__file__).parent / "gepa_hooks.json").read_text())
EXAMPLES = {str(number): {"question": f"Question {number}?"} for number in range(8)}
SILENT = {"on_iteration_start", "on_iteration_end", "on_minibatch_sampled", "on_evaluation_start", "on_evaluation_end"}
AS_EVENTS = {*SILENT, "on_optimization_start", "on_valset_evaluated", "on_reflective_dataset_built"}


@pytest.fixture
def recording(ledger: Ledger) -> RecordingLedger:
    return RecordingLedger(ledger)


def hooks() -> Iterator[tuple[str, dict[str, Any]]]:
    """What gepa tells, the inputs of a parent and of its child being one object, as they are there."""
    known: dict[str, Any] = {}
    for hook, event in HOOKS:
        if "inputs" in event:
            event = {**event, "inputs": known.setdefault(json.dumps(event["inputs"]), event["inputs"])}
        yield hook, event


def gepa(recorder: GepaRecorder, break_before: str | None = None, ending: RecordingLedger | None = None) -> None:
    """Calls hooks as gepa does: what a hook raises is logged and forgotten, unless it is no ``Exception``.

    With ``ending`` somebody ends the run on that ledger before the second iteration.
    """
    for hook, event in hooks():
        if hook == break_before:
            raise ValueError("the adapter broke")
        if ending is not None and hook == "on_iteration_start" and event["iteration"] == 2:
            ending.resume_run("001").fail("ended_by_somebody_else")
        try:
            getattr(recorder, hook)(event)
        except Exception as error:
            logging.getLogger("gepa").warning("callback failed on %s: %s", hook, error)


def told(hook: str) -> list[dict[str, Any]]:
    return [event for name, event in HOOKS if name == hook]


def read(recording: RecordingLedger, run: str = "001") -> RunRecord:
    record = recording.read_run(run)
    assert record is not None
    return record


def content(event: HookCalled) -> dict[str, Any]:
    assert isinstance(event.content, dict)
    return event.content


def samples(entry: PromptEvaluated) -> tuple[Sample, ...]:
    assert isinstance(entry.samples, tuple)
    return entry.samples


def config(record: RunRecord) -> dict[str, Any]:
    assert isinstance(record.started.config, dict)
    return record.started.config


def kept(recording: RecordingLedger) -> list[HookCalled]:
    with recording.ledger.recorder.reading() as reader:
        events = [recorded.event for recorded in recording.ledger.event_reader(reader).stream("run/001")]
    return [event for event in events if isinstance(event, HookCalled)]


def test_the_run_tells_what_gepa_did(recording: RecordingLedger) -> None:
    with GepaRecorder(recording, valset=EXAMPLES, metrics=["wanted"], models=["local/small"]) as recorder:
        gepa(recorder)
    record = read(recording)
    assert recorder.run == "001"
    assert (record.status, record.started.strategy, record.started.metrics) == ("completed", "gepa", ("wanted",))
    assert record.started.split is not None
    assert (record.started.split.train, record.started.split.val, record.started.split.seed) == (4, 8, 7)
    assert config(record)["components"] == ["style", "system"]
    assert record.completed is not None
    best = told("on_optimization_end")[0]["best_candidate_idx"]
    assert record.best_prompt == render_candidate(told("on_valset_evaluated")[best]["candidate"])


def test_every_candidate_of_the_pool_is_validated_by_example(recording: RecordingLedger) -> None:
    with GepaRecorder(recording, valset=EXAMPLES) as recorder:
        gepa(recorder)
    record = read(recording)
    scored = [entry for entry in record.evaluations if entry.purpose in ("baseline", "val")]
    assert [it.purpose for it in scored] == ["baseline", *["val"] * 5]
    for entry, event in zip(scored, told("on_valset_evaluated"), strict=True):
        assert (entry.score, entry.n, entry.sample_set) == (event["average_score"], 8, "whole")
        assert record.prompts[entry.prompt] == render_candidate(event["candidate"])
        assert {it.id: it.score for it in samples(entry)} == {
            f"val-{name}": score for name, score in event["scores_by_val_id"].items()
        }
        assert samples(entry)[3].input == '{"question": "Question 3?"}'
    assert [it.parent for it in scored[:2]] == [None, scored[0].evaluation]


def test_a_best_candidate_of_an_earlier_session_is_not_claimed(recording: RecordingLedger) -> None:
    with GepaRecorder(recording) as recorder:
        recorder.on_optimization_start(HOOKS[0][1])
        recorder.on_valset_evaluated(told("on_valset_evaluated")[0])
        recorder.on_optimization_end({"best_candidate_idx": 9, "total_iterations": 3, "total_metric_calls": 8})
    record = read(recording)
    assert (record.status, record.best_prompt) == ("completed", None)
    assert content(kept(recording)[0])["best_candidate_idx"] == 9


def test_a_reflection_is_a_rewrite_measured_on_the_minibatch_that_it_saw(recording: RecordingLedger) -> None:
    with GepaRecorder(recording) as recorder:
        gepa(recorder)
    record = read(recording)
    reflections = [made for made in record.rewrites if made.axis == "reflection"]
    proposals = told("on_proposal_end")
    assert len(reflections) == len(proposals) == 4
    for made, proposal in zip(reflections, proposals, strict=True):
        (output,) = proposal["raw_lm_outputs"].values()
        assert made.rationale == output
        assert next(iter(proposal["new_instructions"].values())) in str(record.prompts[made.prompt or 0])
    effects = [effect for effect, made in zip(record.effects(), record.rewrites, strict=True) if made in reflections]
    assert {(it.basis, it.n) for it in effects} == {("paired", 2)}
    minibatches = [[f"train-{name}" for name in event["minibatch_ids"]] for event in told("on_minibatch_sampled")]
    trained = [entry for entry in record.evaluations if entry.purpose == "train"]
    assert [[it.id for it in samples(entry)] for entry in trained] == [it for it in minibatches for _ in range(2)]
    assert {it.response for entry in trained for it in samples(entry)} >= {"An answer that is bad."}


def test_a_merge_is_a_rewrite_too(recording: RecordingLedger) -> None:
    with GepaRecorder(recording) as recorder:
        gepa(recorder)
    record = read(recording)
    (merge,) = [made for made in record.rewrites if made.axis == "merge"]
    (event,) = told("on_merge_attempted")
    assert record.prompts[merge.prompt or 0] == render_candidate(event["merged_candidate"])
    first, second = event["parent_ids"]
    assert merge.rationale == f"Merged out of candidates {first} and {second}."
    (tried,) = [entry for entry in record.evaluations if entry.purpose == "variant"]
    assert tried.prompt == merge.prompt
    assert len({it.id for it in samples(tried)}) == tried.n


def test_iterations_are_gepas_with_the_validation_of_what_was_accepted(recording: RecordingLedger) -> None:
    with GepaRecorder(recording) as recorder:
        gepa(recorder)
    record = read(recording)
    assert [it.number for it in record.iterations] == [event["iteration"] for event in told("on_iteration_end")]
    accepted = {event["iteration"] for event in told("on_candidate_accepted")}
    assert {it.number for it in record.iterations if it.val is not None} == accepted
    assert all(it.rewrite is not None and it.rewrite.prompt == it.train.prompt for it in record.iterations)


def test_hooks_without_an_event_are_kept_as_told(recording: RecordingLedger) -> None:
    with GepaRecorder(recording) as recorder:
        gepa(recorder)
    found = kept(recording)
    expected = Counter(hook.removeprefix("on_") for hook, _ in HOOKS if hook not in AS_EVENTS)
    assert Counter(event.hook for event in found) == expected
    prompts = [content(event)["prompts"] for event in found if event.hook == "proposal_end"]
    assert prompts == [event["prompts"] for event in told("on_proposal_end")]
    lineage = [content(event)["parent_ids"] for event in found if event.hook == "candidate_accepted"]
    assert lineage == [event["parent_ids"] for event in told("on_candidate_accepted")]


def test_secrets_are_taken_out(recording: RecordingLedger) -> None:
    with GepaRecorder(recording, config={"api_key": "sk-secret-0123456789"}) as recorder:
        recorder.on_optimization_start(HOOKS[0][1])
        recorder.on_state_saved({"iteration": 1, "run_dir": "s3://user:sk-secret-0123456789@host/x"})
        (state,) = kept(recording)
    assert content(state)["run_dir"] == {"redacted": "run_dir"}
    assert config(read(recording))["api_key"] == {"redacted": "api_key"}


def test_a_recording_failure_stops_gepa_and_leaves_the_block(
    recording: RecordingLedger, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = GepaRecorder(recording)
    with pytest.raises(Refused) as refused, recorder:
        gepa(recorder, ending=recording)
    assert refused.value.rule == "run_ended"
    assert recorder.failure is refused.value
    assert "callback failed" not in caplog.text
    assert [it.number for it in read(recording).iterations] == [1]
    assert {event.iteration for event in kept(recording)} <= {0, 1, 2}


def test_nothing_is_recorded_after_a_failure(recording: RecordingLedger) -> None:
    recorder = GepaRecorder(recording)
    recorder.on_optimization_start(HOOKS[0][1])
    with pytest.raises(RecordingStopped):
        recorder.on_valset_evaluated({"iteration": 0})
    before = recording.ledger.recorder.max_notification_id()
    recorder.on_budget_updated({"iteration": 1})
    assert recording.ledger.recorder.max_notification_id() == before


def test_by_choice_gepa_goes_on_and_the_failure_is_raised_at_the_end(
    recording: RecordingLedger, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = GepaRecorder(recording, on_failure="continue")
    with pytest.raises(Refused), recorder:
        gepa(recorder, ending=recording)
    assert recorder.failure is not None
    assert "the optimisation goes on unrecorded" in caplog.text
    assert "callback failed" not in caplog.text
    assert [it.number for it in read(recording).iterations] == [1]


def test_a_run_whose_recording_failed_is_a_failed_run(recording: RecordingLedger) -> None:
    recorder = GepaRecorder(recording, on_failure="continue")
    recorder.on_optimization_start(HOOKS[0][1])
    recorder.on_valset_evaluated({"iteration": 0})
    with pytest.raises(KeyError), recorder:
        recorder.on_budget_updated({"iteration": 1})
    record = read(recording)
    assert record.failed is not None
    assert (record.failed.reason, record.evaluations) == ("recording_failed", [])
    assert "KeyError" in str(record.failed.message)


def test_an_optimisation_that_breaks_is_a_failed_run(recording: RecordingLedger) -> None:
    with pytest.raises(ValueError, match="adapter broke"), GepaRecorder(recording) as recorder:
        gepa(recorder, break_before="on_proposal_end")
    failed = read(recording).failed
    assert failed is not None
    assert failed.reason == "ValueError"
    assert "the adapter broke" in str(failed.message)


def test_an_error_that_gepa_survives_is_kept(recording: RecordingLedger) -> None:
    with GepaRecorder(recording) as recorder:
        recorder.on_optimization_start(HOOKS[0][1])
        recorder.on_error({"iteration": 1, "exception": ValueError("odd row"), "will_continue": True})
        (error,) = kept(recording)
    assert (error.hook, content(error)["exception"]) == ("error", "ValueError: odd row\n")


def test_an_iteration_without_a_child_is_its_parents(recording: RecordingLedger) -> None:
    with GepaRecorder(recording) as recorder:
        for hook, event in hooks():
            if hook == "on_reflective_dataset_built":
                recorder.on_evaluation_skipped({"iteration": 1, "candidate_idx": 0, "reason": "all_scores_perfect"})
                recorder.on_iteration_end({"iteration": 1, "proposal_accepted": False})
                break
            getattr(recorder, hook)(event)
    (only,) = read(recording).iterations
    assert (only.number, only.prompt, only.rewrite, only.val) == (1, read(recording).prompts[0], None, None)


def test_a_score_that_is_no_number_is_a_failed_call(recording: RecordingLedger) -> None:
    with GepaRecorder(recording) as recorder:
        recorder.on_optimization_start(HOOKS[0][1])
        event = {**told("on_valset_evaluated")[0], "scores_by_val_id": {0: float("nan"), 1: 0.5}}
        recorder.on_valset_evaluated({**event, "average_score": float("nan")})
    (entry,) = read(recording).evaluations
    assert (entry.score, entry.n, entry.failed) == (0.5, 2, 1)


def test_candidates_print_each_in_their_own_way() -> None:
    assert render_candidate({"prompt": "Answer.\n## component x"}) == "Answer.\n## component x"
    two = {"b": "Second.", "a": "First."}
    assert render_candidate(two) == '## component "a"\nFirst.\n\n## component "b"\nSecond.'
    assert render_candidate(dict(reversed(two.items()))) == render_candidate(two)
    forged = {"a": 'First.\n\n## component "b"\nSecond.', "c": ""}
    assert render_candidate(forged) != render_candidate({**two, "c": ""})
    assert '\\## component "b"' in render_candidate(forged)
    escaped = {"a": 'First.\n\n\\## component "b"\nSecond.', "c": ""}
    assert render_candidate(escaped) != render_candidate(forged)
