"""``affidavit verify``: what a reviewer brings along, and the exit code that a script sees."""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.cli import main
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.audit.anchors import print_time
from affidavit.ledger.audit.fork import parse_fork, verify_fork
from affidavit.ledger.continuing import continue_ledger
from affidavit.ledger.events import ClockSteppedBack
from affidavit.ledger.tlog.checkpoint import Checkpoint
from affidavit.ledger.tlog.cosignature import cosign
from affidavit.ledger.tlog.note import ED25519_COSIGNATURE, VerifierKey, parse_vkey, print_vkey
from affidavit.ledger.tlog.policy import Policy, parse_policy
from affidavit.ledger.tlog.private_key import NotePrivateKey, make_private_key
from affidavit.ledger.tlog.receipt import print_receipt
from affidavit.ledger.tlog.witness import Collected
from affidavit.projections.registry import REGISTRY


@dataclass
class Log:
    """A ledger's folder and its keys, as the command finds them."""

    folder: Path
    edge: Edge

    def record(self, behind: float, count: int = 3) -> None:
        with self.open() as ledger:
            for _ in range(count):
                with ledger.recorder.reading() as reader:
                    pos = reader.next_pos("filler")
                ledger.record(NewEvent("filler", pos, ClockSteppedBack(behind=behind), Meta()))

    def open(self) -> Ledger:
        return Ledger(self.folder / "ledger", self.folder / "keys", REGISTRY, edge=self.edge, sign_in_background=False)

    def vkey(self) -> VerifierKey:
        with self.open() as ledger:
            return ledger.verifier_key()

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        """What a command prints."""
        words = ["affidavit", "--ledger", str(self.folder / "ledger"), *map(str, arguments)]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setenv("AFFIDAVIT_KEYS", str(self.folder / "keys"))
            patch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as ended:
                main()
        assert (ended.value.code or 0) == code, (arguments, out.getvalue(), err.getvalue())
        return out.getvalue()

    def verdict(self, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("verify", "--json", "--jobs", "1", *arguments, code=code))
        return found

    def keep(self, name: str) -> Path:
        """What ``affidavit checkpoint > FILE`` keeps."""
        kept = self.folder / name
        kept.write_text(self("checkpoint"))
        return kept


@pytest.fixture
def log(tmp_path: Path, made_once: Path, edge: Edge) -> Log:
    for name in ("ledger", "keys"):
        shutil.copytree(made_once / name, tmp_path / "log" / name)
    log = Log(tmp_path / "log", edge)
    log.record(1.0)
    return log


@pytest.fixture
def branch(log: Log, tmp_path: Path) -> Log:
    """The same log once more, which has gone another way since."""
    shutil.copytree(log.folder, tmp_path / "branch")
    other = Log(tmp_path / "branch", log.edge)
    log.record(1.0)
    other.record(2.0, 4)
    return other


@pytest.fixture
def stranger(tmp_path: Path, edge: Edge) -> Log:
    folder = tmp_path / "stranger"
    Ledger.create(folder / "ledger", folder / "keys", REGISTRY, edge=edge, sign_in_background=False).close()
    return Log(folder, edge)


def kinds(verdict: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(found["kind"], found["unmet"]) for found in verdict["damage"]]


def policy_file(folder: Path, vkey: VerifierKey, *lines: str) -> Path:
    path = folder / "policy.txt"
    path.write_text("".join(f"{line}\n" for line in (f"log {print_vkey(vkey)}", *lines)))
    return path


def test_a_fork_exits_with_4_and_leaves_evidence_for_anybody(log: Log, branch: Log, tmp_path: Path) -> None:
    kept, evidence = log.keep("mine.checkpoint"), tmp_path / "fork.json"
    verdict = branch.verdict("--pinned", kept, "--fork-evidence", evidence, code=4)
    assert (verdict["verdict"], kinds(verdict)) == ("fork", [("fork", False)])
    older, newer = verify_fork(parse_fork(evidence.read_bytes()), lambda _: [log.vkey()])
    assert older.size < newer.size
    assert parse_fork(json.dumps(verdict["fork_evidence"]).encode()) == parse_fork(evidence.read_bytes())


