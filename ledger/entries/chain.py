"""One batch of pending entries, chained: a pure function that every recorder shares.

Given the head of the log it gives each pending entry its place, its previous hash and its bytes, and
says what the store must then hold: the entries, the tiles that became full, and the new head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import Malformed
from ..tlog.hashing import leaf_hash
from ..tlog.tiles import TILE_HEIGHT, TILE_WIDTH
from ..tlog.tree import Frontier, fold_perfect
from .entry import NO_ENTRY, StoredEntry, parse_entry, print_entry
from .mapper import PendingEntry

LooseHashes = Callable[[int], bytes]
"""Gives the hashes, joined, of a tile level that have not yet filled a tile."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends: how many entries, the last leaf hash and time, the tree's frontier.

    ``held`` is true while the clock stands behind ``at``, so that one finding is recorded and not many.
    """

    size: int
    leaf: bytes
    at: str
    frontier: bytes
    held: bool

    @classmethod
    def empty(cls) -> Head:
        return cls(0, NO_ENTRY, "", b"", held=False)

    def root(self) -> bytes:
        return Frontier.unpack(self.size, self.frontier).root()


class ChainedEntry(NamedTuple):
    """An entry in its place, as it is stored; ``pending`` carries the disclosures that go beside it."""

    seq: int
    raw: bytes
    leaf: bytes
    pending: PendingEntry


@dataclass(frozen=True, slots=True)
class Tile:
    """A full tile: 256 hashes of its level, joined, and their root, which is a hash of the next level."""

    level: int
    n: int
    root: bytes
    hashes: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit adds to the log."""

    entries: list[ChainedEntry]
    tiles: list[Tile]
    head: Head


def chain_batch(head: Head, at: str, pending: Sequence[PendingEntry], loose: LooseHashes) -> Batch:
    """Chain ``pending`` onto ``head`` at time ``at``, which must not be earlier than the head's.

    ``Malformed`` where an entry is too long; nothing has happened then.
    """
    frontier = Frontier.unpack(head.size, head.frontier)
    seq, prev = head.size, head.leaf
    entries: list[ChainedEntry] = []
    leaves: list[bytes] = []
    for waiting in pending:
        raw = print_entry(
            seq,
            prev,
            at,
            str(waiting.originator_id),
            waiting.originator_version,
            waiting.topic,
            waiting.state,
        )
        prev = leaf_hash(raw)
        entries.append(ChainedEntry(seq, raw, prev, waiting))
        leaves.append(prev)
        seq += 1
    tiles = _grow(frontier, leaves, loose)
    return Batch(entries, tiles, Head(seq, prev, at, frontier.pack(), held=head.held))


def chain_again(head: Head, rows: Sequence[StoredEntry], loose: LooseHashes) -> Batch:
    """The batch that stored entries are which follow ``head``, hashed again: nothing that was stored is believed.

    ``Malformed`` names the first that does not follow, or that its row is not about. There must be one.
    """
    frontier = Frontier.unpack(head.size, head.frontier)
    seq, prev, at = head.size, head.leaf, head.at
    entries: list[ChainedEntry] = []
    for row in rows:
        at = _require_next(row, seq, prev, at)
        prev = leaf_hash(row.raw)
        pending = PendingEntry(row.stream, row.pos, row.type_name, b"", scope="", disclosures=())
        entries.append(ChainedEntry(seq, row.raw, prev, pending))
        seq += 1
    tiles = _grow(frontier, [entry.leaf for entry in entries], loose)
    return Batch(entries, tiles, Head(seq, prev, at, frontier.pack(), held=False))


def _require_next(row: StoredEntry, seq: int, prev: bytes, at: str) -> str:
    """When the entry was recorded, which is the next after ``prev`` and ``at``."""
    if type(row.raw) is not bytes or leaf_hash(row.raw) != row.leaf:
        raise Malformed(f"entry {seq}: the stored bytes do not have the hash that is stored with them")
    entry = parse_entry(row.raw)
    found = (entry["seq"], entry["prev"], entry["stream"], entry["pos"], entry["type"])
    if row.seq != seq or found != (seq, prev.hex(), row.stream, row.pos, row.type_name):
        raise Malformed(f"entry {seq}: it does not follow the entry before, or is another than its row says")
    if entry["at"] < at:
        raise Malformed(f"entry {seq}: its time is earlier than that of the entry before")
    return entry["at"]


def _grow(frontier: Frontier, leaves: list[bytes], loose: LooseHashes) -> list[Tile]:
    """Add leaves to the frontier and return the tiles that became full, lower levels first.

    Where a tile fills, its leaves are hashed together and enter the frontier as one subtree, so that
    each node is computed once for the tile and the tree.
    """
    partial = frontier.size % TILE_WIDTH
    if partial + len(leaves) < TILE_WIDTH:
        for leaf in leaves:
            frontier.append(leaf)
        return []
    tiles: list[Tile] = []
    first = frontier.size // TILE_WIDTH
    frontier.cut(TILE_HEIGHT)
    hashes = loose(0) + b"".join(leaves)
    level, roots = 0, hashes
    while True:
        full = _full_tiles(level, first, roots)
        tiles += full
        if level == 0:
            for tile in full:
                frontier.append_subtree(TILE_HEIGHT, tile.root)
        if not full:
            break
        level += 1
        above = loose(level)
        first //= TILE_WIDTH
        roots = above + b"".join(tile.root for tile in full)
    rest = len(hashes) // 32 % TILE_WIDTH
    for at in range(len(hashes) - 32 * rest, len(hashes), 32):
        frontier.append(hashes[at : at + 32])
    return tiles


def _full_tiles(level: int, first: int, hashes: bytes) -> list[Tile]:
    width = 32 * TILE_WIDTH
    return [
        Tile(level, first + n, fold_perfect(part), part)
        for n, part in enumerate(hashes[at : at + width] for at in range(0, len(hashes) - width + 1, width))
    ]
