"""The picture of versions through time, read as XML."""

from __future__ import annotations

from xml.etree import ElementTree

from affidavit.api.pages.charts.versions import versions_picture
from affidavit.projections.evaluation.judge_versions import Pinned, VersionCounts, VersionTimes

SVG = "{http://www.w3.org/2000/svg}"
DAY = 86_400
START = 20_000 * DAY


def times(*versions: VersionCounts, pins: tuple[Pinned, ...]) -> VersionTimes:
    return VersionTimes(START, START + 4 * DAY, DAY, pins, versions)


def read(shown: VersionTimes) -> ElementTree.Element:
    return ElementTree.fromstring(versions_picture(shown))


def test_each_version_has_a_lane_a_frame_while_pinned_and_a_bar_for_each_step_with_verdicts() -> None:
    first = VersionCounts("v1", 7, START, START + DAY, (3, 4, 0, 0))
    second = VersionCounts("v2 <b>", 1, START + 3 * DAY, START + 3 * DAY, (0, 0, 0, 1))
    pins = (Pinned("v1", START, START + 2 * DAY, None), Pinned("v2 <b>", START + 2 * DAY, None, 9))
    root = read(times(first, second, pins=pins))
    bars = [rect for rect in root.iter(f"{SVG}rect") if "fill-series" in rect.get("class", "")]
    frames = [rect for rect in root.iter(f"{SVG}rect") if "stroke-accent" in rect.get("class", "")]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert len(bars) == 3
    assert len(frames) == 2
    assert {"v1", "v2 <b>", "7 verdicts here", "1 verdict here", "pinned now"} <= set(texts)
    left, right = frames
    assert float(left.get("x", 0)) + float(left.get("width", 0)) <= float(right.get("x", 0)) + 0.01
    assert "v1: 7 verdicts, pinned from 2024-10-04 to 2024-10-06" in root.get("aria-label", "")


def test_taller_bars_stand_for_more_verdicts() -> None:
    only = VersionCounts("v1", 6, START, START + DAY, (4, 2, 0, 0))
    root = read(times(only, pins=(Pinned("v1", START, None, None),)))
    high, low = (float(rect.get("height", 0)) for rect in root.iter(f"{SVG}rect") if "fill-s" in rect.get("class", ""))
    assert high == 2 * low


def test_what_lies_before_the_picture_is_left_out() -> None:
    old = VersionCounts("v0", 5, START - 9 * DAY, START - 8 * DAY, (0, 0, 0, 0))
    pins = (Pinned("v0", START - 9 * DAY, START - DAY, None), Pinned("v1", START - DAY, None, 4))
    root = read(times(old, pins=pins))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "v0" not in texts
    assert "0 verdicts here" in texts
    (frame,) = [rect for rect in root.iter(f"{SVG}rect") if "stroke-accent" in rect.get("class", "")]
    assert float(frame.get("x", 0)) >= 190


def test_times_beyond_the_calendar_are_drawn() -> None:
    far = VersionTimes(START, 2**53, 2**47, (Pinned("v1", START, None, None),), ())
    assert "beyond the calendar" in versions_picture(far)
