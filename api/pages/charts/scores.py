"""The scores of a run: training and validation by iteration, and beside them, apart, those on test samples.

The three are of different samples. No line leads from one to another, and none between scores of different batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..formats import num, score
from .svg import Scale, element, path, picture, ticks

WIDE, NARROW = 1100, 340
_LEFT, _TOP, _BOTTOM = 46, 46, 34


@dataclass(frozen=True, slots=True)
class Dot:
    """A score of an iteration; ``is_joined`` to the one before, which was of the same samples."""

    iteration: int
    score: float
    told: str
    is_joined: bool = True
    is_hollow: bool = False


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A score of the baseline or the final prompt; ``Scores.test_name`` says on what samples."""

    name: str
    score: float
    told: str


@dataclass(frozen=True, slots=True)
class Span:
    """The iterations of a phase."""

    first: int
    last: int
    label: str


@dataclass(frozen=True, slots=True)
class Scores:
    """What the chart shows; the names say of how many samples each is."""

    train: Sequence[Dot]
    val: Sequence[Dot]
    test: Sequence[HeldOut]
    train_name: str = "training"
    val_name: str = "validation"
    test_name: str = "test"
    threshold: float | None = None
    phases: Sequence[Span] = ()


def score_chart(scores: Scores, width: int = WIDE, class_: str = "") -> Markup:
    """The picture; an empty one where nothing was scored."""
    narrow = width < 600
    height = 250 if narrow else 310
    right = 128 if narrow else 210
    values = [*(dot.score for dot in (*scores.train, *scores.val)), *(test.score for test in scores.test)]
    if scores.threshold is not None and values:
        values.append(scores.threshold)
    low, high = _range(values)
    y = Scale(low, high, height - _BOTTOM, _TOP)
    numbers = [dot.iteration for dot in (*scores.train, *scores.val)] or [1]
    edge = width - (right + (12 if narrow else 24) if scores.test else 12)
    x = Scale(min(numbers), max(numbers), _LEFT + 16, edge - 14)
    drawn: list[Markup] = [*_grid(y, edge, low, high)]
    if scores.test:
        drawn += _panel(scores, y, width - right, width - 2, height)
    if scores.train or scores.val:
        drawn += [*_phases(scores.phases, x, edge, height), *_axis(x, numbers, height, narrow)]
    if scores.threshold is not None:
        at = y(scores.threshold)
        drawn.append(element("line", x1=_LEFT, x2=edge, y1=at, y2=at, stroke_width=1.25, class_="stroke-warn dash"))
        told = f"threshold {num(scores.threshold, 4)}"
        drawn.append(
            element("text", told, x=edge - 4, y=at - 4 if at > _TOP + 12 else at + 13, class_="text-warn small end")
        )
    drawn += _series(scores.train, x, y, "series-1", _circle)
    drawn += _series(scores.val, x, y, "series-2", _square, " dash")
    drawn += _legend(scores, narrow)
    return picture(width, height, "Scores by iteration", *drawn, description=_told(scores), class_=class_)


