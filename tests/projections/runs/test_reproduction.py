"""A run and its reproduction: what counts as the same, and what cannot be said."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from affidavit.domain.event import Event, Withheld
from affidavit.domain.optimization.events import (
    PromptEvaluated,
    RunCompleted,
    RunPlanned,
    RunStarted,
    Sample,
    mean_score,
)
from affidavit.projections.runs.record import RunRecord
from affidavit.projections.runs.reproduction import Reproduction, compare_runs

Run = Callable[..., RunRecord]


@pytest.fixture
def a_run(record_of: Any) -> Run:
    """A run whose baseline scores 0.2 everywhere and whose final prompt has ``scores``."""

    def build(
        scores: Sequence[float],
        name: str = "1",
        prompt: str = "Be exact.",
        rows: Any = None,
        options: Any = None,
        answers: str = "answer",
    ) -> RunRecord:
        events: list[Event] = [
            RunStarted(
                run=name,
                directory=f"run-{name}",
                timestamp="2026-04-13T09:11:57+00:00",
                strategy="iterative",
                models=("local/target",),
                metrics=("rouge",),
                system_prompt="Answer.",
                config={},
            ),
            RunPlanned(
                seed=1,
                rows_count=1,
                held_out=True,
                versions={"affidavit": "0.3"},
                draws=(),
                options={"strategy": "iterative", "tries": 4} if options is None else options,
                rows=[{"id": "a"}] if rows is None else rows,
                split={"test": [0]},
                sources={},
            ),
            _evaluation(0, 0, "baseline", [0.2] * len(scores), None, answers),
            _evaluation(1, 1, "final", scores, prompt, answers),
            RunCompleted(reason="max_iterations", converged=False, best=1, final_evaluation=1),
        ]
        found: RunRecord = record_of(events)
        return found

    return build


@pytest.fixture
def scores() -> list[float]:
    drawn = random.Random(3)
    return [drawn.choice([0.2, 0.4, 0.6, 0.8]) for _ in range(60)]


def test_equal_runs_are_reproduced_on_these_samples_and_no_more_is_claimed(a_run: Run, scores: list[float]) -> None:
    found = _compared(a_run(scores), a_run(scores, "2"))
    document = found.as_json()
    assert document["verdict"] == "same_scores"
    assert document["in_words"].startswith("reproduced on these samples: all 60 have the same score")
    assert "up to 5 % may differ" in document["in_words"]
    assert (document["final"]["same_responses"], document["final"]["responses"]) == (60, 60)
    assert document["best_prompt"]["same"] is True
    assert "Run 2 (completed) is a reproduction of run 1 (completed)" in found.text()


def test_small_differences_both_ways_are_noise_within_the_margin(a_run: Run, scores: list[float]) -> None:
    moved = [score + (0.05 if index % 2 else -0.05) for index, score in enumerate(scores)]
    document = _compared(a_run(scores), a_run(moved, "2", "Be very exact.")).as_json()
    assert document["verdict"] == "reproduced"
    assert document["in_words"].startswith("reproduced within noise: difference")
    assert "n = 60, within a margin of ±0.05" in document["in_words"]
    assert document["best_prompt"]["same"] is False
    assert document["final"]["same_prompt"] is False
    assert document["baseline"]["same_prompt"] is True


def test_a_real_difference_differs(a_run: Run, scores: list[float]) -> None:
    drawn = random.Random(5)
    document = _compared(a_run(scores), a_run([score - drawn.uniform(0, 0.4) for score in scores], "2")).as_json()
    assert document["verdict"] == "differs"
    assert document["final"]["paired"]["direction"] == "loss"
    assert document["baseline"]["verdict"] == "same_scores"


def test_a_significant_difference_smaller_than_the_margin_is_said_to_be_both(a_run: Run, scores: list[float]) -> None:
    drawn = random.Random(5)
    document = _compared(a_run(scores), a_run([score + drawn.uniform(0, 0.04) for score in scores], "2")).as_json()
    assert document["verdict"] == "reproduced"
    assert document["in_words"].startswith("reproduced within a margin of ±0.05: difference")
    assert document["in_words"].endswith("small, but more than noise")


def test_no_significant_difference_is_no_equality(a_run: Run, scores: list[float]) -> None:
    drawn = random.Random(8)
    noisy = [score + drawn.uniform(-0.5, 0.5) for score in scores]
    document = _compared(a_run(scores), a_run(noisy, "2")).as_json()
    assert not document["final"]["paired"]["is_significant"]
    assert document["verdict"] == "inconclusive"
    wide = compare_runs(a_run(scores), a_run(noisy, "2"), margin=0.3).as_json()
    assert (wide["verdict"], wide["margin"]) == ("reproduced", 0.3)


def test_few_samples_say_nothing_of_equality(a_run: Run) -> None:
    document = _compared(a_run([0.5] * 4), a_run([0.5, 0.5, 0.5, 0.51], "2")).as_json()
    assert document["verdict"] == "too_few"
    assert document["in_words"].startswith("cannot say: too few")


def test_what_differs_in_the_plan_is_listed(a_run: Run, scores: list[float]) -> None:
    found = _compared(a_run(scores), a_run(scores, "2", options={"strategy": "iterative", "tries": 2, "seed": 5}))
    assert found.as_json()["plan"]["options"] == {"seed": [None, 5], "tries": [4, 2]}
    assert "options, tries: 4 → 2" in found.text()
    assert "data the same, split the same, seed the same" in found.text()


def test_runs_on_other_data_are_not_compared(a_run: Run, scores: list[float]) -> None:
    document = _compared(a_run(scores), a_run(scores, "2", rows=[{"id": "b"}])).as_json()
    assert (document["verdict"], document["plan"]["same_rows"]) == ("not_comparable", False)
    assert document["in_words"] == "cannot say: the two ran on different data"


def test_other_answers_with_the_same_scores_show(a_run: Run, scores: list[float]) -> None:
    document = _compared(a_run(scores), a_run(scores, "2", answers="another answer")).as_json()
    assert (document["verdict"], document["final"]["same_responses"]) == ("same_scores", 0)


def test_withheld_samples_are_not_compared(a_run: Run, scores: list[float]) -> None:
    original = a_run(scores)
    final = original.evaluations[1]
    original.evaluations[1] = final.model_copy(update={"samples": Withheld("abc", "erased")})
    document = _compared(original, a_run(scores, "2")).as_json()
    assert document["in_words"] == "cannot say: the samples of the original are withheld"


def test_runs_without_an_end_or_a_plan_are_told_apart_from_equal_ones(run: RunRecord, record_of: Any) -> None:
    unfinished = record_of([run.started])
    document = _compared(run, unfinished).as_json()
    assert document["in_words"] == "cannot say: the reproduction has no such evaluation"
    assert document["plan"]["same_rows"] is None
    assert [row["reproduction"] for row in document["iterations"]] == [None, None, None]


def _compared(original: RunRecord, again: RunRecord) -> Reproduction:
    found = compare_runs(original, again, 1)
    json.dumps(found.as_json(), allow_nan=False)
    assert found.as_json()["in_words"] in found.text()
    return found


def _evaluation(
    number: int, prompt: int, purpose: str, scores: Sequence[float], text: str | None, answers: str
) -> PromptEvaluated:
    samples = tuple(
        Sample(id=f"{index:03d}", input="q", response=f"{answers} {index}", score=score)
        for index, score in enumerate(scores)
    )
    mean = mean_score(samples)
    return PromptEvaluated.model_validate(
        {
            "evaluation": number,
            "prompt": prompt,
            "purpose": purpose,
            "score": mean,
            "n": len(samples),
            "failed": 0,
            "scores_by_metric": {"rouge": mean},
            "detail_mean": mean,
            "system_prompt": text,
            "samples": samples,
        }
    )
