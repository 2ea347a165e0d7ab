"""The versions of the judge's prompt through time: when each was pinned, and how many verdicts it gave."""

from __future__ import annotations

from datetime import UTC, datetime

from markupsafe import Markup

from ....projections.evaluation.judge_versions import VersionCounts, VersionTimes
from .svg import Scale, element, picture

WIDTH = 1180
LEFT, RIGHT = 190.0, 20.0
TOP = 34.0
LANE, BARS = 84.0, 44.0
SERIES = 6
_NARROWEST_LABEL = 88
_NO_VERSION = "no version named"


def versions_picture(times: VersionTimes) -> Markup:
    """One lane for each version that was pinned or judged then: a frame while it was pinned, bars for its verdicts.

    Bars are as high as the most that any version gave in one step; lanes stand in the order in which versions came.
    """
    lanes = _lanes(times)
    height = TOP + LANE * len(lanes) + 30
    x = Scale(times.start, times.end, LEFT, WIDTH - RIGHT)
    most = max((count for lane in lanes for count in lane.steps), default=0)
    drawn = [_axis(times, x, height)]
    for number, lane in enumerate(lanes):
        drawn.append(_lane(times, lane, TOP + LANE * number, number % SERIES + 1, most, x))
    told = "; ".join(_told(times, lane) for lane in lanes)
    return picture(
        WIDTH, height, "Versions of the shadow judge's prompt through time", *drawn, description=told, class_="wide"
    )


def left_out(times: VersionTimes) -> int:
    """How many versions were pinned or judged, and neither in the time of the picture."""
    known = {pin.version for pin in times.pins} | {found.version for found in times.versions}
    return len(known) - len(_lanes(times))


def _lanes(times: VersionTimes) -> list[VersionCounts]:
    counted = {found.version: found for found in times.versions}
    begun = {found.version: found.first_at for found in times.versions}
    for pin in times.pins:
        begun[pin.version] = min(begun.get(pin.version, pin.since), pin.since)
    shown = {found.version for found in times.versions if any(found.steps)}
    shown |= {pin.version for pin in times.pins if pin.until is None or pin.until > times.start}
    return [
        counted.get(version, VersionCounts(version, 0, begun[version], begun[version], ()))
        for version in sorted(shown, key=lambda version: (begun[version], version))
    ]


def _lane(times: VersionTimes, lane: VersionCounts, top: float, series: int, most: int, x: Scale) -> Markup:
    floor = top + LANE - 16
    parts = [element("text", _cut(lane.version or _NO_VERSION), x=0, y=floor - 26, class_="text bold")]
    given = f"{sum(lane.steps):,} verdict{'' if sum(lane.steps) == 1 else 's'} here"
    parts.append(element("text", given, x=0, y=floor - 8, class_="text-soft"))
    for pin in times.pins:
        if pin.version == lane.version:
            if pin.until is not None and pin.until <= times.start:
                continue
            start, end = x(max(pin.since, times.start)), x(times.end if pin.until is None else pin.until)
            box = {"x": start, "y": top, "width": max(2.0, end - start), "height": LANE - 16}
            parts.append(element("rect", class_="fill-accent-tint stroke-accent", stroke_width=1, rx=4, **box))
            if end - start >= _NARROWEST_LABEL:
                until = "pinned now" if pin.until is None else "pinned"
                parts.append(element("text", until, x=start + 6, y=top + 13, class_="text-accent small bold"))
    y = Scale(0, max(1, most), 0, BARS)
    for place, count in enumerate(lane.steps):
        if count:
            start = x(times.start + place * times.step)
            width = max(1.5, x(times.start + (place + 1) * times.step) - start - 1)
            tall = max(1.5, y(count))
            bar = {"x": start, "y": floor - tall, "width": width, "height": tall}
            parts.append(
                element("rect", element("title", f"{count:,} verdicts"), class_=f"fill-series-{series}", **bar)
            )
    parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="stroke-soft"))
    return element("g", *parts)


def _axis(times: VersionTimes, x: Scale, height: float) -> Markup:
    parts = []
    for part in range(5):
        at = times.start + part * (times.end - times.start) / 4
        side = {0: "", 4: " end"}.get(part, " middle")
        parts.append(element("line", x1=x(at), x2=x(at), y1=TOP - 10, y2=height - 30, class_="stroke-grid"))
        parts.append(element("text", _day(at), x=x(at), y=TOP - 16, class_=f"text-soft{side}"))
    days = times.step // 86_400
    note = f"one bar is {days} day{'' if days == 1 else 's'}; a frame is the time in which the version was pinned"
    parts.append(element("text", note, x=LEFT, y=height - 8, class_="text-soft"))
    return element("g", *parts)


def _told(times: VersionTimes, lane: VersionCounts) -> str:
    pinned = [
        f"from {_day(pin.since)} {'on' if pin.until is None else 'to ' + _day(pin.until)}"
        for pin in times.pins
        if pin.version == lane.version
    ]
    when = f"pinned {' and '.join(pinned)}" if pinned else "never pinned"
    return f"{lane.version or _NO_VERSION}: {sum(lane.steps):,} verdicts, {when}"


def _cut(version: str) -> str:
    return version if len(version) <= 24 else version[:23] + "…"


def _day(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return "beyond the calendar"
