"""Samples beside the same ones under another prompt."""

from __future__ import annotations

from typing import Any

from affidavit.domain.event import Withheld
from affidavit.domain.optimization.events import PromptEvaluated, Sample
from affidavit.projections.runs.record import RunRecord
from affidavit.projections.runs.sample_pairs import counterpart, metric_rows, ordered, pair_samples


def _scored(scores: dict[str, float | None], number: int = 0, **more: Any) -> PromptEvaluated:
    samples = tuple(
        Sample(id=name, input=f"in {name}", response="out", score=score, failed=score is None)
        for name, score in scores.items()
    )
    return PromptEvaluated(evaluation=number, prompt=number, purpose="train", samples=samples, **more)


BEFORE = _scored({"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5})
AFTER = _scored({"b": 0.75, "a": 0.25, "c": 0.5, "d": None, "e": 1.0}, 1)


def test_every_sample_says_what_became_of_it_in_order_of_recording() -> None:
    pairs = pair_samples(BEFORE, AFTER)
    assert [(pair.id, pair.outcome, pair.delta) for pair in pairs] == [
        ("b", "better", 0.25),
        ("a", "worse", -0.25),
        ("c", "same", 0.0),
        ("d", "failed", None),
        ("e", "alone", None),
    ]


def test_they_are_ordered_by_loss_by_gain_and_by_score_and_those_without_come_last() -> None:
    pairs = pair_samples(BEFORE, AFTER)
    assert [pair.id for pair in ordered(pairs, "losses")] == ["a", "c", "b", "d", "e"]
    assert [pair.id for pair in ordered(pairs, "gains")] == ["b", "c", "a", "d", "e"]
    assert [pair.id for pair in ordered(pairs, "lowest")] == ["a", "c", "b", "e", "d"]
    assert ordered(pairs, "recorded") == pairs


def test_a_sample_that_was_answered_several_times_is_one_pair_with_the_mean() -> None:
    twice = PromptEvaluated(
        evaluation=1,
        prompt=1,
        purpose="final",
        passes=2,
        samples=tuple(Sample(id="a", input="in", response=f"{score}", score=score) for score in (0.5, 1.0)),
    )
    (pair,) = pair_samples(None, twice)
    assert (pair.new, len(pair.after), pair.outcome) == (0.75, 2, "alone")


def test_closed_samples_are_no_samples() -> None:
    closed = PromptEvaluated(evaluation=1, prompt=1, purpose="train", samples=Withheld("digest"))
    assert pair_samples(BEFORE, closed) == []


def test_metrics_stand_before_and_after_by_name() -> None:
    before = BEFORE.model_copy(update={"scores_by_metric": {"rouge": 0.25, "old": 0.5}})
    after = AFTER.model_copy(update={"scores_by_metric": {"rouge": 0.5, "judge": 1.0}})
    assert metric_rows(before, after) == [("judge", None, 1.0), ("old", 0.5, None), ("rouge", 0.25, 0.5)]
    assert metric_rows(None, after) == [("judge", None, 1.0), ("rouge", None, 0.5)]


def test_an_evaluation_is_set_beside_one_of_the_same_kind_of_samples_only(run: RunRecord) -> None:
    baseline, first, second = run.baseline, run.iterations[0], run.iterations[1]
    assert baseline is not None
    final = baseline.model_copy(update={"evaluation": 6, "prompt": 1, "purpose": "final"})
    assert counterpart(run, final, 0, None) is baseline
    assert counterpart(run, second.train, first.train.prompt, None) is first.train
    assert counterpart(run, final, 99, None) is None


def test_evaluations_that_share_no_sample_are_not_set_beside_each_other(run: RunRecord) -> None:
    other = _scored({"nobody": 1.0}, len(run.evaluations))
    run.evaluations.append(other)
    assert counterpart(run, other, 0, None) is None
