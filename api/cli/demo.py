"""``affidavit demo``: the main job in a scratch folder, on a genuine sample and on made-up ones.

Runs that another tool recorded, and damage that is found; an agent's sessions; an optimisation that is killed; what
a stranger is handed, and checks.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

from ..settings import DEFAULT_LEDGER
from .demo_evaluation import WITH, WITHOUT, run_sessions
from .demo_optimization import run_optimization
from .demo_proofs import run_proofs
from .demo_steps import Steps
from .output import say

SAMPLE = Path(__file__).resolve().parents[1] / "demo" / "reflex"


def run_demo() -> None:
    """Run the commands as a user would, one after another; a step that goes wrong ends it."""
    with tempfile.TemporaryDirectory(prefix="affidavit-demo-") as scratch:
        folder = Path(scratch)
        run = Steps(folder, {str(SAMPLE): "SAMPLE"})
        say("A ledger, and seven runs that aevyra-reflex 0.2.0 wrote (against a deterministic model server).")
        run.step("init")
        run.step("import", "reflex", str(SAMPLE))
        run.step("runs")
        say("\nWhat was recorded is what is there:")
        run.step("verify")
        say("\nRun directories rebuild from the events:")
        run.step("rebuild", "--to", "rebuilt", "--profile", "reflex-0.2")
        say("\nThe peer's rewrite log attaches each Δ to the wrong change; ours stands beside its cause:")
        run.step("history", "001", "--profile", "reflex-0.2")
        run.step("history", "001")
        run.step("diff", "001", "3", "4")
        say("\nThe other half: an agent's sessions, each answer beside its shadow, judged as they come.")
        run.step("--ledger", "sessions", "init")
        run_sessions(folder, run.environment, "sessions")
        run.step(
            "--ledger", "sessions", "overview", "--source-set", f"with={WITH}", "--source-set", f"without={WITHOUT}"
        )
        run.step("--ledger", "sessions", "trend")
        run.step("--ledger", "sessions", "verify")
        say("\nNow somebody with write access changes one score in a copy of the runs, and recomputes the leaf hash:")
        shutil.copytree(folder / DEFAULT_LEDGER, folder / "damaged")
        _change_a_score(folder / "damaged" / "ledger.db")
        run.step("--ledger", "damaged", "verify", expected=1)
        run_optimization(run, folder, "optimisation")
        run_proofs(run, folder, "optimisation")


def _change_a_score(path: Path) -> None:
    from ...ledger.tlog.hashing import leaf_hash

    db = sqlite3.connect(path)
    db.execute("DROP TRIGGER entries_no_UPDATE")
    rows = db.execute("SELECT seq, entry FROM entries WHERE type='prompt.evaluated.v1' ORDER BY seq")
    seq, raw = next((seq, raw) for seq, raw in rows if b'"score":"0.3895' in raw)
    forged = raw.replace(b'"score":"0.3895', b'"score":"0.9895', 1)
    db.execute("UPDATE entries SET entry=?, leaf=? WHERE seq=?", (forged, leaf_hash(forged), seq))
    db.commit()
    db.close()
