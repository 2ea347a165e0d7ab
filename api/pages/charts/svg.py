"""SVG elements, a linear scale, and round numbers for its axis.

The pages' security policy allows no style attributes: looks come from classes and presentation attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup, escape


def element(tag: str, /, *children: object, **attributes: object) -> Markup:
    """One element. ``class_`` is ``class``, other underscores become hyphens, numbers are rounded to hundredths.

    An attribute of None is left out. Children that are no markup are escaped.
    """
    printed = "".join(
        [f' {_attribute(name)}="{_value(value)}"' for name, value in attributes.items() if value is not None]
    )
    inside = "".join([child if type(child) is Markup else escape(child) for child in children])
    return Markup(f"<{tag}{printed}>{inside}</{tag}>")


def picture(
    width: float, height: float, title: str, *children: object, description: str = "", class_: str = ""
) -> Markup:
    """An image that scales to its column, and says ``title``, and ``description`` if it is given, to who cannot see."""
    named = [element("title", title)]
    if description:
        named.append(element("desc", description))
    return element(
        "svg",
        *named,
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=title if not description else f"{title}. {description}",
        class_=f"picture {class_}".strip(),
    )


def path(points: Iterable[tuple[float, float]]) -> str:
    """The ``d`` of a line through ``points``."""
    return "".join(f"{'L' if n else 'M'}{_number(x)},{_number(y)}" for n, (x, y) in enumerate(points))


@dataclass(frozen=True, slots=True)
class Scale:
    """Linear, from ``low`` to ``high`` onto ``start`` to ``end``; where both are the same, onto the middle."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` round numbers from ``low`` to ``high``, ascending: 1, 2 or 5 times a power of ten apart."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    while True:
        for factor in (1, 2, 5):
            apart = step * factor
            first = math.ceil(low / apart - 1e-9)
            last = math.floor(high / apart + 1e-9)
            if last - first + 1 <= most:
                return [round(n * apart, 12) for n in range(first, last + 1)]
        step *= 10


@cache
def _attribute(name: str) -> str:
    """An attribute as it is written, of a name as Python writes it."""
    return name.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    """An attribute's value as it is written."""
    if type(value) is int:
        return str(value)
    return _number(value) if isinstance(value, float) else escape(str(value))


def _number(value: float) -> str:
    """A number rounded to hundredths, with no more digits than it needs."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"
    return str(value)
