"""The trend: a point with its interval for each bucket, gaps left open, n beside."""

from __future__ import annotations

from xml.etree import ElementTree

from affidavit.api.pages.charts.trend import Point, trend

DAY = 86_400
START = 20_000 * DAY
SVG = "{http://www.w3.org/2000/svg}"


def _point(day: int, rate: float = 0.6, n: int = 20) -> Point:
    return Point(START + day * DAY, rate, rate - 0.1, rate + 0.1, n, n + 5)


def test_every_point_has_its_interval_and_says_n() -> None:
    root = ElementTree.fromstring(trend([_point(0), _point(1, 0.7)], DAY, (0.65, 0.6, 0.7), "Success"))
    told = [title.text for title in root.iter(f"{SVG}title")]
    assert told[0] == "Success"
    assert "60.0 % (50.0 % to 70.0 %), n = 20 graded; 25 sessions began" in str(told[1])
    assert len(list(root.iter(f"{SVG}circle"))) == 2
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts.count("20") == 2
    assert "all 65.0 %" in texts


def test_a_missing_bucket_breaks_the_line() -> None:
    whole = ElementTree.fromstring(trend([_point(day) for day in range(4)], DAY, None, "Success"))
    broken = ElementTree.fromstring(trend([_point(day) for day in (0, 1, 3, 4)], DAY, None, "Success"))
    assert [len(list(root.iter(f"{SVG}path"))) for root in (whole, broken)] == [1, 2]


def test_points_stay_inside_at_the_ends_of_the_scale() -> None:
    edge = [Point(START, 1.0, 0.9, 1.0, 9, 9), Point(START + DAY, 0.0, 0.0, 0.1, 9, 9)]
    root = ElementTree.fromstring(trend(edge, DAY, None, "Success"))
    height = float(str(root.get("viewBox")).split()[3])
    for circle in root.iter(f"{SVG}circle"):
        assert 0 < float(str(circle.get("cy"))) < height


def test_many_buckets_and_none() -> None:
    assert trend([], DAY, None, "Success") == ""
    root = ElementTree.fromstring(trend([_point(day) for day in range(400)], DAY, None, "Success"))
    assert "20" not in [text.text for text in root.iter(f"{SVG}text")]


def test_a_time_that_no_calendar_knows_is_drawn() -> None:
    far = Point(2**53 - DAY, 0.5, 0.4, 0.6, 1, 1)
    assert ElementTree.fromstring(trend([_point(0), far], DAY, None, "Success")) is not None
