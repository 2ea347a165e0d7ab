"""Building the Merkle tree: roots, inclusion proofs and consistency proofs (RFC 6962 §2.1;
docs/format.md, "Hashes, chain and tree").

The root of n > 1 leaves is ``node(root of the first k, root of the rest)`` with k the largest power of two
strictly less than n. A leaf never changes its place; appending changes only the right edge.

Proofs read their hashes through a ``ReadNode``: ``node(level, index)`` is the root of the perfect subtree
over the leaves ``index * 2**level`` up to ``(index + 1) * 2**level``. Checking proofs is ``proof.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from hashlib import sha256
from struct import Struct

from ..errors import Malformed
from .hashing import EMPTY_ROOT, HASH_SIZE, node_hash

ReadNode = Callable[[int, int], bytes]

_NODE_PREFIX = sha256(b"\x01")
_pairs = Struct(f"{2 * HASH_SIZE}s").iter_unpack


class Frontier:
    """The right edge of a growing tree: one hash per 1-bit of its size (a "compact range").

    It changes in place, since appending is the hot path; ``copy`` it first where an append may be undone.
    """

    __slots__ = ("_hashes", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._hashes: list[bytes] = []

    @classmethod
    def unpack(cls, size: int, packed: bytes) -> Frontier:
        """Read back what ``pack`` wrote for a tree of ``size`` leaves.

        Raises ``Malformed`` if the length does not belong to the size.
        """
        if not 0 <= size < 2**63:
            raise Malformed(f"frontier: size is {size}, expected 0 to 2^63-1")
        expected = size.bit_count() * HASH_SIZE
        if len(packed) != expected:
            raise Malformed(f"frontier of size {size}: expected {expected} bytes, found {len(packed)}")
        frontier = cls()
        frontier._size = size
        frontier._hashes = [packed[at : at + HASH_SIZE] for at in range(0, expected, HASH_SIZE)]
        return frontier

    def pack(self) -> bytes:
        """Return the hashes one after another, the largest subtree first."""
        return b"".join(self._hashes)

    def copy(self) -> Frontier:
        """Return a frontier that grows on its own from here."""
        twin = Frontier()
        twin._size = self._size
        twin._hashes = self._hashes.copy()
        return twin

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, the largest first."""
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash; one node hash amortised, the logarithm of the size at worst."""
        hashes = self._hashes
        size = self._size
        while size & 1:
            leaf = node_hash(hashes.pop(), leaf)
            size >>= 1
        hashes.append(leaf)
        self._size += 1

    def append_subtree(self, level: int, root: bytes) -> None:
        """Add ``2**level`` leaves by the root over them; the size must be a multiple of that number."""
        hashes = self._hashes
        size = self._size >> level
        if size << level != self._size:
            raise ValueError(f"frontier: size {self._size} is no multiple of 2**{level}")
        while size & 1:
            root = node_hash(hashes.pop(), root)
            size >>= 1
        hashes.append(root)
        self._size += 1 << level

    def cut(self, level: int) -> None:
        """Go back to the largest earlier size that is a multiple of ``2**level``."""
        rest = self._size & ((1 << level) - 1)
        del self._hashes[len(self._hashes) - rest.bit_count() :]
        self._size -= rest

    def root(self) -> bytes:
        """Return the root over all leaves so far; the empty root if there is none."""
        return _fold_right(self._hashes) if self._hashes else EMPTY_ROOT


def fold_perfect(hashes: bytes) -> bytes:
    """Return the root over 2^k hashes that stand one after another in ``hashes``.

    Raises ``Malformed`` if their number is not a power of two.
    """
    count, rest = divmod(len(hashes), HASH_SIZE)
    if rest or count.bit_count() != 1:
        raise Malformed(f"perfect subtree: expected 2^k hashes of {HASH_SIZE} bytes, found {len(hashes)} bytes")
    while len(hashes) > HASH_SIZE:
        hashes = fold_pairs(hashes)
    return hashes


def fold_pairs(hashes: bytes) -> bytes:
    """Return the parents of hashes that stand one after another, joined; one left over at the end has none yet."""
    roots = []
    for (pair,) in _pairs(hashes[: len(hashes) // (2 * HASH_SIZE) * (2 * HASH_SIZE)]):
        # Not node_hash: the pair is joined already, and copying the prefix saves 15 % of the time.
        node = _NODE_PREFIX.copy()
        node.update(pair)
        roots.append(node.digest())
    return b"".join(roots)


def prove_inclusion(index: int, size: int, node: ReadNode) -> list[bytes]:
    """Return the bottom-up path of leaf ``index`` in the tree of ``size`` (``PATH``, RFC 6962 §2.1.1).

    Reads O(log size) nodes. Raises ``ValueError`` unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"inclusion proof: index is {index}, expected 0 to {size - 1}")
    return _path(index, size, 0, node)


def prove_consistency(old: int, new: int, node: ReadNode) -> list[bytes]:
    """Return the proof that the tree of ``new`` leaves extends that of ``old`` (``PROOF``, RFC 6962 §2.1.2).

    Empty if ``old`` is 0 or equals ``new``. Reads O(log new) nodes. Raises ``ValueError`` unless
    0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"consistency proof: old size is {old}, expected 0 to {new}")
    if old in (0, new):
        return []
    level = (old & -old).bit_length() - 1  # height of the smallest perfect subtree on the old right edge
    path = _path(old - 1, new, level, node)
    if old == 1 << level:
        return path  # that subtree is the whole old tree: the checker knows its root
    return [node(level, (old - 1) >> level), *path]


def _path(index: int, size: int, level: int, node: ReadNode) -> list[bytes]:
    """Return the siblings, from ``level`` up, of the subtrees that hold leaf ``index``."""
    meet = (index ^ (size - 1)).bit_length()  # from here up, the leaf and the last leaf share their subtree
    path = [node(height, (index >> height) ^ 1) for height in range(level, meet - 1)]
    if meet:
        # The one sibling that holds the last leaf, and so may not be perfect.
        path.append(_right_root(((index >> (meet - 1)) ^ 1) << (meet - 1), size, node))
    path += [node(height, (index >> height) - 1) for height in range(meet, index.bit_length()) if index >> height & 1]
    return path


def _right_root(start: int, size: int, node: ReadNode) -> bytes:
    """Return the root over the leaves from ``start``, where a subtree begins, up to ``size``."""
    hashes = []
    while start < size:
        level = (size - start).bit_length() - 1
        hashes.append(node(level, start >> level))
        start += 1 << level
    return _fold_right(hashes)


def _fold_right(hashes: Sequence[bytes]) -> bytes:
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes))
