"""The store that the peer's optimiser records into: its interface, the events behind it, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.adapters.reflex import import_reflex
from affidavit.api.adapters.reflex.run_store import CheckpointState, IterationState, Run, RunStore
from affidavit.api.reading import open_for_reading
from affidavit.api.record import RecordingLedger
from affidavit.domain.errors import Refused
from affidavit.domain.event import Recorded
from affidavit.domain.optimization.events import PhaseCompleted, PhaseStarted, PromptEvaluated
from affidavit.domain.optimization.foreign import (
    CheckpointSaved,
    FileSaved,
    IterationRewritten,
    IterationSaved,
    LogSaved,
    RecordingClosed,
    RecordingOpened,
)
from affidavit.ledger.application import Ledger
from affidavit.projections.directories.directory import build_run_directory
from affidavit.projections.runs.record import RunRecord, fold_run
from affidavit.projections.seals import check_seals

SECRET = "sk-very-secret-0123456789"
REFLEX = Path(__file__).resolve().parents[3] / "api" / "demo" / "reflex"
START, BETTER, BEST = "Answer.", "Answer briefly.", "Answer briefly. Cite."
CONFIG: dict[str, Any] = {
    "max_iterations": 10,
    "score_threshold": 0.85,
    "strategy": "iterative",
    "reasoning_model": "reasoner",
    "reasoning_api_key": SECRET,
    "train_ratio": 0.7,
    "batch_size": 0,
    "_cli_models": ["openai/target"],
}
BASELINE: dict[str, Any] = {
    "mean_score": 0.5,
    "scores_by_metric": {"rouge": 0.5},
    "total_tokens": 30,
    "samples": [
        {"input": "q0", "response": "a", "ideal": "b", "score": 0.25},
        {"input": "q1", "response": "b", "ideal": "b", "score": 0.75},
    ],
}


@pytest.fixture
def run_store(ledger: Ledger) -> RunStore:
    return RunStore(RecordingLedger(ledger, actor="optimiser@example.org"))


@pytest.fixture
def run(run_store: RunStore) -> Run:
    return create(run_store)


def create(run_store: RunStore, **config: Any) -> Run:
    return run_store.create_run({**CONFIG, **config}, "/data/questions.jsonl", "", START)


def reply(prompt: str, summary: str) -> str:
    return f"Too long.\n\n## Summary of change\n[{summary}]\n\n## Revised prompt\n{prompt}"


def iteration(number: int, prompt: str, score: float, reasoning: str = "", **more: Any) -> IterationState:
    return IterationState(number, prompt, score, reasoning=reasoning, eval_tokens=100, reasoning_tokens=20, **more)


def checkpoint(completed: int, best: str = START, score: float = 0.0, **more: Any) -> CheckpointState:
    return CheckpointState("001", START, best, completed, best, score, **more)


def result(best: str, scored: str, score: float, iterations: list[IterationState]) -> dict[str, Any]:
    listed = [
        {"iteration": it.iteration, "score": it.score, "system_prompt": it.system_prompt, "reasoning": it.reasoning}
        for it in iterations
    ]
    final = {**BASELINE, "mean_score": score, "std_score": 0.0, "n_runs": 1, "system_prompt": best}
    final["samples"] = [{**sample, "score": score} for sample in BASELINE["samples"]]
    return {
        "best_prompt": best,
        "best_score": score,
        "converged": score >= 0.85,
        "iterations": listed,
        "total_eval_tokens": 260,
        "total_reasoning_tokens": 40,
        "baseline": {**BASELINE, "std_score": 0.0, "n_runs": 1, "system_prompt": START},
        "final": final,
        "strategy_name": "iterative",
        "duration_seconds": 3.5,
    }


def drive(run: Run) -> list[IterationState]:
    """A whole run, in the order in which the optimiser saves."""
    states = [
        iteration(
            1, START, 0.4, reply(BETTER, "Asked to be brief"), change_summary="Asked to be brief", val_score=0.45
        ),
        iteration(2, BETTER, 0.6, reply(BEST, "Asked to cite"), val_score=0.65, elapsed_seconds=2.5),
    ]
    run.mark_running()
    run.save_baseline(dict(BASELINE))
    run.save_checkpoint(checkpoint(0))
    for state in states:
        run.save_checkpoint(checkpoint(state.iteration, state.system_prompt, state.score))
        run.save_iteration(state)
        run.save_checkpoint(
            checkpoint(state.iteration, state.system_prompt, state.score, strategy_state={"iters_done": 1})
        )
    run.save_result(result(BETTER, BETTER, 0.7, states))
    run.mark_done()
    return states


def stream(run_store: RunStore, run: str = "001") -> list[Recorded]:
    ledger = run_store.recording.ledger
    with ledger.recorder.reading() as reader:
        return list(ledger.event_reader(reader).stream(f"run/{run}"))


def kinds(run_store: RunStore) -> list[str]:
    return [recorded.type_name for recorded in stream(run_store)]


def of_kind(run_store: RunStore, kind: type[Any]) -> list[Any]:
    return [recorded.event for recorded in stream(run_store) if type(recorded.event) is kind]


def record(run_store: RunStore, run: str = "001") -> RunRecord:
    found = fold_run(stream(run_store, run))
    assert found is not None
    return found


# The peer's interface, by the names of the peer's own tests


class TestRunStore:
    def test_create_run_makes_directories(self, run: Run) -> None:
        assert run.run_dir.exists()
        assert run.iterations_dir.exists()
        assert run.config_path.exists()
        assert not run.baseline_path.exists()

    def test_create_run_sequential_ids(self, run_store: RunStore) -> None:
        assert [create(run_store).run_id for _ in range(3)] == ["001", "002", "003"]

    def test_get_run_by_id(self, run_store: RunStore, run: Run) -> None:
        found = run_store.get_run("001")
        assert found is not None
        assert found.run_dir.name == run.run_dir.name
        assert run.run_dir.name.startswith("001_2026-11-22T")

    def test_get_run_not_found(self, run_store: RunStore, run: Run) -> None:
        assert run_store.get_run("999") is None
        assert run_store.get_run("1") is None

    def test_get_latest_run(self, run_store: RunStore) -> None:
        create(run_store)
        create(run_store)
        latest = run_store.get_latest_run()
        assert latest is not None
        assert latest.run_id == "002"

    def test_the_latest_of_a_thousand_runs_is_the_thousandth(self, run_store: RunStore) -> None:
        for name in ("999", "1000"):
            run_store.recording.start_run(run=name, strategy="iterative", prompt=START, config={})
        latest = run_store.get_latest_run()
        assert latest is not None
        assert latest.run_id == "1000"
        assert create(run_store).run_id == "1001"

    def test_empty(self, run_store: RunStore) -> None:
        assert run_store.get_latest_run() is None
        assert run_store.list_runs() == []
        assert run_store.find_incomplete_run() is None

    def test_list_runs_with_data(self, run_store: RunStore, run: Run) -> None:
        drive(run)
        create(run_store, strategy="structural")
        first, second = run_store.list_runs()
        assert (first.run_id, first.status, first.strategy, first.model) == (
            "001",
            "completed",
            "iterative",
            "openai/target",
        )
        assert (first.baseline_score, first.best_score, first.final_score) == (0.5, 0.7, 0.7)
        assert (first.iterations_completed, first.duration_seconds, first.dataset) == (2, 3.5, "/data/questions.jsonl")
        assert (second.run_id, second.status, second.best_score) == ("002", "running", None)
        assert first.config["reasoning_api_key"] == {"redacted": "reasoning_api_key"}

    def test_status(self, run_store: RunStore, run: Run) -> None:
        def status() -> str:
            return run_store.list_runs()[0].status

        run.mark_running()
        assert status() == "running"
        run.save_checkpoint(checkpoint(1, score=0.3))
        run.mark_done()
        assert status() == "interrupted"
        assert (run_store.list_runs()[0].best_score, run_store.list_runs()[0].iterations_completed) == (0.3, 1)


class TestRun:
    def test_config_saved_and_loadable(self, run: Run) -> None:
        config = run.load_config()
        assert (config["run_id"], config["dataset_path"], config["initial_prompt"]) == (
            "001",
            "/data/questions.jsonl",
            START,
        )
        assert config["optimizer_config"]["strategy"] == "iterative"
        assert list(config["optimizer_config"]) == list(CONFIG)

    def test_save_and_load_baseline(self, run: Run) -> None:
        assert run.load_baseline() is None
        given = dict(BASELINE)
        run.save_baseline(given)
        loaded = run.load_baseline()
        assert loaded is not None
        assert loaded.pop("timestamp").endswith("+00:00")
        assert loaded == BASELINE == given

    def test_iterations_come_back_in_order_with_what_the_files_leave_out(self, run: Run) -> None:
        second = iteration(2, BETTER, 0.6, is_full_eval=True, scores_by_metric={"rouge": 0.6}, timestamp="t2")
        first = iteration(1, START, 0.4, "why", change_summary="Shorter", val_score=0.5, elapsed_seconds=7.25)
        for state in (second, first):
            run.save_iteration(state)
        one, two = run.load_iterations()
        assert one.timestamp.endswith("+00:00")
        assert asdict(one) == {**asdict(first), "timestamp": one.timestamp}
        assert asdict(two) == asdict(second)
        assert first.timestamp == ""

    def test_token_fields(self, run: Run) -> None:
        run.save_iteration(iteration(1, START, 0.4))
        (loaded,) = run.load_iterations()
        assert (loaded.eval_tokens, loaded.reasoning_tokens) == (100, 20)
        fresh = IterationState(1, START, 0.1)
        assert (fresh.eval_tokens, fresh.reasoning_tokens) == (0, 0)

    def test_save_and_load_checkpoint(self, run: Run) -> None:
        assert run.load_checkpoint() is None
        assert not run.has_checkpoint
        given = checkpoint(
            2,
            BEST,
            0.7,
            score_trajectory=[0.4, 0.7],
            previous_reasoning="why",
            strategy_state={"rewrite_log": [{"iteration": 1, "delta": 0.0}], "iters_done": 2},
            baseline={"mean_score": 0.5, "samples": []},
            accumulated_duration_seconds=12.5,
            best_val_prompt=BEST,
            best_val_score=0.6,
            best_val_iter=2,
            global_best_val_prompt=BETTER,
            global_best_val_score=0.65,
            global_best_val_iter=1,
            timestamp="t",
        )
        run.save_checkpoint(given)
        assert run.load_checkpoint() == given
        assert run.has_checkpoint

    def test_global_best_val_defaults_when_absent(self, run: Run) -> None:
        run.save_checkpoint(checkpoint(1))
        loaded = run.load_checkpoint()
        assert loaded is not None
        assert (loaded.global_best_val_prompt, loaded.global_best_val_score, loaded.global_best_val_iter) == (
            None,
            -1.0,
            0,
        )
        assert "best_val_score" not in json.loads(run.checkpoint_path.read_text())

    def test_checkpoint_updates_best_prompt_file(self, run: Run) -> None:
        run.save_checkpoint(checkpoint(1, BETTER))
        run.save_checkpoint(checkpoint(2, BEST))
        assert run.best_prompt_path.exists()
        assert run.best_prompt_path.read_text() == BEST

    def test_save_and_load_result(self, run: Run) -> None:
        assert not run.is_complete
        assert run.load_result() is None
        run.save_result({"best_prompt": START, "best_score": 0.5})
        loaded = run.load_result()
        assert loaded is not None
        assert (loaded["run_id"], loaded["best_score"]) == ("001", 0.5)
        assert run.is_complete

    def test_log(self, run: Run) -> None:
        assert run.load_log() == []
        assert run.log_path.name == "run.log.jsonl"
        run.save_log([{"type": "queued", "ts": 1.5}, {"type": "complete", "best_score": 0.5}])
        assert run.load_log() == [{"type": "queued", "ts": 1.5}, {"type": "complete", "best_score": 0.5}]
        run.save_log([])
        assert run.load_log() == []


class TestFindIncompleteRun:
    def test_finds_the_newest_interrupted_run(self, run_store: RunStore) -> None:
        for _ in range(3):
            create(run_store).save_checkpoint(checkpoint(1))
        newest = run_store.get_run("003")
        assert newest is not None
        newest.save_result({"best_prompt": START})
        create(run_store)  # has no checkpoint
        found = run_store.find_incomplete_run()
        assert found is not None
        assert found.run_id == "002"

    def test_filters(self, run_store: RunStore, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        run.save_checkpoint(checkpoint(1))
        monkeypatch.chdir("/")
        assert run_store.find_incomplete_run(dataset_path="data/questions.jsonl") is not None
        assert run_store.find_incomplete_run(dataset_path="/data/others.jsonl") is None
        assert run_store.find_incomplete_run(model="openai/target") is not None
        assert run_store.find_incomplete_run(model="openai/other") is None

    def test_runs_recorded_another_way_are_read_and_never_taken_up(self, run_store: RunStore) -> None:
        import_reflex(run_store.recording.ledger, REFLEX)
        imported = run_store.get_run("003")
        assert imported is not None
        assert imported.has_checkpoint
        assert [it.iteration for it in imported.load_iterations()] == [1, 2]
        assert run_store.find_incomplete_run() is None
        with pytest.raises(Refused) as refused:
            imported.mark_running()
        assert refused.value.rule == "recorded_elsewhere"
        with pytest.raises(Refused):
            imported.save_checkpoint(checkpoint(3))


class TestBranchedRuns:
    def test_lineage(self, run_store: RunStore, run: Run) -> None:
        assert "branched_from" not in run.load_config()
        branch = run_store.create_run(CONFIG, "unknown", "", BETTER, branched_from={"run_id": "001", "iteration": 2})
        assert branch.load_config()["branched_from"] == {"run_id": "001", "iteration": 2}
        first, second = run_store.list_runs()
        assert (first.parent_run_id, first.parent_iteration) == (None, None)
        assert (second.parent_run_id, second.parent_iteration) == ("001", 2)
        assert (record(run_store, "002").started.parent_run, record(run_store, "002").started.parent_iteration) == (
            "001",
            2,
        )

    def test_a_copied_baseline_stays_the_parent_prompts(self, run_store: RunStore, run: Run) -> None:
        branch = run_store.create_run(CONFIG, "unknown", "", BETTER, branched_from={"run_id": "001", "iteration": 2})
        branch.save_baseline({**BASELINE, "samples": [], "total_tokens": 0})
        told = record(run_store, "002")
        assert told.baseline is not None
        assert told.prompts[told.baseline.prompt] == START


# What is recorded


def test_every_save_is_an_event_of_the_run(run_store: RunStore, run: Run) -> None:
    drive(run)
    assert kinds(run_store) == [
        "run.started.v1",
        "file.saved.v1",
        "recording.opened.v1",
        "prompt.evaluated.v1",
        "file.saved.v1",
        "checkpoint.saved.v1",
        "checkpoint.saved.v1",
        *("prompt.evaluated.v1", "prompt.evaluated.v1", "iteration.completed.v1", "rewrite.proposed.v1"),
        "iteration.saved.v1",
        "checkpoint.saved.v1",
        "checkpoint.saved.v1",
        *("prompt.evaluated.v1", "prompt.evaluated.v1", "iteration.completed.v1", "rewrite.proposed.v1"),
        "iteration.saved.v1",
        "checkpoint.saved.v1",
        *("prompt.evaluated.v1", "run.completed.v1", "file.saved.v1"),
        "recording.closed.v1",
        "run.sealed.v1",
    ]
    assert [it.revision for it in of_kind(run_store, CheckpointSaved)] == [0, 1, 2, 3, 4]
    assert [it.completed_iterations for it in of_kind(run_store, CheckpointSaved)] == [0, 1, 1, 2, 2]


def test_the_run_reads_as_any_other(run_store: RunStore, run: Run) -> None:
    drive(run)
    told = record(run_store)
    assert (told.status, told.started.imported_from, told.started.models) == ("completed", None, ("openai/target",))
    assert told.prompts == [START, BETTER, BEST]
    assert [(it.number, it.prompt, it.score) for it in told.iterations] == [(1, START, 0.4), (2, BETTER, 0.6)]
    first, second = told.iterations
    assert (second.rewrite, first.proposal) == (told.rewrites[0], told.rewrites[0])
    assert [made.change_summary for made in told.rewrites] == ["Asked to be brief", "Asked to cite"]
    assert (second.event.elapsed_seconds, second.event.eval_tokens) == (2.5, 100)
    effects = told.effects()
    assert effects[0].delta == pytest.approx(0.2)
    assert effects[1].basis == "never_measured"
    assert told.best_prompt == BETTER
    assert told.final is not None
    measured = told.evaluations[0].samples
    assert isinstance(measured, tuple)
    assert told.final.samples == tuple(sample.model_copy(update={"score": 0.7}) for sample in measured)


def test_what_is_rebuilt_is_what_was_saved(run_store: RunStore, run: Run) -> None:
    """Byte for byte as the peer writes it, so that its readers cannot tell the difference."""
    states = drive(run)
    run.save_log([{"type": "queued", "message": "é"}])
    files = build_run_directory(record(run_store), "reflex-0.2")
    assert sorted(files) == [
        *("baseline.json", "best_prompt.md", "checkpoint.json", "config.json"),
        *("iterations/001.json", "iterations/002.json", "result.json", "run.log.jsonl"),
    ]
    first = json.loads(files["iterations/001.json"])
    assert files["iterations/001.json"] == json.dumps(first, indent=2).encode()
    assert list(first) == [
        *("iteration", "system_prompt", "score", "scores_by_metric", "reasoning"),
        *("eval_tokens", "reasoning_tokens", "timestamp", "val_score"),
    ]
    assert first["reasoning"] == states[0].reasoning
    assert files["result.json"].decode() == run.result_path.read_text()
    assert files["checkpoint.json"].decode() == run.checkpoint_path.read_text()
    assert files["best_prompt.md"].decode() == run.best_prompt_path.read_text() == BETTER
    assert files["run.log.jsonl"] == b'{"type": "queued", "message": "\\u00e9"}\n'


def test_an_iteration_that_only_the_result_tells_is_recorded_and_gets_no_file(run_store: RunStore, run: Run) -> None:
    """W6: the peer saves no iteration that meets the threshold."""
    first = iteration(1, START, 0.4, reply(BETTER, "Brief"))
    last = iteration(2, BETTER, 0.9)
    run.save_baseline(dict(BASELINE))
    run.save_iteration(first)
    run.save_result(result(BETTER, BETTER, 0.9, [first, last]))
    told = record(run_store)
    assert [(it.number, it.score) for it in told.iterations] == [(1, 0.4), (2, 0.9)]
    assert told.iterations[1].rewrite is not None
    assert told.completed is not None
    assert told.completed.reason == "converged"
    assert [name for name in build_run_directory(told, "reflex-0.2") if "iterations" in name] == ["iterations/001.json"]


def test_an_iteration_saved_twice_keeps_both(run_store: RunStore, run: Run) -> None:
    """W2: the peer writes over the first."""
    run.save_iteration(iteration(1, START, 0.4, reply(BETTER, "Brief")))
    run.save_iteration(iteration(1, BEST, 0.5, reply(BETTER, "Brief again"), val_score=0.3))
    (rewritten,) = of_kind(run_store, IterationRewritten)
    assert (rewritten.iteration, rewritten.revision, rewritten.content["score"]) == (1, 1, 0.5)
    told = record(run_store)
    assert [(it.number, it.score, it.prompt) for it in told.iterations] == [(1, 0.4, START)]
    again = told.evaluations[rewritten.evaluation]
    assert (again.score, told.prompts[again.prompt]) == (0.5, BEST)
    assert told.evaluations[rewritten.val_evaluation].purpose == "val"
    assert [made.parent for made in told.rewrites] == [0, rewritten.evaluation]
    (loaded,) = run.load_iterations()
    assert (loaded.system_prompt, loaded.score) == (BEST, 0.5)
    assert json.loads(build_run_directory(told, "reflex-0.2")["iterations/001.json"])["score"] == 0.5


def test_a_result_rewritten_after_the_end_is_another_event(run_store: RunStore, run: Run) -> None:
    """W3: the peer's dashboard writes its duration over that of whichever run is newest."""
    drive(run)
    patched = json.loads(run.result_path.read_text())
    run.result_path.write_text(json.dumps({**patched, "duration_seconds": 0.01}))
    assert [it.revision for it in of_kind(run_store, FileSaved) if it.name == "result.json"] == [0, 1]
    told = record(run_store)
    assert told.completed is not None
    assert told.completed.duration_seconds == 3.5
    loaded = run.load_result()
    assert loaded is not None
    assert loaded["duration_seconds"] == 0.01


