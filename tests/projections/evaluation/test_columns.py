"""Rows by column behave as the structured array that they are read from."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from affidavit.projections.evaluation.columns import Columns

ROWS = np.array([(n, n % 3) for n in range(12)], dtype=[("at", "i8"), ("kind", "i4")])


@given(
    st.lists(
        st.one_of(st.lists(st.booleans(), min_size=12, max_size=12), st.tuples(st.integers(0, 12), st.integers(0, 12)))
    )
)
def test_choices_of_choices_are_those_of_the_array(choices: list[list[bool] | tuple[int, int]]) -> None:
    columns, rows = Columns(ROWS), ROWS
    for choice in choices:
        key = slice(*choice) if isinstance(choice, tuple) else np.array(choice[: len(rows)], dtype=np.bool_)
        if not isinstance(key, slice) and len(key) < len(rows):
            key = np.append(key, np.zeros(len(rows) - len(key), dtype=np.bool_))
        columns, rows = columns[key], rows[key]
    assert len(columns) == len(rows)
    for name in ("at", "kind"):
        assert columns[name].tolist() == rows[name].tolist()
    assert [(row["at"], row["kind"]) for row in columns] == [(row["at"], row["kind"]) for row in rows]


def test_indices_keep_their_order_and_a_replaced_column_is_that_of_its_choice_only() -> None:
    columns = Columns(ROWS)
    other = columns.replacing("kind", np.arange(100, 112))
    assert other[np.array([3, 1])]["kind"].tolist() == [103, 101]
    assert columns["kind"].tolist() == ROWS["kind"].tolist()
    assert other["at"].tolist() == ROWS["at"].tolist()
