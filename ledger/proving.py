"""Proofs about a stored log: made from its tiles, in time that grows with the height of the tree."""

from __future__ import annotations

from .reader import LedgerReader
from .receipt import Receipt
from .tiles import tile_nodes
from .tree import prove_inclusion


def prove_entry(reader: LedgerReader, seq: int) -> Receipt | None:
    """The receipt of an entry under the newest checkpoint, or None where that does not cover it."""
    latest = reader.latest_checkpoint()
    if latest is None or latest[0] <= seq:
        return None
    size, note = latest
    return Receipt(seq, tuple(prove_inclusion(seq, size, tile_nodes(size, reader.hashes))), note)
