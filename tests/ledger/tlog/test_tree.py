"""Building the tree, against a slow reference written straight from RFC 6962 §2.1."""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed, VerificationError
from affidavit.ledger.tlog.hashing import EMPTY_ROOT, HASH_SIZE, leaf_hash, node_hash
from affidavit.ledger.tlog.proof import verify_consistency, verify_inclusion
from affidavit.ledger.tlog.tree import Frontier, fold_perfect, prove_consistency, prove_inclusion
from affidavit.tests.trees import root_of

LARGEST = 256
LEAVES = [leaf_hash(str(index).encode()) for index in range(1000)]
ENTRIES = [b'{"n":0,"t":"ledger.created"}', b'{"n":1,"t":"run.started"}']
ENTRIES += [b'{"n":2,"score_micro":812500,"t":"verdict"}']
EXAMPLE = [leaf_hash(entry) for entry in ENTRIES]


def split(count: int) -> int:
    """The largest power of two strictly less than ``count``."""
    k = 1
    while 2 * k < count:
        k *= 2
    return k


@cache
def reference_root(start: int, end: int) -> bytes:
    """``MTH(D[start:end])``."""
    if start == end:
        return EMPTY_ROOT
    if end - start == 1:
        return LEAVES[start]
    middle = start + split(end - start)
    return node_hash(reference_root(start, middle), reference_root(middle, end))


def reference_path(index: int, start: int, end: int) -> list[bytes]:
    """``PATH(index - start, D[start:end])``."""
    if end - start == 1:
        return []
    middle = start + split(end - start)
    if index < middle:
        return [*reference_path(index, start, middle), reference_root(middle, end)]
    return [*reference_path(index, middle, end), reference_root(start, middle)]


def reference_subproof(old: int, start: int, end: int, *, is_known: bool) -> list[bytes]:
    """``SUBPROOF(old - start, D[start:end], is_known)``."""
    if old == end:
        return [] if is_known else [reference_root(start, end)]
    middle = start + split(end - start)
    if old <= middle:
        return [*reference_subproof(old, start, middle, is_known=is_known), reference_root(middle, end)]
    return [*reference_subproof(old, middle, end, is_known=False), reference_root(start, middle)]


def perfect(level: int, index: int) -> bytes:
    return reference_root(index << level, (index + 1) << level)


def test_roots_are_those_of_the_worked_example() -> None:
    assert [root_of(EXAMPLE[:size]).hex() for size in range(1, 4)] == [
        "2d2f4a66a66544e28e551cca20ef8c19ee961c02a9af3e48e1a1dffcf1d4bbb4",
        "dbee8a108810e81b82fd5c3cb27f0cb7e7cc38db791844ff52a791ba9ff0d8ba",
        "e677513f7f3373ca5bc05c9c937d70bcf598e2647139c874be07d2d548e4254b",
    ]
    assert root_of(LEAVES[:300]).hex() == "84e13ec1e037155ae619757599b2cd21ada5a565e0fd9b3139c0c3c6c1b8ada9"
    assert root_of(LEAVES[:256]).hex() == "828515d033c19d8c901f37eccb8aed919667703486f8d2fff1cf7040321c5db1"


def test_proofs_are_those_of_the_worked_example() -> None:
    def node(level: int, index: int) -> bytes:
        return fold_perfect(b"".join(EXAMPLE[index << level : (index + 1) << level]))

    assert prove_inclusion(1, 3, node) == [EXAMPLE[0], EXAMPLE[2]]
    assert prove_inclusion(2, 3, node) == [root_of(EXAMPLE[:2])]
    assert prove_consistency(2, 3, node) == [EXAMPLE[2]]
    assert prove_consistency(1, 3, node) == [EXAMPLE[1], EXAMPLE[2]]
    assert len(prove_inclusion(299, 300, perfect)) == 5
    assert len(prove_consistency(200, 300, perfect)) == 7


def test_the_tree_of_certificate_transparency_is_rebuilt(vectors: Path) -> None:
    known = json.loads((vectors / "rfc6962_tree8.json").read_text())
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in known["leaves_hex"]]

    def node(level: int, index: int) -> bytes:
        return fold_perfect(b"".join(leaves[index << level : (index + 1) << level]))

    assert [root_of(leaves[:size]).hex() for size in range(1, 9)] == known["roots_hex_by_size"]
    for row in known["consistency"]:
        proof = prove_consistency(row["size1"], row["size2"], node)
        assert [each.hex() for each in proof] == row["proof"]


def test_the_log_that_tessera_wrote_is_rebuilt_from_its_entries(vectors: Path) -> None:
    """Its bundles give its leaf tiles and the root of every checkpoint, sizes 1 to 15."""
    log = vectors / "tessera_log"
    for size in range(1, 16):
        bundle = (log / "tile" / "entries" / "000.p" / str(size)).read_bytes()
        leaves = [leaf_hash(entry) for entry in unbundle(bundle)]
        assert len(leaves) == size
        assert b"".join(leaves) == (log / "tile" / "0" / "000.p" / str(size)).read_bytes()
        body = (log / f"checkpoint.{size}").read_text().split("\n")
        assert body[1:3] == [str(size), b64(root_of(leaves))]


def unbundle(bundle: bytes) -> list[bytes]:
    entries = []
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        entries.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return entries


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def test_a_growing_frontier_has_the_root_of_every_size() -> None:
    frontier = Frontier()
    for size in range(LARGEST + 1):
        assert frontier.size == size
        assert frontier.root() == reference_root(0, size) == root_of(LEAVES[:size])
        assert len(frontier.hashes) == size.bit_count()
        frontier.append(LEAVES[size])


