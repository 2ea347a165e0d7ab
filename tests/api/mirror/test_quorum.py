"""A mirror that is given a policy takes what the policy's readers would accept, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit.api.mirror.following import Contradiction, follow_log
from affidavit.api.mirror.quorum import requiring_quorum
from affidavit.ledger.errors import QuorumNotMet, VerificationError
from affidavit.ledger.publishing.static_log import check_export
from affidavit.ledger.tlog.cosignature import add_signatures, cosign
from affidavit.ledger.tlog.note import ED25519_COSIGNATURE, VerifierKey, print_vkey
from affidavit.ledger.tlog.policy import parse_policy
from affidavit.ledger.tlog.private_key import NotePrivateKey

from .conftest import MadeUpLog, files_of

NOW = 2_000_000_000
W1, W2, MIRROR = (
    NotePrivateKey(f"{name}.example/{name}", ED25519_COSIGNATURE, bytes([number]) * 32)
    for number, name in enumerate(("w1", "w2", "mirror"), 1)
)


POLICY = parse_policy(
    "".join(f"witness {each.name.split('.')[0]} {print_vkey(each.verifier_key)}\n" for each in (W1, W2, MIRROR))
    + "group second any w2 mirror\ngroup all all w1 second\nquorum all\n"
)


def take(
    log: MadeUpLog, folder: Path, *cosigners: NotePrivateKey, own: tuple[VerifierKey, ...] = (), at: int = NOW
) -> int:
    """Follow the log whose checkpoint these have cosigned, under a policy that wants w1, and w2 or the mirror."""
    log.altered["checkpoint"] = lambda note: add_signatures(
        note, [cosign(log.checkpoint(), each, at) for each in cosigners]
    )
    require = requiring_quorum(POLICY, log.keys_of, own, lambda: NOW)
    return follow_log(log, folder, log.keys_of, require=require, wait=lambda seconds: None).checkpoint.size


def test_a_checkpoint_without_its_quorum_is_waited_out(tmp_path: Path) -> None:
    log = MadeUpLog(300)
    assert take(log, tmp_path, W1, W2) == 300
    held = files_of(tmp_path)
    log.size = 400
    for cosigners, told in (((), "without w1, second"), ((W2,), "without w1"), ((W1,), "without second")):
        with pytest.raises(QuorumNotMet, match=f"checkpoint of size 400 .*{told}; it is not taken"):
            take(log, tmp_path, *cosigners)
        kept = files_of(tmp_path)
        assert {name: kept[name] for name in held} == held
        assert not [name for name in kept if name.startswith("tile") and name not in held]
    log.size = 500
    assert take(log, tmp_path, W1, W2) == 500
    assert check_export(tmp_path, [log.key]).size == 500


def test_a_cosignature_that_was_held_counts(tmp_path: Path) -> None:
    log = MadeUpLog(300)
    take(log, tmp_path, W1, W2)
    assert take(log, tmp_path) == 300


def test_the_mirrors_own_key_counts_before_it_has_signed(tmp_path: Path) -> None:
    log = MadeUpLog(300)
    assert take(log, tmp_path, W1, own=(MIRROR.verifier_key,)) == 300


def test_what_is_cosigned_in_a_time_to_come_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(QuorumNotMet):
        take(MadeUpLog(300), tmp_path, W1, W2, at=NOW + 301)


def test_a_wrong_line_of_a_witness_is_said_to_be_wrong(tmp_path: Path) -> None:
    log = MadeUpLog(300)
    wrong = cosign(MadeUpLog(301).checkpoint(), W1, NOW)
    log.altered["checkpoint"] = lambda note: add_signatures(note, [wrong])
    policy = parse_policy(f"witness w1 {print_vkey(W1.verifier_key)}\nquorum w1\n")
    with pytest.raises(VerificationError, match="w1"):
        follow_log(log, tmp_path, log.keys_of, require=requiring_quorum(policy, log.keys_of, (), lambda: NOW))


def test_a_fork_is_one_whoever_has_cosigned_it(tmp_path: Path) -> None:
    take(MadeUpLog(300), tmp_path, W1, W2)
    with pytest.raises(Contradiction, match="fork"):
        take(MadeUpLog(400, history="other", branch=10), tmp_path)
