"""Runs of the real aevyra-reflex 0.2.0, imported and rebuilt: what its readers are given is what they had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from affidavit.projections.directories.directory import build_run_directory
from affidavit.projections.directories.manifest import manifest
from affidavit.projections.directories.reflex import reflex_list_row
from affidavit.projections.runs.record import RunRecord
from affidavit.projections.runs.rewrite_history import (
    NO_PEER_ENTRIES,
    peer_entries,
    peer_json,
    peer_text,
    run_changes,
    true_text,
)
from affidavit.projections.runs.summary import summarise

SECRETS = ("reasoning_api_key",)


@pytest.fixture
def expected() -> Path:
    """What the peer's own readers say of the sample trees; a test that needs it skips without it."""
    folder = Path(__file__).resolve().parents[4] / "shared" / "golden" / "reflex" / "expected"
    if not folder.is_dir():
        pytest.skip(f"../shared/golden is not here: {folder}")
    return folder


def without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: None if name in SECRETS else without_secrets(item) for name, item in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


def test_every_file_is_rebuilt_to_the_byte_but_for_secrets(imported: dict[str, RunRecord], trees: Path) -> None:
    assert imported
    for record in imported.values():
        folder = trees / "runs" / record.started.directory
        original = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        original.pop("running", None)
        rebuilt = build_run_directory(record, "reflex-0.2")
        assert rebuilt.keys() == original.keys()
        differing = [path for path, content in original.items() if rebuilt[path] != content]
        assert differing in ([], ["config.json"])
        for path in differing:
            before, after = json.loads(original[path]), json.loads(rebuilt[path])
            assert without_secrets(before) == without_secrets(after)
            assert after["optimizer_config"]["reasoning_api_key"] == {"redacted": "reasoning_api_key"}


def test_the_rebuilt_files_have_the_digests_that_the_import_recorded(imported: dict[str, RunRecord]) -> None:
    for record in imported.values():
        assert record.imported is not None
        detail: Any = record.imported.detail
        recorded = {file["path"]: file["sha256"] for file in detail["files"] if file["path"] != "running"}
        assert {path: digest for digest, path in manifest(build_run_directory(record, "reflex-0.2")).lines} == recorded


def test_the_peers_rewrite_log_follows_from_the_events(imported: dict[str, RunRecord], expected: Path) -> None:
    logs = json.loads((expected / "rewrite_log.json").read_text())
    for run, record in imported.items():
        entries = peer_entries(record)
        if run in logs:
            assert peer_json(entries) == logs[run]["entries"]
            assert peer_text(entries) == logs[run]["text"]
    assert peer_text(peer_entries(imported["002"])) != NO_PEER_ENTRIES


def test_the_switch_to_xml_is_told_as_the_loss_that_it_was(imported: dict[str, RunRecord]) -> None:
    """The peer's log gives this change +0.2614 and says that it helped."""
    line = true_text(run_changes(imported["001"])).splitlines()[2]
    assert line == (
        "Change 3 (after iteration 3): 0.7074 → 0.3895"
        " (Δ−0.3179, means of the same split, n = 4 — ✗ hurt): Switched to XML tag structure"
    )


def test_batches_are_not_compared_with_each_other(imported: dict[str, RunRecord]) -> None:
    assert "not comparable" in true_text(run_changes(imported["011"]))


def test_the_list_has_the_peers_answers(imported: dict[str, RunRecord], expected: Path) -> None:
    for row in json.loads((expected / "list_runs.json").read_text()):
        found = reflex_list_row(imported[row["run_id"]])
        for path in ("run_dir", "dataset"):
            assert found[path].endswith(row[path].removeprefix(".reflex/"))
            del found[path], row[path]
        assert without_secrets(found) == without_secrets(row)


def test_the_iterations_are_the_peers(imported: dict[str, RunRecord], expected: Path) -> None:
    for run, iterations in json.loads((expected / "load_iterations.json").read_text()).items():
        files = build_run_directory(imported[run], "reflex-0.2")
        found = [json.loads(content) for path, content in files.items() if path.startswith("iterations/")]
        defaults = {"change_summary": "", "is_full_eval": False, "elapsed_seconds": 0.0, "val_score": None}
        assert [{**defaults, **item} for item in found] == iterations


def test_what_a_run_reported_and_what_follows_from_its_samples_stand_side_by_side(
    imported: dict[str, RunRecord],
) -> None:
    found = summarise(imported["001"])
    assert (found["p_value"], found["is_significant"]) == (0.125, False)
    assert (found["paired"]["n"], found["paired"]["p_value"]) == (4, 0.125)
    assert found["paired"]["note"].startswith("too few: with 4 pairs that differ")
    assert found["tokens"]["not_recorded"] == ["val: 5 of 5 evaluations have no token count"]
    assert summarise(imported["003"])["status"] == "interrupted"


def test_native_directories_show_each_change_with_the_prompt_that_it_made(imported: dict[str, RunRecord]) -> None:
    files = build_run_directory(imported["001"], "native")
    fourth = json.loads(files["iterations/iter_004.json"])
    assert fourth["change_summary"] == "Switched to XML tag structure"
    assert fourth["effect"]["direction"] == "hurt"
    assert json.loads(files["config.json"])["optimizer_config"]["metrics"] == ["rouge"]
    assert json.loads(files["findings.json"])["findings_by_kind"]["secret_redacted"] == 1
