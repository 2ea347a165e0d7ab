"""Runs from the command line: each strategy, stopped and resumed, replayed, branched, reproduced, explained."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from affidavit.api.cli import optimize_commands, output
from affidavit.api.optimize.connecting import open_models
from affidavit.projections.runs.explanation_text import WIDTH

from .conftest import MODELS, AtCall, Shell


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("strategy", ["auto", "fewshot", "iterative", "pdo", "structural"])
def test_a_run_that_is_interrupted_half_way_and_resumed_is_the_run_that_never_was(
    shell: Shell, strategy: str, at_call: AtCall
) -> None:
    sent = at_call(10_000, interrupt)
    shell.optimize(strategy, "-o", "best.md", "--results-json", "result.json")
    calls, whole = len(sent), shell.comparable("001")
    record = shell.record("001")
    assert (shell.folder / "best.md").read_text() == record.best_prompt
    assert json.loads((shell.folder / "result.json").read_text())["best_prompt"] == record.best_prompt
    assert record.final is not None
    assert record.prompts[record.final.prompt] == record.best_prompt

    at_call(calls // 2, interrupt)
    stopped = shell.optimize(strategy, "-o", "again.md", code=130)
    command = next(line for line in stopped.err.splitlines() if line.startswith("  affidavit"))
    resumed = shell(*shlex.split(command)[1:])
    assert "none of them bought again" in resumed.out
    assert shell.comparable("002") == whole
    assert (shell.folder / "again.md").read_text() == record.best_prompt
    # every question once, and those in flight at the stop once more at most
    assert calls <= len(sent) - calls <= calls + 4

    for run in ("001", "002"):
        report = shell("replay", run, "--json").json
        assert (report["identical"], report["complete"], report["difference"]) == (True, True, None)


EARLY = """
import signal, sys

