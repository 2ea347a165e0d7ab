"""The growth of a log drawn: time to the right, entries upwards."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from affidavit.api.pages.charts.growth import draw_growth

SVG = "{http://www.w3.org/2000/svg}"
BEGIN = 1_795_341_600.0
DAY = 86_400.0


def _line(drawn: ElementTree.Element) -> list[tuple[float, float]]:
    (line,) = (each for each in drawn.iter(f"{SVG}path") if each.get("fill") == "none")
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+),([\d.]+)", line.get("d", ""))]


def test_the_line_runs_right_and_up() -> None:
    drawn = ElementTree.fromstring(draw_growth([(BEGIN, 1), (BEGIN + DAY, 500), (BEGIN + 9 * DAY, 1000)], 900))
    points = _line(drawn)
    assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert [y for _, y in points] == sorted({y for _, y in points}, reverse=True)
    assert "1,000 entries by 2026-12-01 10:00:00 UTC, of which 900 are signed" in str(drawn.get("aria-label"))
    labels = [each.text for each in drawn.iter(f"{SVG}text")]
    assert {"2026-11-22", "2026-12-01"} <= set(labels)


def test_a_log_of_one_entry_is_one_point() -> None:
    drawn = ElementTree.fromstring(draw_growth([(BEGIN, 1)], None))
    assert len(_line(drawn)) == 1
    assert "signed" not in str(drawn.get("aria-label"))
