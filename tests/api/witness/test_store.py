"""The witness's memory: what it signs is what it will remember."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from affidavit.api.witness.store import WitnessStore
from affidavit.ledger.errors import Unavailable, UnsupportedFormat
from affidavit.ledger.tlog.checkpoint import claimed_checkpoint
from affidavit.ledger.tlog.cosignature import open_cosigned
from affidavit.ledger.tlog.note import ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, parse_note, parse_vkey
from affidavit.ledger.tlog.private_key import NotePrivateKey
from affidavit.ledger.tlog.witness import Submission, WitnessRefusal, read_submission, state_path

from .conftest import SmallLog, witness_key

LOG = SmallLog()
KEY = witness_key("witness.example/a")

EXAMPLE_VKEY = "ledger.example/acme/prod+f41694c7+AWLmv9A5WsV4c73UvAzGUAMzcNwNv2BabSyDkQ8zEf3C"
EXAMPLE_LINE = (
    "— witness.example/w1 PnVUVQAAAABpIP0AcaULpMeP4yTFWSa5mUAhH60DZFw0wjLWSvoAMTulQE82JMZRs3S+V/v9Q1KpACEyavhmfgEX/2u7"
    "PNL7lK9bAg==\n"
)
EXAMPLE_BODY = (
    "old 0\n\nledger.example/acme/prod\n3\n5ndRP38zc8pbwFyck31wvPWY4mRxOch0vgfS1UjkJUs=\n\n"
    "— ledger.example/acme/prod 9BaUxwYmSjpii7W8/36VznW9fnTaHsBzhE1lRg3MTm7r7MxXLHGgO5WELx9ztcD51B3vDEcNXBQJ8vgM+fo0X35"
    "MVg0=\n"
)


def submission(old: int, size: int, log: SmallLog = LOG) -> Submission:
    return read_submission(log.body(old, size), lambda origin, size: [log.key])


def opened(path: Path, time: float = 1_795_341_600, *keys: NotePrivateKey) -> closing[WitnessStore]:
    return closing(WitnessStore(path, keys or (KEY,), lambda: time))


def test_the_worked_example_is_cosigned_to_the_byte(tmp_path: Path) -> None:
    key = NotePrivateKey("witness.example/w1", ED25519_COSIGNATURE, sha256(b"SPEC witness key 1").digest())
    log = parse_vkey(EXAMPLE_VKEY)
    time = int.from_bytes(parse_note(EXAMPLE_BODY.replace("old 0\n\n", "").encode() + EXAMPLE_LINE.encode())
                          .signatures[1].signature[:8], "big")  # fmt: skip
    with opened(tmp_path / "w.db", time + 0.9, key) as store:
        given = read_submission(EXAMPLE_BODY.encode(), lambda origin, size: [log])
        assert store.cosign(given) == EXAMPLE_LINE
        assert store.latest(state_path(log.name)) == given.note + EXAMPLE_LINE.encode()


def test_what_was_cosigned_is_remembered_after_reopening(tmp_path: Path) -> None:
    with opened(tmp_path / "w.db") as store:
        store.cosign(submission(0, 3))
    with opened(tmp_path / "w.db") as store:
        with pytest.raises(WitnessRefusal) as caught:
            store.cosign(submission(0, 3))
        assert (caught.value.status, caught.value.size) == (409, 3)
        store.cosign(submission(3, 3))
        store.cosign(submission(3, 8))
        note = store.latest(state_path(LOG.name))
    assert note is not None
    found = open_cosigned(note, [LOG.key], [KEY.verifier_key], LOG.name)
    assert found.checkpoint == LOG.head(8)
    assert [each.time for each in found.cosignatures] == [1_795_341_600]


def test_logs_do_not_touch_each_other(tmp_path: Path) -> None:
    other = SmallLog("log.example/2")
    with opened(tmp_path / "w.db") as store:
        store.cosign(submission(0, 5))
        assert store.latest(state_path(other.name)) is None
        store.cosign(submission(0, 2, other))
        store.cosign(submission(5, 6))


def test_two_keys_give_two_lines(tmp_path: Path) -> None:
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa", reason="this cryptography has no ML-DSA-44")
    quantum = witness_key("witness.example/q", ML_DSA_44_COSIGNATURE)
    with opened(tmp_path / "w.db", 1_795_341_600, KEY, quantum) as store:
        lines = store.cosign(submission(0, 4))
        note = store.latest(state_path(LOG.name))
    assert [line.split()[1] for line in lines.splitlines()] == [KEY.name, quantum.name]
    assert note is not None
    found = open_cosigned(note, [LOG.key], [KEY.verifier_key, quantum.verifier_key], LOG.name)
    assert len(found.cosignatures) == 2


def test_a_log_that_no_key_can_cosign_spoils_no_other(tmp_path: Path) -> None:
    """A post-quantum cosignature has room for 255 bytes of origin."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa", reason="this cryptography has no ML-DSA-44")
    quantum = witness_key("witness.example/q", ML_DSA_44_COSIGNATURE)
    long = SmallLog("x" * 256)
    with opened(tmp_path / "w.db", 2000, quantum) as store:
        with pytest.raises(UnsupportedFormat, match="255 bytes"):
            store.cosign(submission(0, 3, long))
        assert store.latest(state_path(long.name)) is None
        store.cosign(submission(0, 3))


def test_no_cosignature_is_dated_before_an_earlier_one(tmp_path: Path) -> None:
    with opened(tmp_path / "w.db", 2000) as store:
        store.cosign(submission(0, 3))
    with opened(tmp_path / "w.db", 1999) as store:
        with pytest.raises(Unavailable, match="1 s behind"):
            store.cosign(submission(3, 4))
        store.cosign(submission(0, 1, SmallLog("log.example/2")))
    with opened(tmp_path / "w.db", 2000) as store:
        store.cosign(submission(3, 4))


def test_nothing_is_answered_that_is_not_stored(tmp_path: Path) -> None:
    """The disk is full, as far as SQLite can tell, at the very commit."""
    path = tmp_path / "w.db"
    with opened(path) as store:
        store.cosign(submission(0, 3))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("CREATE TRIGGER full BEFORE UPDATE ON heads BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
            with pytest.raises(Unavailable, match="disk is full"):
                store.cosign(submission(3, 4))
            other.execute("DROP TRIGGER full")
        note = store.latest(state_path(LOG.name))
        assert note is not None
        assert claimed_checkpoint(note) == LOG.head(3)
        store.cosign(submission(3, 4))


def test_another_database_or_no_folder_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("CREATE TABLE t (a)")
    with pytest.raises(Unavailable, match="another database"), opened(tmp_path / "x.db"):
        pass
    (tmp_path / "text").write_text("not a database" * 100)
    with pytest.raises(Unavailable, match="not a database"), opened(tmp_path / "text"):
        pass
    with pytest.raises(Unavailable, match="unable to open"), opened(tmp_path / "none" / "x.db"):
        pass
