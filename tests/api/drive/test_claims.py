"""Claims: of all who want a piece of work, one holds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from affidavit.api.drive.claims import JUDGING, RUNS, Claims
from affidavit.ledger.store.sqlite.place import FolderPlace

HOLD = """
import sys
from pathlib import Path
from affidavit.api.drive.claims import Claims
from affidavit.ledger.store.sqlite.place import FolderPlace
claims = Claims(FolderPlace(Path(sys.argv[1])))
with claims.claimed("a") as held:
    print(held, flush=True)
    sys.stdin.read()
"""


def test_a_claim_is_held_by_one_and_let_go(tmp_path: Path) -> None:
    claims = Claims(FolderPlace(tmp_path))
    with claims.claimed("a") as first, claims.claimed("a") as second, claims.claimed("b") as other:
        assert (first, second, other) == (True, False, True)
    with claims.claimed("a") as again:
        assert again
    claims.close()


def test_claims_of_one_process_share_a_file(tmp_path: Path) -> None:
    first, second = Claims(FolderPlace(tmp_path), RUNS), Claims(FolderPlace(tmp_path), RUNS)
    with first.claimed("a") as held, second.claimed("a") as again, second.claimed("b") as other:
        assert (held, again, other) == (True, False, True)
    second.close()
    with first.claimed("a") as held:
        assert held
    first.close()


def test_work_of_two_kinds_is_claimed_apart(tmp_path: Path) -> None:
    judging, runs = Claims(FolderPlace(tmp_path), JUDGING), Claims(FolderPlace(tmp_path), RUNS)
    with judging.claimed("a") as one, runs.claimed("a") as other:
        assert (one, other) == (True, True)
    judging.close()
    runs.close()


def test_a_claim_of_another_process_ends_with_that_process(tmp_path: Path) -> None:
    claims = Claims(FolderPlace(tmp_path))
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with claims.claimed("a") as held:
            assert not held
        holder.kill()
    with claims.claimed("a") as held:
        assert held
    claims.close()
