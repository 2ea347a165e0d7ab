"""The difference of one sample as a bar from the middle: to the right where it did better, to the left where worse."""

from __future__ import annotations

from markupsafe import Markup

from .svg import Scale, element, path

WIDTH, HEIGHT = 96, 14


def delta_bar(delta: float | None, reach: float) -> Markup:
    """The bar of ``delta``; ``reach`` is the largest difference that the row of bars shows. The number stands beside
    it, so that nobody needs the picture; nothing is drawn for None."""
    x = Scale(-(reach or 1.0), reach or 1.0, 1, WIDTH - 1)
    middle, drawn = WIDTH / 2, []
    if delta:
        start, end = sorted((middle, x(delta)))
        good = delta > 0
        drawn.append(
            element("rect", x=start, y=3, width=max(1.5, end - start), height=HEIGHT - 6, rx=1.5, class_=_fill(good))
        )
    elif delta is not None:
        drawn.append(element("path", d=path([(middle - 3, 7), (middle + 3, 7)]), class_="stroke-soft", stroke_width=2))
    axis = element("line", x1=middle, x2=middle, y1=0, y2=HEIGHT, class_="stroke-soft")
    return element(
        "svg",
        axis,
        *drawn,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        aria_hidden="true",
        class_="bar",
    )


def _fill(good: bool) -> str:
    return "fill-good" if good else "fill-bad"
