"""A strategy without settings refuses them when it is called, before anything is asked."""

from __future__ import annotations

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.optimization.strategies import BUILT_IN

from .driving import make_study, rows


@pytest.mark.parametrize("name", ["iterative", "structural", "fewshot"])
def test_options_are_refused_by_a_strategy_that_has_none(name: str) -> None:
    with pytest.raises(Refused, match=f"strategy {name}: it has no options, found a, b") as caught:
        BUILT_IN[name](make_study(rows(4), strategy=name, extra={"b": 1, "a": 2}))
    assert caught.value.rule == "strategy_options"


@pytest.mark.parametrize("name", ["iterative", "structural", "fewshot"])
def test_options_of_a_strategy_that_calls_it_are_none_of_its_own(name: str) -> None:
    BUILT_IN[name](make_study(rows(4), strategy="auto", extra={"max_phases": 2})).close()


@pytest.mark.parametrize("name", BUILT_IN)
def test_options_that_no_strategy_knows_are_refused_by_all(name: str) -> None:
    with pytest.raises(Refused) as caught:
        BUILT_IN[name](make_study(rows(4), strategy=name, extra={"nonsense": 1}))
    assert caught.value.rule == "strategy_options"
