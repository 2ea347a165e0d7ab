"""The import of reflex trees: what is recorded, what is found, and that nothing in a tree breaks it."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.adapters.reflex import KINDS, ImportedRun, ImportReport, files, import_reflex
from affidavit.api.adapters.reflex.replies import proposed_prompt, summary_of, winner_of
from affidavit.domain.errors import AffidavitError
from affidavit.domain.event import Event, Meta, NewEvent, Recorded
from affidavit.domain.optimization.effects import effect_of
from affidavit.domain.optimization.events import (
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunImported,
    RunStarted,
    SourceKept,
)
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.events import ImportCompleted
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runs.record import RunRecord, fold_run

DEMO = Path(files.__file__).resolve().parents[2] / "demo"
REFLEX = DEMO / "reflex"
REAL = DEMO / "reflex-real"
FIRST = "001_2026-11-22T00-35-49"
SECRET = b"sk-REASON-SECRET-123"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "ledger", tmp_path / "keys", REGISTRY, sign_in_background=False) as made:
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of run 001 to change."""
    root = tmp_path / ".reflex"
    shutil.copytree(REFLEX / "runs" / FIRST, root / "runs" / FIRST)
    return root


def stream(ledger: Ledger, name: str) -> list[Recorded]:
    with ledger.recorder.reading() as reader:
        return list(ledger.event_reader(reader).stream(name))


def record(ledger: Ledger, run: str) -> RunRecord:
    found = fold_run(stream(ledger, f"run/{run}"))
    assert found is not None
    return found


def kinds(run: ImportedRun) -> Counter[str]:
    return Counter(found.kind for found in run.findings)


def size(ledger: Ledger) -> int:
    return ledger.recorder.max_notification_id()


def events_of(ledger: Ledger, run: str, kind: type[Any]) -> list[Any]:
    return [it.event for it in stream(ledger, f"run/{run}") if isinstance(it.event, kind)]


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def import_and_check(ledger: Ledger, root: Path) -> ImportReport:
    """Import, and assert everything that holds for any import of any tree."""
    report = import_reflex(ledger, root)
    assert {found.kind for found in report.findings} <= KINDS.keys()
    for run in report.runs:
        if run.outcome == "recorded":
            recorded = stream(ledger, f"run/{run.run}")
            assert len(recorded) == run.events
            assert all(isinstance(it.event, Event) and it.event.disagreement() is None for it in recorded)
            assert record(ledger, run.run).imported is not None
    before = size(ledger)
    again = import_reflex(ledger, root)
    assert (size(ledger), again.events, again.stream) == (before, 0, None)
    assert again.findings == report.findings
    assert ledger.sign().size == before
    return report


def only(report: ImportReport) -> ImportedRun:
    (run,) = report.runs
    return run


# The sample trees

COMMON = {"config_without_metrics": 1}
KEYED = {**COMMON, "secret_redacted": 1}
EXPECTED = {
    "001": (26, {**KEYED, "delta_on_wrong_change": 1}),
    "002": (44, KEYED),
    "003": (12, {**KEYED, "delta_on_wrong_change": 1, "interrupted": 1}),
    "008": (
        16,
        {
            **KEYED,
            "delta_on_wrong_change": 1,
            "final_prompt_not_reported": 1,
            "iteration_without_file": 1,
            "rationale_repeated": 1,
        },
    ),
    "011": (18, {**KEYED, "delta_on_wrong_change": 1}),
    "013": (15, {**COMMON, "delta_on_wrong_change": 1}),
    "014": (15, {**COMMON, "delta_on_wrong_change": 1, "branch_baseline_inherited": 1}),
}


def test_every_sample_run_is_recorded_with_exactly_these_findings(ledger: Ledger) -> None:
    report = import_and_check(ledger, REFLEX)
    assert {run.run: (run.events, dict(kinds(run))) for run in report.runs} == EXPECTED
    assert {run.outcome for run in report.runs} == {"recorded"}
    assert report.stream == "import/1"
    assert report.counts() == dict(sorted(sum((Counter(kinds) for _, kinds in EXPECTED.values()), Counter()).items()))


