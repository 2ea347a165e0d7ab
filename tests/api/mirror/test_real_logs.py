"""A mirror of a ledger that changes its key, and of one that goes on under another origin."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.api.checking import check
from affidavit.api.cli.witness_commands import Logs
from affidavit.api.mirror.cosigning import MirrorCosigner
from affidavit.api.mirror.following import Contradiction, Followed, follow_log
from affidavit.api.witness.store import WitnessStore
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.head import Outside
from affidavit.ledger.continuing import continue_ledger
from affidavit.ledger.errors import Unavailable, VerificationError
from affidavit.ledger.publishing.static_log import ExportedLog, check_export, read_resource
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.cosignature import open_cosigned
from affidavit.ledger.tlog.note import ED25519_COSIGNATURE, VerifierKey, parse_vkey, print_vkey
from affidavit.ledger.tlog.policy import PolicyLog
from affidavit.ledger.tlog.private_key import NotePrivateKey
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.publishing.test_static_log import fill
from affidavit.tests.stored import keep_evidence, put_evidence_back

from .conftest import files_of

VERIFIER = Path(__file__).resolve().parents[3] / "docs" / "verify.py"
KEY = NotePrivateKey("mirror.example/m", ED25519_COSIGNATURE, bytes(range(32)))


class Served:
    """What a server would show of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def get(self, name: str, most: int) -> bytes | None:
        with self.ledger.recorder.reading() as reader:
            return read_resource(reader, name)


def follow(ledger: Ledger, folder: Path, *keys: VerifierKey, cosigner: MirrorCosigner | None = None) -> Followed:
    logs = Logs([PolicyLog(key) for key in keys])
    complete = None if cosigner is None else cosigner.complete
    return follow_log(Served(ledger), folder, logs.keys_of, complete, wait=lambda seconds: None)


def is_whole(folder: Path, key: VerifierKey) -> bool:
    """Whether both verifiers say so."""
    command = [sys.executable, str(VERIFIER), str(folder), "--vkey", print_vkey(key)]
    second = subprocess.run(command, capture_output=True, check=False)
    first = check(folder, Outside(log_keys=(key,)), None, lambda origin: [])
    return (first.verdict.exit_code, second.returncode) == (0, 0)


def test_a_rotation_is_followed_with_both_keys(ledger: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    old = ledger.verifier_key()
    fill(ledger, 300)
    with closing(WitnessStore(tmp_path / "state", [KEY], iter(range(1000, 2000)).__next__)) as store:
        cosigner = MirrorCosigner(store, [KEY.verifier_key])
        follow(ledger, folder, old, cosigner=cosigner)
        ledger.rotate_key(overlap=20)
        new = ledger.verifier_key()
        assert follow(ledger, folder, old, cosigner=cosigner).checkpoint.size == 301, "both sign it"
        assert follow(ledger, tmp_path / "new", new).checkpoint.size == 301
        fill(ledger, 310)
        assert follow(ledger, folder, new, cosigner=cosigner).checkpoint.size == 310
        fill(ledger, 700)
        before = files_of(folder)
        with pytest.raises(VerificationError, match="after a rotation it takes the new key too"):
            follow(ledger, folder, old, cosigner=cosigner)
        assert files_of(folder) == before
        assert follow(ledger, folder, old, new, cosigner=cosigner).before == 310
        note = (folder / "checkpoint").read_bytes()
    opened = open_cosigned(note, [old, new], [KEY.verifier_key], ledger.origin)
    assert (opened.checkpoint.size, opened.log_keys, len(opened.cosignatures)) == (700, (new,), 1)
    assert is_whole(folder, new)
    assert check_export(folder, [new]).size == 700


def test_a_rotation_that_was_slept_through_is_caught_up_with(ledger: Ledger, tmp_path: Path) -> None:
    old = ledger.verifier_key()
    fill(ledger, 300)
    follow(ledger, tmp_path / "m", old)
    ledger.rotate_key(overlap=0)
    new = ledger.verifier_key()
    fill(ledger, 600)
    with pytest.raises(VerificationError, match=r"m/checkpoint: no key of yours"):
        follow(ledger, tmp_path / "m", new)
    assert follow(ledger, tmp_path / "m", old, new).before == 300
    assert is_whole(tmp_path / "m", new)


def test_ranges_of_a_policy_end_a_key(ledger: Ledger, tmp_path: Path) -> None:
    """What a stolen old key signs beyond its range is no head of the log, and so no fork of it either."""
    old, stolen = ledger.verifier_key(), ledger.keys.private_key(ledger.identity().ranges[-1])
    fill(ledger, 300)
    rotated = ledger.rotate_key(overlap=20)
    new = ledger.verifier_key()
    fill(ledger, 700)
    follow(ledger, tmp_path / "m", old, new)
    forged = sign_checkpoint(Checkpoint(ledger.origin, 700, bytes(32)), stolen)

    class Thief(Served):
        def get(self, name: str, most: int) -> bytes | None:
            return forged if name == "checkpoint" else super().get(name, most)

    ranged = Logs([PolicyLog(old, last=rotated.last), PolicyLog(new, first=rotated.first)])
    with pytest.raises(VerificationError, match=r"no key of yours has signed .* at size 700"):
        follow_log(Thief(ledger), tmp_path / "m", ranged.keys_of)
    with pytest.raises(Contradiction, match="fork"):
        follow_log(Thief(ledger), tmp_path / "m", Logs([PolicyLog(old), PolicyLog(new)]).keys_of)
    fill(ledger, 720)
    assert follow_log(Served(ledger), tmp_path / "m", ranged.keys_of).before == 700


def test_a_log_that_goes_on_under_another_origin_is_mirrored_beside_the_first(ledger: Ledger, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    old = ledger.verifier_key()
    keys = ledger.keys.path.parent
    fill(ledger, 300)
    ledger.close()
    keep_evidence(ledger.place, "backup")
    with Ledger(ledger.place, keys, REGISTRY, edge=ledger._edge, sign_in_background=False) as again:
        fill(again, 600)
        follow(again, first, old)
    lost = files_of(first)
    put_evidence_back(ledger.place, "backup")
    continued = continue_ledger(ledger.place, keys, REGISTRY, name="saved", reason="restored", edge=ledger._edge)
    new = parse_vkey(continued.vkey)

    with Ledger(ledger.place, keys, REGISTRY, edge=ledger._edge, sign_in_background=False) as again:
        with pytest.raises(VerificationError, match="a log that goes on under another origin has its own"):
            follow(again, first, old)
        with pytest.raises(Unavailable, match="mirrored into another folder"):
            follow(again, first, old, new)
        assert files_of(first) == lost
        assert follow(again, second, new).checkpoint.size == 301
        fill(again, 700, "test/2")
        assert follow(again, second, new).before == 301
    assert is_whole(first, old)
    assert is_whole(second, new)
    there, here = (list(ExportedLog(folder).entries()) for folder in (first, second))
    assert there[:300] == here[:300]
    assert len(there) == 600 > continued.signed_size - 1, "what the log has lost is held by whoever mirrored it"