def test_several_checkpoints_are_compared_with_the_log_and_each_other(log: Log, branch: Log) -> None:
    mine, theirs = log.keep("mine.checkpoint"), branch.keep("theirs.checkpoint")
    assert log.verdict("--pinned", mine)["verdict"] == "ok"
    assert log.verdict("--pinned", mine, "--pinned", theirs, code=4)["verdict"] in ("fork", "rollback")


@pytest.mark.parametrize("option", ["--vkey", "--pinned", "--policy", "--receipt"])
def test_what_is_of_another_log_is_not_met_and_exits_with_3(
    log: Log, stranger: Log, option: str, tmp_path: Path
) -> None:
    given: str | Path = print_vkey(stranger.vkey())
    if option == "--pinned":
        given = stranger.keep("last.checkpoint")
    elif option == "--policy":
        given = policy_file(tmp_path, stranger.vkey(), "quorum none")
    elif option == "--receipt":
        given = tmp_path / "first.tlog-proof"
        with stranger.open() as ledger:
            given.write_bytes(print_receipt(ledger.receipt(0)))
    verdict = log.verdict(option, given, code=3)
    assert (verdict["verdict"], kinds(verdict)) == ("not_proven", [("wrong_ledger", True)])


def test_a_policy_whose_quorum_has_not_cosigned_exits_with_3(log: Log, edge: Edge, tmp_path: Path) -> None:
    witness = make_private_key("witness.example/w", ED25519_COSIGNATURE, edge.random).verifier_key
    policy = policy_file(tmp_path, log.vkey(), f"witness w {print_vkey(witness)}", "quorum w")
    verdict = log.verdict("--policy", policy, code=3)
    assert kinds(verdict) == [("quorum_not_met", True)]
    assert verdict["witnesses"]["policy"] == "given"
    assert len(verdict["witnesses"]["policy_sha256"]) == 64
    assert "not met: quorum_not_met" in log("verify", "--policy", policy, code=3)


def test_a_policy_that_asks_for_no_witness_is_met_and_excludes_no_fork(log: Log, tmp_path: Path) -> None:
    verdict = log.verdict("--policy", policy_file(tmp_path, log.vkey(), "quorum none"))
    assert "key_pinned" in verdict["checked"]
    assert "fork not excluded" in verdict["not_checked_because"]["fork"]


def test_a_receipt_is_looked_up(log: Log, branch: Log, tmp_path: Path) -> None:
    receipt = tmp_path / "last.tlog-proof"
    with log.open() as ledger, ledger.recorder.reading() as reader:
        receipt.write_bytes(print_receipt(ledger.receipt(reader.head().size - 1)))
    assert "receipts" in log.verdict("--receipt", receipt)["checked"]
    verdict = branch.verdict("--receipt", receipt, code=4)
    assert {kind for kind, _ in kinds(verdict)} == {"fork", "receipt_unfulfilled"}


@pytest.mark.parametrize("option", ["--pinned", "--policy", "--receipt", "--tsa-root", "--token"])
def test_a_file_that_is_not_there_is_no_verdict(log: Log, option: str, tmp_path: Path) -> None:
    log("verify", option, tmp_path / "none", code=2)


