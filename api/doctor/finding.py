"""What a look at one thing gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "not_checked", "warning", "danger"]
LEVELS: tuple[Level, ...] = ("ok", "not_checked", "warning", "danger")
"""From the least to the worst."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``check`` is its name for programs. ``danger``: evidence, acknowledged entries or the service are at risk now;
    ``warning``: they are when something else goes wrong, too."""

    check: str
    level: Level
    looked_at: str
    found: str
    expected: str
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at, and what is said of it whatever is found."""

    name: str
    looked_at: str
    expected: str
    why: str
    advice: str

    def found(self, level: Level, found: str) -> Finding:
        return Finding(self.name, level, self.looked_at, found, self.expected, self.why, self.advice)

    def none_of(self, level: Level, what: Sequence[str], nothing: str) -> Finding:
        """``level`` where there is any of ``what``, which is told, else fine, as ``nothing`` says."""
        return self.found(level, listed(what)) if what else self.found("ok", nothing)


_MOST = 8


def listed(what: Sequence[str]) -> str:
    """A list in words, cut where it is long."""
    more = f" and {len(what) - _MOST} more" if len(what) > _MOST else ""
    return "; ".join(what[:_MOST]) + more


def worst(findings: Sequence[Finding]) -> Level:
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")


_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def print_bytes(number: float) -> str:
    """A number of bytes for people."""
    unit = 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number /= 1024
        unit += 1
    return f"{number:.0f} {_UNITS[unit]}" if unit == 0 else f"{number:.1f} {_UNITS[unit]}"


_STEPS = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))


def print_duration(seconds: float) -> str:
    """A duration for people, in its largest unit of which there are two."""
    for length, unit in _STEPS:
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
