"""One proof for many leaves: what each of their paths has in common is said once (docs/format.md, "Multiproof").

The tree is walked from its root, the left side first, cut as in RFC 6962: a subtree in which no leaf is wanted is one
hash of the proof; a wanted leaf is its leaf hash, and not in the proof; every other subtree is its two sides. So the
places of the leaves and the size say how many hashes there must be, and which is which.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from ..errors import VerificationError
from .hashing import HASH_SIZE, node_hash
from .tree import Frontier, ReadNode

_MAX_SIZE = 2**63 - 1


def prove_leaves(indices: Sequence[int], size: int, node: ReadNode) -> list[bytes]:
    """Return the proof that the leaves at ``indices`` stand in the tree of ``size`` leaves.

    Raises ``ValueError`` unless the indices rise, are at least one, and lie below ``size``.
    """
    if not indices or any(first >= second for first, second in pairwise(indices)):
        raise ValueError("multiproof: expected at least one index, each larger than the one before")
    if indices[0] < 0 or indices[-1] >= size:
        raise ValueError(f"multiproof: indices are {indices[0]} to {indices[-1]}, expected 0 to {size - 1}")
    return [_subtree(start, stop, node) for start, stop in _left_out(indices, 0, size)]


def verify_leaves(leaves: Mapping[int, bytes], size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that every leaf hash stands at its index in the tree of ``size`` leaves with this ``root``.

    Raises ``VerificationError`` if a bound, a length, the number of hashes or the root is wrong.
    """
    place = f"multiproof of {len(leaves)} leaves in size {size}"
    indices = sorted(leaves)
    if not indices or not 0 <= indices[0] <= indices[-1] < size <= _MAX_SIZE:
        raise VerificationError(f"{place}: expected at least one leaf, and 0 <= index < size < 2^63")
    for each in (root, *leaves.values(), *proof):
        if len(each) != HASH_SIZE:
            raise VerificationError(f"{place}: expected hashes of {HASH_SIZE} bytes, found {len(each)} bytes")
    expected = sum(1 for _ in _left_out(indices, 0, size))
    if len(proof) != expected:
        raise VerificationError(f"{place}: expected {expected} hashes, found {len(proof)}")
    found = _root(leaves, indices, 0, size, iter(proof))
    if found != root:
        raise VerificationError(f"{place}: expected root {root.hex()}, found {found.hex()}")


def _left_out(indices: Sequence[int], start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The subtrees (start, stop) without a wanted leaf, in the order of the proof."""
    if not _wants(indices, start, stop):
        yield start, stop
    elif stop - start > 1:
        middle = _middle(start, stop)
        yield from _left_out(indices, start, middle)
        yield from _left_out(indices, middle, stop)


def _root(leaves: Mapping[int, bytes], indices: Sequence[int], start: int, stop: int, proof: Iterator[bytes]) -> bytes:
    if not _wants(indices, start, stop):
        return next(proof)
    if stop - start == 1:
        return leaves[start]
    middle = _middle(start, stop)
    left = _root(leaves, indices, start, middle, proof)
    return node_hash(left, _root(leaves, indices, middle, stop, proof))


def _wants(indices: Sequence[int], start: int, stop: int) -> bool:
    at = bisect_left(indices, start)
    return at < len(indices) and indices[at] < stop


def _middle(start: int, stop: int) -> int:
    return start + (1 << (stop - start - 1).bit_length() - 1)


def _subtree(start: int, stop: int, node: ReadNode) -> bytes:
    frontier = Frontier()
    while start < stop:
        level = (stop - start).bit_length() - 1
        frontier.append_subtree(level, node(level, start >> level))
        start += 1 << level
    return frontier.root()
