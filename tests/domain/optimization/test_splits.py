"""Splits hold rows out or say that they do not; batches and early stops follow the run's own count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.errors import Refused
from affidavit.domain.optimization.dataset import DataRow
from affidavit.domain.optimization.splits import (
    SplitIndices,
    batch_indices,
    is_full_evaluation,
    should_stop,
    split_indices,
    split_rows,
)

RATIOS = st.floats(0.01, 0.99)


@pytest.mark.parametrize(
    ("n", "train_ratio", "val_ratio", "train", "val", "test"),
    [
        (3, 0.65, 0.2, (1,), (0,), (2,)),
        (4, 0.9, 0.5, (2,), (1, 3), (0,)),
        (10, 0.65, 0.2, (7, 3, 2, 8), (5, 6), (9, 4, 0, 1)),  # 6.5 rounds to 6
        (10, 0.3, 0.29, (7,), (3, 2, 8), (5, 6, 9, 4, 0, 1)),  # more than there are: the test rows give way
        (2, 0.8, 0, (1,), (), (0,)),
        (3, 0.8, 0, (0, 1), (), (2,)),
        (10, 0.65, 0, (2, 3, 5, 6, 7, 8), (), (0, 1, 4, 9)),
    ],
)
def test_sound_splits_are_those_of_reflex(
    n: int, train_ratio: float, val_ratio: float, train: tuple[int, ...], val: tuple[int, ...], test: tuple[int, ...]
) -> None:
    assert split_indices(n, train_ratio, val_ratio) == SplitIndices(train, val, test, held_out=True)


def test_a_single_row_is_not_held_out_from_itself() -> None:
    """Reflex trains on nothing, or fails, with one row."""
    for val_ratio in (0, 0.2):
        assert split_indices(1, 0.65, val_ratio) == SplitIndices((0,), (), (0,), held_out=False)


def test_two_rows_train_and_test_and_none_validates() -> None:
    assert split_indices(2, 0.65, 0.2) == SplitIndices((1,), (), (0,), held_out=True)


@pytest.mark.parametrize(("n", "train_ratio", "val_ratio"), [(2, 0.9, 0), (3, 0.9, 0), (3, 0.9, 0.5)])
def test_rounding_never_empties_the_test_rows(n: int, train_ratio: float, val_ratio: float) -> None:
    assert len(split_indices(n, train_ratio, val_ratio).test) == 1


@pytest.mark.parametrize("train_ratio", [1.0, 0.0, -0.5, 1.5])
def test_a_ratio_outside_0_and_1_holds_nothing_out(train_ratio: float) -> None:
    everything = (0, 1, 2)
    assert split_indices(3, train_ratio, 0.2) == SplitIndices(everything, (), everything, held_out=False)


@pytest.mark.parametrize(
    ("n", "train_ratio", "val_ratio"),
    [
        (0, 0.65, 0.2),
        (10, 0.5, 0.5),
        (10, 0.5, 0.6),
        (10, 0.5, -0.1),
        (10, float("nan"), 0.1),
        (10, 0.5, float("nan")),
    ],
)
def test_what_has_no_meaning_is_refused(n: int, train_ratio: float, val_ratio: float) -> None:
    with pytest.raises(Refused, match="split: expected"):
        split_indices(n, train_ratio, val_ratio)


@given(st.integers(1, 60), RATIOS, st.floats(0, 0.99), st.integers(0, 1000))
def test_held_out_rows_are_shared_by_nobody_and_none_is_lost(
    n: int, train_ratio: float, val_ratio: float, seed: int
) -> None:
    if val_ratio >= train_ratio:
        val_ratio = train_ratio / 2
    found = split_indices(n, train_ratio, val_ratio, seed)
    assert found.train
    assert found.test
    if found.held_out:
        assert sorted(found.train + found.val + found.test) == list(range(n))
        assert bool(found.val) == (val_ratio > 0 and n > 2)
    else:
        assert n == 1


def test_another_seed_is_another_split() -> None:
    assert split_indices(100, 0.65, 0.2, seed=1) != split_indices(100, 0.65, 0.2)


def test_a_batch_is_drawn_from_the_training_rows_and_keeps_their_order() -> None:
    train = (30, 10, 20, 50, 40, 70, 60)
    assert batch_indices(train, 3, 42, 0) == (30, 70, 60)
    assert batch_indices(train, 3, 42, 1) == (30, 10, 20)
    assert batch_indices(train, 3, 41, 1) == batch_indices(train, 3, 42, 0)


@pytest.mark.parametrize("batch_size", [0, 5, 6])
def test_without_a_smaller_batch_all_training_rows_are_scored(batch_size: int) -> None:
    assert batch_indices((4, 2, 0, 1, 3), batch_size, 42, 7) == (4, 2, 0, 1, 3)


def test_full_evaluations_come_at_every_so_many_iterations() -> None:
    assert [iteration for iteration in range(1, 10) if is_full_evaluation(iteration, 3)] == [3, 6, 9]
    assert not is_full_evaluation(3, 0)


@pytest.mark.parametrize(
    ("history", "patience", "stops"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.4], 1, True),
        ([0.5, 0.4, 0.4], 3, False),
        ([0.5, 0.4, 0.4, 0.4], 3, True),
        ([0.5, 0.4, 0.4, 0.5], 3, False),
        ([0.5, 0.4, 0.5, 0.4, 0.4], 3, False),
        ([0.5, 0.4, 0.4, 0.6], 3, False),
        ([0.5, 0.4, 0.3], 0, False),
    ],
)
def test_a_run_stops_when_patience_ends_and_a_tie_renews_the_best(
    history: list[float], patience: int, stops: bool
) -> None:
    assert should_stop(history, patience) is stops


def row(number: int, said: str) -> DataRow:
    return DataRow(id=str(number), messages=({"role": "user", "content": said},))


def test_rows_that_ask_the_same_are_in_one_part() -> None:
    rows = [row(number, f"q{number % 10}") for number in range(20)]
    split = split_rows(rows, 0.6, 0.2)
    parts = [{rows[place].input for place in part} for part in (split.train, split.val, split.test)]

    assert sorted([*split.train, *split.val, *split.test]) == list(range(20))
    assert sum(map(len, parts)) == 10


@given(st.integers(1, 40), st.sampled_from([(0.65, 0.2), (0.5, 0.0), (1.0, 0.0), (0.9, 0.3)]))
def test_rows_that_all_ask_something_else_are_split_by_position(n: int, ratios: tuple[float, float]) -> None:
    assert split_rows([row(number, f"q{number}") for number in range(n)], *ratios) == split_indices(n, *ratios)