def test_the_run_with_real_models_is_recorded(ledger: Ledger) -> None:
    run = only(import_and_check(ledger, REAL))
    assert (run.events, dict(kinds(run))) == (26, {**KEYED, "delta_on_wrong_change": 1})
    told = record(ledger, "001")
    assert [round(it.score or 0, 3) for it in told.iterations] == [0.449, 0.627, 0.764, 0.641, 0.199]
    assert told.final is not None
    assert told.final.prompt == told.iterations[2].train.prompt


def test_the_import_itself_is_an_event_with_every_file_and_finding(ledger: Ledger) -> None:
    report = import_reflex(ledger, REFLEX)
    (completed,) = stream(ledger, "import/1")
    assert isinstance(completed.event, ImportCompleted)
    assert (completed.event.runs, completed.event.files) == (7, report.files)
    assert report.files == sum(path.is_file() for path in REFLEX.rglob("*"))
    assert isinstance(completed.event.detail, dict)
    assert len(completed.event.detail["findings"]) == len(report.findings)
    assert completed.event.disagreement() is None


def test_an_iterative_run_gives_each_change_its_own_effect(ledger: Ledger) -> None:
    """The peer says that the switch to XML helped by 0.2614; it hurt by 0.3179."""
    import_reflex(ledger, REFLEX)
    told = record(ledger, "001")
    effects = {told.rewrites[it.rewrite].change_summary: it for it in told.effects()}
    assert effects["Switched to XML tag structure"].direction == "hurt"
    assert effects["Switched to XML tag structure"].delta == pytest.approx(0.389520202020202 - 0.7074175824175823)
    assert effects["Required acronyms to be spelled out"].basis == "never_measured"
    assert told.status == "completed"
    assert [it.rewrite and it.rewrite.rewrite for it in told.iterations] == [None, 0, 1, 2, 3]


def test_baseline_and_final_samples_pair_by_id(ledger: Ledger) -> None:
    import_reflex(ledger, REFLEX)
    told = record(ledger, "001")
    assert told.baseline is not None
    assert told.final is not None
    baseline, final = told.baseline.samples, told.final.samples
    assert isinstance(baseline, tuple)
    assert isinstance(final, tuple)
    assert [sample.id for sample in baseline] == [sample.id for sample in final] == [f"test-{i}" for i in range(4)]
    assert [sample.input for sample in baseline] == [sample.input for sample in final]


def test_a_run_in_phases_has_its_phases_and_their_rewrites(ledger: Ledger) -> None:
    import_reflex(ledger, REFLEX)
    told = record(ledger, "002")
    assert [(it.axis, it.iterations, it.converged) for it in told.phases] == [
        ("structural", 3, False),
        ("iterative", 4, False),
        ("fewshot", 1, True),
    ]
    assert [it.event.phase for it in told.iterations] == [1, 1, 1, 2, 2, 2, 2, 3]
    # the structural winner is the next prompt; "Winner: current" proposes the prompt it had
    assert [it.prompt for it in told.rewrites] == [1, 1, 1, 2, 3, 4, 5, 6]
    assert [it.change_summary for it in told.rewrites[:3]] == ["agent_guided", None, None]
    # the few-shot axis tells how it made the prompt that its iteration scored
    fewshot = told.rewrites[-1]
    assert fewshot.axis == "fewshot"
    assert told.evaluations[fewshot.parent].prompt == 4
    effect = effect_of(fewshot, told.evaluations)
    assert effect.delta == pytest.approx(1.0 - 0.8633986928104576)


def test_an_interrupted_run_has_no_end(ledger: Ledger) -> None:
    import_reflex(ledger, REFLEX)
    told = record(ledger, "003")
    assert told.status == "interrupted"
    assert told.rewrites[-1].prompt == 2
    assert told.started.split is not None
    assert told.started.split.seed == 42


def test_a_final_score_belongs_to_the_prompt_that_was_really_scored(ledger: Ledger) -> None:
    """Run 008 reports iteration 3's prompt, but its final score is that of the best validated one."""
    import_reflex(ledger, REFLEX)
    told = record(ledger, "008")
    assert told.completed is not None
    assert told.final is not None
    assert told.final.prompt == told.iterations[1].train.prompt
    assert told.completed.best is None
    assert told.completed.reason == "converged"
    assert [it.event.found_in for it in told.iterations] == [("file", "result"), ("file", "result"), ("result",)]
    assert isinstance(told.completed.reported, dict)
    assert told.completed.reported == json.loads((REFLEX / "runs/008_2026-11-22T00-36-57/result.json").read_text())


