"""The picture of paired differences."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from affidavit.api.pages.charts.significance import NARROW, WIDE, Differences, difference_plot

SVG = "{http://www.w3.org/2000/svg}"


def _read(
    values: list[float], bounds: tuple[float, float] | None, width: int = WIDE, verdict: str = "not significant"
) -> ElementTree.Element:
    named = [(f"sample {n}", value) for n, value in enumerate(values)]
    found = Differences(named, sum(values) / len(values), bounds, verdict)
    return ElementTree.fromstring(difference_plot(found, width))


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("values", [[0.1], [0.0] * 20, [-0.2, 0.4, 0.4], [n / 1000 for n in range(1000)]])
def test_every_sample_is_a_dot_inside_the_picture(values: list[float], width: int) -> None:
    drawn = _read(values, None, width)
    dots = list(drawn.iter(f"{SVG}circle"))
    assert len(dots) == len(values)
    height = float(str(drawn.get("height")))
    assert all(0 <= float(str(dot.get("cx"))) <= width for dot in dots)
    assert all(0 <= float(str(dot.get("cy"))) <= height for dot in dots)


def test_it_is_told_in_words() -> None:
    told = str(_read([-0.2, 0.4, 0.4, 0.0], (0.1, 0.3)).get("aria-label"))
    assert "4 samples: 2 better, 1 worse, 1 the same; mean difference +0.1500, 95 % interval +0.1000 to +0.3" in told
    assert told.endswith(": not significant")


@pytest.mark.parametrize(
    ("verdict", "tone", "told"),
    [
        ("significant gain", "good", "▲ significant gain"),
        ("significant loss", "bad", "▼ significant loss"),
        ("not significant", "soft", ": not significant"),
    ],
)
@pytest.mark.parametrize("bounds", [(0.1, 0.3), (-0.3, -0.1), (-0.1, 0.3)])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_mean_has_the_tone_of_the_verdict_whatever_its_interval_and_says_it(
    bounds: tuple[float, float], verdict: str, tone: str, told: str, width: int
) -> None:
    drawn = _read([0.1, -0.1, 0.3], bounds, width, verdict)
    bands = [str(box.get("class")) for box in drawn.iter(f"{SVG}rect") if "band" in str(box.get("class"))]
    assert bands == [f"band fill-{tone}"]
    assert any(str(text.text).endswith(told) for text in drawn.iter(f"{SVG}text"))


def test_names_of_samples_are_inert() -> None:
    drawn = difference_plot(Differences([("</title><script>", 0.5)], 0.5, None, "too few to tell"))
    assert "<script" not in drawn
