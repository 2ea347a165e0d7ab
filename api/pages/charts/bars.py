"""Counts as bars: two windows beside each other, outcomes in one bar, successes against failures of each rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..formats import num, share
from .svg import Scale, element, picture

_MOST_LETTERS = 34


@dataclass(frozen=True, slots=True)
class Versus:
    """Successes and failures of one thing; ``remark`` stands behind the numbers."""

    label: str
    successes: int
    failures: int
    remark: str = ""


def distribution(labels: Sequence[str], current: Sequence[int], prior: Sequence[int], title: str) -> Markup:
    """The shares of each label in two windows: filled the current one, outlined the prior. Counts stand above."""
    width, left, right, top, foot = 560.0, 8.0, 552.0, 40.0, 190.0
    sums = (sum(current), sum(prior))
    shares = [
        [count / whole if whole else 0.0 for count in counts]
        for counts, whole in zip((current, prior), sums, strict=True)
    ]
    tall = Scale(0, max(0.01, *shares[0], *shares[1]), 0, foot - top)
    slot = (right - left) / max(1, len(labels))
    bar = 0.36 * slot
    drawn = [
        element("rect", x=left, y=8, width=12, height=12, class_="fill-series-1"),
        element("text", f"current, n = {num(sums[0])}", x=left + 18, y=18, class_="text"),
        element(
            "rect",
            x=left + 170.5,
            y=8.5,
            width=11,
            height=11,
            fill="none",
            class_="stroke-series-2 dash",
            stroke_width=2,
        ),
        element("text", f"prior, n = {num(sums[1])}", x=left + 188, y=18, class_="text"),
        element("line", x1=left, x2=right, y1=foot, y2=foot, class_="stroke-soft", stroke_width=1),
    ]
    for place, label in enumerate(labels):
        middle = left + (place + 0.5) * slot
        for series, (counts, start) in enumerate(((current, middle - bar - 1), (prior, middle + 1))):
            height = tall(shares[series][place])
            looks = (
                {"class_": "fill-series-1"}
                if series == 0
                else {"class_": "stroke-series-2 dash", "fill": "none", "stroke_width": 2}
            )
            of = f"{share(shares[series][place], 1)} of the {'prior' if series else 'current'} window"
            told = f"{num(counts[place])} results with {label} corrections, {of}"
            drawn.append(
                element(
                    "g",
                    element("title", told),
                    element("rect", x=start, y=foot - height, width=bar, height=height, **looks),
                )
            )
            drawn.append(
                element("text", num(counts[place]), x=start + bar / 2, y=foot - height - 5, class_="text small middle")
            )
        drawn.append(element("text", label, x=middle, y=foot + 18, class_="text middle"))
    drawn.append(
        element(
            "text",
            "corrections in the session of a result",
            x=(left + right) / 2,
            y=foot + 38,
            class_="text-soft middle",
        )
    )
    return picture(width, foot + 46, title, *drawn)


def outcomes(wins: int, ties: int, losses: int, title: str) -> Markup:
    """One bar of wins, ties and losses, each part named where it has room."""
    width, height, top = 540.0, 52.0, 4.0
    x = Scale(0, max(1, wins + ties + losses), 0, width)
    parts = (
        (wins, "wins", "fill-good-tint stroke-good"),
        (ties, "ties", "fill-tint stroke-soft"),
        (losses, "losses", "fill-bad-tint stroke-bad"),
    )
    drawn: list[Markup] = []
    done = 0
    for count, name, looks in parts:
        if not count:
            continue
        start, end = x(done), x(done + count)
        drawn.append(
            element(
                "g",
                element("title", f"{num(count)} {name}"),
                element(
                    "rect",
                    x=start + 1,
                    y=top,
                    width=max(1.0, end - start - 2),
                    height=28,
                    rx=3,
                    class_=looks,
                    stroke_width=1.5,
                ),
            )
        )
        words = f"{num(count)} {name}"
        if end - start > 8 * len(words):
            drawn.append(element("text", words, x=(start + end) / 2, y=top + 19, class_="text bold middle"))
        else:
            drawn.append(
                element(
                    "text",
                    words,
                    x=min(end, width),
                    y=top + 44,
                    class_="text small end" if end > width / 2 else "text small",
                )
            )
        done += count
    return picture(width, height, title, *drawn, class_="wide")


def versus(rows: Sequence[Versus], title: str) -> Markup:
    """Of each row the failures to the left and the successes to the right of one line, in the same unit."""
    if not rows:
        return Markup("")
    width, line, row, top = 580.0, 380.0, 32.0, 26.0
    most = max(1, *(max(found.successes, found.failures) for found in rows))
    reach = Scale(0, most, 0, 150)
    foot = top + row * len(rows)
    drawn = [
        element("text", "✕ failed", x=line - 8, y=14, class_="text-bad end"),
        element("text", "✓ succeeded", x=line + 8, y=14, class_="text-good"),
    ]
    for place, found in enumerate(rows):
        y = top + place * row + 5
        left, right = reach(found.failures), reach(found.successes)
        remark = f" · {found.remark}" if found.remark else ""
        told = f"{found.label}: {num(found.successes)} succeeded, {num(found.failures)} failed{remark}"
        drawn.append(
            element(
                "g",
                element("title", told),
                element("text", shortened(found.label), x=0, y=y + 16, class_="text"),
                element(
                    "rect", x=line - left, y=y, width=left, height=22, class_="fill-bad-tint stroke-bad", stroke_width=1
                ),
                element(
                    "rect", x=line, y=y, width=right, height=22, class_="fill-good-tint stroke-good", stroke_width=1
                ),
                element("text", num(found.failures), x=line - left - 6, y=y + 16, class_="text small end"),
                element("text", num(found.successes) + remark, x=line + right + 6, y=y + 16, class_="text small"),
            )
        )
    drawn.append(element("line", x1=line, x2=line, y1=top, y2=foot, class_="stroke-ink", stroke_width=1.5))
    return picture(width, foot + 4, title, *drawn, class_="wide")


def shortened(label: str, most: int = _MOST_LETTERS) -> str:
    """A label that fits; the whole one belongs in a title or a table."""
    return label if len(label) <= most else label[: most - 1] + "…"
