"""The log's own bytes: every entry read and hashed again, and compared with what the store keeps beside it.

Entries are checked in stretches (``workers``); then tiles, head and the storage itself.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from ..store.reader import LedgerReader
from .stretches import Damage, Joiner
from .verdict import Verdict


def check_extent(reader: LedgerReader, verdict: Verdict) -> int:
    """How many entries stand without a gap from 0; what is outside of that, or of the head, is damage."""
    low, high, count = reader.extent()
    size = high + 1
    if low < 0:
        verdict.damage.append(Damage("entry_inserted", low, f"an entry stands at {low}, before entry 0"))
    if low < 0 or count != size:
        size = reader.first_gap()
        verdict.damage.append(Damage("entry_missing", size, f"{count} entries are there, the last is {high}"))
        return size
    head = reader.head()
    if head.size > size:
        verdict.damage.append(Damage("entry_missing", size, f"the head says {head.size} entries, {size} are there"))
    elif head.size < size:
        verdict.damage.append(
            Damage("entry_inserted", head.size, f"the head says {head.size} entries, {size} are there")
        )
    return size


def check_derived(reader: LedgerReader, verdict: Verdict, joiner: Joiner) -> None:
    """Compare what the store keeps beside the entries with what the entries give: tiles and head."""
    frontier = joiner.finish()
    verdict.damage += joiner.damage
    verdict.size, verdict.root = frontier.size, frontier.root()
    verdict.checked += ["grammar", "chain", "tree"]
    expected = {
        (level, n): tile
        for level, roots in joiner.tile_roots.items()
        for n, tile in enumerate(zip(roots, joiner.tile_digests[level], strict=True))
    }
    for level, n, root, hashes in reader.tiles():
        # A digest of the tile's bytes says what folding them again would, in a hundredth of the time.
        found = expected.pop((level, n), None)
        if type(hashes) is not bytes or (root, sha256(hashes).digest()) != found:
            verdict.damage.append(
                Damage("tile_mismatch", _first_entry(level, n), f"tile {level!r}/{n!r} is not what the entries give")
            )
    for level, n in expected:
        verdict.damage.append(Damage("tile_mismatch", _first_entry(level, n), f"tile {level}/{n} is not there"))
    verdict.checked.append("tiles")
    head = reader.head()
    derived = (joiner.last_leaf, joiner.last_at, frontier.pack())
    verdict.head_size = head.size
    if head.held and reader.clock_finding_at() != head.at and not verdict.is_damaged:
        verdict.damage.append(
            Damage("head_mismatch", max(verdict.size - 1, 0), "the head holds its time, and no finding says why")
        )
    if (head.leaf, head.at, head.frontier) != derived and not verdict.is_damaged:
        verdict.damage.append(
            Damage(
                "head_mismatch",
                max(verdict.size - 1, 0),
                "the head's leaf, time or frontier is not what the entries give",
            )
        )


def _first_entry(level: object, n: object) -> int | None:
    """The first entry that a tile covers, if there can be such a tile."""
    if type(level) is int and type(n) is int and 0 <= level < 8 and 0 <= n < 2**62 >> 8 * (level + 1):
        return n << 8 * (level + 1)
    return None


def check_storage(problems: Callable[[], list[str]], verdict: Verdict) -> None:
    """The tables are a ledger's, and the database finds nothing wrong with them: readers go by both."""
    verdict.damage += [Damage("storage_damaged", None, problem) for problem in problems()]
    verdict.checked.append("storage")
