"""The optimisation of ``affidavit demo``: killed for real, resumed, and the same again on its own replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit.api.cli.demo_optimization import run_optimization
from affidavit.api.cli.demo_steps import Steps

RUN = "--ledger optimisation"


@pytest.mark.long
def test_a_run_is_killed_half_way_and_ends_as_if_it_had_not_been(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_optimization(Steps(tmp_path), tmp_path, "optimisation")
    told = capfd.readouterr()
    before, _, after = told.out.partition("\nKilled (SIGKILL).\n")
    assert "SIMULATED sandbox/target, sandbox/reasoner" in before
    assert "\niteration 2: train " in before
    assert "run 001 · open · iterative" in after.partition(f"$ affidavit {RUN} resume 001")[0]
    assert "iteration 6: train " in told.err, "what the resumed run did"
    assert "iteration 2: train " not in told.err, "and nothing of what had been done"
    assert "replies from the ledger, none of them bought again" in after
    assert "run 001: identical; " in after
    assert "SIMULATED: sandbox/reasoner, sandbox/target" in after.partition(f"$ affidavit {RUN} explain 001")[2]
    assert "OK: everything that was checked is as it was recorded" in after.partition(f"$ affidavit {RUN} verify")[2]


def test_a_command_that_ends_before_it_is_killed_ends_the_demonstration(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        Steps(tmp_path).killed("init", at="iteration 2:")
    assert ended.value.code == 1
    assert "expected that it is killed after 'iteration 2:', found exit code 0" in capfd.readouterr().out


def test_an_unexpected_exit_code_ends_the_demonstration(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Steps(tmp_path).step("verify")
    assert ended.value.code == 1
    assert "expected exit code 0, found " in capfd.readouterr().out


def test_paths_that_mean_nothing_to_a_reader_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Steps(tmp_path, {str(tmp_path / "here"): "HERE"}).step("--ledger", str(tmp_path / "here"), "init")
    assert capfd.readouterr().out.startswith("\n$ affidavit --ledger HERE init\n")
    assert (tmp_path / "here").is_dir()
