"""Keys: rotation with an overlap that crashes cannot break, and where the master key comes from."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.errors import LedgerError, SigningRefused, Unavailable
from affidavit.ledger.events import KeyRotated, ProjectionSealed
from affidavit.ledger.signing.keys import KeyFolder
from affidavit.ledger.tlog.checkpoint import open_checkpoint
from affidavit.ledger.tlog.note import VerifierKey, parse_vkey, print_vkey
from affidavit.ledger.tlog.receipt import verify_receipt
from affidavit.projections.registry import REGISTRY
from affidavit.tests.stores import every_store
from affidavit.tests.trees import root_of

pytestmark = every_store


def fill(ledger: Ledger, count: int, stream: str = "test/1") -> None:
    with ledger.recorder.reading() as reader:
        start = reader.next_pos(stream)
    ledger.record(
        *(
            NewEvent(stream, pos, ProjectionSealed(name="n", version=1, upto=pos, digest="0" * 64), Meta())
            for pos in range(start, start + count)
        )
    )


def reopen(ledger: Ledger) -> Ledger:
    return Ledger(ledger.place, ledger.keys.path.parent, REGISTRY, edge=ledger._edge, sign_in_background=False)


def signers(ledger: Ledger) -> dict[int, list[int]]:
    """By size of each published checkpoint, the numbers of the keys that have signed it, in the order of the log."""
    found = {}
    keys = [signer.key for signer in ledger.identity().ranges]
    with ledger.recorder.reading() as reader:
        for size, note in reader.checkpoints():
            found[size] = [n for n, key in enumerate(keys) if is_signed(note, key)]
            assert open_checkpoint(note, ledger.identity().keys_at(size), ledger.origin).root == root_of(
                row.leaf for row in reader.entries(0, size)
            )
    return found


def is_signed(note: bytes, key: VerifierKey) -> bool:
    try:
        open_checkpoint(note, [key], key.name)
    except LedgerError:
        return False
    return True


def key_files(ledger: Ledger) -> set[str]:
    return {path.name for path in ledger.keys.path.glob("*.pem")}


def test_a_rotation_is_signed_by_both_keys_until_the_overlap_ends(ledger: Ledger) -> None:
    first = ledger.verifier_key()
    fill(ledger, 2)
    rotated = ledger.rotate_key(overlap=2)
    assert rotated == KeyRotated(old=print_vkey(first), new=print_vkey(ledger.verifier_key()), first=4, last=6)
    for _ in range(3):
        fill(ledger, 1)
        ledger.sign()
    assert signers(ledger) == {1: [0], 4: [0, 1], 5: [0, 1], 6: [0, 1], 7: [1]}
    assert ledger.verifier_key() == parse_vkey(rotated.new) != first


def test_the_old_key_is_removed_when_the_overlap_ends(ledger: Ledger) -> None:
    old = ledger.keys.signing_key().private_bytes_raw()
    rotated = ledger.rotate_key(overlap=1)
    newer = f"signing-{parse_vkey(rotated.new).key_id.hex()}.pem"
    assert key_files(ledger) == {"signing.pem", newer}
    assert stat.S_IMODE((ledger.keys.path / newer).stat().st_mode) == 0o600
    fill(ledger, 1)
    ledger.sign()
    assert key_files(ledger) == {"signing.pem"}
    assert ledger.keys.signing_key().private_bytes_raw() != old
    assert ledger.keys.oldest_key() == parse_vkey(rotated.new)


def test_a_rotation_without_overlap_still_has_one_checkpoint_of_both(ledger: Ledger) -> None:
    ledger.rotate_key(overlap=0)
    assert key_files(ledger) == {"signing.pem"}
    fill(ledger, 1)
    ledger.sign()
    assert signers(ledger) == {1: [0], 2: [0, 1], 3: [1]}


def test_three_keys_may_overlap(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.rotate_key(overlap=2)
    for _ in range(3):
        fill(ledger, 1)
        ledger.sign()
    assert signers(ledger) == {1: [0], 2: [0, 1], 3: [0, 1, 2], 4: [0, 1, 2], 5: [1, 2], 6: [2]}
    assert key_files(ledger) == {"signing.pem"}


def test_a_ledger_opens_again_in_the_middle_of_an_overlap_and_after(ledger: Ledger) -> None:
    ledger.rotate_key(overlap=2)
    ledger.close()
    for size in (3, 4, 5):
        with reopen(ledger) as again:
            fill(again, 1)
            assert again.sign().size == size
    assert signers_of_closed(ledger) == {1: [0], 2: [0, 1], 3: [0, 1], 4: [0, 1], 5: [1]}


def signers_of_closed(ledger: Ledger) -> dict[int, list[int]]:
    with reopen(ledger) as again:
        return signers(again)


def test_another_process_signs_with_the_new_key(ledger: Ledger) -> None:
    with reopen(ledger) as other:
        ledger.rotate_key(overlap=0)
        fill(other, 1)
        other.sign()
        assert other.verifier_key() == ledger.verifier_key()
        assert signers(other) == {1: [0], 2: [0, 1], 3: [1]}


def test_a_log_that_outgrew_the_overlap_before_it_was_signed_is_signed_at_its_end(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the entry that names the new key and the checkpoint that covers it."""

    def crash(*_: object) -> None:
        raise OSError("killed")

    monkeypatch.setattr("affidavit.ledger.application.sign_while_held", crash)
    with pytest.raises(OSError, match="killed"):
        ledger.rotate_key(overlap=3)
    monkeypatch.undo()
    fill(ledger, 20)
    assert ledger.sign().size == 22
    assert signers(ledger) == {1: [0], 5: [0, 1], 22: [1]}
    assert key_files(ledger) == {"signing.pem"}


