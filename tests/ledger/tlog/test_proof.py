"""Checking proofs: the probes of transparency-dev/merkle, and every mutation of some proofs."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from affidavit.ledger.errors import VerificationError
from affidavit.ledger.tlog.hashing import EMPTY_ROOT, leaf_hash
from affidavit.ledger.tlog.proof import verify_consistency, verify_inclusion
from affidavit.ledger.tlog.tree import fold_perfect, prove_consistency, prove_inclusion
from affidavit.tests.trees import root_of

ENTRIES = [b'{"n":0,"t":"ledger.created"}', b'{"n":1,"t":"run.started"}']
ENTRIES += [b'{"n":2,"score_micro":812500,"t":"verdict"}']
LEAF_0, LEAF_1, LEAF_2 = (leaf_hash(entry) for entry in ENTRIES)
ROOT_2 = bytes.fromhex("dbee8a108810e81b82fd5c3cb27f0cb7e7cc38db791844ff52a791ba9ff0d8ba")
ROOT_3 = bytes.fromhex("e677513f7f3373ca5bc05c9c937d70bcf598e2647139c874be07d2d548e4254b")
LEAVES = [leaf_hash(str(index).encode()) for index in range(64)]
OTHER = leaf_hash(b"other")


def perfect(level: int, index: int) -> bytes:
    return fold_perfect(b"".join(LEAVES[index << level : (index + 1) << level]))


def unhash(rows: list[str] | None) -> list[bytes]:
    return [b64decode(row) for row in rows or []]


def mutations(path: list[bytes]) -> Iterator[list[bytes]]:
    """Every path with one bit, one hash, one place or one length changed."""
    for at, each in enumerate(path):
        for bit in range(256):
            changed = bytearray(each)
            changed[bit // 8] ^= 1 << bit % 8
            yield [*path[:at], bytes(changed), *path[at + 1 :]]
        yield [*path[:at], *path[at + 1 :]]
        yield [*path[:at], each, *path[at:]]
        yield [*path[:at], each[:-1], *path[at + 1 :]]
        yield [*path[:at], each + b"\0", *path[at + 1 :]]
        yield [*path[:at], b"", *path[at + 1 :]]
    yield [*path, OTHER]
    yield [OTHER, *path]
    yield [*path, b""]
    if path != path[::-1]:
        yield path[::-1]


def test_the_proofs_of_the_worked_example_verify() -> None:
    verify_inclusion(0, 1, LEAF_0, [], LEAF_0)
    verify_inclusion(1, 3, LEAF_1, [LEAF_0, LEAF_2], ROOT_3)
    verify_inclusion(2, 3, LEAF_2, [ROOT_2], ROOT_3)
    verify_consistency(2, 3, [LEAF_2], ROOT_2, ROOT_3)
    verify_consistency(1, 3, [LEAF_1, LEAF_2], LEAF_0, ROOT_3)


def test_a_wrong_root_is_told_with_place_expected_and_found() -> None:
    with pytest.raises(
        VerificationError,
        match=f"^inclusion of leaf 2 in size 3: root: expected {LEAF_0.hex()}, found {ROOT_3.hex()}$",
    ):
        verify_inclusion(2, 3, LEAF_2, [ROOT_2], LEAF_0)


def test_a_wrong_path_length_is_told_with_expected_and_found() -> None:
    with pytest.raises(VerificationError, match=r"expected a path of 1 hashes, found 2$"):
        verify_inclusion(2, 3, LEAF_2, [ROOT_2, ROOT_2], ROOT_3)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, 2**63), (2**64 - 1, 3)])
def test_inclusion_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(VerificationError, match="expected 0 <= index < size"):
        verify_inclusion(index, size, LEAF_1, [LEAF_0, LEAF_2], ROOT_3)


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3), (1, 2**63)])
def test_consistency_of_sizes_out_of_order_is_refused(old: int, new: int) -> None:
    with pytest.raises(VerificationError, match="expected 0 <= old size <= new size"):
        verify_consistency(old, new, [LEAF_2], ROOT_2, ROOT_3)


@pytest.mark.parametrize("short", [b"", LEAF_2[:31], LEAF_2 + b"\0"])
def test_a_leaf_or_root_that_has_not_32_bytes_is_refused(short: bytes) -> None:
    for leaf, root in ((short, ROOT_3), (LEAF_2, short)):
        with pytest.raises(VerificationError, match="hashes of 32 bytes"):
            verify_inclusion(2, 3, leaf, [ROOT_2], root)
        with pytest.raises(VerificationError, match="hashes of 32 bytes"):
            verify_consistency(2, 3, [LEAF_2], leaf, root)


def test_one_size_with_two_roots_is_a_fork() -> None:
    verify_consistency(3, 3, [], ROOT_3, ROOT_3)
    with pytest.raises(VerificationError, match="fork"):
        verify_consistency(3, 3, [], ROOT_3, ROOT_2)
    with pytest.raises(VerificationError, match="path of 0 hashes"):
        verify_consistency(3, 3, [LEAF_2], ROOT_3, ROOT_3)


def test_size_0_has_the_empty_root_and_no_path() -> None:
    verify_consistency(0, 3, [], EMPTY_ROOT, ROOT_3)
    verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    for old_root, path in ((ROOT_2, []), (EMPTY_ROOT, [LEAF_2])):
        with pytest.raises(VerificationError):
            verify_consistency(0, 3, path, old_root, ROOT_3)
    for old_root, new_root in ((ROOT_2, ROOT_2), (EMPTY_ROOT, ROOT_2)):
        with pytest.raises(VerificationError):
            verify_consistency(0, 0, [], old_root, new_root)


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 2), (6, 7), (5, 13), (31, 64), (32, 33), (47, 48)])
def test_every_mutation_of_an_inclusion_proof_is_refused(index: int, size: int) -> None:
    root = root_of(LEAVES[:size])
    path = prove_inclusion(index, size, perfect)
    verify_inclusion(index, size, LEAVES[index], path, root)
    for changed in mutations(path):
        with pytest.raises(VerificationError):
            verify_inclusion(index, size, LEAVES[index], changed, root)
    with pytest.raises(VerificationError):
        verify_inclusion(index, size, OTHER, path, root)
    with pytest.raises(VerificationError):
        verify_inclusion(index, size, LEAVES[index], path, OTHER)
    for other in set(range(-1, size + 2)) - {index}:
        with pytest.raises(VerificationError):
            verify_inclusion(other, size, LEAVES[index], path, root)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (1, 7), (4, 5), (6, 7), (7, 13), (32, 64), (33, 64), (47, 48)])
def test_every_mutation_of_a_consistency_proof_is_refused(old: int, new: int) -> None:
    old_root, new_root = root_of(LEAVES[:old]), root_of(LEAVES[:new])
    path = prove_consistency(old, new, perfect)
    verify_consistency(old, new, path, old_root, new_root)
    for changed in mutations(path):
        with pytest.raises(VerificationError):
            verify_consistency(old, new, changed, old_root, new_root)
    for roots in ((OTHER, new_root), (old_root, OTHER), (new_root, old_root)):
        with pytest.raises(VerificationError):
            verify_consistency(old, new, path, *roots)
    for other in set(range(-1, new + 2)) - {old}:
        with pytest.raises(VerificationError):
            verify_consistency(other, new, path, old_root, new_root)


def test_the_inclusion_probes_of_transparency_dev_are_answered_as_they_say(vectors: Path) -> None:
    rows = probes(vectors / "merkle_inclusion.jsonl")
    for row in rows:
        leaf, root = b64decode(row["leafHash"]), b64decode(row["root"])
        args = row["leafIdx"], row["treeSize"], leaf, unhash(row["proof"]), root
        if is_accepted(row):
            verify_inclusion(*args)
        else:
            with pytest.raises(VerificationError):
                verify_inclusion(*args)
    assert sum(map(is_accepted, rows)) > 0


def test_the_consistency_probes_of_transparency_dev_are_answered_as_they_say(vectors: Path) -> None:
    rows = probes(vectors / "merkle_consistency.jsonl")
    for row in rows:
        roots = b64decode(row["root1"] or ""), b64decode(row["root2"] or "")
        args = row["size1"], row["size2"], unhash(row["proof"]), *roots
        if is_accepted(row):
            verify_consistency(*args)
        else:
            with pytest.raises(VerificationError):
                verify_consistency(*args)
    assert sum(map(is_accepted, rows)) > 0


def test_a_real_audit_path_of_certificate_transparency_verifies(vectors: Path) -> None:
    row = json.loads((vectors / "rfc6962_tree8.json").read_text())["ct_aviator_inclusion"]
    leaf = leaf_hash(bytes.fromhex(row["leaf_hex"]))
    path = [bytes.fromhex(each) for each in row["audit_path_hex"]]
    verify_inclusion(row["leaf_index"], row["tree_size"], leaf, path, bytes.fromhex(row["root_hex"]))


def probes(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def is_accepted(row: dict[str, Any]) -> bool:
    """Toy hashes, not of 32 bytes, are refused whatever the row says."""
    return not row["wantErr"] and not row.get("has_non_32_byte_hash")
