"""The picture of paired differences."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from affidavit.api.pages.charts.significance import NARROW, WIDE, Differences, difference_plot

SVG = "{http://www.w3.org/2000/svg}"


def _read(values: list[float], bounds: tuple[float, float] | None, width: int = WIDE) -> ElementTree.Element:
    named = [(f"sample {n}", value) for n, value in enumerate(values)]
    return ElementTree.fromstring(difference_plot(Differences(named, sum(values) / len(values), bounds), width))


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
    assert "4 samples: 2 better, 1 worse, 1 the same; mean difference +0.1500, 95 % interval +0.1000 to +0.3000" in told


@pytest.mark.parametrize(
    ("bounds", "tone"), [((0.1, 0.3), "good"), ((-0.3, -0.1), "bad"), ((-0.1, 0.3), "soft"), (None, None)]
)
def test_the_interval_has_the_tone_of_what_it_shows(bounds: tuple[float, float] | None, tone: str | None) -> None:
    drawn = _read([0.1, -0.1, 0.3], bounds)
    bands = [str(box.get("class")) for box in drawn.iter(f"{SVG}rect") if "band" in str(box.get("class"))]
    assert bands == ([] if tone is None else [f"band fill-{tone}"])


def test_names_of_samples_are_inert() -> None:
    drawn = difference_plot(Differences([("</title><script>", 0.5)], 0.5, None))
    assert "<script" not in drawn