def test_structural_rewrites_wait_for_the_text_that_won(run_store: RunStore) -> None:
    run = create(run_store, strategy="structural")
    run.save_iteration(iteration(1, START, 0.4, "table\nWinner: xml_tags", change_summary="xml_tags"))
    assert record(run_store).rewrites == []
    run.save_iteration(iteration(2, BETTER, 0.6, "table\nWinner: current"))
    (first, second) = record(run_store).rewrites
    assert (first.change_summary, record(run_store).prompts[first.prompt or 0]) == ("xml_tags", BETTER)
    assert second.prompt == first.prompt
    run.save_iteration(iteration(3, BETTER, 0.6, "table\nWinner: minimal_flat"))
    run.save_result(result(BETTER, BETTER, 0.7, []))
    told = record(run_store)
    assert [made.prompt for made in told.rewrites] == [1, 1, None]
    assert told.iterations[1].rewrite == told.rewrites[0]


def test_phases_of_a_run_in_phases(run_store: RunStore) -> None:
    run = create(run_store, strategy="auto")
    history = [{"phase": 1, "axis": "structural", "iterations_used": 1, "score_before": 0.4, "score_after": 0.5}]
    run.save_iteration(iteration(1, START, 0.4, "[structural] Winner: current"))
    run.save_checkpoint(checkpoint(1, strategy_state={"phase_history": history}))
    run.save_iteration(iteration(2, START, 0.5, f"[iterative] {reply(BETTER, 'Brief')}"))
    run.save_iteration(iteration(3, BETTER, 0.6, f"[iterative] {reply(BEST, 'Cite')}"))
    told = [*history, {"phase": 2, "axis": "iterative", "iterations_used": 2, "score_before": 0.5, "score_after": 0.6}]
    run.save_result({**result(BETTER, BETTER, 0.6, []), "phase_history": told})
    assert [(it.phase, it.axis) for it in of_kind(run_store, PhaseStarted)] == [(1, "structural"), (2, "iterative")]
    assert [(it.phase, it.iterations, it.score_after) for it in of_kind(run_store, PhaseCompleted)] == [
        (1, 1, 0.5),
        (2, 2, 0.6),
    ]
    assert [it.event.phase for it in record(run_store).iterations] == [1, 2, 2]


