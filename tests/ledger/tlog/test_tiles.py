"""Tiles: which hashes make up a node, and what tiles are called."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed
from affidavit.ledger.tlog.hashing import HASH_SIZE, leaf_hash
from affidavit.ledger.tlog.proof import verify_consistency, verify_inclusion
from affidavit.ledger.tlog.tiles import (
    TILE_WIDTH,
    TileLevel,
    node_from_tiles,
    parse_tile_path,
    tile_nodes,
    tile_path,
)
from affidavit.ledger.tlog.tree import fold_perfect, prove_consistency, prove_inclusion
from affidavit.tests.trees import root_of

SIZE = 70_000


@cache
def level_hashes(tile_level: int) -> bytes:
    """All hashes of one tile level of the tree of 70,000 leaves "0", "1", ..."""
    if tile_level == 0:
        return b"".join(leaf_hash(str(index).encode()) for index in range(SIZE))
    below = level_hashes(tile_level - 1)
    width = TILE_WIDTH * HASH_SIZE
    return b"".join(fold_perfect(below[at : at + width]) for at in range(0, len(below) - width + 1, width))


def read_hashes(tile_level: int, first: int, count: int) -> bytes:
    return level_hashes(tile_level)[first * HASH_SIZE : (first + count) * HASH_SIZE]


def leaves(start: int, end: int) -> list[bytes]:
    return [read_hashes(0, index, 1) for index in range(start, end)]


def test_tiles_are_those_of_the_worked_example() -> None:
    assert sha256(read_hashes(0, 0, 256)).hexdigest() == (
        "b9704a8bfbee2c61185ceb38904a49f3f703c81e194b5b2ccdc254c2bdaaa62b"
    )
    assert node_from_tiles(8, 0, 300, read_hashes).hex() == (
        "828515d033c19d8c901f37eccb8aed919667703486f8d2fff1cf7040321c5db1"
    )


def test_any_node_is_the_root_over_its_leaves() -> None:
    for level in range(17):
        index = (SIZE >> level) - 1  # the last that is perfect
        assert node_from_tiles(level, index, SIZE, read_hashes) == root_of(leaves(index << level, (index + 1) << level))


def test_a_node_reads_one_run_of_one_tile() -> None:
    asked: list[tuple[int, int, int]] = []

    def read(tile_level: int, first: int, count: int) -> bytes:
        asked.append((tile_level, first, count))
        return bytes(count * HASH_SIZE)

    node_from_tiles(0, 1000, 2**40, read)
    node_from_tiles(7, 3, 2**40, read)
    node_from_tiles(8, 3, 2**40, read)
    node_from_tiles(20, 3, 2**40, read)
    assert asked == [(0, 1000, 1), (0, 384, 128), (1, 3, 1), (2, 48, 16)]


@pytest.mark.parametrize(("level", "index"), [(0, 300), (0, -1), (3, 37), (8, 1), (9, 0)])
def test_there_is_no_node_over_leaves_outside_the_tree(level: int, index: int) -> None:
    with pytest.raises(ValueError, match="not a perfect subtree in size 300"):
        node_from_tiles(level, index, 300, read_hashes)


def test_a_reader_that_returns_too_little_is_found() -> None:
    with pytest.raises(Malformed, match="expected 4 hashes of 32 bytes from 8 on, found 96 bytes"):
        node_from_tiles(2, 2, 300, lambda *_: bytes(96))
    with pytest.raises(Malformed, match="found 0 bytes"):
        tile_nodes(300, lambda *_: b"")(0, 0)


@given(st.data())
def test_proofs_read_from_tiles_verify(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 5000), label="size")
    index = data.draw(st.integers(0, size - 1), label="index")
    old = data.draw(st.integers(1, size), label="old")
    root = root_of(leaves(0, size))
    node = tile_nodes(size, read_hashes)
    verify_inclusion(index, size, read_hashes(0, index, 1), prove_inclusion(index, size, node), root)
    verify_consistency(old, size, prove_consistency(old, size, node), root_of(leaves(0, old)), root)


def test_a_proof_among_a_million_reads_three_tiles_each_once() -> None:
    asked: list[tuple[int, int, int]] = []

    def read(tile_level: int, first: int, count: int) -> bytes:
        asked.append((tile_level, first, count))
        return bytes(count * HASH_SIZE)

    prove_inclusion(123_456, 2**20, tile_nodes(2**20, read))
    assert sorted(asked) == [(0, 123_392, 256), (1, 256, 256), (2, 0, 16)]


def test_no_proof_reads_past_the_hashes_that_a_level_has() -> None:
    for size in (1, 255, 256, 257, 300, 65_535, 65_536, 65_537, 66_000):

        def read(tile_level: int, first: int, count: int, size: int = size) -> bytes:
            assert 0 < count <= TILE_WIDTH
            assert first + count <= size >> 8 * tile_level
            return bytes(count * HASH_SIZE)

        for index in {0, size // 2, size - 1}:
            prove_inclusion(index, size, tile_nodes(size, read))


@pytest.mark.parametrize(
    ("path", "level", "n", "width"),
    [
        ("tile/0/272", 0, 272, 256),
        ("tile/0/273.p/112", 0, 273, 112),
        ("tile/1/000", 1, 0, 256),
        ("tile/1/001.p/17", 1, 1, 17),
        ("tile/2/000.p/1", 2, 0, 1),
        ("tile/63/999.p/255", 63, 999, 255),
        ("tile/entries/273.p/112", "entries", 273, 112),
        ("tile/entries/x001/000", "entries", 1000, 256),
        ("tile/0/x001/x234/067", 0, 1234067, 256),
        ("tile/0/x009/x223/x372/x036/x854/x775/807", 0, 2**63 - 1, 256),
    ],
)
def test_tiles_have_the_names_of_the_spec(path: str, level: TileLevel, n: int, width: int) -> None:
    assert tile_path(level, n, width) == path
    assert parse_tile_path(path) == (level, n, width)


@given(
    st.just("entries") | st.integers(0, 63),
    st.integers(0, 10**9) | st.integers(0, 2**63 - 1),
    st.integers(1, 256),
)
def test_any_name_is_parsed_as_it_was_printed(level: TileLevel, n: int, width: int) -> None:
    assert parse_tile_path(tile_path(level, n, width)) == (level, n, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/1/",
        "tile/0/x000/001",
        "tile/0/٠٠٠",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/x009/x223/x372/x036/x854/x775/808",
        "tile/0/x001/x009/x223/x372/x036/x854/x775/807",
    ],
)
def test_any_other_name_is_malformed(path: str) -> None:
    with pytest.raises(Malformed, match="tile path"):
        parse_tile_path(path)


@pytest.mark.parametrize(
    ("level", "n", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 2**63, 1), (0, 0, 0), (0, 0, 257)]
)
def test_there_is_no_name_for_a_tile_that_cannot_be(level: int, n: int, width: int) -> None:
    with pytest.raises(ValueError, match="there is no tile"):
        tile_path(level, n, width)


def test_names_are_those_of_c2sp(vectors: Path) -> None:
    known = json.loads((vectors / "tile_paths.json").read_text())
    for row in known["c2sp"]:
        assert tile_path(0, row["n"]) == f"tile/0/{row['path']}"
        assert parse_tile_path(f"tile/entries/{row['path']}") == ("entries", row["n"], 256)
    for path in known["reject"]:
        with pytest.raises(Malformed):
            parse_tile_path(path)