def test_mini_batches_are_told_from_whole_evaluations(ledger: Ledger) -> None:
    import_reflex(ledger, REFLEX)
    told = record(ledger, "011")
    assert [(it.train.sample_set, it.train.n) for it in told.iterations] == [
        ("batch", 2),
        ("whole", 6),
        ("batch", 2),
        ("whole", 6),
    ]


def test_a_branch_names_its_parent_and_whose_baseline_it_has(ledger: Ledger) -> None:
    import_reflex(ledger, REFLEX)
    told = record(ledger, "014")
    assert (told.started.parent_run, told.started.parent_iteration) == ("013", 2)
    assert told.baseline is not None
    assert told.prompts[told.baseline.prompt] == record(ledger, "013").started.system_prompt
    assert told.started.metrics == ("rouge",)


def test_no_secret_is_in_any_sealed_text_or_ledger_file(ledger: Ledger, tmp_path: Path) -> None:
    import_reflex(ledger, REFLEX)
    for run in EXPECTED:
        for recorded in stream(ledger, f"run/{run}"):
            assert SECRET.decode() not in repr(recorded.event)
    started = events_of(ledger, "001", RunStarted)[0]
    assert started.config["optimizer_config"]["reasoning_api_key"] == {"redacted": "reasoning_api_key"}
    assert started.config["optimizer_config"]["max_tokens"] == 1024
    ledger.sign()
    for path in tmp_path.rglob("*"):
        if path.is_file() and "ledger" in path.parts[-2]:
            assert SECRET not in path.read_bytes()


def test_a_redacted_file_is_hashed_without_its_secret(ledger: Ledger, tree: Path) -> None:
    import_reflex(ledger, tree)
    config = tree / "runs" / FIRST / "config.json"
    told = json.loads(config.read_text())
    told["optimizer_config"]["reasoning_api_key"] = "another-secret-of-another-length"
    config.write_text(json.dumps(told, indent=2))
    assert import_reflex(ledger, tree).unchanged == ("001",)
    told["optimizer_config"]["max_tokens"] = 1025
    config.write_text(json.dumps(told, indent=2))
    assert kinds(only(import_reflex(ledger, tree))) == Counter(source_changed=1)


# Again, and after a crash


def test_changed_sources_are_found_and_overwrite_nothing(ledger: Ledger, tree: Path) -> None:
    import_reflex(ledger, tree)
    before = stream(ledger, "run/001")
    change(tree / "runs" / FIRST / "result.json", best_score=0.99)
    (tree / "runs" / FIRST / "best_prompt.md").unlink()
    run = only(import_and_check(ledger, tree))
    assert (run.outcome, run.events) == ("not_recorded", 0)
    assert [(it.kind, it.detail) for it in run.findings] == [("source_changed", "best_prompt.md, result.json")]
    assert stream(ledger, "run/001") == before
    assert len(stream(ledger, "import/2")) == 1


