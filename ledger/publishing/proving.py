"""Proofs about a stored log: made from its tiles, in time that grows with the height of the tree."""

from __future__ import annotations

from dataclasses import replace

from ..errors import LedgerError
from ..store.reader import LedgerReader
from ..tlog.checkpoint import Checkpoint
from ..tlog.hashing import HASH_SIZE, leaf_hash
from ..tlog.proof import verify_consistency, verify_inclusion
from ..tlog.receipt import Receipt
from ..tlog.tiles import TILE_HEIGHT, TILE_WIDTH, read_exactly, tile_nodes
from ..tlog.tree import ReadNode, fold_pairs, prove_consistency, prove_inclusion
from .published import open_published
from .static_log import read_raws

_MOST_TILES = 1024


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
    """Makes receipts of one log, and remembers what never changes: all nodes of the tiles above full leaf tiles.

    Safe from threads. It holds at most some 20 MB, enough for a log of 66 million entries.
    """

    def __init__(self) -> None:
        self._tiles: dict[tuple[int, int], tuple[bytes, ...]] = {}
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
            self._tiles.clear()  # what is wrong may be among them
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
            # There are too many full leaf tiles to remember, and that of the entry is read anyway.
            if level < TILE_HEIGHT and index << level < edge:
                return read(level, index)
            tile_level, height = divmod(level, TILE_HEIGHT)
            n, at = divmod(index << height, TILE_WIDTH)
            rows = self._tiles.get((tile_level, n), ())
            start = HASH_SIZE * (at >> height)
            if height >= len(rows) or start >= len(rows[height]):  # the tile was shorter, or not read yet
                rows = self._read_tile(reader, tile_level, n, size)
            return rows[height][start : start + HASH_SIZE]

        return node

    def _read_tile(self, reader: LedgerReader, tile_level: int, n: int, size: int) -> tuple[bytes, ...]:
        """The nodes of a tile as it is in the tree of ``size``, those of a height joined."""
        width = min(TILE_WIDTH, (size >> TILE_HEIGHT * tile_level) - n * TILE_WIDTH)
        rows = [read_exactly(reader.hashes, tile_level, n * TILE_WIDTH, width)]
        while len(rows[-1]) > HASH_SIZE:
            rows.append(fold_pairs(rows[-1]))
        if len(self._tiles) >= _MOST_TILES:
            self._tiles.clear()
        known = self._tiles[tile_level, n] = tuple(rows)
        return known