def test_numbers_that_json_lacks_and_half_characters_are_findings(run_store: RunStore, run: Run) -> None:
    run.save_iteration(iteration(1, "Answer \ud800.", float("nan")))
    (saved,) = of_kind(run_store, IterationSaved)
    assert saved.findings == {"nan_score": 1, "nan_token": 1, "surrogate_replaced": 1}
    (told,) = record(run_store).iterations
    assert (told.score, told.prompt) == (None, "Answer \ufffd.")


def test_objects_of_a_program_are_kept_as_their_text(run: Run) -> None:
    run.save_log([{"type": "complete", "baseline": Path("/x")}])
    assert run.load_log() == [{"type": "complete", "baseline": "/x"}]


# Secrets


def test_no_key_reaches_the_ledger(run_store: RunStore, run: Run) -> None:
    """W22: the peer keeps the reasoning API key in clear."""
    run.save_checkpoint(checkpoint(1, strategy_state={"api_key": SECRET, "url": f"https://u:{SECRET}@host/v1"}))
    run.save_log([{"type": "queued", "authorization": f"Bearer {SECRET}"}])
    for recorded in stream(run_store):
        assert SECRET not in str(recorded)
    loaded = run.load_checkpoint()
    assert loaded is not None
    assert loaded.strategy_state == {"api_key": {"redacted": "api_key"}, "url": {"redacted": "url"}}
    counts = [it.event.findings for it in stream(run_store) if isinstance(it.event, FileSaved)]
    assert [found.get("secret_redacted") for found in counts] == [1, 2, 1]


