"""Checking stretches of the log: pure, no storage; rows in, what was found out.

A stretch is checked by itself, so that several processes can share the work, and stretches are joined
at their seams by ``Joiner``. Everything is derived anew from the stored bytes: grammar, fields, leaf
hash, chain, time order, positions in streams, tree and tiles. Damage is named by the closed set of kinds
in docs/trust.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from ..entries.entry import NO_ENTRY, Entry, StoredEntry, parse_entry, parse_expected
from ..errors import Malformed, UnsupportedFormat
from ..tlog.tiles import TILE_HEIGHT, TILE_WIDTH
from ..tlog.tree import Frontier, fold_perfect


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong. ``seq`` is the entry at which it shows, None where it is not an entry's.

    ``unmet``: the ledger may be as it was recorded, but does not meet what it was checked against, such as a policy.
    """

    kind: str
    seq: int | None
    detail: str
    unmet: bool = False


@dataclass(slots=True)
class Stretch:
    """What checking the rows from ``start`` on found, and what joining them to their neighbours needs."""

    start: int
    damage: list[Damage] = field(default_factory=list)
    leaves: bytes = b""
    first_prev: str | None = None
    first_at: str = ""
    last_at: str = ""
    last_leaf: bytes = b""
    streams: dict[str, tuple[int, int]] = field(default_factory=dict)
    first_shift: tuple[int, int] | None = None
    shifts: set[bool] = field(default_factory=set)
    seals: bool = False
    """Whether an entry in it seals anything."""


def check_stretch(rows: Iterable[StoredEntry], start: int) -> Stretch:
    """Check the rows of a stretch: in order of seq, from ``start`` on, without a gap."""
    found = Stretch(start)
    prev, at = "", ""
    leaves: list[bytes] = []
    streams = found.streams
    for row in rows:
        raw = row.raw
        if type(raw) is not bytes:
            found.damage.append(Damage("entry_modified", row.seq, f"expected bytes, found {type(raw).__name__}"))
            raw = b""
        leaf = sha256(b"\x00" + raw).digest()
        leaves.append(leaf)
        entry = None
        if prev and leaf == row.leaf:
            entry = parse_expected(raw, row.seq, prev, row.stream, row.pos, row.type_name)
        if entry is None:
            entry = _parse(row, leaf, found)
        if entry is None:
            prev = ""  # nothing that it says counts, nor does what was chained onto it
            if type(row.pos) is int:
                streams[row.stream] = (streams.get(row.stream, (row.pos, 0))[0], row.pos)
            continue
        found.seals = found.seals or bool(entry["sealed"])
        if entry["seq"] != row.seq:
            found.first_shift = found.first_shift or (row.seq, entry["seq"])
            found.shifts.add(entry["seq"] > row.seq)
            prev = ""
        elif prev:
            if entry["prev"] != prev:
                found.damage.append(
                    Damage(
                        "entry_modified",
                        row.seq - 1,
                        f"leaf hash is {prev}, but entry {row.seq} was chained onto {entry['prev']}",
                    )
                )
        elif row.seq == start:
            found.first_prev = entry["prev"]
        if entry["at"] != at:
            if entry["at"] < at:
                found.damage.append(Damage("order_broken", row.seq, f"time {entry['at']} is before {at}"))
            at = entry["at"]
            found.first_at = found.first_at or at
        stream, pos = entry["stream"], entry["pos"]
        known = streams.get(stream)
        if known is None:
            streams[stream] = (pos, pos)
        else:
            if pos != known[1] + 1 and not found.first_shift:
                found.damage.append(_position(row.seq, stream, pos, known[1] + 1))
            streams[stream] = (known[0], pos)
        prev = leaf.hex()
    found.leaves = b"".join(leaves)
    found.last_leaf, found.last_at = leaves[-1] if leaves else b"", at
    return found


def _parse(row: StoredEntry, leaf: bytes, found: Stretch) -> Entry | None:
    """The entry of a row; None, with the damage noted, where its bytes are not what was recorded."""
    if leaf != row.leaf:
        found.damage.append(Damage("entry_modified", row.seq, f"leaf hash is {leaf.hex()}, stored is {_hex(row.leaf)}"))
        return None
    try:
        entry = parse_entry(row.raw)
    except (Malformed, UnsupportedFormat) as error:
        found.damage.append(Damage("non_canonical", row.seq, str(error)))
        return None
    if (entry["stream"], entry["pos"], entry["type"]) != (row.stream, row.pos, row.type_name):
        found.damage.append(
            Damage(
                "entry_modified",
                row.seq,
                f"columns say {row.stream!r} {row.pos!r} {row.type_name!r}, "
                f"the entry {entry['stream']!r} {entry['pos']} {entry['type']!r}",
            )
        )
    return entry


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else f"{value!r:.80}"


