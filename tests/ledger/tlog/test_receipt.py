"""Receipts: one file that proves one entry, offline."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed, VerificationError
from affidavit.ledger.tlog.checkpoint import Checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.note import parse_vkey
from affidavit.ledger.tlog.receipt import (
    Receipt,
    parse_receipt,
    print_receipt,
    verify_receipt,
)

ORIGIN = "ledger.example/acme/prod"
ENTRY = b'{"n":1,"t":"run.started"}'
KEY = parse_vkey(f"{ORIGIN}+f41694c7+AWLmv9A5WsV4c73UvAzGUAMzcNwNv2BabSyDkQ8zEf3C")
ROOT_3 = bytes.fromhex("e677513f7f3373ca5bc05c9c937d70bcf598e2647139c874be07d2d548e4254b")
LEAF_0 = leaf_hash(b'{"n":0,"t":"ledger.created"}')
LEAF_2 = leaf_hash(b'{"n":2,"score_micro":812500,"t":"verdict"}')
NOTE = f"""{ORIGIN}
3
5ndRP38zc8pbwFyck31wvPWY4mRxOch0vgfS1UjkJUs=

— {ORIGIN} 9BaUxwYmSjpii7W8/36VznW9fnTaHsBzhE1lRg3MTm7r7MxXLHGgO5WELx9ztcD51B3vDEcNXBQJ8vgM+fo0X35MVg0=
— witness.example/w1 PnVUVQAAAABpIP0AcaULpMeP4yTFWSa5mUAhH60DZFw0wjLWSvoAMTulQE82JMZRs3S+V/v9Q1KpACEyavhmfgEX/2u7PNL7lK9bAg==
""".encode()  # noqa: E501 - a line of the format
HEAD = b"""c2sp.org/tlog-proof@v1
index 1
LS9KZqZlROKOVRzKIO+MGe6WHAKprz5I4aHf/PHUu7Q=
wOPA6PDrpKivfJei9jxQsRfajJCjZgwC8f4sWePu3iA=

