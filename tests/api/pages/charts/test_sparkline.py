"""The win rate by day: the rate, n, and the bound."""

from __future__ import annotations

from xml.etree import ElementTree

from affidavit.api.pages.charts.sparkline import Day, sparkline

SVG = "{http://www.w3.org/2000/svg}"


def test_each_day_says_its_verdicts_and_the_bound() -> None:
    days = [Day(1, "2026-11-01", 10, 6, 2, 2, (0.3, 0.9)), Day(3, "2026-11-03", 4, 1, 1, 2, (0.35, 0.8))]
    root = ElementTree.fromstring(sparkline(days, "Win rate"))
    told = [title.text for title in root.iter(f"{SVG}title")]
    since = "since the first verdict, first decided turn of each user: bound"
    assert told == [
        "Win rate",
        f"2026-11-01: 6 wins, 2 ties, 2 losses, n = 10; {since} 30.0 % to 90.0 %",
        f"2026-11-03: 1 wins, 1 ties, 2 losses, n = 4; {since} 35.0 % to 80.0 %",
    ]
    assert len(list(root.iter(f"{SVG}circle"))) == 2


def test_a_single_day_and_none() -> None:
    assert sparkline([], "Win rate") == ""
    assert ElementTree.fromstring(sparkline([Day(1, "2026-11-01", 1, 0, 1, 0, (0.0, 1.0))], "Win rate")) is not None