def _position(seq: int, stream: str, found: int, expected: int) -> Damage:
    return Damage("order_broken", seq, f"stream {stream}: position {found}, expected {expected}")


class Joiner:
    """Joins stretches in order: seams, tree, tiles, and the root at each size that somebody asks for."""

    def __init__(self, wanted_sizes: Iterable[int]) -> None:
        self.size = 0
        self.damage: list[Damage] = []
        self.roots: dict[int, bytes] = {}
        self.tile_roots: dict[int, list[bytes]] = {}
        self.tile_digests: dict[int, list[bytes]] = {}
        self.last_leaf = NO_ENTRY
        self.last_at = ""
        self._wanted = sorted({size for size in wanted_sizes if size >= 0}, reverse=True)
        self._frontier = Frontier()
        self._rest: list[bytes] = []
        self._next_pos: dict[str, int] = {}
        self._first_shift: tuple[int, int] | None = None
        self._shifts: set[bool] = set()
        self._take_roots(Frontier())

    def join(self, stretch: Stretch) -> None:
        """Add the next stretch. Its start is a multiple of 256, as all but the last stop are."""
        self.damage += stretch.damage
        if stretch.first_prev is not None and stretch.first_prev != self.last_leaf.hex():
            self.damage.append(
                Damage(
                    "entry_modified",
                    max(stretch.start - 1, 0),
                    f"leaf hash is {self.last_leaf.hex()}, but entry {stretch.start} was chained onto "
                    f"{stretch.first_prev}",
                )
            )
        if stretch.first_at and stretch.first_at < self.last_at:
            self.damage.append(
                Damage("order_broken", stretch.start, f"time {stretch.first_at} is before {self.last_at}")
            )
        if stretch.first_shift is not None:
            self._first_shift = self._first_shift or stretch.first_shift
        self._join_streams(stretch)
        self._shifts |= stretch.shifts
        self.last_at = stretch.last_at or self.last_at
        self.last_leaf = stretch.last_leaf or self.last_leaf
        self._grow(stretch.leaves)

    def finish(self) -> Frontier:
        """Close the tree over all that was joined; say what shifted rows mean. Returns its frontier."""
        for leaf in self._rest:
            self._frontier.append(leaf)
            self._take_roots(self._frontier)
        self._rest = []
        if self._first_shift is not None:
            seq, says = self._first_shift
            kind = "order_broken"
            if len(self._shifts) == 1:  # rows that closed up all hold later entries, rows that made room earlier ones
                kind = "entry_missing" if True in self._shifts else "entry_inserted"
            self.damage.append(Damage(kind, seq, f"row {seq} holds the entry that says it is entry {says}"))
        return self._frontier

    def _join_streams(self, stretch: Stretch) -> None:
        next_pos = self._next_pos
        for stream, (first, last) in stretch.streams.items():
            expected = next_pos.get(stream, 0)
            if first != expected and not self._first_shift:
                self.damage.append(_position(stretch.start, stream, first, expected))
            next_pos[stream] = last + 1

    def _grow(self, leaves: bytes) -> None:
        hashes = b"".join(self._rest) + leaves
        width = 32 * TILE_WIDTH
        full = len(hashes) // width * width
        for at in range(0, full, width):
            tile = hashes[at : at + width]
            if self._wanted and self._wanted[-1] < self._frontier.size + TILE_WIDTH:
                inside = self._frontier.copy()
                for leaf in range(0, width - 32, 32):
                    inside.append(tile[leaf : leaf + 32])
                    self._take_roots(inside)
            self._add_tile(0, tile)
        self._rest = [hashes[at : at + 32] for at in range(full, len(hashes), 32)]
        self.size = self._frontier.size + len(self._rest)

    def _add_tile(self, level: int, hashes: bytes) -> None:
        root = fold_perfect(hashes)
        if level == 0:
            self._frontier.append_subtree(TILE_HEIGHT, root)
            self._take_roots(self._frontier)
        self.tile_digests.setdefault(level, []).append(sha256(hashes).digest())
        above = self.tile_roots.setdefault(level, [])
        above.append(root)
        if len(above) % TILE_WIDTH == 0:
            self._add_tile(level + 1, b"".join(above[-TILE_WIDTH:]))

    def _take_roots(self, frontier: Frontier) -> None:
        while self._wanted and self._wanted[-1] <= frontier.size:
            size = self._wanted.pop()
            if size == frontier.size:
                self.roots[size] = frontier.root()
