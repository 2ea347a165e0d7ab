from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from affidavit.domain.optimization.options import BRANCHABLE, Options


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ({"models": ()}, "models"),
        ({"models": ("a/b", "a/b")}, "models"),
        ({"targets": ("a/b", "a/b")}, "targets"),
        ({"threshold": 1.01}, "threshold"),
        ({"threshold": -0.01}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"train_ratio": 0.0}, "train_ratio"),
        ({"train_ratio": 1.01}, "train_ratio"),
        ({"val_ratio": -0.01}, "val_ratio"),
        ({"val_ratio": 1.0, "train_ratio": 1.0}, "val_ratio"),
        ({"val_ratio": 0.5, "train_ratio": 0.5}, "val_ratio"),
        ({"train_ratio": 0.2}, "val_ratio"),
        ({"eval_temperature": 2.1}, "eval_temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"eval_runs": 0}, "eval_runs"),
        ({"more": 1}, "more"),
    ],
)
def test_what_has_no_meaning_is_found_where_it_stands(setting: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Options.model_validate({"models": ("a/b",), **setting})
    assert [error["loc"][0] for error in caught.value.errors()] == [where]


@pytest.mark.parametrize(
    "setting",
    [
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"train_ratio": 1.0},
        {"train_ratio": 1.0, "val_ratio": 0.9},
        {"train_ratio": 0.2, "val_ratio": 0.0},
        {"temperature": None, "eval_temperature": 2.0},
        {"batch_size": 0, "full_eval_steps": 0, "early_stopping_patience": 0, "max_iterations": 0},
    ],
)
def test_the_bounds_themselves_are_settings(setting: dict[str, Any]) -> None:
    options = Options.model_validate({"models": ("a/b",), **setting})
    assert Options.model_validate(options.model_dump(mode="json")) == options


def test_a_branch_changes_settings_that_there_are_and_none_that_a_score_depends_on() -> None:
    assert Options.model_fields.keys() > BRANCHABLE
    decide = {"models", "metrics", "judge", "judge_criteria", "train_ratio", "val_ratio", "split_seed", "eval_runs"}
    assert not BRANCHABLE & {*decide, "batch_size", "batch_seed", "eval_temperature", "max_tokens"}
