"""What addresses ask for."""

from __future__ import annotations

import pytest

from affidavit.api.http.errors import Problem
from affidavit.api.pages.asked import asked_number, asked_page, one_of
from affidavit.domain.errors import Refused


@pytest.mark.parametrize(("text", "number"), [(None, None), ("", None), (" ", None), ("0", 0), (" 012 ", 12)])
def test_a_number_from_0(text: str | None, number: int | None) -> None:
    assert asked_number("before", text) == number


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "\u0663", "1_0", "9" * 16, "\u00b2"])
def test_no_number(text: str) -> None:
    with pytest.raises(Refused) as refused:
        asked_number("before", text, "place_readable")
    assert refused.value.rule == "place_readable"
    assert "before" in str(refused.value)


def test_a_page_counts_from_1() -> None:
    assert [asked_page(text) for text in (None, "", "1", "010", "999999999")] == [1, 1, 1, 10, 999_999_999]
    for text in ("0", "-1", "x", "\u0661", "1" * 10):
        with pytest.raises(Problem) as problem:
            asked_page(text)
        assert (problem.value.status, problem.value.rule) == (422, "page_known")


def test_one_of_several_words() -> None:
    assert one_of("order", "up", ("up", "down")) == "up"
    assert one_of("simulated", "", ("", "yes")) == ""
    with pytest.raises(Problem) as problem:
        one_of("order", "sideways", ("", "up", "down"))
    assert (problem.value.status, problem.value.rule) == (422, "order_known")
    assert str(problem.value) == "order=sideways: expected one of up, down"
