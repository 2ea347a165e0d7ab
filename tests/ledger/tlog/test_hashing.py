"""The three hashes, against values that others computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affidavit.ledger.tlog.hashing import EMPTY_ROOT, HASH_SIZE, leaf_hash, node_hash

ENTRIES_AND_LEAVES = [
    (b'{"n":0,"t":"ledger.created"}', "2d2f4a66a66544e28e551cca20ef8c19ee961c02a9af3e48e1a1dffcf1d4bbb4"),
    (b'{"n":1,"t":"run.started"}', "03e58dd594eb00bcdde984268f8c3b89b3602a78e8c0e388cf6a1625097eaef4"),
    (
        b'{"n":2,"score_micro":812500,"t":"verdict"}',
        "c0e3c0e8f0eba4a8af7c97a2f63c50b117da8c90a3660c02f1fe2c59e3eede20",
    ),
]


def test_the_empty_root_is_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert len(EMPTY_ROOT) == HASH_SIZE


@pytest.mark.parametrize(("entry", "leaf"), ENTRIES_AND_LEAVES)
def test_leaves_are_those_of_the_worked_example(entry: bytes, leaf: str) -> None:
    assert leaf_hash(entry).hex() == leaf


def test_a_node_is_that_of_the_worked_example() -> None:
    left, right = (leaf_hash(entry) for entry, _ in ENTRIES_AND_LEAVES[:2])
    assert node_hash(left, right).hex() == "dbee8a108810e81b82fd5c3cb27f0cb7e7cc38db791844ff52a791ba9ff0d8ba"


def test_a_node_is_never_the_leaf_of_the_same_bytes() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert node_hash(left, right) != leaf_hash(left + right)


def test_hashes_are_those_of_certificate_transparency(vectors: Path) -> None:
    known = json.loads((vectors / "rfc6962_tree8.json").read_text())
    assert known["empty_root_hex"] == EMPTY_ROOT.hex()
    for row in known["leaf_hash"]:
        assert leaf_hash(bytes.fromhex(row["leaf_hex"])).hex() == row["hash"]
    for row in known["node_hash"]:
        left, right = bytes.fromhex(row["left_hex"]), bytes.fromhex(row["right_hex"])
        assert node_hash(left, right).hex() == row["hash"]