def test_of_an_erased_run_nothing_is_read_and_it_is_not_taken_up(run_store: RunStore, run: Run) -> None:
    drive(run)
    interrupted = create(run_store)
    interrupted.save_checkpoint(checkpoint(1))
    for name in ("001", "002"):
        run_store.recording.ledger.erase(f"run/{name}", "retention_ended")
    assert [it.status for it in run_store.list_runs()] == ["completed", "running"]
    erased = run_store.get_run("001")
    assert erased is not None
    assert (erased.load_config(), erased.load_baseline(), erased.load_checkpoint()) == ({}, None, None)
    assert (erased.load_iterations(), erased.load_log(), erased.load_result()) == ([], [], None)
    assert run_store.find_incomplete_run() is None


# Recordings


def test_a_killed_run_is_taken_up_and_the_older_process_is_stopped(run_store: RunStore, run: Run) -> None:
    """W9: two processes on one run. Nothing tells whether the first was killed, so the newest goes on."""
    run.mark_running()
    run.save_checkpoint(checkpoint(1))
    other = run_store.find_incomplete_run()
    assert other is not None
    assert other.is_running
    other.mark_running()
    with pytest.raises(Refused) as refused:
        run.save_checkpoint(checkpoint(2))
    assert refused.value.rule == "recording_superseded"
    with pytest.raises(Refused):
        run.mark_done()
    other.save_checkpoint(checkpoint(3))
    other.mark_done()
    assert of_kind(run_store, RecordingOpened) == [
        RecordingOpened(recording=1, system="aevyra-reflex"),
        RecordingOpened(recording=2, system="aevyra-reflex", supersedes=1),
    ]
    assert of_kind(run_store, RecordingClosed) == [RecordingClosed(recording=2, reason="stopped")]
    assert [it.completed_iterations for it in of_kind(run_store, CheckpointSaved)] == [1, 3]