module, heard, *sys.argv[1:] = sys.argv[1:]

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                if heard == "heard":
                    raise

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, AtImport())
from affidavit.api.cli import main
main()
"""
"""Ctrl-C at the import of a module, heard or swallowed."""


@pytest.mark.parametrize("heard", ["heard", "swallowed"])
@pytest.mark.parametrize("module", ["affidavit.api.cli.menu", "affidavit.api.cli.optimize_commands", "rouge_score"])
def test_ctrl_c_while_modules_are_imported_ends_it_with_nothing_recorded(shell: Shell, module: str, heard: str) -> None:
    words = [module, heard, "optimize", "data.jsonl", "prompt.md", *MODELS]
    ended = subprocess.run(
        [sys.executable, "-c", EARLY, *words],
        cwd=shell.folder,
        env={**os.environ, "AFFIDAVIT_KEYS": str(shell.keys)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert "Traceback" not in ended.stderr
    assert not shell.has_ledger


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as a foreground process has it, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    "command", [("resume", "001"), ("branch", "001", "1", "--max-iterations", "3"), ("reproduce", "001")]
)
def test_ctrl_c_that_nobody_heard_of_still_keeps_calls_from_being_made(
    request: pytest.FixtureRequest, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, at_call: AtCall
) -> None:
    shell: Shell = request.getfixturevalue("interrupted" if command[0] == "resume" else "finished")

    def interrupted_meanwhile(*given: Any, **more: Any) -> Any:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return open_models(*given, **more)

    monkeypatch.setattr(optimize_commands, "open_models", interrupted_meanwhile)
    size, sent = shell("log", "--json").json["size"], len(at_call(10_000, interrupt))
    shell(*command, code=130)
    assert len(at_call(10_000, interrupt)) == sent
    assert shell("log", "--json").json["size"] == size


def test_a_first_run_makes_the_ledger_and_says_so(shell: Shell) -> None:
    told = shell.optimize("iterative")
    assert "made now" in told.out
    assert "SIMULATED sandbox/target, sandbox/reasoner" in told.out
    assert "iteration 2: train" in told.err
    assert "made now" not in shell.optimize("iterative").out
    assert shell("verify", "--json").json["verdict"] == "ok"


def test_the_seed_pages_command_runs_as_written_model_names_aside(shell: Shell) -> None:
    """``affidavit optimize DATASET PROMPT --strategy auto --max-iterations 10 -m … --reasoning-model …``."""
    words = "optimize data.jsonl prompt.md --strategy auto --max-iterations 10 -m sandbox/target"
    shell(*words.split(), "--reasoning-model", "sandbox/reasoner")
    assert shell.record("001").status == "completed"


def test_a_branch_and_a_branch_of_it_replay(copied: Shell) -> None:
    copied("branch", "001", "1", "--seed", "7", "--max-iterations", "3", "--threshold", "0.99")
    copied("branch", "002", "2", "--strategy", "structural", "--max-iterations", "3")
    # iteration 1 of the branch is the parent's: whoever leaves after it leaves the parent
    copied("branch", "002", "1", "--max-iterations", "2")
    parents = [(copied.record(run).started.parent_run, copied.record(run).started.parent_iteration) for run in RUNS]
    assert parents == [("001", 1), ("002", 2), ("001", 1)]
    assert copied.record("002").iterations[0].score == copied.record("001").iterations[0].score
    for run in RUNS:
        assert copied("replay", run, "--json").json["identical"] is True
    assert copied("reproduce", "002", "--json").json["reproduction"]["verdict"] == "same_scores"
    assert copied("replay", "005", "--json").json["identical"] is True


RUNS = ("002", "003", "004")


def test_a_branch_with_nothing_changed_but_its_length_goes_on_as_its_parent(copied: Shell) -> None:
    copied("branch", "001", "2", "--max-iterations", "3")
    parent, child = copied.record("001"), copied.record("002")
    assert [item.prompt for item in child.iterations][:2] == [item.prompt for item in parent.iterations]
    assert len(child.iterations) == 3


def test_a_reproduction_is_compared_with_its_original(copied: Shell) -> None:
    told = copied("reproduce", "001")
    assert "Run 002 (completed) is a reproduction of run 001 (completed)" in told.out
    config = copied.record("002").started.config
    assert isinstance(config, dict)
    assert config["reproduces"] == "001"
    document = copied("reproduce", "001", "--json").json
    assert document["reproduction"]["verdict"] == "same_scores"


def test_a_reproduction_that_was_stopped_is_compared_when_it_ends(copied: Shell, at_call: AtCall) -> None:
    at_call(4, interrupt)
    copied("reproduce", "001", code=130)
    assert "is a reproduction of run 001" in copied("resume", "002").out


def test_explain_in_words_and_as_json(finished: Shell) -> None:
    told = finished("explain", "001").out
    assert told.startswith("SIMULATED: sandbox/reasoner, sandbox/target")
    assert "What changed, each change beside its own effect" in told
    document = finished("explain", "001", "--json").json
    assert document["run"] == "001"
    assert document["outcome"]["paired"]["n"] == document["samples"]["test"]
    assert len(document["root"]) == 44
    early = finished("explain", "001", "--as-of", "3", "--json").json
    assert (early["status"], early["size"]) == ("open", 4)


def test_explain_prices_what_was_counted(finished: Shell) -> None:
    prices = {"sandbox/target": {"prompt": 1.0, "completion": 2.0}}
    (finished.folder / "prices.json").write_text(json.dumps(prices))
    cost = finished("explain", "001", "--prices", "prices.json", "--json").json["cost"]
    calls = {row["model"]: row for row in finished("explain", "001", "--json").json["calls"]["by_model"]}
    target = calls["sandbox/target"]
    assert cost["eval"] == pytest.approx((target["prompt_tokens"] + 2 * target["completion_tokens"]) / 1e6)
    assert cost["total"] is None
    assert "sandbox/reasoner" in finished("explain", "001", "--prices", "prices.json").out


def test_json_prints_one_document_and_nothing_else(shell: Shell) -> None:
    told = shell.optimize("iterative", "--json")
    assert told.json["run"] == "001"
    assert told.json["simulated"] == ["sandbox/reasoner", "sandbox/target"]
    assert told.err == ""


def test_a_replay_of_an_open_run_says_how_far_it_goes(shell: Shell, at_call: AtCall) -> None:
    at_call(9, interrupt)
    shell.optimize("iterative", "--max-workers", "1", code=130)
    told = shell("replay", "001")
    assert "identical, as far as it is recorded" in told.out
    assert "it is open: call" in told.out


def test_a_score_that_code_gives_otherwise_today_is_metric_drift(
    finished: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affidavit.domain.optimization import metrics

    monkeypatch.setattr(metrics, "_rouge_l_f1", lambda: lambda response, ideal: 0.5)
    told = finished("replay", "001", code=1)
    assert "metric_drift" in told.out
    assert finished("replay", "001", "--json", code=1).json["difference"]["why"] == "metric_drift"


def test_resume_takes_the_newest_open_run_of_this_data_set_and_prompt(shell: Shell, at_call: AtCall) -> None:
    for number in (4, 6):
        at_call(number, interrupt)
        shell.optimize("iterative", code=130)
    (shell.folder / "other.md").write_text("Another prompt.")
    at_call(5, interrupt)
    arguments = ("data.jsonl", "other.md", "-m", "sandbox/target", "--reasoning-model", "sandbox/reasoner")
    shell("optimize", *arguments, code=130)
    shell("optimize", "data.jsonl", "prompt.md", "--resume")
    assert [shell.record(run).status for run in ("001", "002", "003")] == ["open", "completed", "open"]
    shell("optimize", "data.jsonl", "prompt.md", "--resume-from", "001", "-s", "iterative")
    assert shell.record("001").status == "completed"
    assert "no open run" in shell("optimize", "data.jsonl", "prompt.md", "--resume", code=2).err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--threshold", "0.5"), "--threshold 0.5: run 001 was begun with 0.85"),
        (("-s", "pdo"), "--strategy pdo: run 001 was begun with iterative"),
        (("--metric", "exact"), "--metric exact: run 001 was begun with rouge"),
        (("--seed", "3"), "--seed 3: run 001 was begun with 0"),
        (("-m", "sandbox/judge"), "--model sandbox/judge: run 001 was begun with sandbox/target"),
    ],
)
def test_w21_a_resume_uses_the_recorded_settings_and_refuses_others(
    interrupted: Shell, flags: tuple[str, ...], said: str
) -> None:
    told = interrupted("optimize", "data.jsonl", "prompt.md", "--resume-from", "001", *flags, code=2)
    assert said in told.err


@pytest.mark.parametrize("split", [("--val-split", "0"), ("--train-split", "1")])
def test_a_resume_does_not_judge_recorded_settings_as_if_they_were_given(
    shell: Shell, split: tuple[str, ...], at_call: AtCall
) -> None:
    at_call(4, interrupt)
    shell.optimize("iterative", *split, code=130)
    for given in ((), split):
        at_call(2, interrupt)
        shell("optimize", "data.jsonl", "prompt.md", "--resume", *given, code=130)


def test_white_space_around_a_prompt_makes_no_other_prompt(shell: Shell, at_call: AtCall) -> None:
    text = (shell.folder / "prompt.md").read_text().strip()
    (shell.folder / "prompt.md").write_text(f"\n{text}\n\n")
    at_call(4, interrupt)
    shell.optimize("iterative", code=130)
    assert shell.record("001").prompts[0] == text
    (shell.folder / "prompt.md").write_text(text)
    shell("optimize", "data.jsonl", "prompt.md", "--resume")
    assert shell.record("001").status == "completed"


def test_a_sample_with_two_answers_is_counted_as_explain_counts_it(shell: Shell) -> None:
    told = shell.optimize("iterative", "--eval-runs", "2")
    record = shell.record("001")
    assert record.baseline is not None
    assert record.final is not None
    counted = "(n = 4, 8 answers, averaged per sample)"
    assert [line for line in told.out.splitlines() if line.startswith(("baseline", "final"))] == [
        f"baseline {record.baseline.score:.4f} {counted}",
        f"final    {record.final.score:.4f} {counted}",
    ]
    assert counted in told.err


def test_few_held_out_samples_are_cautioned_of_before_a_call_and_cautions_are_wrapped(
    shell: Shell, at_call: AtCall
) -> None:
    caution = "caution  with n = 4 no p below 0.05 is possible, whatever comes of it; the least is 0.125"
    at_call(1, interrupt)
    assert caution in shell.optimize("iterative", code=130).out
    told = shell.optimize("iterative", "--train-split", "1").out.splitlines()
    assert not [line for line in told if "least" in line]
    cautions = [place for place, line in enumerate(told) if line.startswith("caution")]
    assert any(told[place + 1].startswith(" " * 9) for place in cautions)
    assert all(len(told[place]) <= WIDTH for place in cautions)


def test_a_branch_promises_no_default_but_what_the_run_has(shell: Shell) -> None:
    told = " ".join(shell("branch", "--help").out.split())
    assert told.count("[default: the run's]") == 9
    assert told.count("[default: ") == 10  # and the address
    assert "[default: auto]" in " ".join(shell("optimize", "--help").out.split())


def test_a_replay_names_files_that_changed_a_few_to_the_line(finished: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from affidavit.api.optimize.plan import Plan

    today = Plan.sources
    monkeypatch.setattr(Plan, "sources", lambda plan: dict.fromkeys(today(plan), "0" * 64))
    changed = finished("replay", "001", "--json").json["changed"]
    short, whole = finished("replay", "001").out, finished("replay", "001", "-v").out
    assert f"not as recorded, {len(changed)}: {changed[0]}" in short
    assert f"and {len(changed) - 5} more, which -v names" in " ".join(short.split())
    assert all(name in whole for name in changed)
    assert max(map(len, whole.splitlines())) <= WIDTH


@pytest.mark.parametrize("columns", [30, 60, 90, 200])
def test_a_terminal_of_any_width_is_shown_whole_numbers(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    numbers = ["1", "0.1993", "0.2112", "+0.0119", "123456", "17.3"]
    output.print_table(
        ("iter", "train", "val", "effect", "tokens", "seconds", "what changed"),
        [(*numbers, "asked for one line and a severity")],
        right=("iter", "train", "val", "effect", "tokens", "seconds"),
    )
    told = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    assert set(numbers) <= set(told.split())
    assert max(map(len, told.splitlines())) <= columns
