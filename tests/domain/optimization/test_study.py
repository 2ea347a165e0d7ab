from __future__ import annotations

from dataclasses import replace

from affidavit.domain.optimization.events import IterationCompleted
from affidavit.domain.optimization.options import Options
from affidavit.domain.optimization.randomness import RunRandom
from affidavit.domain.optimization.study import Finished, Study, outdoes


def finished(number: int, val: float | None = None, *, whole: bool = True, **scores: float) -> Finished:
    mean = sum(scores.values()) / len(scores) if scores else None
    event = IterationCompleted(iteration=number, evaluation=number)
    return Finished(event, f"p{number}", val, whole, mean, scores, {} if val is None else {"v1": val, "v2": val})


def study(*iterations: Finished) -> Study:
    options = Options(models=("m",), max_iterations=3)
    return Study(options, (), "p0", RunRandom(0), iterations=list(iterations))


def test_validation_decides_where_there_is_any_and_the_newest_of_equals_wins() -> None:
    best = study(finished(1, 0.5, a=1.0), finished(2, 0.7, a=0.1), finished(3, 0.7, a=0.0)).best()

    assert best is not None
    assert best.iteration == 3


def test_training_decides_without_validation_and_the_oldest_of_equals_wins() -> None:
    best = study(finished(1, a=0.5, b=0.5), finished(2, a=1.0, b=0.0), finished(3, a=0.2, b=0.2)).best()

    assert best is not None
    assert best.iteration == 1


def test_prompts_are_compared_over_the_samples_that_both_were_scored_on() -> None:
    easy_left_out = finished(2, whole=False, b=0.4, c=0.5)
    best = study(finished(1, a=1.0, b=0.3, c=0.4), easy_left_out).best()

    assert best is not None
    assert best.iteration == 2


def test_batches_without_much_in_common_are_compared_by_their_means() -> None:
    best = study(finished(1, whole=False, a=0.5, b=0.5), finished(2, whole=False, c=0.6, d=0.6)).best()

    assert best is not None
    assert best.iteration == 2


def test_w25_a_prompt_that_most_calls_failed_under_is_not_the_best_for_those_that_did_not() -> None:
    honest = replace(finished(1), val_scores={"a": 1.0, "b": 0.5, "c": 0.5, "d": 1.0})
    lucky = replace(finished(2), val_scores={"a": 1.0})
    best = study(honest, lucky).best()

    assert best is not None
    assert best.iteration == 1
    assert outdoes({"a": 0.5, "b": 0.5, "c": 0.6}, {"a": 0.5, "b": 0.5, "d": 0.1, "c": 0.1})


def test_an_iteration_without_a_score_is_never_the_best() -> None:
    assert study(finished(1)).best() is None
    best = study(finished(1), finished(2, a=0.0)).best()
    assert best is not None
    assert best.iteration == 2


def test_the_budget_is_what_is_left_of_the_iterations() -> None:
    assert [study(*[finished(n) for n in range(1, done + 1)]).budget for done in range(5)] == [3, 2, 1, 0, 0]