def test_who_holds_no_recording_may_not_write_into_an_open_one(run_store: RunStore, run: Run) -> None:
    """W4: the log of one job landed in the run of another."""
    run.mark_running()
    other = run_store.get_latest_run()
    assert other is not None
    with pytest.raises(Refused) as refused:
        other.save_log([])
    assert refused.value.rule == "recording_open"
    run.mark_done()
    other.save_log([])
    assert len(of_kind(run_store, LogSaved)) == 1


def test_a_crash_is_kept_and_the_run_can_go_on(run_store: RunStore, run: Run) -> None:
    run.mark_running()
    run.save_iteration(iteration(1, START, 0.4, reply(BETTER, "Brief")))
    (run.run_dir / "error.txt").write_text("Run crashed at 2026-11-22T10:00:00\n\nTraceback")
    run.mark_done()
    assert of_kind(run_store, RecordingClosed) == [RecordingClosed(recording=1, reason="failed")]
    assert not run.running_path.exists()
    again = run_store.get_run("001")
    assert again is not None
    again.mark_running()
    assert again.running_path.exists()
    again.save_iteration(iteration(2, BETTER, 0.6, reply(BEST, "Cite")))
    told = record(run_store)
    assert [it.number for it in told.iterations] == [1, 2]
    assert told.iterations[1].rewrite == told.rewrites[0]
    assert build_run_directory(told, "reflex-0.2")["error.txt"].startswith(b"Run crashed at")


