"""Proofs about a stored log: made from its tiles, in time that grows with the height of the tree."""

from __future__ import annotations

from dataclasses import replace

from ..errors import LedgerError
from ..store.reader import LedgerReader
from ..tlog.checkpoint import Checkpoint
from ..tlog.hashing import leaf_hash
from ..tlog.proof import verify_consistency, verify_inclusion
from ..tlog.receipt import Receipt
from ..tlog.tiles import TILE_HEIGHT, TILE_WIDTH, tile_nodes
from ..tlog.tree import ReadNode, prove_consistency, prove_inclusion
from .published import open_published
from .static_log import read_raws

_MOST_NODES = 65_536


def prove_entry(reader: LedgerReader, seq: int) -> Receipt | None:
    """The receipt of one entry, as ``Prover.prove`` gives it."""
    return Prover().prove(reader, seq)


def with_entry(receipt: Receipt, reader: LedgerReader) -> Receipt:
    """The receipt with the bytes of its entry, so that checking it needs nothing else but the key."""
    return replace(receipt, extra=read_raws(reader, receipt.index, 1)[0])


def prove_extension(reader: LedgerReader, older: int, newer: int) -> list[bytes]:
    """The hashes that show that the tree of ``older`` entries is the beginning of that of ``newer``, verified.

    Raises as ``verify_consistency`` does.
    """
    path = prove_consistency(older, newer, tile_nodes(newer, reader.hashes))
    verify_consistency(older, newer, path, reader.frontier_at(older).root(), reader.frontier_at(newer).root())
    return path


class Prover:
    """Makes receipts of one log, and remembers what never changes: the nodes above full leaf tiles.

    Safe from threads. It holds at most some 20 MB.
    """

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._opened: tuple[bytes, Checkpoint] | None = None

    def prove(self, reader: LedgerReader, seq: int) -> Receipt | None:
        """The receipt of an entry under the newest checkpoint; None where that does not cover it.

        It is verified before it is given, under the keys that the log names: a row of the database is believed for
        nothing. Raises as ``verify_receipt`` does.
        """
        latest = reader.latest_checkpoint()
        if latest is None or latest[0] <= seq:
            return None
        size, note = latest
        try:
            checkpoint = self._open(reader, size, note)
            (raw,) = read_raws(reader, seq, 1)
            path = prove_inclusion(seq, size, self._reading(reader, size))
            verify_inclusion(seq, size, leaf_hash(raw), path, checkpoint.root)
        except LedgerError:
            self._nodes.clear()  # what is wrong may be among them
            raise
        return Receipt(seq, tuple(path), note)

    def _open(self, reader: LedgerReader, size: int, note: bytes) -> Checkpoint:
        if self._opened is not None and self._opened[0] == note:
            return self._opened[1]
        checkpoint = open_published(reader, size, note)
        self._opened = note, checkpoint
        return checkpoint

    def _reading(self, reader: LedgerReader, size: int) -> ReadNode:
        read = tile_nodes(size, reader.hashes)
        edge = size // TILE_WIDTH * TILE_WIDTH

        def node(level: int, index: int) -> bytes:
            # Below the top of a full leaf tile there are too many nodes to remember, and the tile is read anyway.
            if level < TILE_HEIGHT and index << level < edge:
                return read(level, index)
            found = self._nodes.get((level, index))
            if found is None:
                found = read(level, index)
                if len(self._nodes) >= _MOST_NODES:
                    self._nodes.clear()
                self._nodes[level, index] = found
            return found

        return node
