"""Runs from the command line: each strategy, stopped and resumed, replayed, branched, reproduced, explained."""

from __future__ import annotations

import json
import shlex

import pytest

from .conftest import AtCall, Shell


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
