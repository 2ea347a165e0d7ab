"""Tiles: the tree cut into pieces of 256 hashes, and their names (C2SP tlog-tiles;
docs/format.md, "Hashes, chain and tree").

Hash number i of tile level l is the root over the leaves ``i * 256**l`` up to ``(i + 1) * 256**l``; tile n
of a level holds its hashes from ``n * 256`` on, 256 of them when full. Every node of height h is then the
fold of ``2**(h % 8)`` hashes that stand side by side in one tile of level ``h // 8``.

::

    tile/0/x001/x234/067        tile 1234067 of leaf hashes, full
    tile/1/001.p/17             the first 17 hashes of tile 1 on level 1
    tile/entries/273.p/112      the entries of leaf tile 273
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from ..errors import Malformed
from .hashing import HASH_SIZE
from .tree import Frontier, ReadNode, fold_perfect

TILE_HEIGHT = 8
TILE_WIDTH = 256

TileLevel = int | Literal["entries"]

ReadHashes = Callable[[int, int, int], bytes]
"""``read_hashes(tile_level, first, count)``: ``count`` hashes, joined, from number ``first`` on."""

_MAX_LEVEL = 63
_PATH = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?")


class TilePath(NamedTuple):
    """What the name of a tile says; a full tile has width 256."""

    level: TileLevel
    n: int
    width: int


def node_from_tiles(level: int, index: int, size: int, read_hashes: ReadHashes) -> bytes:
    """Return the root over the leaves ``index * 2**level`` up to ``(index + 1) * 2**level``.

    Raises ``ValueError`` if they are not all within ``size``, ``Malformed`` if the reader returns a wrong
    length.
    """
    if index < 0 or (index + 1) << level > size:
        raise ValueError(f"node {index} of height {level}: not a perfect subtree in size {size}")
    tile_level, height = divmod(level, TILE_HEIGHT)
    return fold_perfect(read_exactly(read_hashes, tile_level, index << height, 1 << height))


def tile_nodes(size: int, read_hashes: ReadHashes) -> ReadNode:
    """Return the ``ReadNode`` of one proof in the tree of ``size``; it reads each tile once and whole."""
    tiles: dict[tuple[int, int], bytes] = {}

    def read(tile_level: int, first: int, count: int) -> bytes:
        n, at = divmod(first, TILE_WIDTH)
        tile = tiles.get((tile_level, n))
        if tile is None:
            width = min(TILE_WIDTH, (size >> TILE_HEIGHT * tile_level) - n * TILE_WIDTH)
            tile = tiles[tile_level, n] = read_exactly(read_hashes, tile_level, n * TILE_WIDTH, width)
        return tile[at * HASH_SIZE : (at + count) * HASH_SIZE]

    return lambda level, index: node_from_tiles(level, index, size, read)


def frontier_at(size: int, read_hashes: ReadHashes) -> Frontier:
    """Return the frontier of the tree over the first ``size`` leaves, from O(log size) hashes.

    Raises as ``node_from_tiles`` does.
    """
    packed, start = b"", 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            packed += node_from_tiles(level, start >> level, size, read_hashes)
            start += 1 << level
    return Frontier.unpack(size, packed)


def read_exactly(read_hashes: ReadHashes, tile_level: int, first: int, count: int) -> bytes:
    """Return what the reader gives; ``Malformed`` where that has another length than was asked for."""
    hashes = read_hashes(tile_level, first, count)
    if len(hashes) != count * HASH_SIZE:
        raise Malformed(
            f"tile level {tile_level}: expected {count} hashes of {HASH_SIZE} bytes from {first} on, "
            f"found {len(hashes)} bytes"
        )
    return hashes


def tile_path(level: TileLevel, n: int, width: int = TILE_WIDTH) -> str:
    """Return the name of tile ``n`` of a level, or of the bundle of entries that belongs to leaf tile ``n``.

    Raises ``ValueError`` unless the level is 0 to 63, n below 2^63 and the width 1 to 256.
    """
    if not (level == "entries" or 0 <= level <= _MAX_LEVEL) or not 0 <= n < 2**63 or not 1 <= width <= TILE_WIDTH:
        raise ValueError(f"tile: there is no tile {n} of level {level} and width {width}")
    groups = [f"{n % 1000:03}"]
    while n := n // 1000:
        groups.append(f"x{n % 1000:03}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"


def parse_tile_path(path: str) -> TilePath:
    """Read the name of a tile; raises ``Malformed`` for all that ``tile_path`` would not have written."""
    match = _PATH.fullmatch(path)
    if not match:
        raise Malformed(f"tile path: found {path[:80]!r}, expected tile/<level>/<n>[.p/<width>]")
    level: TileLevel = "entries" if match[1] == "entries" else int(match[1])
    found = TilePath(level, int(re.sub("[x/]", "", match[2])), int(match[3] or TILE_WIDTH))
    try:
        expected = tile_path(*found)
    except ValueError as error:
        raise Malformed(f"tile path: {path!r} is out of range") from error
    if path != expected:
        raise Malformed(f"tile path: found {path!r}, expected {expected!r}")
    return found
