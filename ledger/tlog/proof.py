"""Checking proofs: bytes and numbers in, nothing or one error out (RFC 9162 §2.1.3.2 and §2.1.4.2;
docs/format.md, "Hashes, chain and tree").

Imports only hashes and errors, so that a stranger can copy the checking part alone. The loops of the RFC
are split here, as in transparency-dev/merkle, into the part below the point where the leaf's path meets the
right edge and the part above it; so the length of a path is known, and checked, before anything is hashed.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import VerificationError
from .hashing import EMPTY_ROOT, HASH_SIZE, node_hash

_MAX_SIZE = 2**63 - 1


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` stands at ``index`` in the tree of ``size`` leaves with this ``root`` (RFC 9162 §2.1.3.2).

    Raises ``VerificationError`` if a bound, a length or the root is wrong.
    """
    place = f"inclusion of leaf {index} in size {size}"
    if not 0 <= index < size <= _MAX_SIZE:
        raise VerificationError(f"{place}: expected 0 <= index < size < 2^63")
    _check_lengths(place, (leaf, root), path)
    inner, border = _split(index, size)
    _check_count(place, path, inner + border)
    _check_root(f"{place}: root", root, _climb(leaf, index, path, inner))


def verify_consistency(old_size: int, new_size: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree (new_size, new_root) only appends to (old_size, old_root) (RFC 9162 §2.1.4.2).

    Old size 0 proves nothing beyond the empty root. Raises ``VerificationError`` if a bound, a length or a
    root is wrong; equal sizes with different roots are a fork.
    """
    place = f"consistency of size {old_size} with size {new_size}"
    if not 0 <= old_size <= new_size <= _MAX_SIZE:
        raise VerificationError(f"{place}: expected 0 <= old size <= new size < 2^63")
    _check_lengths(place, (old_root, new_root), path)
    if old_size == 0:
        _check_root(f"{place}: old root", EMPTY_ROOT, old_root)
    if old_size == new_size:
        _check_root(f"{place}: fork, new root", old_root, new_root)
    if old_size in (0, new_size):
        _check_count(place, path, 0)
        return
    _check_growth(place, old_size, new_size, path, old_root, new_root)


def _check_growth(
    place: str, old_size: int, new_size: int, path: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Rebuild both roots from the last perfect subtree of the old tree; 0 < old size < new size."""
    level = (old_size & -old_size).bit_length() - 1
    inner, border = _split(old_size - 1, new_size)
    inner -= level
    is_perfect = old_size == 1 << level  # then that subtree is the old tree, and the path leaves it out
    _check_count(place, path, inner + border + (not is_perfect))
    seed, rest = (old_root, path) if is_perfect else (path[0], path[1:])
    index = (old_size - 1) >> level
    # The old tree knows only what lies to the left.
    lefts = [rest[height] for height in range(inner) if index >> height & 1]
    _check_root(f"{place}: old root", old_root, _climb_right_edge(seed, [*lefts, *rest[inner:]]))
    _check_root(f"{place}: new root", new_root, _climb(seed, index, rest, inner))


def _split(index: int, size: int) -> tuple[int, int]:
    """Return how many siblings a leaf has below the point where it meets the right edge, and above."""
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _climb(node: bytes, index: int, path: Sequence[bytes], inner: int) -> bytes:
    for height in range(inner):
        sibling = path[height]
        node = node_hash(sibling, node) if index >> height & 1 else node_hash(node, sibling)
    return _climb_right_edge(node, path[inner:])


def _climb_right_edge(node: bytes, lefts: Sequence[bytes]) -> bytes:
    for left in lefts:
        node = node_hash(left, node)
    return node


def _check_lengths(place: str, ends: Sequence[bytes], path: Sequence[bytes]) -> None:
    for each in (*ends, *path):
        if len(each) != HASH_SIZE:
            raise VerificationError(f"{place}: expected hashes of {HASH_SIZE} bytes, found {len(each)} bytes")


def _check_count(place: str, path: Sequence[bytes], expected: int) -> None:
    if len(path) != expected:
        raise VerificationError(f"{place}: expected a path of {expected} hashes, found {len(path)}")


def _check_root(place: str, expected: bytes, found: bytes) -> None:
    if found != expected:
        raise VerificationError(f"{place}: expected {expected.hex()}, found {found.hex()}")