def test_an_import_that_was_killed_goes_on_where_it_stopped(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = 8  # seven runs and the import itself
    for survived in range(whole):
        folder = tmp_path / str(survived)
        with Ledger.create(folder / "ledger", folder / "keys", REGISTRY, sign_in_background=False) as fresh:
            record_all, calls = fresh.record, 0

            def dies(*events: NewEvent, at: int = survived, record: Any = record_all) -> Any:
                nonlocal calls
                if calls == at:
                    raise KeyboardInterrupt
                calls += 1
                return record(*events)

            with monkeypatch.context() as patch:
                patch.setattr(fresh, "record", dies)
                with pytest.raises(KeyboardInterrupt):
                    import_reflex(fresh, REFLEX)
            report = import_and_check(fresh, REFLEX)
            assert len(report.unchanged) == min(survived, 7)
            assert len(report.added) == 7 - min(survived, 7)
            assert report.stream == "import/1"
            assert {run.run: dict(kinds(run)) for run in report.runs} == {
                run: found for run, (_, found) in EXPECTED.items()
            }


def test_progress_is_told_for_each_run(ledger: Ledger) -> None:
    told: list[tuple[int, int]] = []
    import_reflex(ledger, REFLEX, lambda done, total: told.append((done, total)))
    assert told == [(done, 7) for done in range(8)]


def test_a_run_that_exists_already_is_left_alone(ledger: Ledger, tree: Path) -> None:
    native = RunStarted(run="001", directory="001", timestamp="t", strategy="iterative", system_prompt="p", config={})
    ledger.record(NewEvent("run/001", 0, native, Meta()))
    run = only(import_and_check(ledger, tree))
    assert run.outcome == "not_recorded"
    assert dict(kinds(run)) == {"run_exists": 1}
    assert len(stream(ledger, "run/001")) == 1


def test_two_trees_with_one_run_id_are_both_kept(ledger: Ledger) -> None:
    import_reflex(ledger, REFLEX)
    run = only(import_and_check(ledger, REAL))
    assert run.run == "001_2026-11-22T01-38-20"
    assert kinds(run)["duplicate_run_id"] == 1
    assert record(ledger, run.run).completed is not None


def test_two_directories_with_one_run_id_are_both_kept(ledger: Ledger, tree: Path) -> None:
    shutil.copytree(tree / "runs" / FIRST, tree / "runs" / "001_2026-11-22T09-00-00")
    first, second = import_and_check(ledger, tree).runs
    assert (first.run, second.run) == ("001", "001_2026-11-22T09-00-00")
    assert "duplicate_run_id" not in kinds(first)
    assert kinds(second)["duplicate_run_id"] == 1


# Defects that the sample runs do not have


def test_a_crashed_run_fails_with_its_error(ledger: Ledger, tree: Path) -> None:
    run = tree / "runs" / FIRST
    (run / "result.json").unlink()
    (run / "error.txt").write_text("Run crashed at 2026-11-22T00:35:50.1\n\nTraceback: key sk-abcdefghijklmnop\n")
    found = kinds(only(import_and_check(ledger, tree)))
    assert found["key_shaped_text"] == 1
    (failed,) = events_of(ledger, "001", RunFailed)
    assert (failed.reason, failed.timestamp) == ("crashed", "2026-11-22T00:35:50.1")
    assert "sk-abcdefghijklmnop" in failed.message
    assert [it.name for it in events_of(ledger, "001", SourceKept)] == ["checkpoint.json", "error.txt"]


def test_a_hole_in_the_numbering_breaks_no_attribution(ledger: Ledger, tree: Path) -> None:
    run = tree / "runs" / FIRST
    (run / "iterations" / "003.json").unlink()
    told = json.loads((run / "result.json").read_text())
    change(run / "result.json", iterations=told["iterations"][3:])
    found = kinds(only(import_and_check(ledger, tree)))
    assert found["iteration_gap"] == 1
    assert found["result_lists_fewer_iterations"] == 1
    assert found["token_totals_differ"] == 1
    assert found["val_trajectory_differs"] == 1
    history = record(ledger, "001")
    assert [it.number for it in history.iterations] == [1, 2, 4, 5]
    second, fourth = history.iterations[1], history.iterations[2]
    assert second.proposal is not None
    assert second.proposal.prompt not in (None, fourth.train.prompt)  # recovered from the reply, never scored
    assert fourth.rewrite is None  # its origin is the file that is missing


def test_a_resumed_rewrite_log_and_checkpoint_are_found_out(ledger: Ledger, tree: Path) -> None:
    path = tree / "runs" / FIRST / "checkpoint.json"
    told = json.loads(path.read_text())
    log = told["strategy_state"]["rewrite_log"]
    log.insert(3, {**log[2], "delta": 0.0})
    told["best_score"] = 0.7074175824175823
    path.write_text(json.dumps(told))
    found = kinds(only(import_and_check(ledger, tree)))
    assert found["duplicate_rewrite_log_entry"] == 1
    assert found["checkpoint_best_mismatch"] == 1
    assert [it.change_summary for it in record(ledger, "001").rewrites][2] == "Switched to XML tag structure"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"p_value": 0.0313}, "significance_not_recomputable"),
        ({"p_value": None}, "significance_not_recomputable"),
        ({"best_score": 0.9}, "reported_figure_differs"),
        ({"improvement": 0.9}, "reported_figure_differs"),
        ({"is_significant": True}, "reported_figure_differs"),
        ({"converged": True}, "reported_figure_differs"),
        ({"total_eval_tokens": 1}, "token_totals_differ"),
        ({"total_reasoning_tokens": 1}, "token_totals_differ"),
        ({"val_trajectory": [0.1]}, "val_trajectory_differs"),
        ({"started_at": "2026-11-22T09:00:00+00:00"}, "session_restarted"),
        ({"run_id": "002"}, "run_id_mismatch"),
        ({"best_prompt": "a text that nobody scored"}, "best_prompt_not_evaluated"),
        ({"train_size": "four"}, "value_refused"),
        ({"train_size": -4}, "value_refused"),
        ({"iterations": {}}, "value_refused"),
    ],
)
def test_a_result_that_contradicts_itself_is_found_out(
    ledger: Ledger, tree: Path, fields: dict[str, Any], kind: str
) -> None:
    change(tree / "runs" / FIRST / "result.json", **fields)
    run = only(import_and_check(ledger, tree))
    assert kinds(run)[kind] >= 1
    assert run.outcome == "recorded"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"system_prompt": "rewritten afterwards"}, "rewrite_not_as_replied"),
        ({"score": 0.99}, "iteration_differs"),
        ({"iteration": 9}, "iteration_mismatch"),
        ({"iteration": 2}, "iteration_repeated"),
        ({"timestamp": "2020-01-01T00:00:00+00:00"}, "iterations_out_of_order"),
        ({"system_prompt": None}, "event_refused"),
        ({"iteration": 0}, "value_refused"),
        ({"eval_tokens": -1}, "value_refused"),
        ({"note": "x"}, "unknown_field"),
        ({"reasoning": "my key is sk-abcdefghijklmnop"}, "key_shaped_text"),
        ({"scores_by_metric": {"rouge": "high"}}, "value_refused"),
    ],
)
def test_an_iteration_that_was_changed_is_found_out(
    ledger: Ledger, tree: Path, fields: dict[str, Any], kind: str
) -> None:
    change(tree / "runs" / FIRST / "iterations" / "003.json", **fields)
    assert kinds(only(import_and_check(ledger, tree)))[kind] >= 1


