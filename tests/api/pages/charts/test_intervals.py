"""Estimates with intervals against a line."""

from __future__ import annotations

from xml.etree import ElementTree

from affidavit.api.pages.charts.intervals import Estimate, against_zero, intervals

SVG = "{http://www.w3.org/2000/svg}"


def _axis(value: float) -> str:
    return f"{value:.2f}"


def test_every_row_has_a_mark_inside_its_interval_and_its_words() -> None:
    rows = [Estimate("a", 0.2, 0.1, 0.4, "20 %"), Estimate("b", -0.3, -0.5, 0.0, "−30 %", shape=1)]
    root = ElementTree.fromstring(intervals(rows, "Differences", _axis, reference=0.0, about="none"))
    groups = list(root.iter(f"{SVG}g"))
    assert [group[0].text for group in groups] == ["a: 20 %", "b: −30 %"]
    line = groups[0].find(f"{SVG}line")
    circle = groups[0].find(f"{SVG}circle")
    assert line is not None
    assert circle is not None
    assert float(str(line.get("x1"))) < float(str(circle.get("cx"))) < float(str(line.get("x2")))
    assert groups[1].find(f"{SVG}circle") is None
    assert groups[1].find(f"{SVG}rect") is not None


def test_what_has_no_estimate_has_words_only() -> None:
    root = ElementTree.fromstring(intervals([Estimate("a", None, None, None, "—")], "Sets", _axis))
    (group,) = root.iter(f"{SVG}g")
    assert [child.tag for child in group] == [f"{SVG}title", f"{SVG}text", f"{SVG}text"]
    assert intervals([], "Sets", _axis) == ""


def test_a_small_difference_shows_where_nothing_differs() -> None:
    root = ElementTree.fromstring(against_zero(0.1, -0.1, 0.3, "Change"))
    none, interval = root.findall(f"{SVG}line")
    assert float(str(interval.get("x1"))) < float(str(none.get("x1"))) < float(str(interval.get("x2")))
    assert ElementTree.fromstring(against_zero(0.0, 0.0, 0.0, "Change")) is not None