def test_a_new_key_that_never_came_on_record_signs_nothing_and_is_removed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise OSError("killed")

    monkeypatch.setattr(ledger.recorder, "append_knowing", crash)
    with pytest.raises(OSError, match="killed"):
        ledger.rotate_key()
    monkeypatch.undo()
    assert len(key_files(ledger)) == 2
    ledger.sign()
    assert len(key_files(ledger)) == 2  # nothing was committed since: the entry could still appear
    fill(ledger, 1)
    ledger.sign()
    assert key_files(ledger) == {"signing.pem"}
    assert signers(ledger) == {1: [0], 2: [0]}


def test_receipts_verify_under_the_key_of_their_checkpoint(ledger: Ledger) -> None:
    before = ledger.receipt(0), ledger.verifier_key()
    ledger.rotate_key(overlap=0)
    fill(ledger, 1)
    with ledger.recorder.reading() as reader:
        leaf = reader.hashes(0, 0, 1)
    assert verify_receipt(before[0], leaf, [before[1]], ledger.origin).size == 1
    ledger.sign()
    assert verify_receipt(ledger.receipt(0), leaf, [ledger.verifier_key()], ledger.origin).size == 3


def test_a_clock_that_stands_behind_does_not_shift_the_rotation(ledger: Ledger, now: list[int]) -> None:
    now[0] -= 60_000_000
    assert (rotated := ledger.rotate_key(overlap=0)).first == rotated.last == 3
    assert signers(ledger) == {1: [0], 3: [0, 1]}


def test_an_overlap_is_no_negative_number(ledger: Ledger) -> None:
    with pytest.raises(Refused, match="expected a number of entries from 0, found -1") as refused:
        ledger.rotate_key(overlap=-1)
    assert refused.value.rule == "overlap_from_0"


def test_without_the_new_key_a_ledger_does_not_open(ledger: Ledger) -> None:
    rotated = ledger.rotate_key()
    ledger.close()
    newer = ledger.keys.path / f"signing-{parse_vkey(rotated.new).key_id.hex()}.pem"
    newer.rename(newer.with_suffix(".away"))
    with pytest.raises(Unavailable, match=r"signing\.pem is not the key that entry 1 names, and signing-.* not there"):
        reopen(ledger)
    newer.with_suffix(".away").rename(newer)
    reopen(ledger).close()


