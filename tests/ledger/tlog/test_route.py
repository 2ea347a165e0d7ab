"""The way of an inclusion proof: the steps lead to the root, and say which entries each hash stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.route import trace_path
from affidavit.ledger.tlog.tiles import tile_nodes
from affidavit.ledger.tlog.tree import Frontier, prove_inclusion

LEAVES = [leaf_hash(str(n).encode()) for n in range(300)]


def _root(first: int, stop: int) -> bytes:
    frontier = Frontier()
    for leaf in LEAVES[first:stop]:
        frontier.append(leaf)
    return frontier.root()


def _path(index: int, size: int) -> list[bytes]:
    def hashes(level: int, first: int, count: int) -> bytes:
        return b"".join(
            _root(n << 8 * level, (n + 1) << 8 * level) if level else LEAVES[n] for n in range(first, first + count)
        )

    return prove_inclusion(index, size, tile_nodes(size, hashes))


@given(st.data())
def test_each_step_is_the_root_over_the_entries_that_it_names(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    steps = trace_path(index, size, LEAVES[index], _path(index, size))
    below = (index, index + 1)
    for step in steps:
        assert step.sibling == _root(step.first, step.stop)
        assert step.node == _root(step.node_first, step.node_stop)
        parts = [(step.first, step.stop), below]
        (first, middle), (again, stop) = parts if step.is_left else reversed(parts)
        assert (first, middle, stop) == (step.node_first, again, step.node_stop)
        below = step.node_first, step.node_stop
    assert below == (0, size)


def test_a_tree_of_one_entry_has_no_steps() -> None:
    assert trace_path(0, 1, LEAVES[0], []) == []


@pytest.mark.parametrize(("index", "size", "length"), [(1, 1, 0), (-1, 4, 2), (0, 4, 1), (0, 4, 3)])
def test_what_is_no_path_of_this_tree_is_refused(index: int, size: int, length: int) -> None:
    with pytest.raises(ValueError, match=r"path: index|argument"):
        trace_path(index, size, LEAVES[0], LEAVES[:length])