def test_failed_calls_have_no_score_and_the_mean_says_so(ledger: Ledger, tree: Path) -> None:
    path = tree / "runs" / FIRST / "baseline.json"
    told = json.loads(path.read_text())
    told["samples"][0] |= {"response": "(no response)", "score": 0.0}
    told["mean_score"] = sum(sample["score"] for sample in told["samples"][1:]) / 3
    path.write_text(json.dumps(told))
    found = kinds(only(import_and_check(ledger, tree)))
    assert found["mean_excludes_failures"] == 1
    assert found["baseline_differs"] == 2
    baseline = record(ledger, "001").baseline
    assert baseline is not None
    assert baseline.failed == 1
    assert baseline.detail_mean == pytest.approx(told["mean_score"])


def test_samples_that_do_not_pair_by_position_pair_by_input(ledger: Ledger, tree: Path) -> None:
    path = tree / "runs" / FIRST / "result.json"
    told = json.loads(path.read_text())
    told["final"]["samples"].reverse()
    path.write_text(json.dumps(told))
    assert kinds(only(import_and_check(ledger, tree)))["samples_not_paired"] == 1
    final = record(ledger, "001").final
    assert final is not None
    assert isinstance(final.samples, tuple)
    assert [sample.id for sample in final.samples] == ["test-3", "test-2", "test-1", "test-0"]


def test_duels_are_win_rates_and_propose_no_prompt(ledger: Ledger, tree: Path) -> None:
    path = tree / "runs" / FIRST / "config.json"
    told = json.loads(path.read_text())
    told["optimizer_config"]["strategy"] = "pdo"
    path.write_text(json.dumps(told))
    assert kinds(only(import_and_check(ledger, tree)))["mixed_score_kinds"] == 1
    trained = [it for it in events_of(ledger, "001", PromptEvaluated) if it.purpose == "train"]
    assert {(it.kind, it.sample_set) for it in trained} == {("win_rate", "unknown")}
    assert {it.prompt for it in events_of(ledger, "001", RewriteProposed)} == {None}


def test_a_phase_that_was_resumed_past_its_budget_is_found(ledger: Ledger, tmp_path: Path) -> None:
    name = "002_2026-11-22T00-35-52"
    root = tmp_path / "phases"
    shutil.copytree(REFLEX / "runs" / name, root / "runs" / name)
    path = root / "runs" / name / "result.json"
    told = json.loads(path.read_text())
    told["phase_history"].insert(2, {**told["phase_history"][1], "axis": "pdo", "iterations_used": 0})
    path.write_text(json.dumps(told))
    assert kinds(only(import_and_check(ledger, root)))["phase_resumed_empty"] == 1
    history = record(ledger, "002")
    assert [it.axis for it in history.phases] == ["structural", "iterative", "pdo", "fewshot"]
    assert [it.event.phase for it in history.iterations] == [1, 1, 1, 2, 2, 2, 2, 4]


