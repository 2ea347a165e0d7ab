"""However pending entries are cut into batches, the log is the same, and it is what a slow reference says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affidavit.ledger.entries.chain import Batch, ChainedEntry, Head, Tile, chain_batch
from affidavit.ledger.entries.entry import NO_ENTRY, parse_entry, print_entry
from affidavit.ledger.entries.mapper import PendingEntry
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.tree import Frontier, fold_perfect
from affidavit.tests.trees import root_of

AT = "2026-11-22T10:00:00.000000Z"
MOST = 1100


class Log:
    """A store in memory that holds what each batch says."""

    def __init__(self) -> None:
        self.head = Head.empty()
        self.entries: list[ChainedEntry] = []
        self.tiles: list[Tile] = []

    def add(self, count: int) -> Batch:
        pending = [_pending(self.head.size + n) for n in range(count)]
        batch = chain_batch(self.head, AT, pending, self._loose)
        self.head = batch.head
        self.entries += batch.entries
        self.tiles += batch.tiles
        return batch

    def _loose(self, level: int) -> bytes:
        if level == 0:
            hashes = [entry.leaf for entry in self.entries]
        else:
            hashes = [tile.root for tile in self.tiles if tile.level == level - 1]
        return b"".join(hashes[len(hashes) // 256 * 256 :])


@cache
def reference() -> tuple[list[bytes], list[bytes]]:
    """Entries and leaf hashes, one after another, with nothing clever."""
    raws: list[bytes] = []
    leaves: list[bytes] = []
    for seq in range(MOST):
        prev = leaves[-1] if leaves else NO_ENTRY
        waiting = _pending(seq)
        raws.append(print_entry(seq, prev, AT, "test/1", seq, waiting.topic, waiting.state))
        leaves.append(leaf_hash(raws[-1]))
    return raws, leaves


def check(log: Log) -> None:
    raws, leaves = reference()
    size = log.head.size
    assert [entry.raw for entry in log.entries] == raws[:size]
    assert [entry.leaf for entry in log.entries] == leaves[:size]
    assert log.head.leaf == (leaves[size - 1] if size else NO_ENTRY)
    assert log.head.root() == root_of(leaves[:size])
    assert log.head.frontier == _frontier(size)
    assert sorted(log.tiles, key=lambda tile: (tile.level, tile.n)) == list(_tiles(size))


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64, 100, 255, 256, 257, 300, 511, 512, 513, 1000, 1100])
def test_batches_of_one_size_make_the_same_log(cut: int) -> None:
    log = Log()
    while log.head.size < MOST:
        log.add(min(cut, MOST - log.head.size))
        if cut > 60:
            check(log)
    check(log)


@pytest.mark.parametrize("first", [0, 1, 254, 255, 256, 257, 511, 512])
@pytest.mark.parametrize("second", [0, 1, 2, 255, 256, 257, 512, 588])
def test_two_batches_meet_at_every_kind_of_edge(first: int, second: int) -> None:
    log = Log()
    log.add(first)
    log.add(second)
    check(log)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=8))
def test_any_cutting_makes_the_same_log(cuts: list[int]) -> None:
    log = Log()
    for cut in cuts:
        log.add(min(cut, MOST - log.head.size))
    check(log)


def test_an_empty_batch_changes_nothing() -> None:
    log = Log()
    log.add(300)
    before = log.head
    batch = log.add(0)
    assert (batch.entries, batch.tiles, batch.head) == ([], [], before)


def test_the_tile_that_closes_65536_entries_carries_the_level_above() -> None:
    """Batches that end just before, at and after the first full tile of level 1."""
    leaves = [leaf_hash(b"%d" % n) for n in range(256)]
    root = fold_perfect(b"".join(leaves))
    size = 65_536 - 256
    frontier = Frontier()
    for _ in range(255):
        frontier.append_subtree(8, root)
    head = Head(size, NO_ENTRY, AT, frontier.pack(), held=False)
    batch = chain_batch(head, AT, [_pending(n) for n in range(300)], lambda level: root * 255 if level == 1 else b"")
    assert [(tile.level, tile.n) for tile in batch.tiles] == [(0, 255), (1, 0)]
    assert batch.tiles[1].hashes == root * 255 + batch.tiles[0].root
    expected = Frontier.unpack(size, head.frontier)
    for entry in batch.entries:
        expected.append(entry.leaf)
    assert batch.head.frontier == expected.pack()
    assert batch.tiles[1].root == expected.hashes[0]


def test_every_entry_parses_and_names_its_place() -> None:
    log = Log()
    log.add(3)
    parsed = [parse_entry(entry.raw) for entry in log.entries]
    assert [(entry["seq"], entry["pos"]) for entry in parsed] == [(0, 0), (1, 1), (2, 2)]
    assert [entry["prev"] for entry in parsed] == ["00" * 32, *(entry.leaf.hex() for entry in log.entries[:2])]


def _pending(seq: int) -> PendingEntry:
    return PendingEntry("test/1", seq, "test.noted.v1", b'"meta":{},"data":{"n":%d},"sealed":{}}' % seq, "test/1", ())


@cache
def _frontier(size: int) -> bytes:
    frontier = Frontier()
    for leaf in reference()[1][:size]:
        frontier.append(leaf)
    return frontier.pack()


def _tiles(size: int) -> Iterator[Tile]:
    leaves = reference()[1]
    for n in range(size // 256):
        part = leaves[n * 256 : (n + 1) * 256]
        yield Tile(0, n, root_of(part), b"".join(part))
