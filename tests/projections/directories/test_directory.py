"""Run directories: both profiles, and the seed page's own snippets run on them."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.run_store import RunStore
from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, Withheld
from affidavit.domain.optimization.events import IterationCompleted, RunFailed, RunImported, SourceKept
from affidavit.projections.directories.directory import PROFILES, build_run_directory
from affidavit.projections.directories.manifest import compare_manifest
from affidavit.projections.directories.reflex import reflex_list_row
from affidavit.projections.runs.record import RunRecord


def write(root: Path, record: RunRecord, profile: str) -> None:
    for path, content in build_run_directory(record, profile).items():
        file = root / "runs" / record.started.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def document(files: dict[str, bytes], name: str) -> Any:
    return json.loads(files[name])


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_events_give_the_same_bytes(run: RunRecord, profile: str) -> None:
    assert build_run_directory(run, profile) == build_run_directory(run, profile)


def test_a_native_iteration_has_every_field_of_the_seed_page_and_its_own_effect(run: RunRecord) -> None:
    found = document(build_run_directory(run, "native"), "iterations/iter_002.json")
    assert list(found)[:11] == [
        "iteration",
        "system_prompt",
        "score",
        "val_score",
        "scores_by_metric",
        "reasoning",
        "change_summary",
        "eval_tokens",
        "reasoning_tokens",
        "elapsed_seconds",
        "timestamp",
    ]
    assert found["system_prompt"] == "Answer in one sentence."
    assert found["reasoning"] == "I added a length limit because it failed."
    assert found["effect"] == {"delta": pytest.approx(0.5), "basis": "paired", "n": 4, "direction": "helped"}
    assert found["elapsed_seconds"] is None
    assert [sample["score"] for sample in found["samples"]] == [0.6, 0.7, 0.8, 0.9]
    assert found["seq"] == 18


def test_the_initial_prompt_has_no_rationale(run: RunRecord) -> None:
    found = document(build_run_directory(run, "native"), "iterations/iter_001.json")
    assert (found["reasoning"], found["change_summary"], found["effect"]) == ("", "", None)
    assert found["elapsed_seconds"] == 1.5


def test_a_proposal_that_was_never_scored_is_kept_with_its_text(run: RunRecord) -> None:
    found = document(build_run_directory(run, "native"), "rewrites.json")
    assert [item["effect"]["basis"] for item in found] == ["paired", "paired", "never_measured"]
    assert found[2]["system_prompt"] == "Answer in one sentence. Be exact."
    assert "system_prompt" not in found[0]


def test_the_manifest_digests_every_other_file(run: RunRecord) -> None:
    files = build_run_directory(run, "native")
    found = document(files, "manifest.json")
    expected = [(line["sha256"], line["path"]) for line in found["files"]]
    del files["manifest.json"]
    assert compare_manifest(expected, files) == []
    assert found["upto"] == run.last_seq + 1


def test_the_result_says_which_score_is_best(run: RunRecord) -> None:
    files = build_run_directory(run, "native")
    found = document(files, "result.json")
    assert (found["best_score"], found["best_score_from"]) == (pytest.approx(0.7), "final")
    assert found["improvement"] == pytest.approx(0.4)
    assert "p_value" not in found
    assert files["best_prompt.md"] == b"Answer in one sentence."


def test_withheld_content_is_never_taken_for_text(withheld_run: RunRecord) -> None:
    for profile in PROFILES:
        files = build_run_directory(withheld_run, profile)
        assert "best_prompt.md" not in files
        assert document(files, "best_prompt.withheld.json") == {"withheld": "digest-of-system_prompt"}
        assert document(files, "config.json")["initial_prompt"] == {"withheld": "digest-of-system_prompt"}
        assert not any(b"Answer" in content or b"[erased]" in content for content in files.values())
    native = build_run_directory(withheld_run, "native")
    assert document(native, "iterations/iter_002.json")["reasoning"] == {"withheld": "digest-of-rationale"}
    assert document(native, "config.json")["optimizer_config"]["metrics"] == ["rouge"]


def test_a_run_that_failed_says_why(record_of: Any, run_events: list[Event]) -> None:
    failed = record_of([*run_events[:5], RunFailed(reason="crashed", message="Traceback …")])
    assert document(build_run_directory(failed, "native"), "failure.json")["message"] == "Traceback …"
    peer = build_run_directory(failed, "reflex-0.2")
    assert peer["error.txt"].decode().endswith("\n\nTraceback …")
    assert "result.json" not in peer


def test_a_run_under_way_has_a_checkpoint_and_no_result(record_of: Any, run_events: list[Event]) -> None:
    files = build_run_directory(record_of(run_events[:10]), "native")
    assert "result.json" not in files
    found = document(files, "checkpoint.json")
    assert (found["status"], found["completed_iterations"], found["best_iteration"]) == ("open", 2, 2)
    assert found["current_prompt"] == "Answer in one sentence.\n<xml/>"


def test_an_unknown_profile_is_refused(run: RunRecord) -> None:
    with pytest.raises(Refused, match=r"expected one of native, reflex-0\.2"):
        build_run_directory(run, "reflex-9")


@pytest.mark.parametrize("name", ["../config.json", ".hidden", "a/../b", "CONFIG.json", "a\nb"])
def test_a_kept_file_cannot_leave_the_folder_or_meet_another(
    record_of: Any, run_events: list[Event], name: str
) -> None:
    record = record_of([*run_events, SourceKept(name=name, content={})])
    with pytest.raises(Refused):
        build_run_directory(record, "reflex-0.2")


def test_findings_of_an_import_stand_in_a_file(record_of: Any, run_events: list[Event]) -> None:
    detail = {
        "directory": "x",
        "files": [],
        "findings": [{"kind": "iteration_gap", "place": "x", "detail": "2"}],
    }
    imported = RunImported(system="aevyra-reflex", files=0, findings={"iteration_gap": 1}, detail=detail)
    found = document(build_run_directory(record_of([*run_events, imported]), "native"), "findings.json")
    assert found["detail"]["findings"][0]["kind"] == "iteration_gap"


def test_the_peer_profile_keeps_the_peers_keys_and_log(run: RunRecord) -> None:
    files = build_run_directory(run, "reflex-0.2")
    assert "running" not in files
    assert list(document(files, "iterations/002.json")) == [
        "iteration",
        "system_prompt",
        "score",
        "scores_by_metric",
        "reasoning",
        "eval_tokens",
        "reasoning_tokens",
        "timestamp",
        "val_score",
    ]
    assert document(files, "iterations/002.json")["reasoning"] == "I switched to xml because it failed."
    checkpoint = document(files, "checkpoint.json")
    log = checkpoint["strategy_state"]["rewrite_log"]
    assert [entry["change_summary"] for entry in log] == [
        "Added a length limit",
        "Switched to XML",
        "Reverted XML",
    ]
    assert log[0]["delta"] == 0.0
    assert checkpoint["best_val_iter"] == 2
    options = document(files, "config.json")["optimizer_config"]
    assert options["_cli_models"] == ["local/target"]
    assert options["reasoning_api_key"] == {"redacted": "reasoning_api_key"}
    assert not files["result.json"].endswith(b"\n")


@pytest.mark.parametrize("below", ["", "runs"])
def test_the_seed_pages_snippets_run(
    run: RunRecord, tmp_path: Path, below: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, run, "native")
    store = RunStore(tmp_path / below)
    found = store.get_run("043")
    assert found is not None

    result: Any = found.load_result()
    print(result["best_score"])
    print(result["duration_seconds"])
    for it in found.load_iterations():
        print(f"Iter {it.iteration}: score={it.score:.4f}  reasoning={it.reasoning[:80]}...")
    config = found.load_config()
    print(config["optimizer_config"]["strategy"])
    print(config["optimizer_config"]["metrics"])
    iters = list(found.load_iterations())
    for prev, curr in zip(iters, iters[1:]):  # noqa: B905, RUF007 - as the page has it
        diff = list(
            difflib.unified_diff(prev.system_prompt.splitlines(), curr.system_prompt.splitlines(), lineterm="", n=2)
        )
        print(f"\n--- Iter {prev.iteration}{curr.iteration} ---")
        for line in diff[2:]:
            print(line)

    printed = capsys.readouterr().out
    assert "12.5\nIter 1: score=0.2500  reasoning=..." in printed
    assert "iterative\n['rouge']" in printed
    assert "--- Iter 23 ---\n@@ -1 +1,2 @@\n Answer in one sentence.\n+<xml/>" in printed


@pytest.mark.parametrize("profile", PROFILES)
def test_a_store_lists_its_runs(run: RunRecord, tmp_path: Path, profile: str) -> None:
    write(tmp_path, run, profile)
    (tmp_path / "runs" / "notes").mkdir()
    store = RunStore(tmp_path)
    (summary,) = store.list_runs()
    assert (summary.run_id, summary.status, summary.model) == ("043", "completed", "local/target")
    assert summary.best_score == pytest.approx(0.7)
    assert summary.iterations_completed == 3
    latest = store.get_latest_run()
    assert latest is not None
    assert latest.run_id == "043"
    assert store.get_run("43") is None
    assert RunStore(tmp_path / "nowhere").list_runs() == []


def test_run_1000_comes_after_run_999(run: RunRecord, tmp_path: Path) -> None:
    for name in ("999_a", "1000_b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text('{"run_id": "1", "optimizer_config": {}}')
    latest = RunStore(tmp_path).get_latest_run()
    assert latest is not None
    assert latest.run_id == "1000"


def test_withheld_stands_in_place_of_a_text_when_read_back(withheld_run: RunRecord, tmp_path: Path) -> None:
    write(tmp_path, withheld_run, "native")
    found = RunStore(tmp_path).get_run("043")
    assert found is not None
    assert found.load_iterations()[1].system_prompt == {"withheld": "digest-of-system_prompt"}
    assert isinstance(withheld_run.iterations[1].prompt, Withheld)


def test_the_peers_list_has_the_peers_names(run: RunRecord) -> None:
    row = reflex_list_row(run)
    assert row["status"] == "completed"
    assert (row["run_id"], row["model"], row["dataset"]) == ("043", "local/target", "data.jsonl")
    assert (row["baseline_score"], row["final_score"]) == (pytest.approx(0.3), pytest.approx(0.7))
    assert row["iterations_completed"] == 3


def test_an_imported_iteration_that_asked_for_nothing_repeats_the_reply_before_it(
    record_of: Any, run_events: list[Event]
) -> None:
    started = run_events[0].model_copy(update={"imported_from": "reflex-0.2"})
    later = [
        event.model_copy(update={"found_in": ("file",)}) if isinstance(event, IterationCompleted) else event
        for event in run_events[1:9]
    ]
    finding = {"kind": "rationale_repeated", "place": "x", "detail": "iteration 2"}
    detail = {"directory": "x", "files": [], "findings": [finding]}
    imported = RunImported(system="reflex-0.2", files=0, findings={"rationale_repeated": 1}, detail=detail)
    files = build_run_directory(record_of([started, *later, imported]), "reflex-0.2")
    first, second = (document(files, f"iterations/00{number}.json")["reasoning"] for number in (1, 2))
    assert first == second == "I added a length limit because it failed."


def test_a_withheld_configuration_shows_no_default_as_if_it_had_been_set(withheld_run: RunRecord) -> None:
    options = document(build_run_directory(withheld_run, "reflex-0.2"), "config.json")["optimizer_config"]
    assert "temperature" not in options
    assert options["withheld"] == "digest-of-config"
    assert options["strategy"] == "iterative"