def test_a_frontier_holds_its_perfect_subtrees_the_largest_first() -> None:
    frontier = Frontier()
    for leaf in LEAVES[:11]:
        frontier.append(leaf)
    assert frontier.hashes == (perfect(3, 0), perfect(1, 4), perfect(0, 10))


def test_a_frontier_unpacks_as_it_was_packed_and_grows_on() -> None:
    whole = Frontier()
    for size in range(LARGEST + 1):
        again = Frontier.unpack(size, whole.pack())
        assert (again.size, again.hashes) == (whole.size, whole.hashes)
        whole.append(LEAVES[size])
        again.append(LEAVES[size])
        assert again.root() == whole.root()


@pytest.mark.parametrize(
    ("size", "length"), [(0, 32), (1, 0), (1, 31), (3, 32), (3, 65), (4, 64), (-1, 32), (2**63, 32)]
)
def test_a_frontier_of_a_wrong_length_or_size_is_malformed(size: int, length: int) -> None:
    with pytest.raises(Malformed, match="frontier"):
        Frontier.unpack(size, bytes(length))


def test_a_copied_frontier_grows_on_its_own() -> None:
    frontier = Frontier.unpack(1, LEAVES[0])
    frontier.copy().append(LEAVES[1])
    assert (frontier.size, frontier.hashes) == (1, (LEAVES[0],))


def test_a_frontier_takes_a_whole_subtree_by_its_root() -> None:
    frontier = Frontier.unpack(24, perfect(4, 0) + perfect(3, 2))
    frontier.append_subtree(3, perfect(3, 3))
    assert (frontier.size, frontier.root()) == (32, reference_root(0, 32))
    with pytest.raises(ValueError, match="multiple"):
        frontier.append_subtree(6, perfect(6, 1))


def test_a_frontier_is_cut_back_to_a_multiple_of_a_subtree() -> None:
    frontier = Frontier()
    for leaf in LEAVES[:29]:
        frontier.append(leaf)
    frontier.cut(0)
    assert frontier.size == 29
    frontier.cut(3)
    assert (frontier.size, frontier.root()) == (24, reference_root(0, 24))
    frontier.cut(5)
    assert (frontier.size, frontier.hashes) == (0, ())


def test_folding_a_perfect_subtree_gives_its_root() -> None:
    for level in range(9):
        assert fold_perfect(b"".join(LEAVES[: 1 << level])) == perfect(level, 0)


@pytest.mark.parametrize("length", [0, 31, 33, 3 * HASH_SIZE, 255 * HASH_SIZE])
def test_folding_anything_else_is_malformed(length: int) -> None:
    with pytest.raises(Malformed, match="perfect subtree"):
        fold_perfect(bytes(length))


def test_every_inclusion_proof_up_to_256_is_the_reference_and_verifies() -> None:
    for size in range(1, LARGEST + 1):
        root = reference_root(0, size)
        for index in range(size):
            proof = prove_inclusion(index, size, perfect)
            assert proof == reference_path(index, 0, size)
            verify_inclusion(index, size, LEAVES[index], proof, root)


def test_every_consistency_proof_up_to_256_is_the_reference_and_verifies() -> None:
    for new in range(1, LARGEST + 1):
        root = reference_root(0, new)
        for old in range(1, new + 1):
            proof = prove_consistency(old, new, perfect)
            assert proof == reference_subproof(old, 0, new, is_known=True)
            verify_consistency(old, new, proof, reference_root(0, old), root)


def test_consistency_with_the_empty_tree_needs_no_proof() -> None:
    for new in range(LARGEST + 1):
        assert prove_consistency(0, new, perfect) == []
        verify_consistency(0, new, [], EMPTY_ROOT, reference_root(0, new))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_there_is_no_inclusion_proof_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="inclusion proof"):
        prove_inclusion(index, size, perfect)


@pytest.mark.parametrize(("old", "new"), [(4, 3), (-1, 3)])
def test_there_is_no_consistency_proof_with_a_larger_or_negative_size(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="consistency proof"):
        prove_consistency(old, new, perfect)


def test_proofs_read_only_a_logarithm_of_nodes() -> None:
    size = (1 << 40) - 1  # the most ragged right edge: one bit for every height
    read: list[tuple[int, int]] = []

    def node(level: int, index: int) -> bytes:
        assert (index + 1) << level <= size
        read.append((level, index))
        return LEAVES[0]

    prove_inclusion(0, size, node)
    assert len(read) <= 80
    read.clear()
    prove_consistency((1 << 39) - 1, size, node)
    assert len(read) <= 120


@given(st.data())
def test_proofs_of_any_size_verify_and_fail_with_one_bit_changed(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, len(LEAVES)), label="size")
    index = data.draw(st.integers(0, size - 1), label="index")
    root = reference_root(0, size)
    proof = prove_inclusion(index, size, perfect)
    verify_inclusion(index, size, LEAVES[index], proof, root)
    at = data.draw(st.integers(0, len(proof) - 1), label="hash")
    bit = data.draw(st.integers(0, 255), label="bit")
    proof[at] = flip(proof[at], bit)
    with pytest.raises(VerificationError):
        verify_inclusion(index, size, LEAVES[index], proof, root)


@given(st.data())
def test_consistency_of_any_sizes_verifies_and_fails_with_one_bit_changed(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, len(LEAVES)), label="new")
    old = data.draw(st.integers(1, new - 1), label="old")
    roots = reference_root(0, old), reference_root(0, new)
    proof = prove_consistency(old, new, perfect)
    verify_consistency(old, new, proof, *roots)
    at = data.draw(st.integers(0, len(proof) - 1), label="hash")
    bit = data.draw(st.integers(0, 255), label="bit")
    proof[at] = flip(proof[at], bit)
    with pytest.raises(VerificationError):
        verify_consistency(old, new, proof, *roots)


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
