"""Evaluations are compared over the samples that both have scores for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.optimization.conversation import Scored
from affidavit.domain.optimization.events import Sample, mean_score
from affidavit.domain.optimization.strategies.comparing import gain, is_clearly_lower, shared_means, uses_batches

from .driving import make_study, rows

Scores = list[float | None]


def scored(*scores: float | None) -> Scored:
    samples = tuple(
        Sample(id=f"r{number}", input="i", response="o", score=score, failed=score is None)
        for number, score in enumerate(scores)
    )
    return Scored(0, "p", mean_score(samples), samples)


@pytest.mark.parametrize(
    ("newer", "older", "means"),
    [
        ((0.5, 0.7), (0.25, 0.25), (0.6, 0.25)),
        ((None, 0.5), (0.9, 0.25), (0.5, 0.25)),
        ((0.5,), (0.25, 1.0), (0.5, 0.25)),
        ((None, 0.5), (0.5, None), None),
        ((), (), None),
    ],
)
def test_only_shared_samples_count(newer: Scores, older: Scores, means: tuple[float, float] | None) -> None:
    assert shared_means(scored(*newer), scored(*older)) == means
    assert gain(scored(*newer), scored(*older)) == (None if means is None else means[0] - means[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_without_failures_the_means_are_the_scores(scores: list[float]) -> None:
    newer, older = scored(*scores), scored(*reversed(scores))
    assert shared_means(newer, older) == (newer.score, older.score)
    assert gain(newer, older) == 0.0


@pytest.mark.parametrize(
    ("newer", "older", "lower"),
    [
        ((0.4, 0.4, 0.4), (0.5, 0.5, 0.5), True),
        ((0.496, 0.496), (0.5, 0.5), False),
        ((0.0, 1.0, 0.0), (0.5, 0.5, 0.5), False),
        ((0.1, 0.3, 0.1), (0.5, 0.5, 0.5), True),
        ((0.0,), (1.0,), False),
        ((0.0, None), (1.0, 1.0), False),
        ((0.6, 0.6), (0.5, 0.5), False),
    ],
    ids=["even", "no effect", "noise", "spread but clear", "one sample", "one shared", "higher"],
)
def test_a_clear_loss_is_beyond_one_standard_error(newer: Scores, older: Scores, lower: bool) -> None:
    assert is_clearly_lower(scored(*newer), scored(*older)) is lower


@pytest.mark.parametrize(("size", "batches"), [(0, False), (1, True), (3, True), (4, False), (9, False)])
def test_a_batch_is_less_than_all_rows(size: int, batches: bool) -> None:
    assert uses_batches(make_study(rows(4), strategy="iterative", batch_size=size)) is batches
