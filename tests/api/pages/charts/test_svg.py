"""SVG elements, scales and ticks."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from affidavit.api.pages.charts.svg import Scale, element, path, picture, ticks


def test_text_and_attributes_are_escaped_and_markup_is_not() -> None:
    made = element("text", "<b>&", Markup("<tspan>x</tspan>"), class_='a"b', stroke_width=1.23456, fill=None)
    assert made == '<text class="a&#34;b" stroke-width="1.23">&lt;b&gt;&amp;<tspan>x</tspan></text>'


def test_a_picture_names_itself() -> None:
    root = ElementTree.fromstring(picture(100, 50, "Scores", element("g"), description="Two of them"))
    assert root.get("viewBox") == "0 0 100 50"
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Scores. Two of them"
    assert root[0].text == "Scores"


def test_a_scale_maps_its_ends_and_puts_a_single_value_in_the_middle() -> None:
    assert [Scale(0, 10, 100, 0)(value) for value in (0, 5, 10)] == [100, 50, 0]
    assert Scale(3, 3, 0, 100)(3) == 50


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.13, 0.87, [0.2, 0.4, 0.6, 0.8]),
        (-3, 14, [0, 5, 10]),
        (5, 5, [5]),
        (0, 1e6, [0, 200_000, 400_000, 600_000, 800_000, 1_000_000]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 6) == expected


def test_what_is_no_number_has_no_ticks() -> None:
    assert ticks(float("nan"), 1) == []
    assert path([(0, 1.005), (2, 3)]) == "M0,1L2,3"
