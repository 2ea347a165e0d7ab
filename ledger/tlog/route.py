"""An inclusion proof step by step: which entries each hash stands for, for who wants to see the way (RFC 6962 §2.1.1).

It checks nothing: ``verify_inclusion`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .hashing import node_hash


@dataclass(frozen=True, slots=True)
class Step:
    """One hash of a path, and the node that it makes with the one below.

    The sibling is the root over the leaves ``first`` up to ``stop``, left of the way where ``is_left``; ``node`` is the
    root over the leaves ``node_first`` up to ``node_stop``. Both stops are excluded.
    """

    sibling: bytes
    is_left: bool
    first: int
    stop: int
    node: bytes
    node_first: int
    node_stop: int


def trace_path(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> list[Step]:
    """The steps of leaf ``index`` to the root of ``size`` leaves, bottom-up.

    ``ValueError`` unless 0 <= index < size and the path has as many hashes as that way has steps.
    """
    if not 0 <= index < size:
        raise ValueError(f"path: index is {index}, expected 0 to {size - 1}")
    forks = []
    first, stop = 0, size
    while stop - first > 1:
        middle = first + (1 << (stop - first - 1).bit_length() - 1)
        is_left = index >= middle
        forks.append((is_left, first, middle, stop))
        first, stop = (middle, stop) if is_left else (first, middle)
    steps = []
    node = leaf
    for sibling, (is_left, first, middle, stop) in zip(path, reversed(forks), strict=True):
        node = node_hash(sibling, node) if is_left else node_hash(node, sibling)
        known = (first, middle) if is_left else (middle, stop)
        steps.append(Step(sibling, is_left, *known, node, first, stop))
    return steps