def test_phases_without_a_history_are_read_from_the_rationales(ledger: Ledger, tmp_path: Path) -> None:
    name = "002_2026-11-22T00-35-52"
    root = tmp_path / "phases"
    shutil.copytree(REFLEX / "runs" / name, root / "runs" / name)
    run = root / "runs" / name
    told = json.loads((run / "result.json").read_text())
    del told["phase_history"]
    (run / "result.json").write_text(json.dumps(told))
    (run / "checkpoint.json").unlink()
    assert kinds(only(import_and_check(ledger, root)))["phase_history_missing"] == 1
    assert [(it.axis, it.iterations) for it in record(ledger, "002").phases] == [
        ("structural", 3),
        ("iterative", 4),
        ("fewshot", 1),
    ]


def test_a_branch_whose_parent_is_not_there_claims_no_baseline(ledger: Ledger, tmp_path: Path) -> None:
    name = "014_2026-11-22T00-42-03"
    root = tmp_path / "branch"
    shutil.copytree(REFLEX / "runs" / name, root / "runs" / name)
    found = kinds(only(import_and_check(ledger, root)))
    assert found["parent_missing"] == 1
    assert record(ledger, "014").baseline is None
    assert "baseline.json" in record(ledger, "014").kept


# Hostile trees


def test_there_must_be_a_tree(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="expected the directory runs"):
        import_reflex(ledger, tmp_path / "nothing")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "runs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        import_reflex(ledger, tmp_path / "linked")
    assert size(ledger) == 1


