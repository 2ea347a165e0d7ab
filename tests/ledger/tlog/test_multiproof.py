"""One proof for many leaves: as many hashes as the places ask for, and no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import VerificationError
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.multiproof import prove_leaves, verify_leaves
from affidavit.ledger.tlog.proof import verify_inclusion
from affidavit.ledger.tlog.tree import prove_inclusion
from affidavit.tests.trees import root_of

LEAVES = [leaf_hash(str(number).encode()) for number in range(70)]


def node(level: int, index: int) -> bytes:
    return root_of(LEAVES[index << level : (index + 1) << level])


def prove(indices: list[int], size: int) -> list[bytes]:
    return prove_leaves(indices, size, node)


def verify(indices: list[int], size: int, proof: list[bytes]) -> None:
    verify_leaves({index: LEAVES[index] for index in indices}, size, proof, root_of(LEAVES[:size]))


def test_every_choice_of_leaves_of_a_small_tree_is_proven() -> None:
    for size in range(1, 9):
        for chosen in range(1, 1 << size):
            indices = [index for index in range(size) if chosen >> index & 1]
            verify(indices, size, prove(indices, size))


@given(st.integers(1, 70), st.data())
def test_a_proof_holds_for_its_leaves_only(size: int, data: st.DataObject) -> None:
    indices = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    proof = prove(indices, size)
    verify(indices, size, proof)
    wrong = data.draw(st.sampled_from(indices))
    leaves = {index: LEAVES[index] for index in indices} | {wrong: leaf_hash(b"another")}
    with pytest.raises(VerificationError, match="expected root"):
        verify_leaves(leaves, size, proof, root_of(LEAVES[:size]))
    for changed in ([*proof, proof[0]] if proof else [LEAVES[0]], proof[1:] if proof else [LEAVES[0]]):
        with pytest.raises(VerificationError, match="hashes, found"):
            verify(indices, size, changed)


def test_of_all_leaves_the_proof_is_empty() -> None:
    assert prove(list(range(70)), 70) == []


def test_of_one_leaf_it_is_the_inclusion_proof_in_another_order() -> None:
    for index in range(70):
        path = prove_inclusion(index, 70, node)
        verify_inclusion(index, 70, LEAVES[index], path, root_of(LEAVES))
        assert sorted(prove([index], 70)) == sorted(path)


@pytest.mark.parametrize("indices", [[], [1, 1], [2, 1], [-1], [70]])
def test_other_indices_are_refused(indices: list[int]) -> None:
    with pytest.raises(ValueError, match="multiproof"):
        prove(indices, 70)
    if len(set(indices)) == len(indices) and indices != [2, 1]:
        with pytest.raises(VerificationError, match="expected at least one leaf"):
            verify_leaves(dict.fromkeys(indices, LEAVES[0]), 70, [], LEAVES[0])


def test_hashes_of_another_length_are_refused() -> None:
    with pytest.raises(VerificationError, match="of 32 bytes"):
        verify([1], 2, [b"short"])


def test_a_huge_tree_costs_no_more_than_its_height() -> None:
    with pytest.raises(VerificationError, match="expected 62 hashes"):
        verify_leaves({0: LEAVES[0]}, 2**62, [], LEAVES[0])
