"""The root over leaf hashes at once, as tests want it; the ledger itself grows its tree."""

from __future__ import annotations

from collections.abc import Iterable

from affidavit.ledger.tlog.tree import Frontier


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes: ``MTH`` of RFC 6962 §2.1."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()