@pytest.mark.parametrize("option", ["--pinned", "--policy", "--receipt", "--tsa-root"])
def test_a_file_that_does_not_read_is_no_verdict(log: Log, option: str, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("broken\n")
    log("verify", option, tmp_path / "broken", code=2)


def test_an_age_without_a_policy_is_no_verdict(log: Log) -> None:
    log("verify", "--max-age", "60", code=2)


def test_a_root_where_nothing_is_stamped_exits_with_3(log: Log, tmp_path: Path) -> None:
    from affidavit.tests.authority import Authority

    root = tmp_path / "root.pem"
    root.write_bytes(Authority(lambda: 1_795_341_600_000_000).root_pem)
    assert "time" in log.verdict("--tsa-root", root, code=3)["not_checked"]


def test_a_rotated_key_is_followed(log: Log) -> None:
    first = log.vkey()
    with log.open() as ledger:
        rotated = ledger.rotate_key(overlap=0)
    log.record(1.0)
    for vkey in (print_vkey(first), rotated.new):
        assert "key_pinned" in log.verdict("--vkey", vkey)["checked"]
    assert parse_vkey(rotated.new) == log.vkey()


def forged(log: Log, size: int, root: bytes) -> None:
    """Let the ledger go on under a key that this machine has not, as whoever holds the database alone can."""
    with log.open() as ledger:
        thief, origin = ledger.keys, ledger.origin
    keys, kept = log.folder / "keys", log.folder / "kept"
    shutil.copytree(keys, kept)
    thief.write_signed(Checkpoint(origin, size, root))
    continue_ledger(log.folder / "ledger", keys, REGISTRY, name="forged", reason="restored", edge=log.edge)
    shutil.rmtree(keys)
    kept.rename(keys)


def test_a_forged_new_origin_does_not_silence_the_signing_state_of_the_old_one(log: Log) -> None:
    with log.open() as ledger:
        signed = ledger.sign()
    forged(log, signed.size + 9, bytes(32))
    verdict = log.verdict(code=4)
    assert ("rollback", False) in kinds(verdict)
    assert f"the signing state beside the key is of size {signed.size}" in str(verdict["damage"])


def test_a_new_origin_that_this_machine_never_signed_is_not_proven(log: Log) -> None:
    """It names what was signed, which anybody may know, and leaves out the end of it."""
    shutil.copytree(log.folder / "ledger", log.folder / "older")
    log.record(1.0)
    with log.open() as ledger:
        signed = ledger.sign()
    shutil.rmtree(log.folder / "ledger")
    (log.folder / "older").rename(log.folder / "ledger")
    keys, kept = log.folder / "keys", log.folder / "kept"
    shutil.copytree(keys, kept)
    continued = continue_ledger(log.folder / "ledger", keys, REGISTRY, name="again", reason="restored", edge=log.edge)
    assert continued.signed_size == signed.size
    assert log.verdict()["verdict"] == "ok"
    shutil.rmtree(keys)
    kept.rename(keys)
    assert kinds(log.verdict(code=3)) == [("wrong_ledger", True)]


@dataclass
class FarAhead:
    """A witness that the log chose, and that dates what it signs as no calendar can."""

    policy: Policy
    key: NotePrivateKey
    required: bool = True

    def collect(self, note: bytes, checkpoint: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> Collected:
        return Collected((cosign(checkpoint, self.key, 2**62),))


def far_ahead(log: Log) -> Ledger:
    key = make_private_key("witness.example/w", ED25519_COSIGNATURE, random.Random(3).randbytes)
    witness = FarAhead(parse_policy(f"witness w {print_vkey(key.verifier_key)}\nquorum w\n"), key)
    return Ledger(
        log.folder / "ledger",
        log.folder / "keys",
        REGISTRY,
        edge=log.edge,
        sign_in_background=False,
        cosigners=witness,
    )


def test_a_cosignature_of_an_impossible_time_is_not_counted_and_ends_no_verdict(log: Log) -> None:
    with far_ahead(log) as ledger:
        ledger.sign()
    told = log.verdict()["witnesses"]
    assert (told["mode"], told["size"], told["at"]) == ("fail-closed", None, None)
    assert told["modes"] == [{"first": 4, "mode": "fail-closed"}]
    assert "no checkpoint has a quorum" in log("verify")


def test_a_time_that_has_no_form_is_said_in_seconds() -> None:
    assert print_time(2**62 * 1_000_000) == f"{2**62} seconds after 1970"
    assert print_time(None) is None
