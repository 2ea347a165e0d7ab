"""What figures with their uncertainty are made of: intervals, levels, and how they are printed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

LEVEL = 0.95
ALPHA = 0.05
MINIMUM_N = 20
"""Below so many outcomes, or subjects of even size where they repeat, a comparison gives no verdict."""


class Figures:
    """A named result that can be printed as JSON."""

    __slots__ = ()

    def as_json(self) -> dict[str, Any]:
        """The result as JSON data; an interval is ``[low, high]``."""
        return {field.name: _json(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval at 95 %."""

    low: float
    high: float


def _json(value: Any) -> Any:
    if isinstance(value, Interval):
        return [value.low, value.high]
    if isinstance(value, Figures):
        return value.as_json()
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return value
