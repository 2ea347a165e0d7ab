"""Fork evidence: it convinces a stranger where there is a fork, and nobody where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.audit.fork import ForkEvidence, parse_fork, print_fork, verify_fork
from affidavit.ledger.errors import LedgerError, Malformed, VerificationError
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.note import ED25519, VerifierKey
from affidavit.ledger.tlog.tree import prove_consistency
from affidavit.tests.trees import root_of

ORIGIN = "example.org/quality/0123456789abcdef"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey(ORIGIN, ED25519, PRIVATE.public_key().public_bytes_raw())


class Tree:
    """A tree over texts, all of it at hand."""

    def __init__(self, *texts: str) -> None:
        self.leaves = [leaf_hash(text.encode()) for text in texts]

    def node(self, level: int, index: int) -> bytes:
        return root_of(self.leaves[index << level : (index + 1) << level])

    def root(self, size: int) -> bytes:
        return root_of(self.leaves[:size])

    def note(self, size: int, private: Ed25519PrivateKey = PRIVATE, origin: str = ORIGIN) -> bytes:
        return sign_checkpoint(Checkpoint(origin, size, self.root(size)), private)

    def against(self, older: bytes, old_size: int, size: int) -> ForkEvidence:
        """Evidence of ``older`` against this tree at ``size``."""
        proof = tuple(prove_consistency(old_size, size, self.node))
        return ForkEvidence(older, self.note(size), self.root(old_size), proof)


SHOWN = Tree("a", "b", "c", "d", "e", "f", "g")
HIDDEN = Tree("a", "b", "X", "d", "e", "f", "g")


def test_two_checkpoints_of_one_size_with_two_roots_are_a_fork() -> None:
    older, newer = verify_fork(ForkEvidence(SHOWN.note(5), HIDDEN.note(5)), lambda _: [KEY])
    assert (older.size, newer.size) == (5, 5)
    assert older.root != newer.root


@pytest.mark.parametrize(("old", "size"), [(old, size) for size in range(4, 8) for old in range(3, size)])
def test_a_larger_tree_that_does_not_extend_the_smaller_one_is_a_fork(old: int, size: int) -> None:
    evidence = HIDDEN.against(SHOWN.note(old), old, size)
    older, newer = verify_fork(parse_fork(print_fork(evidence)), lambda _: [KEY])
    assert (older.size, newer.size) == (old, size)
    assert parse_fork(print_fork(evidence)) == evidence


@pytest.mark.parametrize(("old", "size"), [(old, size) for size in range(1, 8) for old in range(1, size + 1)])
def test_a_log_that_only_grew_is_no_fork(old: int, size: int) -> None:
    same = ForkEvidence(SHOWN.note(old), SHOWN.note(old))
    evidence = same if old == size else SHOWN.against(SHOWN.note(old), old, size)
    with pytest.raises(VerificationError, match="agree"):
        verify_fork(evidence, lambda _: [KEY])


def test_trees_that_part_later_agree_until_then() -> None:
    with pytest.raises(VerificationError, match="agree"):
        verify_fork(HIDDEN.against(SHOWN.note(2), 2, 7), lambda _: [KEY])


@pytest.mark.parametrize(
    "evidence",
    [
        ForkEvidence(SHOWN.note(3), HIDDEN.note(7)),
        ForkEvidence(SHOWN.note(3), HIDDEN.note(7), SHOWN.root(1)),
        ForkEvidence(SHOWN.note(3), HIDDEN.note(7), HIDDEN.root(3)),
        ForkEvidence(SHOWN.note(5), HIDDEN.note(5), HIDDEN.root(5)),
        ForkEvidence(SHOWN.note(5), HIDDEN.note(5), None, (bytes(32),)),
        ForkEvidence(HIDDEN.note(7), SHOWN.note(3), HIDDEN.root(3), tuple(prove_consistency(3, 7, HIDDEN.node))),
    ],
    ids=["no root", "another root", "no proof", "a root too many", "a proof too many", "the larger one first"],
)
def test_what_is_not_proven_is_no_fork(evidence: ForkEvidence) -> None:
    with pytest.raises(VerificationError):
        verify_fork(evidence, lambda _: [KEY])


def test_another_logs_or_strangers_checkpoint_convicts_nobody() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    other = "example.org/other/0123456789abcdef"
    other_key = VerifierKey(other, ED25519, stranger.public_key().public_bytes_raw())
    for newer in (HIDDEN.note(5, stranger), HIDDEN.note(5, stranger, other)):
        with pytest.raises(VerificationError):
            verify_fork(ForkEvidence(SHOWN.note(5), newer), lambda _: [KEY, other_key])
    with pytest.raises(VerificationError):
        verify_fork(ForkEvidence(SHOWN.note(5), HIDDEN.note(5)), lambda _: [])


@pytest.mark.parametrize("at", range(4))
def test_one_changed_hash_of_the_proof_is_found(at: int) -> None:
    evidence = HIDDEN.against(SHOWN.note(3), 3, 7)
    assert len(evidence.proof) == 4
    proof = list(evidence.proof)
    proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    with pytest.raises(VerificationError):
        verify_fork(
            ForkEvidence(evidence.older, evidence.newer, evidence.root_at_older_size, tuple(proof)), lambda _: [KEY]
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("proof"),
        lambda document: document.update(more=1),
        lambda document: document.update(format="affidavit-fork@v2"),
        lambda document: document.update(older=7),
        lambda document: document.update(newer="\ud800"),
        lambda document: document.update(proof="AAAA"),
        lambda document: document.update(proof=[7]),
        lambda document: document.update(proof=["AAAA"]),
        lambda document: document.update(root_at_older_size="AAAA"),
        lambda document: document.update(root_at_older_size=b"".hex()),
    ],
)
def test_other_documents_are_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(print_fork(HIDDEN.against(SHOWN.note(3), 3, 7)))
    change(document)
    with pytest.raises(Malformed):
        parse_fork(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"format":1,"format":1}', b"[" * 100_000])
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_fork(data)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise_anything_else(data: bytes) -> None:
    with pytest.raises(LedgerError):
        verify_fork(ForkEvidence(data, HIDDEN.note(5)), lambda _: [KEY])
