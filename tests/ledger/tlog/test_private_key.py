"""Private keys as one line: read, printed, kept in a file, and never told."""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed, Unavailable, UnsupportedFormat
from affidavit.ledger.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    open_note,
    parse_vkey,
    print_vkey,
)
from affidavit.ledger.tlog.private_key import (
    NotePrivateKey,
    make_private_key,
    parse_private_key,
    print_private_key,
    read_private_key,
    write_private_key,
)

SEED = sha256(b"SPEC witness key 1").digest()
NAME = "witness.example/w1"
KEY = NotePrivateKey(NAME, ED25519_COSIGNATURE, SEED)
LINE = print_private_key(KEY)
ML_DSA = "cryptography.hazmat.primitives.asymmetric.mldsa"


def test_the_keys_of_the_worked_example_come_from_their_seeds() -> None:
    assert print_vkey(KEY.verifier_key) == "witness.example/w1+3e755455+BODcgP1OG+Amn33cxTqOqqGuf6EQa7RDeCQpeO6eKAZ2"
    assert NotePrivateKey(NAME, ED25519, SEED).verifier_key.key_id.hex() == "c6b6ef01"
    log = NotePrivateKey("ledger.example/acme/prod", ED25519, sha256(b"SPEC log key 1").digest())
    assert log.verifier_key.key_id.hex() == "f41694c7"


def test_the_ml_dsa_key_of_the_worked_example_comes_from_its_seed() -> None:
    pytest.importorskip(ML_DSA, reason="this 'cryptography' has no ML-DSA")
    key = NotePrivateKey(NAME, ML_DSA_44_COSIGNATURE, SEED)
    assert key.verifier_key.key_id.hex() == "ede0fa5a"
    public = sha256(key.verifier_key.public_key).hexdigest()
    assert public == "6726f4683d33d3a22d12435fc700eef870e89a070ba7d2f22656b5b1acb9c775"
    assert parse_private_key(print_private_key(key)) == key
    assert len(key.sign(b"message")) == 2420


def test_a_key_of_ml_dsa_is_unsupported_where_the_library_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, ML_DSA, None)
    with pytest.raises(UnsupportedFormat, match="ML-DSA-44"):
        NotePrivateKey(NAME, ML_DSA_44_COSIGNATURE, SEED)


@given(st.sampled_from([ED25519, ED25519_COSIGNATURE]), st.binary(min_size=32, max_size=32))
def test_a_key_is_read_as_it_was_printed(algorithm: int, seed: bytes) -> None:
    key = make_private_key(NAME, algorithm, lambda size: seed[:size])
    assert key.seed == seed
    assert parse_private_key(print_private_key(key)) == key
    assert parse_private_key(print_private_key(key) + "\n") == key


def test_the_key_that_go_made_signs_the_note_that_go_signed(vectors: Path) -> None:
    known = json.loads((vectors / "vkeys.json").read_text())
    key = parse_private_key(known["signer_private"])
    assert print_private_key(key) == known["signer_private"]
    text = known["signer_note"].rpartition("\n\n")[0] + "\n"
    assert key.sign_text(text).decode() == known["signer_note"]


def test_a_text_is_signed_by_a_key_of_type_1_only() -> None:
    key = NotePrivateKey("reviewer.example", ED25519, SEED)
    assert open_note(key.sign_text("a text\n"), [key.verifier_key]) == "a text\n"
    with pytest.raises(Malformed, match="newline"):
        key.sign_text("no newline")
    with pytest.raises(UnsupportedFormat, match="type is 0x04"):
        KEY.sign_text("a text\n")


@pytest.mark.parametrize(
    "line",
    [
        "",
        print_vkey(KEY.verifier_key),
        LINE.removeprefix("PRIVATE+KEY+"),
        LINE.replace("PRIVATE", "private"),
        LINE.replace("3e755455", "3e755456"),
        LINE.replace("3e755455", "3E755455"),
        LINE.replace(NAME, "witness.example/w2"),
        LINE.replace(NAME, ""),
        LINE[:-1],
        LINE[:-4],
        LINE + "AA==",
        LINE + "\n\n",
        LINE + "\r\n",
        " " + LINE,
        "\ud800" + LINE,
    ],
)
def test_a_line_that_is_not_exact_is_malformed_and_the_error_is_silent_about_the_secret(line: str) -> None:
    secret = LINE.split("+", 4)[4]
    with pytest.raises(Malformed) as found:
        parse_private_key(line)
    assert secret[2:12] not in str(found.value)
    assert found.value.__cause__ is None


def test_a_key_does_not_show_its_seed() -> None:
    assert repr(SEED) not in repr(KEY)
    assert SEED.hex() not in repr(KEY)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_has_32_bytes(size: int) -> None:
    with pytest.raises(Malformed, match="32 bytes"):
        NotePrivateKey(NAME, ED25519, bytes(size))


def test_a_key_file_is_private_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "witness.key"
    write_private_key(path, KEY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == LINE + "\n"
    assert read_private_key(path) == KEY
    with pytest.raises(Unavailable, match="File exists"):
        write_private_key(path, NotePrivateKey(NAME, ED25519, SEED))
    assert read_private_key(path) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "witness.key"
    write_private_key(path, KEY)
    path.chmod(mode)
    with pytest.raises(Unavailable, match="expected 0600"):
        read_private_key(path)


def test_a_key_file_that_is_missing_or_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "witness.key"
    with pytest.raises(Unavailable, match="No such file"):
        read_private_key(path)
    path.write_bytes(b"\xff\n")
    path.chmod(0o600)
    with pytest.raises(Malformed, match="one line of text"):
        read_private_key(path)


def test_a_vkey_is_no_private_key_and_the_other_way_round() -> None:
    with pytest.raises(Malformed):
        parse_vkey(LINE)