def test_links_pipes_and_sockets_are_refused(
    ledger: Ledger, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text('{"iteration": 6, "system_prompt": "from outside", "score": 1}')
    run = tree / "runs" / FIRST
    (run / "iterations" / "006.json").symlink_to(outside)
    (run / "best_prompt.md").unlink()
    os.mkfifo(run / "best_prompt.md")
    (run / "result.json").unlink()
    (run / "result.json").symlink_to("/dev/zero")
    (tree / "runs" / "002_linked").symlink_to(REFLEX / "runs" / FIRST, target_is_directory=True)
    monkeypatch.chdir(run)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("error.txt")
    report = import_and_check(ledger, tree)
    assert report.counts()["symlink_refused"] == 3
    assert report.counts()["special_file"] == 2
    assert len(record(ledger, "001").iterations) == 5


def test_names_that_could_mean_something_elsewhere_are_refused(ledger: Ledger, tree: Path) -> None:
    run = tree / "runs" / FIRST
    for name in ("..\\evil.json", ".hidden", "a" * 129, "prompt ü.md", "line\nbreak"):
        (run / name).write_text("x")
    Path(os.fsdecode(os.fsencode(run) + b"/\xff\xfe.json")).write_text("x")
    (run / "CONFIG.JSON").write_text("{}")
    (run / "notes.txt").write_text("x")
    (run / "iterations" / "iter_001.json").write_text("{}")
    (run / "iterations" / "deeper").mkdir()
    (tree / "runs" / "notes").mkdir()
    counts = import_and_check(ledger, tree).counts()
    assert counts["name_refused"] == 6
    assert counts["case_collision"] == 1
    assert counts["foreign_file"] == 4
    assert "missing_file" not in counts


def test_a_parent_id_that_is_a_path_leads_nowhere(ledger: Ledger, tree: Path) -> None:
    change(tree / "runs" / FIRST / "config.json", branched_from={"run_id": "../../etc", "iteration": 1})
    assert kinds(only(import_and_check(ledger, tree)))["parent_missing"] == 1


def test_limits_leave_out_what_is_beyond_them(ledger: Ledger, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 2000)
    monkeypatch.setattr(files, "MAX_FILES", 9)
    for number in range(6, 16):
        (tree / "runs" / FIRST / "iterations" / f"{number:03}.json").write_text("{}")
    found = kinds(only(import_and_check(ledger, tree)))
    assert found["limit_exceeded"] == 3  # checkpoint and result, and the iterations beyond nine


HOSTILE: dict[str, tuple[bytes, str]] = {
    "truncated": (b'{"iteration": 3, "system_prompt": "x', "unreadable_file"),
    "empty": (b"", "unreadable_file"),
    "a list": (b"[]", "unreadable_file"),
    "binary": (bytes(range(256)) * 10, "unreadable_file"),
    "deep": (b'{"iteration": 3, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "unreadable_file"),
    "deep enough": (b'{"iteration": 3, "x": ' + b"[" * 200 + b"]" * 200 + b"}", "value_refused"),
    "not a number": (b'{"iteration": 3, "system_prompt": "x", "score": NaN, "val_score": -Infinity}', "nan_score"),
    "beyond floats": (b'{"iteration": 3, "system_prompt": "x", "score": 1e999}', "number_out_of_range"),
    "many digits": (b'{"iteration": ' + b"9" * 5000 + b', "system_prompt": "x"}', "number_out_of_range"),
    "past 2^53": (b'{"iteration": 3, "system_prompt": "x", "eval_tokens": 9007199254740993}', "value_refused"),
    "half a pair": (b'{"iteration": 3, "system_prompt": "x\\ud800", "score": 1}', "surrogate_replaced"),
    "half a pair as a key": (b'{"iteration": 3, "system_prompt": "x", "\\udc00": 1}', "surrogate_replaced"),
    "no UTF-8": (b'{"iteration": 3, "system_prompt": "\xff", "score": 1}', "invalid_utf8"),
    "a key twice": (b'{"iteration": 3, "iteration": 4, "system_prompt": "x"}', "duplicate_key"),
    "NUL": (b'{"iteration": 3, "system_prompt": "\\u0000", "score": 1}', "rewrite_not_as_replied"),
    "two megabytes": (b'{"iteration": 3, "system_prompt": "' + b"x" * 2_000_000 + b'"}', "rewrite_not_as_replied"),
    "a long time": (b'{"iteration": 3, "system_prompt": "x", "timestamp": "' + b"9" * 70_000 + b'"}', "value_refused"),
    "many metrics": (
        json.dumps(
            {"iteration": 3, "system_prompt": "x", "scores_by_metric": {f"m{i}": i for i in range(9999)}}
        ).encode(),
        "value_refused",
    ),
    "a long metric": (
        json.dumps({"iteration": 3, "system_prompt": "x", "scores_by_metric": {"m" * 70_000: 1}}).encode(),
        "iteration_differs",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_becomes_a_finding(ledger: Ledger, tree: Path, name: str) -> None:
    content, kind = HOSTILE[name]
    other = tree / "runs" / "002_2026-11-22T00-35-49"
    shutil.copytree(tree / "runs" / FIRST, other)
    (tree / "runs" / FIRST / "iterations" / "003.json").write_bytes(content)
    for path in ("config.json", "result.json", "checkpoint.json", "run.log.jsonl"):
        (other / path).write_bytes(content)
    first, second = import_and_check(ledger, tree).runs
    assert kinds(first)[kind] >= 1
    assert (first.outcome, second.outcome) == ("recorded", "recorded")


def test_open_fields_take_no_long_or_foreign_text(ledger: Ledger, tree: Path) -> None:
    path = tree / "runs" / FIRST / "config.json"
    told = json.loads(path.read_text())
    told["timestamp"] = "x" * 100_000
    told["optimizer_config"] |= {
        "strategy": "y" * 100_000,
        "_cli_models": ["z" * 100_000],
        "reasoning_model": 7,
        "score_threshold": "high",
        "max_iterations": True,
    }
    path.write_text(json.dumps(told))
    run = only(import_and_check(ledger, tree))
    assert kinds(run)["value_refused"] == 6
    assert run.outcome == "recorded"
    started = record(ledger, "001").started
    assert (started.strategy, started.models, started.timestamp) == ("iterative", (), "2026-11-22T00-35-49")


def test_a_run_without_its_config_is_told_by_its_other_files(ledger: Ledger, tree: Path) -> None:
    (tree / "runs" / FIRST / "config.json").unlink()
    assert kinds(only(import_and_check(ledger, tree)))["missing_file"] == 1
    started = record(ledger, "001").started
    assert started.system_prompt == "You are a helpful assistant. Answer the question accurately and concisely."
    assert (started.strategy, started.config) == ("iterative", {})


def test_an_empty_run_directory_is_no_run(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "t" / "runs" / "001_2026-11-22T00-00-00").mkdir(parents=True)
    run = only(import_and_check(ledger, tmp_path / "t"))
    assert (run.outcome, dict(kinds(run))) == ("not_recorded", {"no_run": 1})


def test_a_secret_in_a_file_that_cannot_be_read_leaves_no_digest(ledger: Ledger, tree: Path) -> None:
    path = tree / "runs" / FIRST / "config.json"
    path.write_text(path.read_text()[:-2])
    import_reflex(ledger, tree)
    (imported,) = events_of(ledger, "001", RunImported)
    assert isinstance(imported.detail, dict)
    assert {it["path"]: it["sha256"] is None for it in imported.detail["files"]}["config.json"]


def test_what_the_ledger_refuses_as_a_whole_is_left_out_alone(
    ledger: Ledger, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("affidavit.ledger.entries.seal.MAX_DISCLOSURE_BYTES", 3000)
    run = only(import_and_check(ledger, tree))
    assert run.outcome == "not_recorded"
    assert kinds(run)["run_not_recorded"] == 1
    assert stream(ledger, "run/001") == []


_TOKENS = [
    b"NaN",
    b"null",
    b"-1",
    b'"\\ud800"',
    b"[]",
    b"{}",
    b"1e400",
    b'""',
    b"true",
    b"9" * 30,
    b'"sk-abcdefghijklmnop"',
]


def _mutate(draw: random.Random, data: bytes) -> bytes:
    """One change of the kind that damage or malice makes: bytes, tokens, values or the end."""
    match draw.randrange(6):
        case 0 if data:
            at = draw.randrange(len(data))
            return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[: draw.randrange(len(data) + 1)]
        case 2:
            at = draw.randrange(len(data) + 1)
            return data[:at] + draw.randbytes(draw.randrange(9)) + data[at:]
        case 3:
            lines = data.split(b"\n")
            draw.shuffle(lines)
            return b"\n".join(lines)
        case 4:
            lines = data.split(b"\n")
            del lines[draw.randrange(len(lines))]
            return b"\n".join(lines)
        case _:
            lines = data.split(b"\n")
            at = draw.randrange(len(lines))
            key, colon, _ = lines[at].partition(b": ")
            comma = b"," if lines[at].endswith(b",") else b""
            lines[at] = key + colon + draw.choice(_TOKENS) + comma
            return b"\n".join(lines)


@pytest.mark.parametrize("seed", range(24))
def test_no_mutation_of_a_real_tree_breaks_the_import(ledger: Ledger, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    root = tmp_path / "mutated"
    shutil.copytree(REFLEX, root)
    for path in sorted(it for it in root.rglob("*") if it.is_file()):
        match draw.randrange(8):
            case 0:
                path.unlink()
            case 1:
                path.rename(path.with_name(draw.choice(["009.json", "result.json", "config.json", "x"])))
            case 2 | 3 | 4:
                data = path.read_bytes()
                for _ in range(draw.choice([1, 1, 3])):
                    data = _mutate(draw, data)
                path.write_bytes(data)
    try:
        import_and_check(ledger, root)
    except AffidavitError:
        pytest.fail("the tree is there, so nothing in it may refuse the import")


# Replies


def test_a_reply_is_read_as_the_peer_reads_it() -> None:
    assert proposed_prompt("x\n## REVISED PROMPT\n\nBe brief.\n") == "Be brief."
    assert proposed_prompt("# A\nx\n## B\nBe brief.") == "Be brief."
    assert proposed_prompt("Be brief.") == "Be brief."
    assert summary_of("## Summary of change\n\n[Shorter]\n## Revised prompt\nx") == "Shorter"
    assert summary_of("## Summary of change\n## Revised prompt\n") is None
    assert summary_of("nothing") is None
    assert winner_of("Winner: current\nWinner: xml_tags") == "xml_tags"


def test_every_kind_of_finding_is_explained_in_one_line() -> None:
    assert all(text and not text.endswith(".") and "\n" not in text for text in KINDS.values())


def test_what_completes_a_run_names_its_best_prompt(ledger: Ledger) -> None:
    import_reflex(ledger, REFLEX)
    (completed,) = events_of(ledger, "001", RunCompleted)
    assert completed.best is not None