def test_paths_record_what_the_peer_writes_by_path_and_nothing_else(run: Run) -> None:
    for name in ("notes.txt", "config.json", "running", "iterations/001.json"):
        with pytest.raises(Refused) as refused:
            (run.run_dir / name).write_text("{}")
        assert refused.value.rule == "file_not_recorded"
    with pytest.raises(FileNotFoundError):
        run.result_path.read_text()
    assert not isinstance(run.config_path, os.PathLike)


@dataclass
class PeerIteration:
    """An iteration as another program declares it: the run_store reads names and nothing else."""

    iteration: int = 1
    system_prompt: str = START
    score: float = 0.5
    scores_by_metric: dict[str, float] = field(default_factory=dict)
    reasoning: str = ""
    eval_tokens: int = 0
    reasoning_tokens: int = 0
    change_summary: str = ""
    val_score: float | None = None
    is_full_eval: bool = False
    elapsed_seconds: float = 0.0
    timestamp: str = ""


def test_the_peers_own_objects_serve(run: Run) -> None:
    run.save_iteration(PeerIteration())
    assert run.load_iterations()[0].score == 0.5


def test_an_iteration_that_cannot_be_one_is_refused_and_nothing_is_recorded(run_store: RunStore, run: Run) -> None:
    before = len(stream(run_store))
    for wrong in (PeerIteration(iteration=0), PeerIteration(iteration=-1)):
        with pytest.raises(Refused):
            run.save_iteration(wrong)
    assert len(stream(run_store)) == before
    run.save_iteration(PeerIteration())
    assert len(record(run_store).iterations) == 1


