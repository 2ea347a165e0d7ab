"""Entry bundles: the entries under one leaf tile, in one file (C2SP tlog-tiles).

Each entry is its length, a big-endian u16, and its bytes. Bundle k holds the entries of tile k of level 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Malformed
from .tiles import TILE_WIDTH

_LENGTH_SIZE = 2
_MAX_ENTRY = 2 ** (8 * _LENGTH_SIZE) - 1


def print_bundle(entries: Sequence[bytes]) -> bytes:
    """Return the file that ``parse_bundle`` reads; ``Malformed`` unless 1 to 256 entries of at most 65,535 bytes."""
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise Malformed(f"bundle: expected 1 to {TILE_WIDTH} entries, found {len(entries)}")
    parts = []
    for entry in entries:
        if len(entry) > _MAX_ENTRY:
            raise Malformed(f"bundle: expected entries of at most {_MAX_ENTRY} bytes, found {len(entry)} bytes")
        parts += [len(entry).to_bytes(_LENGTH_SIZE, "big"), entry]
    return b"".join(parts)


def parse_bundle(data: bytes) -> list[bytes]:
    """Read the entries of a bundle; raises ``Malformed`` for all that ``print_bundle`` would not have written.

    Whether there are as many as the bundle's name says, and whether they hash to its tile, is for the caller.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH_SIZE
        end = start + int.from_bytes(data[at:start], "big")
        if end > len(data):
            raise Malformed(f"bundle: entry {len(entries)} at byte {at} is cut off at byte {len(data)}")
        entries.append(data[start:end])
        at = end
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise Malformed(f"bundle: expected 1 to {TILE_WIDTH} entries, found {len(entries)}")
    return entries
