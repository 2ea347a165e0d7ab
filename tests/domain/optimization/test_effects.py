"""Each effect stands beside the rewrite that caused it, or says why there is none."""

from __future__ import annotations

import math

import pytest

from affidavit.domain.event import Withheld
from affidavit.domain.optimization.effects import THRESHOLD, Effect, direction_of, effect_of
from affidavit.domain.optimization.events import PromptEvaluated, RewriteProposed, Sample


def rewrite(number: int, parent: int, prompt: int | None) -> RewriteProposed:
    return RewriteProposed(rewrite=number, parent=parent, prompt=prompt, rationale="r")


def samples(scores: dict[str, float | None]) -> tuple[Sample, ...]:
    return tuple(
        Sample(id=name, input="i", response="o", score=score, failed=score is None) for name, score in scores.items()
    )


def scored(evaluation: int, prompt: int, score: float | None = None, **more: object) -> PromptEvaluated:
    fields = {"evaluation": evaluation, "prompt": prompt, "purpose": "train", "score": score, **more}
    return PromptEvaluated.model_validate(fields)


def test_each_change_has_its_own_difference() -> None:
    """A rises by 0.1, B then falls by 0.2, C starts from A again and rises by 0.05."""
    evaluations = [scored(0, 0, 0.5), scored(1, 1, 0.6), scored(2, 2, 0.4), scored(3, 3, 0.65)]
    changes = [rewrite(0, 0, 1), rewrite(1, 1, 2), rewrite(2, 1, 3)]
    found = [effect_of(change, evaluations) for change in changes]
    assert [effect.measured_by for effect in found] == [1, 2, 3]
    assert [effect.delta for effect in found] == [0.6 - 0.5, 0.4 - 0.6, 0.65 - 0.6]
    assert [effect.direction for effect in found] == ["helped", "hurt", "helped"]


def test_the_parent_need_not_be_the_evaluation_just_before() -> None:
    evaluations = [scored(0, 0, 0.5), scored(1, 1, 0.9), scored(2, 2, 0.6)]
    assert effect_of(rewrite(1, 0, 2), evaluations).delta == 0.6 - 0.5


def test_the_first_comparable_evaluation_of_the_text_counts() -> None:
    evaluations = [scored(0, 0, 0.5), scored(1, 1, 0.9, purpose="val"), scored(2, 1, 0.6), scored(3, 1, 0.8)]
    assert effect_of(rewrite(0, 0, 1), evaluations).measured_by == 2


@pytest.mark.parametrize(
    ("delta", "direction"),
    [
        (THRESHOLD, "no effect"),
        (-THRESHOLD, "no effect"),
        (math.nextafter(THRESHOLD, 1), "helped"),
        (math.nextafter(-THRESHOLD, -1), "hurt"),
        (0.0, "no effect"),
        (0.705 - 0.700, "helped"),
        (0.700 - 0.705, "hurt"),
        (0.305 - 0.300, "helped"),
        (1.0, "helped"),
        (-1.0, "hurt"),
    ],
)
def test_the_threshold_itself_is_no_effect_and_nothing_is_rounded(delta: float, direction: str) -> None:
    assert direction_of(delta) == direction


def test_samples_are_paired_by_id_and_not_by_place() -> None:
    before = scored(0, 0, 0.5, samples=samples({"a": 0.0, "b": 1.0}))
    after = scored(1, 1, 0.5, samples=samples({"b": 1.0, "a": 0.5}))
    assert effect_of(rewrite(0, 0, 1), [before, after]) == Effect(0, "paired", 0.25, 2, 1)


def test_only_shared_samples_that_both_scored_count() -> None:
    before = scored(0, 0, 0.9, samples=samples({"a": 0.2, "b": 0.4, "c": None, "d": 1.0}))
    after = scored(1, 1, 0.1, samples=samples({"a": 0.4, "b": None, "c": 1.0, "e": 0.0}))
    assert effect_of(rewrite(0, 0, 1), [before, after]) == Effect(0, "paired", 0.4 - 0.2, 1, 1)


def test_batches_are_compared_over_what_they_share() -> None:
    before = scored(0, 0, sample_set="batch", samples=samples({"a": 0.0, "b": 0.0}))
    after = scored(1, 1, sample_set="batch", samples=samples({"b": 1.0, "c": 0.0}))
    assert effect_of(rewrite(0, 0, 1), [before, after]).delta == 1.0


def test_means_are_compared_where_samples_are_not_known() -> None:
    found = effect_of(rewrite(0, 0, 1), [scored(0, 0, 0.5, n=20), scored(1, 1, 0.75, n=20)])
    assert found == Effect(0, "means", 0.25, 20, 1)


def test_means_over_different_numbers_of_samples_name_no_number() -> None:
    assert effect_of(rewrite(0, 0, 1), [scored(0, 0, 0.5, n=20), scored(1, 1, 0.75, n=19)]).n is None


def test_closed_samples_leave_the_means() -> None:
    closed = Withheld("digest")
    found = effect_of(rewrite(0, 0, 1), [scored(0, 0, 0.5, samples=closed), scored(1, 1, 0.75, samples=closed)])
    assert found.basis == "means"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"sample_set": "batch"}, {"sample_set": "batch"}),
        ({}, {"sample_set": "batch"}),
        ({"sample_set": "unknown"}, {}),
        ({}, {"purpose": "val"}),
        ({"purpose": "val"}, {"purpose": "final"}),
        ({}, {"purpose": "baseline"}),
        ({"kind": "win_rate"}, {}),
        ({"scores_by_metric": {"exact": 0.5}}, {"scores_by_metric": {"judge": 0.5}}),
        ({"scores_by_metric": {"exact": 0.5}}, {"scores_by_metric": {"exact": 0.5, "judge": 0.5}}),
        ({"score": None}, {}),
        ({}, {"score": None}),
        ({"samples": samples({"a": 1.0})}, {"samples": samples({"b": 1.0})}),
        ({"samples": samples({"a": 1.0})}, {"samples": samples({"a": None})}),
    ],
)
def test_what_was_scored_otherwise_is_not_comparable(before: dict[str, object], after: dict[str, object]) -> None:
    evaluations = [scored(0, 0, **{"score": 0.5, **before}), scored(1, 1, **{"score": 0.9, **after})]  # type: ignore[arg-type]
    found = effect_of(rewrite(0, 0, 1), evaluations)
    assert found == Effect(0, "not_comparable")
    assert found.direction is None


def test_an_evaluation_that_names_no_metrics_used_those_of_its_run() -> None:
    evaluations = [scored(0, 0, 0.5, scores_by_metric={"exact": 0.5}), scored(1, 1, 0.6)]
    assert effect_of(rewrite(0, 0, 1), evaluations).basis == "means"


def test_a_variant_is_comparable_with_training() -> None:
    assert effect_of(rewrite(0, 0, 1), [scored(0, 0, 0.5), scored(1, 1, 0.6, purpose="variant")]).basis == "means"


@pytest.mark.parametrize("prompt", [1, None])
def test_a_text_without_evaluation_was_never_measured(prompt: int | None) -> None:
    found = effect_of(rewrite(0, 0, prompt), [scored(0, 0, 0.5)])
    assert found == Effect(0, "never_measured")
    assert found.direction is None
