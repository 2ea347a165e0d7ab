"""The right edge of a static log while it grows: which tiles an added stretch of leaves completes, and what is left."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import VerificationError
from ..tlog.hashing import HASH_SIZE
from ..tlog.tiles import TILE_HEIGHT, TILE_WIDTH, ReadHashes, tile_path
from ..tlog.tree import Frontier, fold_perfect


class TileEdge:
    """The right edge of the tree and of its tiles, while leaves are added by full tiles and then by a rest."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self._loose: list[bytes] = [b""]
        """By level, the hashes that have not filled a tile."""

    @property
    def size(self) -> int:
        return self.frontier.size

    def root(self) -> bytes:
        return self.frontier.root()

    def skip(self, size: int, hashes: ReadHashes) -> None:
        """Go to ``size``, a multiple of 256, by stored hashes."""
        level, count = 1, size // TILE_WIDTH
        while count:
            rest = count % TILE_WIDTH
            self._loose.append(hashes(level, count - rest, rest) if rest else b"")
            level, count = level + 1, count // TILE_WIDTH
        for height in range(level - 1, 0, -1):
            for root in each_hash(self._loose[height]):
                self.frontier.append_subtree(TILE_HEIGHT * height, root)
        if self.size != size:
            raise VerificationError(f"stored tiles: expected the hashes of {size} entries, found those of {self.size}")

    def add(self, leaves: bytes) -> Iterator[tuple[str, bytes]]:
        """Add up to 256 leaf hashes, joined; name and bytes of each tile that became full."""
        if len(leaves) < TILE_WIDTH * HASH_SIZE:
            for leaf in each_hash(leaves):
                self.frontier.append(leaf)
            self._loose[0] = leaves
            return
        level, full, n = 0, leaves, self.size // TILE_WIDTH
        root = fold_perfect(full)
        self.frontier.append_subtree(TILE_HEIGHT, root)
        while True:
            yield tile_path(level, n), full
            level, n = level + 1, n // TILE_WIDTH
            if level == len(self._loose):
                self._loose.append(b"")
            self._loose[level] += root
            if len(self._loose[level]) < TILE_WIDTH * HASH_SIZE:
                return
            full, self._loose[level] = self._loose[level], b""
            root = fold_perfect(full)

    def partial_tiles(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of the tile on each level that is not full."""
        for level, hashes in enumerate(self._loose):
            if hashes:
                n = (self.size >> TILE_HEIGHT * level) // TILE_WIDTH
                yield tile_path(level, n, len(hashes) // HASH_SIZE), hashes


def each_hash(hashes: bytes) -> Iterator[bytes]:
    """The hashes that stand one after another."""
    return (hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE))
