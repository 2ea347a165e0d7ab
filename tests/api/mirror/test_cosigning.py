"""A mirror's cosignature stands under what it holds, and never under two histories."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.api.mirror.cosigning import MirrorCosigner
from affidavit.api.mirror.following import follow_log
from affidavit.api.witness.store import WitnessStore
from affidavit.ledger.errors import SigningRefused, Unavailable
from affidavit.ledger.tlog.cosignature import open_cosigned
from affidavit.ledger.tlog.note import ED25519_COSIGNATURE, NoteSignature, print_signature
from affidavit.ledger.tlog.private_key import NotePrivateKey

from .conftest import MadeUpLog, files_of

KEY = NotePrivateKey("mirror.example/m", ED25519_COSIGNATURE, bytes(range(32)))


@pytest.fixture
def cosigner(tmp_path: Path) -> Iterator[MirrorCosigner]:
    with closing(WitnessStore(tmp_path / "state", [KEY], iter(range(1000, 2000)).__next__)) as store:
        yield MirrorCosigner(store, [KEY.verifier_key])


def times_of(log: MadeUpLog, folder: Path) -> list[int]:
    note = (folder / "checkpoint").read_bytes()
    found = open_cosigned(note, [log.key], [KEY.verifier_key], log.name)
    assert found.checkpoint == log.checkpoint()
    return [each.time for each in found.cosignatures]


def test_it_cosigns_what_it_holds_and_what_has_not_grown_anew(tmp_path: Path, cosigner: MirrorCosigner) -> None:
    log = MadeUpLog(0)
    times = []
    for size in (10, 300, 300, 700):
        log.size = size
        follow_log(log, tmp_path / "m", log.keys_of, cosigner.complete)
        times += times_of(log, tmp_path / "m")
    assert times == [1000, 1001, 1002, 1003]


def test_a_line_in_its_name_that_it_did_not_sign_is_left_out(tmp_path: Path, cosigner: MirrorCosigner) -> None:
    log = MadeUpLog(10)
    forged = print_signature(NoteSignature(KEY.name, KEY.verifier_key.key_id, bytes(72))).encode()
    log.altered = {"checkpoint": lambda note: note + forged}
    follow_log(log, tmp_path / "m", log.keys_of, cosigner.complete)
    assert times_of(log, tmp_path / "m") == [1000]


@pytest.mark.parametrize(("size", "kind"), [(300, "fork"), (500, "fork"), (20, "rollback")])
def test_a_folder_that_is_thrown_away_does_not_let_it_forget(
    tmp_path: Path, cosigner: MirrorCosigner, size: int, kind: str
) -> None:
    log = MadeUpLog(300)
    follow_log(log, tmp_path / "m", log.keys_of, cosigner.complete)
    shutil.rmtree(tmp_path / "m")
    other = MadeUpLog(size, history="other", branch=10)
    with pytest.raises(SigningRefused) as found:
        follow_log(other, tmp_path / "m", other.keys_of, cosigner.complete)
    assert found.value.kind == kind
    assert "checkpoint" not in files_of(tmp_path / "m")


def test_nothing_is_cosigned_before_it_is_held(tmp_path: Path, cosigner: MirrorCosigner) -> None:
    log = MadeUpLog(300, altered={"tile/entries/000": lambda content: None})
    with pytest.raises(Unavailable):
        follow_log(log, tmp_path / "m", log.keys_of, cosigner.complete)
    log.altered = {}
    follow_log(log, tmp_path / "m", log.keys_of, cosigner.complete)
    assert times_of(log, tmp_path / "m") == [1000]
