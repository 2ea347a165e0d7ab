"""The score chart: lines that stay apart."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from affidavit.api.pages.charts.scores import NARROW, WIDE, Dot, HeldOut, Scores, Span, score_chart

SVG = "{http://www.w3.org/2000/svg}"


def _read(scores: Scores, width: int = WIDE) -> ElementTree.Element:
    return ElementTree.fromstring(score_chart(scores, width))


def _dots(*values: float) -> list[Dot]:
    return [Dot(n, value, f"iteration {n}: {value}") for n, value in enumerate(values, start=1)]


def _lines(drawn: ElementTree.Element) -> list[int]:
    """How many points each line has."""
    paths = [path for path in drawn.iter(f"{SVG}path") if "stroke-series" in str(path.get("class"))]
    return [str(path.get("d")).count(",") for path in paths]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_training_and_validation_are_two_lines_and_test_scores_none(width: int) -> None:
    found = Scores(
        _dots(0.2, 0.5, 0.6), _dots(0.3, 0.4, 0.5), [HeldOut("baseline", 0.1, "b"), HeldOut("final", 0.7, "f")]
    )
    drawn = _read(found, width)
    assert _lines(drawn) == [3, 3]
    assert len(list(drawn.iter(f"{SVG}polygon"))) == 2
    assert "final (test): 0.7000" in str(drawn.get("aria-label"))


def test_scores_of_batches_are_not_joined() -> None:
    batches = [Dot(n, 0.5, "batch", is_joined=False, is_hollow=True) for n in range(1, 5)]
    drawn = _read(Scores(batches, (), ()))
    assert _lines(drawn) == []
    assert len(list(drawn.iter(f"{SVG}circle"))) == 4 + 1  # one in the legend


def test_the_threshold_is_in_the_picture_even_above_every_score() -> None:
    drawn = _read(Scores(_dots(0.1, 0.2), (), (), threshold=0.9, phases=[Span(1, 2, "1 · structural")]))
    told = {text.text for text in drawn.iter(f"{SVG}text")}
    assert {"threshold 0.9", "1 · structural"} <= told


@pytest.mark.parametrize("values", [(), (0.5,), (0.5, 0.5), (-0.3, 0.0)])
def test_few_flat_and_negative_scores_are_drawn_inside(values: tuple[float, ...]) -> None:
    drawn = _read(Scores(_dots(*values), (), ()))
    height = float(str(drawn.get("height")))
    for circle in drawn.iter(f"{SVG}circle"):
        assert 0 < float(str(circle.get("cy"))) < height
