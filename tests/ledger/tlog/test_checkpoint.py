"""Checkpoints: three lines, signed under the origin."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed, VerificationError
from affidavit.ledger.tlog.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_checkpoint,
    parse_number,
    print_checkpoint,
    sign_checkpoint,
)
from affidavit.ledger.tlog.hashing import EMPTY_ROOT
from affidavit.ledger.tlog.note import ED25519, VerifierKey, parse_vkey, sign_note

ORIGIN = "ledger.example/acme/prod"
ROOT_3 = bytes.fromhex("e677513f7f3373ca5bc05c9c937d70bcf598e2647139c874be07d2d548e4254b")
ROOT_TEXT = "5ndRP38zc8pbwFyck31wvPWY4mRxOch0vgfS1UjkJUs="
TEXT = f"{ORIGIN}\n3\n{ROOT_TEXT}\n"
LOG_VKEY = f"{ORIGIN}+f41694c7+AWLmv9A5WsV4c73UvAzGUAMzcNwNv2BabSyDkQ8zEf3C"
NOTE = f"""{TEXT}
— {ORIGIN} 9BaUxwYmSjpii7W8/36VznW9fnTaHsBzhE1lRg3MTm7r7MxXLHGgO5WELx9ztcD51B3vDEcNXBQJ8vgM+fo0X35MVg0=
""".encode()
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(sha256(b"SPEC log key 1").digest())
KEY = parse_vkey(LOG_VKEY)
CHECKPOINT = Checkpoint(ORIGIN, 3, ROOT_3)


def test_the_checkpoint_of_the_worked_example_is_printed_parsed_and_signed() -> None:
    assert print_checkpoint(CHECKPOINT) == TEXT
    assert parse_checkpoint(TEXT) == CHECKPOINT
    assert sign_checkpoint(CHECKPOINT, PRIVATE_KEY) == NOTE
    assert open_checkpoint(NOTE, [KEY], ORIGIN) == CHECKPOINT


@given(st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_any_checkpoint_is_parsed_as_it_was_printed(size: int, root: bytes) -> None:
    checkpoint = Checkpoint(ORIGIN, size, root)
    assert parse_checkpoint(print_checkpoint(checkpoint)) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "\n",
        TEXT + "extension\n",
        "\n" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace(ORIGIN, ""),
        TEXT.replace(ORIGIN, "two words"),
        TEXT.replace(ORIGIN, "a+b"),
        TEXT.replace("\n3\n", "\n03\n"),
        TEXT.replace("\n3\n", "\n+3\n"),
        TEXT.replace("\n3\n", "\n-3\n"),
        TEXT.replace("\n3\n", "\n 3\n"),
        TEXT.replace("\n3\n", "\n3.0\n"),
        TEXT.replace("\n3\n", "\n1_0\n"),
        TEXT.replace("\n3\n", "\n٣\n"),
        TEXT.replace("\n3\n", "\n\n"),
        TEXT.replace("\n3\n", f"\n{2**63}\n"),
        TEXT.replace("\n3\n", "\n" + "9" * 5000 + "\n"),
        TEXT.replace("\n3\n", "\n0\n"),
        TEXT.replace(ROOT_TEXT, ROOT_TEXT[:-1]),
        TEXT.replace(ROOT_TEXT, ROOT_TEXT[:-2] + "t="),
        TEXT.replace(ROOT_TEXT, "A" * 40),
        TEXT.replace(ROOT_TEXT, "A" * 44),
    ],
)
def test_a_text_that_is_not_exact_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        parse_checkpoint(text)


def test_size_0_has_the_empty_root() -> None:
    assert Checkpoint.empty(ORIGIN) == Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert open_checkpoint(sign_checkpoint(Checkpoint.empty(ORIGIN), PRIVATE_KEY), [KEY], ORIGIN).size == 0
    with pytest.raises(Malformed, match="root of size 0"):
        Checkpoint(ORIGIN, 0, ROOT_3)
    with pytest.raises(Malformed, match="root of size 0"):
        open_checkpoint(sign_note(TEXT.replace("\n3\n", "\n0\n"), ORIGIN, PRIVATE_KEY), [KEY], ORIGIN)


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("", 3, ROOT_3),
        ("a\nb", 3, ROOT_3),
        (ORIGIN, -1, ROOT_3),
        (ORIGIN, 2**63, ROOT_3),
        (ORIGIN, 3, ROOT_3[1:]),
    ],
)
def test_there_is_no_checkpoint_that_could_not_be_printed(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(Malformed):
        Checkpoint(origin, size, root)


def test_a_checkpoint_of_another_origin_is_rejected() -> None:
    with pytest.raises(VerificationError):
        open_checkpoint(NOTE, [KEY], "ledger.example/acme/test")


def test_a_checkpoint_signed_under_its_key_for_another_origin_is_rejected() -> None:
    other = sign_note(TEXT.replace(ORIGIN, "ledger.example/acme/test"), ORIGIN, PRIVATE_KEY)
    with pytest.raises(VerificationError, match="expected origin"):
        open_checkpoint(other, [KEY], ORIGIN)


def test_a_key_of_another_ledger_cannot_speak_for_the_origin() -> None:
    key = VerifierKey("other", ED25519, KEY.public_key)
    with pytest.raises(VerificationError, match="none of its 1 signatures"):
        open_checkpoint(sign_note(TEXT, "other", PRIVATE_KEY), [key, KEY], ORIGIN)


def test_a_checkpoint_with_extension_lines_is_malformed_even_if_signed() -> None:
    with pytest.raises(Malformed, match="expected 3 lines"):
        open_checkpoint(sign_note(TEXT + "extension\n", ORIGIN, PRIVATE_KEY), [KEY], ORIGIN)


def test_every_one_bit_change_of_a_signed_checkpoint_is_found() -> None:
    for bit in range(len(NOTE) * 8):
        changed = bytearray(NOTE)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Malformed, VerificationError)):
            open_checkpoint(bytes(changed), [KEY], ORIGIN)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("10", 10), ("9223372036854775807", 2**63 - 1)])
def test_a_number_is_read(text: str, number: int) -> None:
    assert parse_number(text) == number


def test_the_bodies_of_other_projects_are_answered_as_the_strict_profile_says(vectors: Path) -> None:
    """A row with a note has a root that is not of 32 bytes; no row that is left has extension lines."""
    rows = json.loads((vectors / "checkpoints.json").read_text())
    accepted = 0
    for row in rows:
        if row["want"] == "ok-parse" and not row["note"]:
            assert print_checkpoint(parse_checkpoint(row["body"])) == row["body"]
            accepted += 1
        else:
            with pytest.raises(Malformed):
                parse_checkpoint(row["body"])
    assert accepted


def test_the_checkpoint_that_sigsum_signs_from_a_seed_is_ours(vectors: Path) -> None:
    known = json.loads((vectors / "sigsum_cosign.json").read_text())
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(known["seed_hex"]))
    checkpoint = parse_checkpoint(known["checkpoint"].rpartition("\n\n")[0] + "\n")
    assert sign_checkpoint(checkpoint, key).decode() == known["checkpoint"]


def test_every_checkpoint_that_tessera_signed_opens(vectors: Path) -> None:
    log = vectors / "tessera_log"
    key = parse_vkey((log / "VKEY.txt").read_text().strip())
    for size in range(16):
        assert open_checkpoint((log / f"checkpoint.{size}").read_bytes(), [key], key.name).size == size
