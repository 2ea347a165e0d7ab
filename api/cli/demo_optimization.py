"""The last part of ``affidavit demo``: an optimisation is killed half-way, resumed, replayed and explained.

The models are simulated, which is said wherever they show. The optimisation is real: the strategy, the calls, the
ledger, the kill and the statistics are those of any other run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..models.sandbox_task import SANDBOX_PROMPT, sandbox_dataset
from .demo_steps import Steps
from .output import say

ROWS = 60
_SETTINGS = ("--strategy", "iterative", "--max-iterations", "10", "--early-stopping-patience", "0")
_MODELS = ("-m", "sandbox/target", "--reasoning-model", "sandbox/reasoner")
_RUN = "001"


def run_optimization(run: Steps, folder: Path, ledger: str) -> None:
    """Write the sandbox's data set and its poor prompt into ``folder``, and show a run on them."""
    rows = (json.dumps(row) + "\n" for row in sandbox_dataset(ROWS))
    (folder / "incidents.jsonl").write_text("".join(rows), encoding="utf-8")
    (folder / "prompt.md").write_text(f"{SANDBOX_PROMPT}\n", encoding="utf-8")
    say("\nLast, a prompt is optimised, on simulated models; the process is killed when two iterations are done.")
    show_killed_run(run, ledger, ("incidents.jsonl", "prompt.md", *_SETTINGS, *_MODELS), ())


def show_killed_run(run: Steps, ledger: str, asked: Sequence[str], addresses: Sequence[str]) -> None:
    """Optimise as ``asked`` until two iterations are done, kill it, go on, and do it again from the record.

    The ledger is made by it. ``addresses`` are the flags that say where the models are.
    """
    run.killed("--ledger", ledger, "optimize", *asked, *addresses, at="iteration 2:")
    say("\nWhat came back is on the ledger. Calls that were in flight are counted as such: what they cost is unknown.")
    run.step("--ledger", ledger, "show", _RUN)
    say("\nIt goes on from there; no reply is bought twice:")
    run.step("--ledger", ledger, "resume", _RUN, *addresses)
    say("\nThe strategy is run again on the recorded replies alone, and does the same:")
    run.step("--ledger", ledger, "replay", _RUN)
    say("\nWhat changed, why, and what it gained:")
    run.step("--ledger", ledger, "explain", _RUN)
    run.step("--ledger", ledger, "verify")