def _range(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or 0.05
    return (low - pad if low < 0 or low - pad > 0 else 0.0), high + pad


def _grid(y: Scale, edge: float, low: float, high: float) -> Iterator[Markup]:
    for tick in ticks(low, high):
        at = y(tick)
        yield element("line", x1=_LEFT, x2=edge, y1=at, y2=at, class_="stroke-grid")
        yield element("text", num(tick, 4), x=_LEFT - 7, y=at + 4, class_="text-soft small end")


def _axis(x: Scale, numbers: Sequence[int], height: int, narrow: bool) -> Iterator[Markup]:
    first, last = min(numbers), max(numbers)
    shown = [tick for tick in ticks(first, last, 6 if narrow else 14) if tick == int(tick)] or [first]
    for tick in shown:
        yield element("text", num(tick), x=x(tick), y=height - 17, class_="text-soft small middle")
    yield element("text", "iteration", x=(x(first) + x(last)) / 2, y=height - 3, class_="text-soft small middle")


def _phases(phases: Sequence[Span], x: Scale, edge: float, height: int) -> Iterator[Markup]:
    for n, span in enumerate(phases):
        start = _LEFT if n == 0 else (x(span.first) + x(span.first - 1)) / 2
        end = edge if n == len(phases) - 1 else (x(span.last) + x(span.last + 1)) / 2
        series = n % 6 + 1
        yield element(
            "rect",
            x=start,
            y=_TOP - 14,
            width=end - start,
            height=height - _BOTTOM - _TOP + 14,
            class_=f"band light fill-series-{series}",
        )
        if len(span.label) * 6.4 < end - start:
            yield element("text", span.label, x=start + 6, y=_TOP - 2, class_="text-soft small")


def _series(
    dots: Sequence[Dot], x: Scale, y: Scale, series: str, mark: Callable[[float, float, float], Markup], dash: str = ""
) -> Iterator[Markup]:
    size = (4.5 if mark is _circle else 3.25) * (1 if len(dots) <= 40 else 0.65)
    for line in _lines(dots):
        if len(line) > 1:
            points = [(x(dot.iteration), y(dot.score)) for dot in line]
            yield element("path", d=path(points), stroke_width=2, class_=f"fill-none stroke-{series}{dash}")
    for dot in dots:
        drawn = mark(x(dot.iteration), y(dot.score), size)
        fill = "fill-paper" if dot.is_hollow else f"fill-{series}"
        yield element("g", element("title", dot.told), drawn, stroke_width=1.75, class_=f"{fill} stroke-{series}")


def _lines(dots: Iterable[Dot]) -> Iterator[list[Dot]]:
    line: list[Dot] = []
    for dot in dots:
        if line and not dot.is_joined:
            yield line
            line = []
        line.append(dot)
    if line:
        yield line


def _panel(scores: Scores, y: Scale, left: float, right: float, height: int) -> Iterator[Markup]:
    """The scores on test samples, in a frame of their own."""
    yield element(
        "rect",
        x=left,
        y=_TOP - 14,
        width=right - left,
        height=height - _BOTTOM - _TOP + 14,
        rx=8,
        class_="fill-tint stroke-line",
    )
    yield element("text", scores.test_name, x=(left + right) / 2, y=_TOP - 20, class_="text small bold middle")
    apart = (right - left) / (len(scores.test) + 1)
    for n, test in enumerate(scores.test, start=1):
        x, at = left + n * apart, y(test.score)
        diamond = f"{x:.1f},{at - 7:.1f} {x + 7:.1f},{at:.1f} {x:.1f},{at + 7:.1f} {x - 7:.1f},{at:.1f}"
        yield element("polygon", element("title", test.told), points=diamond, class_="fill-series-3")
        # the label stands above the mark, and below it where it would leave the frame
        yield element(
            "text", score(test.score), x=x, y=at - 12 if at > _TOP + 14 else at + 21, class_="text small bold middle"
        )
        yield element("text", test.name, x=x, y=height - 17, class_="text-soft small middle")


def _legend(scores: Scores, narrow: bool) -> Iterator[Markup]:
    x, y = (8.0 if narrow else float(_LEFT)), 12.0
    for dots, name, series, mark in (
        (scores.train, scores.train_name, "series-1", _circle),
        (scores.val, scores.val_name, "series-2", _square),
    ):
        if dots:
            yield element("g", mark(x + 5, y - 4, 4.0), class_=f"fill-{series} stroke-{series}")
            yield element("text", name, x=x + 15, y=y, class_="text small")
            x, y = (x, y + 15) if narrow else (x + 30 + 6.6 * len(name), y)


def _told(scores: Scores) -> str:
    parts = [
        f"{name}: {score(dots[0].score)} in iteration {dots[0].iteration}, {score(dots[-1].score)} in iteration "
        f"{dots[-1].iteration}, highest {score(max(dot.score for dot in dots))}"
        for name, dots in ((scores.train_name, scores.train), (scores.val_name, scores.val))
        if dots
    ]
    parts += [f"{test.name} ({scores.test_name}): {score(test.score)}" for test in scores.test]
    return "; ".join(parts)


def _circle(x: float, y: float, size: float) -> Markup:
    return element("circle", cx=x, cy=y, r=size)


def _square(x: float, y: float, size: float) -> Markup:
    return element("rect", x=x - size, y=y - size, width=2 * size, height=2 * size)
