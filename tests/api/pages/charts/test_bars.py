"""Counts as bars: two windows, outcomes, rules."""

from __future__ import annotations

from xml.etree import ElementTree

from affidavit.api.pages.charts.bars import Versus, distribution, outcomes, shortened, versus

SVG = "{http://www.w3.org/2000/svg}"


def _texts(root: ElementTree.Element) -> list[str]:
    return [str(text.text) for text in root.iter(f"{SVG}text")]


def test_two_windows_are_told_apart_without_colour_and_say_n() -> None:
    root = ElementTree.fromstring(distribution(["0", "1"], [3, 1], [0, 0], "Corrections"))
    assert {"current, n = 4", "prior, n = 0", "3", "1"} <= set(_texts(root))
    assert "3 results with 0 corrections, 75.0 % of the current window" in [t.text for t in root.iter(f"{SVG}title")]
    drawn = [rect for rect in root.iter(f"{SVG}rect") if rect.get("fill") == "none"]
    assert all("dash" in str(rect.get("class")) for rect in drawn)
    assert len(drawn) == 3


def test_outcomes_name_every_part_also_where_it_has_no_room() -> None:
    assert _texts(ElementTree.fromstring(outcomes(134, 52, 14, "Turns"))) == ["134 wins", "52 ties", "14 losses"]
    assert _texts(ElementTree.fromstring(outcomes(10_000, 0, 1, "Turns"))) == ["10,000 wins", "1 losses"]
    assert _texts(ElementTree.fromstring(outcomes(0, 0, 0, "Turns"))) == []


def test_rules_have_both_counts_and_hostile_titles_are_text() -> None:
    root = ElementTree.fromstring(versus([Versus("<script>x</script>" * 9, 3, 5, "few")], "Rules"))
    assert "3 · few" in _texts(root)
    assert "5" in _texts(root)
    assert not list(root.iter(f"{SVG}script"))
    assert versus([], "Rules") == ""


def test_long_labels_are_cut_and_say_so() -> None:
    assert shortened("a" * 40, 10) == "a" * 9 + "…"
    assert shortened("short") == "short"