"""
FILE = HEAD + NOTE
RECEIPT = Receipt(1, (LEAF_0, LEAF_2), NOTE)


def test_the_receipt_of_the_worked_example_is_printed_parsed_and_verified() -> None:
    assert sha256(FILE).hexdigest() == "02e7177ea6fb96ffb985a8ea2ab2b44934f46a5b40c354200fecebe2d67251d0"
    assert print_receipt(RECEIPT) == FILE
    assert parse_receipt(FILE) == RECEIPT
    assert verify_receipt(RECEIPT, leaf_hash(ENTRY), [KEY], ORIGIN) == Checkpoint(ORIGIN, 3, ROOT_3)


def test_an_entry_is_not_taken_for_its_leaf_hash() -> None:
    with pytest.raises(VerificationError, match="32 bytes"):
        verify_receipt(RECEIPT, ENTRY, [KEY], ORIGIN)


@pytest.mark.parametrize(
    "receipt",
    [
        replace(RECEIPT, index=0),
        replace(RECEIPT, index=3),
        replace(RECEIPT, path=(LEAF_0,)),
        replace(RECEIPT, path=(LEAF_2, LEAF_0)),
        replace(RECEIPT, path=(LEAF_0, LEAF_2, LEAF_2)),
        replace(RECEIPT, checkpoint_note=NOTE.replace(b"\n3\n", b"\n4\n")),
    ],
)
def test_a_receipt_with_one_part_changed_is_rejected(receipt: Receipt) -> None:
    with pytest.raises(VerificationError):
        verify_receipt(receipt, leaf_hash(ENTRY), [KEY], ORIGIN)


def test_a_receipt_for_another_entry_key_or_origin_is_rejected() -> None:
    with pytest.raises(VerificationError, match="root"):
        verify_receipt(RECEIPT, leaf_hash(ENTRY + b" "), [KEY], ORIGIN)
    with pytest.raises(VerificationError, match="by a known key"):
        verify_receipt(RECEIPT, leaf_hash(ENTRY), [], ORIGIN)
    with pytest.raises(VerificationError):
        verify_receipt(RECEIPT, leaf_hash(ENTRY), [KEY], "ledger.example/acme/test")


def test_a_receipt_whose_checkpoint_is_no_note_is_malformed() -> None:
    receipt = parse_receipt(HEAD + b"checkpoint\n")
    with pytest.raises(Malformed, match="note"):
        verify_receipt(receipt, leaf_hash(ENTRY), [KEY], ORIGIN)


def test_every_one_bit_change_of_a_receipt_is_found() -> None:
    """All but the witness's line, which the ledger's key says nothing about."""
    end = FILE.index("— witness".encode())
    for bit in range(end * 8):
        changed = bytearray(FILE)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Malformed, VerificationError)):
            verify_receipt(parse_receipt(bytes(changed)), leaf_hash(ENTRY), [KEY], ORIGIN)


@pytest.mark.parametrize("extra", [b"", b"extra information", bytes(range(256))])
def test_extra_is_kept_and_not_authenticated(extra: bytes) -> None:
    receipt = replace(RECEIPT, extra=extra)
    assert parse_receipt(print_receipt(receipt)) == receipt
    verify_receipt(receipt, leaf_hash(ENTRY), [KEY], ORIGIN)


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(min_size=1),
    st.none() | st.binary(),
)
def test_any_receipt_is_parsed_as_it_was_printed(
    index: int, path: list[bytes], note: bytes, extra: bytes | None
) -> None:
    receipt = Receipt(index, tuple(path), note, extra)
    assert parse_receipt(print_receipt(receipt)) == receipt


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        HEAD[:-1] + NOTE[NOTE.index(b"\n3") + 1 :],
        FILE.replace(b"\n", b"\r\n"),
        b"\n" + FILE,
        b"\xff" + FILE,
        FILE.replace(b"@v1", b"@v2"),
        FILE.replace(b"index 1", b"index 01"),
        FILE.replace(b"index 1", b"index -1"),
        FILE.replace(b"index 1", b"index  1"),
        FILE.replace(b"index 1", b"index 1 "),
        FILE.replace(b"index 1", b"index 9223372036854775808"),
        FILE.replace(b"index 1\n", b""),
        FILE.replace(b"index 1\n", b"\n"),
        FILE.replace(b"index 1\n", b"index 1\nindex 1\n"),
        FILE.replace(b"index 1\n", b"index 1\nextra AA==\n"),
        FILE.replace(b"index 1\n", b"extra AA\nindex 1\n"),
        FILE.replace(b"index 1\n", b"extra AB==\nindex 1\n"),
        FILE.replace(b"index 1\n", b"extra AA==\nextra AA==\nindex 1\n"),
        FILE.replace(b"Uu7Q=", b"Uu7R="),
        FILE.replace(b"Uu7Q=", b"Uu7Q"),
        FILE.replace(b"Uu7Q=", b"AAAA"),
        FILE.replace(b"index 1\n", b"index 1\n" + 62 * b"LS9KZqZlROKOVRzKIO+MGe6WHAKprz5I4aHf/PHUu7Q=\n"),
    ],
)
def test_a_file_that_is_not_exact_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_receipt(data)


def test_the_proof_files_of_other_projects_are_answered_as_they_say(vectors: Path) -> None:
    known = json.loads((vectors / "tlog_proof.json").read_text())
    for row in known["reject"]:
        with pytest.raises(Malformed):
            parse_receipt(row["proof"].encode())
    for row in known["marshal"]:
        path = tuple(sha256(each.encode()).digest() for each in row["hashes_of"])
        extra = row["extra"] and row["extra"].encode()
        receipt = Receipt(row["index"], path, row["checkpoint"].encode(), extra)
        assert print_receipt(receipt).decode() == row["want"]
        assert parse_receipt(row["want"].encode()) == receipt


def test_the_worked_example_in_full_is_the_one_told_here(vectors: Path) -> None:
    known = json.loads((vectors / "worked_example.json").read_text())
    assert known["tlog_proof"].encode() == FILE
    assert known["checkpoint"].encode() == NOTE
