"""A proof drawn: every hash is there, on its side, at its height, whatever the size of the tree."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest

from affidavit.api.pages.charts.merkle import ROW, draw_path, entries
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.route import trace_path

SVG = "{http://www.w3.org/2000/svg}"
HASHES = [leaf_hash(str(n).encode()) for n in range(21)]


def _drawn(index: int, size: int, length: int) -> ElementTree.Element:
    steps = trace_path(index, size, HASHES[-1], HASHES[:length])
    return ElementTree.fromstring(draw_path(index, size, HASHES[-1], steps))


def _boxes(drawn: ElementTree.Element, kind: str) -> list[tuple[float, float, str]]:
    """(left, top, what it says) of each box of a kind."""
    found = []
    for group in drawn.iter(f"{SVG}g"):
        if group.get("class") == kind:
            box, title = group.find(f"{SVG}rect"), group.find(f"{SVG}title")
            assert box is not None
            assert title is not None
            found.append((float(box.get("x", "")), float(box.get("y", "")), str(title.text)))
    return found


def test_a_tree_of_a_million_has_twenty_steps_each_with_its_hash() -> None:
    drawn = _drawn(777_777, 1_000_000, 20)
    given = _boxes(drawn, "merkle-given")
    assert [told.partition(": ")[2] for _, _, told in given] == [each.hex() for each in HASHES[:20]]
    assert all(lower[1] - upper[1] == pytest.approx(ROW) for lower, upper in itertools.pairwise(given))
    assert _boxes(drawn, "merkle-leaf")[0][2] == f"entry 777,777: {HASHES[-1].hex()}"
    assert _boxes(drawn, "merkle-root")[0][2].startswith("root of 1,000,000 entries: ")
    assert len(_boxes(drawn, "merkle-made")) == 19


def test_a_hash_stands_on_the_side_on_which_it_is_joined() -> None:
    right, left = (_boxes(_drawn(index, 2, 1), "merkle-given")[0] for index in (0, 1))
    centre = _boxes(_drawn(0, 2, 1), "merkle-leaf")[0][0]
    assert left[0] < centre < right[0]
    assert (left[2].partition(":")[0], right[2].partition(":")[0]) == ("entry 0", "entry 1")


def test_the_only_entry_is_its_own_root() -> None:
    drawn = _drawn(0, 1, 0)
    assert [told for _, _, told in _boxes(drawn, "merkle-root")] == [f"entry 0: {HASHES[-1].hex()}"]
    assert drawn.get("aria-label")


def test_a_stretch_of_entries_is_told_with_both_its_ends() -> None:
    assert (entries(5, 6), entries(1024, 2048)) == ("entry 5", "entries 1,024 to 2,047")