def test_without_the_old_key_an_overlap_is_not_signed(ledger: Ledger) -> None:
    rotated = ledger.rotate_key()
    newer = ledger.keys.path / f"signing-{parse_vkey(rotated.new).key_id.hex()}.pem"
    newer.replace(ledger.keys.path / "signing.pem")
    fill(ledger, 1)
    with pytest.raises(Unavailable, match="is not the key that entry 0 names"):
        ledger.sign()
    with pytest.raises(Unavailable):
        ledger.close()


def test_a_log_that_names_contradicting_keys_is_not_signed(ledger: Ledger) -> None:
    vkey = print_vkey(ledger.verifier_key())
    event = KeyRotated(old=vkey, new=vkey, first=2, last=2)
    ledger.record(NewEvent("ledger", 1, event, Meta()))
    with pytest.raises(SigningRefused, match="the new key has signed this log before"):
        ledger.sign()
    with pytest.raises(SigningRefused):
        ledger.close()


MASTER = "5a" * 32


def test_a_master_key_from_the_environment_is_written_nowhere(
    tmp_path: Path, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", MASTER)
    with Ledger.create(tmp_path / "ledger", tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as made:
        made.alias("user", "somebody@example.org")
        assert made.keys.master_key() == bytes.fromhex(MASTER)
    assert sorted(os.listdir(made.keys.path)) == ["signed", "signing.lock", "signing.pem"]
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert bytes.fromhex(MASTER) not in path.read_bytes()
        assert MASTER.encode() not in path.read_bytes()
    monkeypatch.delenv("AFFIDAVIT_MASTER_KEY")
    with pytest.raises(Unavailable, match=r"master\.key: No such file"):
        reopen(made)
    command = shlex.join([sys.executable, "-c", f"print('{MASTER}')"])
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY_COMMAND", command)
    with reopen(made) as again:
        assert [name for name, _ in again.find_aliases("user", "somebody@example.org")]


def test_the_environment_goes_before_the_file(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY", MASTER)
    assert ledger.keys.master_key() == bytes.fromhex(MASTER)
    ledger.close()
    with pytest.raises(Unavailable, match="the master key does not open"):
        reopen(ledger)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"AFFIDAVIT_MASTER_KEY": "12345"}, "expected 64 hex digits, found 5 characters"),
        ({"AFFIDAVIT_MASTER_KEY": "x" * 64}, "expected 64 hex digits, found 64 characters"),
        ({"AFFIDAVIT_MASTER_KEY": MASTER, "AFFIDAVIT_MASTER_KEY_COMMAND": "true"}, "found both"),
        ({"AFFIDAVIT_MASTER_KEY_COMMAND": "/nowhere/at/all"}, "does not run: No such file"),
        ({"AFFIDAVIT_MASTER_KEY_COMMAND": "false"}, "failed with exit code 1"),
        ({"AFFIDAVIT_MASTER_KEY_COMMAND": "true"}, "expected 64 hex digits, found 0 characters"),
        ({"AFFIDAVIT_MASTER_KEY_COMMAND": "printf 'half a \"word"}, "is no command, or prints no key"),
        ({"AFFIDAVIT_MASTER_KEY_COMMAND": r"printf \\377"}, "is no command, or prints no key"),
    ],
)
def test_what_is_no_master_key_is_said_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unavailable, match=says) as unavailable:
        KeyFolder(tmp_path, "example.org/log").master_key()
    assert not any(value in str(unavailable.value) for value in variables.values() if value not in ("true", "false"))


def test_a_command_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affidavit.ledger.signing.master_key._COMMAND_SECONDS", 0.05)
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY_COMMAND", "sleep 60")
    with pytest.raises(Unavailable, match="took more than"):
        KeyFolder(tmp_path, "example.org/log").master_key()


def test_a_command_is_run_without_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFIDAVIT_MASTER_KEY_COMMAND", f"printf {MASTER} ; touch {tmp_path / 'made'}")
    KeyFolder(tmp_path, "example.org/log").master_key()
    assert not (tmp_path / "made").exists()
