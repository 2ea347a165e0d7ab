"""The committed vectors are what their script makes now, and every row is decided as it says."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.number import format_number, parse_number
from affidavit.ledger.entries import grammar
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.errors import Malformed, UnsupportedFormat
from affidavit.ledger.tlog.checkpoint import open_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.note import parse_vkey
from affidavit.ledger.tlog.receipt import parse_receipt, verify_receipt
from affidavit.tests.trees import root_of

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
FORMAT_PAGE = Path(__file__).resolve().parents[2] / "docs" / "format.md"

Row = dict[str, Any]

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
MARKS = [*'{}[],:"0\\ \n\ufeffä', "-0", "1", "-1", "1.0", "1e3", "9007199254740991", "9007199254740992", "true", "null"]
ESCAPES = ["\\n", "\\u000a", "\\u001f", "\\u001F", "\\/", "\\ud800", "\\ud83d\\ude00"]
PIECES = st.sampled_from([*MARKS, *ESCAPES, '"a"', '"a":', '"\\u0000"'])

CORPUS: dict[str, list[Row]] = json.loads((VECTORS / "entry_corpus.json").read_text())
NUMBERS: list[Row] = json.loads((VECTORS / "numbers.json").read_text())


def test_the_committed_files_are_what_the_script_makes() -> None:
    made: dict[str, str] = runpy.run_path(str(VECTORS / "make_vectors.py"))["make"]()
    committed = {path.name: path.read_text(encoding="utf-8") for path in VECTORS.glob("*.json")}
    assert {name: committed.get(name) == text for name, text in made.items()} == dict.fromkeys(made, True)


@pytest.mark.parametrize("row", CORPUS["grammar"], ids=lambda row: row["name"])
def test_a_value_is_decided_as_the_corpus_says_by_both_readers(row: Row) -> None:
    assert [_verdict(grammar.load, row), _verdict(grammar.load_strictly, row)] == [row["verdict"]] * 2


@pytest.mark.parametrize("row", CORPUS["entry"], ids=lambda row: row["name"])
def test_an_entry_is_decided_as_the_corpus_says(row: Row) -> None:
    assert _verdict(parse_entry, row) == row["verdict"]


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: repr(row["text"][:30]))
def test_a_number_is_decided_as_the_corpus_says(row: Row) -> None:
    if row["verdict"] == "reject":
        with pytest.raises(ValueError, match="number"):
            parse_number(row["text"])
    else:
        value = parse_number(row["text"])
        assert struct.pack(">d", value).hex() == row["binary64"]
        assert format_number(value) == row["text"]


def test_what_the_corpus_accepts_prints_back_to_the_same_bytes() -> None:
    for row in CORPUS["grammar"] + CORPUS["entry"]:
        if row["verdict"] == "accept":
            assert grammar.dump(grammar.load(_bytes(row))) == _bytes(row), row["name"]


def test_the_golden_ledger_is_one_chain_and_tree() -> None:
    golden = _golden()
    leaves, prev = [], "0" * 64
    for seq, row in enumerate(golden["entries"]):
        raw = row["entry"].encode()
        entry = parse_entry(raw)
        assert (entry["seq"], entry["prev"]) == (seq, prev)
        leaves.append(leaf_hash(raw))
        prev = leaves[-1].hex()
        assert row["leaf"] == prev
    assert [root_of(leaves[:size]).hex() for size in range(len(leaves) + 1)] == golden["roots"]


def test_the_golden_checkpoints_and_receipt_verify() -> None:
    golden = _golden()
    verifier = parse_vkey(golden["vkey"])
    for size, note in golden["checkpoints"].items():
        checkpoint = open_checkpoint(note.encode(), [verifier], golden["origin"])
        assert (checkpoint.size, checkpoint.root.hex()) == (int(size), golden["roots"][int(size)])
    receipt = parse_receipt(golden["receipt_of_entry_2"].encode())
    assert receipt.index == 2
    verify_receipt(receipt, leaf_hash(golden["entries"][2]["entry"].encode()), [verifier], golden["origin"])


def test_the_golden_boxes_hold_what_their_digests_bind() -> None:
    """Written out from docs/format.md, without ledger/entries/seal.py."""
    golden = _golden()
    found = 0
    for row in golden["entries"]:
        for sealed in row["sealed"]:
            box, digest = bytes.fromhex(sealed["box"]), sealed["digest"]
            key = bytes.fromhex(golden["scope_keys"][sealed["scope"]])
            content = AESGCM(key).decrypt(box[:12], box[12:], f"{golden['origin']}\n{digest}".encode())
            disclosure = urlsafe_b64encode(content).rstrip(b"=")
            assert disclosure.decode() == sealed["disclosure"]
            assert content.decode() == sealed["disclosure_json"]
            assert urlsafe_b64decode(digest + "=") == hashlib.sha256(disclosure).digest()
            salt, name, _ = json.loads(content)
            assert (len(salt), name) == (22, sealed["field"])
            found += 1
    assert found == 6


def test_every_value_of_the_format_page_is_in_the_golden_ledger() -> None:
    """The page's worked example is copied from the vectors; what is there and not here was made up."""
    example = FORMAT_PAGE.read_text(encoding="utf-8").partition("## Worked example")[2]
    assert example
    golden = _golden()
    known = json.dumps(golden) + "".join(golden["checkpoints"].values()) + golden["receipt_of_entry_2"]
    values = re.findall(r"[0-9a-f]{64}|[A-Za-z0-9_+/-]{43,}=*", example)
    assert len(values) > 10
    assert [value for value in values if value not in known] == []
    for line in example.splitlines():
        if line.startswith('{"v":1'):
            assert line in {row["entry"] for row in golden["entries"]}


@given(VALUES)
def test_what_is_printed_is_read_back(value: Any) -> None:
    text = grammar.dump(value)
    assert grammar.load(text) == value
    assert grammar.load_strictly(text) == value


@given(st.one_of(st.lists(PIECES, max_size=12).map("".join).map(str.encode), st.binary(max_size=24)))
def test_the_fast_path_accepts_only_what_the_definition_accepts(text: bytes) -> None:
    _require_one_decision(text)


@given(VALUES, st.data())
def test_a_printed_value_with_one_byte_changed_is_decided_alike(value: Any, data: st.DataObject) -> None:
    text = bytearray(grammar.dump(value))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    _require_one_decision(bytes(text))


def _require_one_decision(text: bytes) -> None:
    try:
        fast = grammar.load(text)
    except Malformed:
        with pytest.raises(Malformed):
            grammar.load_strictly(text)
    else:
        assert grammar.load_strictly(text) == fast


def _golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / "golden_ledger.json").read_text())
    return found


def _bytes(row: Row) -> bytes:
    return bytes.fromhex(row["hex"]) if "hex" in row else str(row["text"]).encode()


def _verdict(read: Any, row: Row) -> str:
    try:
        read(_bytes(row))
    except (Malformed, UnsupportedFormat):
        return "reject"
    return "accept"
