"""Paired differences, one dot a sample, with their mean and its interval: whether a gain is more than noise, seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..formats import interval, num, signed
from .svg import Scale, element, picture, ticks

WIDE, NARROW = 720, 340
GAIN, LOSS = "significant gain", "significant loss"
_SIDE, _TOP, _STACK = 16, 26, 120


@dataclass(frozen=True, slots=True)
class Differences:
    """Final minus baseline, by sample; ``bounds`` of the mean at 95 %, ``verdict`` of the test in words.

    The interval alone is no verdict: the mean has a tone where the verdict is ``GAIN`` or ``LOSS``.
    """

    values: Sequence[tuple[str, float]]
    mean: float
    bounds: tuple[float, float] | None
    verdict: str


def difference_plot(found: Differences, width: int = WIDE, class_: str = "") -> Markup:
    """The picture: dots are stacked where differences are about the same, below them the mean and its interval."""
    numbers = [value for _, value in found.values]
    ends = [0.0, found.mean, *numbers, *(found.bounds or ())]
    reach = max(max(ends) - min(ends), 0.02)
    low, high = min(ends) - 0.06 * reach, max(ends) + 0.06 * reach
    x = Scale(low, high, _SIDE, width - _SIDE)
    bins = max(20, min(70, width // 11))
    places = [(name, value, min(bins - 1, int((value - low) / (high - low) * bins))) for name, value in found.values]
    tallest = max(Counter(place for _, _, place in places).values(), default=1)
    size = min(5.5, (width - 2 * _SIDE) / bins / 2 - 0.5, _STACK / tallest / 2)
    floor = _TOP + min(_STACK, max(40.0, tallest * 2 * size)) + 8
    height = round(floor + 84)
    drawn = [
        *_zero(x, floor, width),
        *_dots(places, x, (high - low) / bins, low, floor, size),
        *_axis(x, low, high, floor, width),
        *_mean(found, x, floor + 46, width),
    ]
    return picture(width, height, "Differences by sample", *drawn, description=_told(found), class_=class_)


def _zero(x: Scale, floor: float, width: int) -> Iterator[Markup]:
    at = x(0)
    for top, bottom in ((_TOP - 6, floor + 5), (floor + 23, floor + 60)):
        yield element("line", x1=at, x2=at, y1=top, y2=bottom, stroke_width=1.5, class_="stroke-ink dash")
    for label, place, anchor, room in (
        ("◀ worse", at - 8, "end", at - _SIDE),
        ("better ▶", at + 8, "", width - _SIDE - at),
    ):
        if room > 60:
            yield element("text", label, x=place, y=12, class_=f"text-soft small {anchor}".strip())


def _dots(
    places: Sequence[tuple[str, float, int]], x: Scale, bin_width: float, low: float, floor: float, size: float
) -> Iterator[Markup]:
    stacked: Counter[int] = Counter()
    for name, value, place in places:
        tone = "good" if value > 0 else "bad" if value < 0 else "soft"
        cx, cy = x(low + (place + 0.5) * bin_width), floor - 2 - size - 2 * size * stacked[place]
        stacked[place] += 1
        yield element(
            "circle",
            element("title", f"{name}: {signed(value)}"),
            cx=cx,
            cy=cy,
            r=max(0.75, size - 0.5),
            stroke_width=1,
            class_=f"fill-{tone} stroke-paper" if tone != "soft" else "fill-paper stroke-soft",
        )


def _axis(x: Scale, low: float, high: float, floor: float, width: int) -> Iterator[Markup]:
    yield element("line", x1=_SIDE, x2=width - _SIDE, y1=floor, y2=floor, class_="stroke-soft")
    for tick in ticks(low, high, max(3, width // 90)):
        yield element("line", x1=x(tick), x2=x(tick), y1=floor, y2=floor + 4, class_="stroke-soft")
        label = "0" if tick == 0 else signed(tick, 2 if high - low > 0.1 else 4)
        yield element("text", label, x=x(tick), y=floor + 17, class_="text-soft small middle")


def _mean(found: Differences, x: Scale, at: float, width: int) -> Iterator[Markup]:
    middle = x(found.mean)
    tone, sign = {GAIN: ("good", "▲ "), LOSS: ("bad", "▼ ")}.get(found.verdict, ("soft", ""))
    if found.bounds is not None:
        start, end = x(found.bounds[0]), x(found.bounds[1])
        yield element(
            "rect", x=start, y=at - 7, width=max(1.0, end - start), height=14, rx=4, class_=f"band fill-{tone}"
        )
        drawn = f"M{start:.1f},{at - 7}v14M{start:.1f},{at}H{end:.1f}M{end:.1f},{at - 7}v14"
        yield element("path", d=drawn, stroke_width=2, class_=f"fill-none stroke-{tone}")
    diamond = f"{middle:.1f},{at - 8:.1f} {middle + 8:.1f},{at:.1f} {middle:.1f},{at + 8:.1f} {middle - 8:.1f},{at:.1f}"
    yield element("polygon", points=diamond, class_=f"fill-{tone if tone != 'soft' else 'ink'}")
    told = f"mean {signed(found.mean)}"
    if found.bounds is not None and width > 500:
        told += f", 95 % interval {interval(found.bounds, signed)}"
    told += f": {sign}{found.verdict}"
    half = 3.3 * len(told)
    place = min(max(middle, _SIDE + half), width - _SIDE - half)
    yield element("text", told, x=place, y=at + 27, class_="text bold small middle")


def _told(found: Differences) -> str:
    better = sum(value > 0 for _, value in found.values)
    worse = sum(value < 0 for _, value in found.values)
    same = len(found.values) - better - worse
    bounds = "no interval" if found.bounds is None else f"95 % interval {interval(found.bounds, signed)}"
    return (
        f"{num(len(found.values))} {'sample' if len(found.values) == 1 else 'samples'}: "
        f"{num(better)} better, {num(worse)} worse, {num(same)} the same; "
        f"mean difference {signed(found.mean)}, {bounds}: {found.verdict}"
    )
