"""Which rows train, validate and test; which of the training rows an iteration scores; when to stop early.

A row is its position in the data set. The same numbers give the same rows on every machine with the same
``random`` module; ``shuffle`` and ``sample`` may change between versions of Python, so a run records its positions.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Refused
from .dataset import DataRow


@dataclass(frozen=True, slots=True)
class SplitIndices:
    """Positions of the rows that train, validate and test. ``train`` and ``test`` are never empty.

    With ``held_out`` the three share no row. Without it nothing was held out: ``train`` and ``test`` are both the
    whole set and ``val`` is empty.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    held_out: bool


def split_indices(n: int, train_ratio: float, val_ratio: float, seed: int = 42) -> SplitIndices:
    """Divide ``n`` rows: ``train_ratio`` is the share of training and validation together, ``val_ratio`` of the latter.

    A ``train_ratio`` outside (0, 1), or a single row, holds nothing out. Shares round half to even; every part
    that is asked for gets a row while there are three, and of two rows none validates. Three parts are in shuffled
    order, two in the order of the data set. ``Refused`` (``split``) without rows, and for ratios without meaning.
    """
    if n < 1:
        raise Refused("split", f"split: expected at least one row, found {n}")
    if not (math.isfinite(train_ratio) and math.isfinite(val_ratio) and val_ratio >= 0):
        raise Refused("split", f"split: expected ratios of rows, found train {train_ratio}, val {val_ratio}")
    if n == 1 or not 0 < train_ratio < 1:
        everything = tuple(range(n))
        return SplitIndices(everything, (), everything, held_out=False)
    if val_ratio >= train_ratio:
        raise Refused("split", f"split: expected val_ratio below train_ratio {train_ratio}, found {val_ratio}")
    order = list(range(n))
    random.Random(seed).shuffle(order)
    if val_ratio == 0 or n < 3:
        train = min(n - 1, max(1, round(n * train_ratio)))
        return SplitIndices(tuple(sorted(order[:train])), (), tuple(sorted(order[train:])), held_out=True)
    test = max(1, n - round(n * train_ratio))
    val = max(1, round(n * val_ratio))
    train = max(1, n - test - val)
    val = min(val, n - train - 1)
    return SplitIndices(
        tuple(order[:train]), tuple(order[train : train + val]), tuple(order[train + val :]), held_out=True
    )


def split_rows(rows: Sequence[DataRow], train_ratio: float, val_ratio: float, seed: int = 42) -> SplitIndices:
    """``split_indices`` for these rows, with rows that ask the same kept together, so that no part shows another's.

    Without such rows it is ``split_indices(len(rows), …)``; with them the shares are of different conversations.
    """
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(json.dumps(row.messages), []).append(place)
    alike = list(groups.values())
    parts = split_indices(len(alike), train_ratio, val_ratio, seed)

    def places(part: Sequence[int]) -> tuple[int, ...]:
        return tuple(place for group in part for place in alike[group])

    return SplitIndices(places(parts.train), places(parts.val), places(parts.test), parts.held_out)


def batch_indices(train: Sequence[int], batch_size: int, batch_seed: int, iteration0: int) -> tuple[int, ...]:
    """The training rows that an iteration scores, in the order of ``train``; all of them for a ``batch_size`` of 0.

    ``iteration0`` is the run's own count from 0, over all phases, so that no phase repeats another's batches.
    """
    if not 0 < batch_size < len(train):
        return tuple(train)
    drawn = random.Random(batch_seed + iteration0).sample(range(len(train)), batch_size)
    return tuple(train[place] for place in sorted(drawn))


def is_full_evaluation(iteration: int, full_eval_steps: int) -> bool:
    """Whether an iteration, counted from 1, scores all training rows in spite of batches; never for 0 steps."""
    return full_eval_steps > 0 and iteration % full_eval_steps == 0


def should_stop(val_history: Sequence[float], patience: int) -> bool:
    """Whether the newest ``patience`` validation scores all lie below the best before them.

    Reaching the best again renews it. A patience of 0 never stops.
    """
    if patience <= 0 or not val_history:
        return False
    best = max(val_history)
    return list(reversed(val_history)).index(best) >= patience