def test_two_stores_on_one_ledger_see_each_other(ledger: Ledger) -> None:
    one, two = RunStore(RecordingLedger(ledger)), RunStore(RecordingLedger(ledger))
    assert [create(one).run_id, create(two).run_id, create(one).run_id] == ["001", "002", "003"]
    first, same = one.get_run("001"), two.get_run("001")
    assert first is not None
    assert same is not None
    first.save_iteration(iteration(1, START, 0.4, reply(BETTER, "Brief")))
    same.save_iteration(iteration(2, BETTER, 0.5))
    assert [it.iteration for it in first.load_iterations()] == [1, 2]
    assert record(one).iterations[1].rewrite is not None


def test_a_ledger_recorded_through_the_store_verifies(tmp_path: Path) -> None:
    with RunStore(tmp_path / "ledger", keys=tmp_path / "keys") as run_store:
        drive(create(run_store))
        abandoned = create(run_store)
        abandoned.mark_running()
        abandoned.save_iteration(iteration(1, START, 0.4))
    with open_for_reading(tmp_path / "ledger", tmp_path / "keys") as opened:
        assert check_seals(opened.events, opened.reader.head().size) == ([], [])
        for recorded in opened.events.events(0, opened.reader.head().size):
            assert recorded.event.disagreement() is None
    with RunStore(tmp_path / "ledger", keys=tmp_path / "keys") as run_store:
        assert [it.status for it in run_store.list_runs()] == ["completed", "running"]
        evaluated = [it.event for it in stream(run_store) if isinstance(it.event, PromptEvaluated)]
        assert [it.purpose for it in evaluated] == ["baseline", "train", "val", "train", "val", "final"]
