"""A row of the table: what was measured, the figure with its interval, and the target that it has to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from affidavit.bench.windows import Median
from affidavit.bench.workload import Ledgers

Rule = Literal["at least", "at most", "not below"]
"""How a figure is held against its target; ``not below`` asks only that the interval reach it: no trend."""

Met = Literal["yes", "no", "unclear"]


@dataclass(frozen=True)
class Sizes:
    """How much is measured. The small ones only show that everything runs; their figures mean nothing."""

    windows: int = 40
    long_windows: int = 30
    singles: int = 200
    small: int = 1000
    verified: int = 50_000
    middle: int = 200_000
    large: int = 1_000_000
    receipts: int = 50
    exports: int = 7
    sessions: int = 100_000
    published: int = 40
    calls: int = 64
    replayed: int = 10_000
    cosigned: int = 20
    iterations: int = 100
    runs: int = 10_000
    pages: int = 200
    painted: int = 10
    painted_pages: int | None = None  # all
    warming: int = 5
    lag_seconds: float = 30


QUICK = Sizes(
    windows=1,
    long_windows=1,
    singles=16,
    small=200,
    verified=600,
    middle=600,
    large=2_000,
    receipts=2,
    exports=1,
    sessions=200,
    published=1,
    calls=4,
    replayed=60,
    cosigned=1,
    iterations=2,
    runs=20,
    pages=1,
    painted=1,
    painted_pages=3,
    warming=0,
    lag_seconds=0.2,
)


@dataclass(frozen=True)
class Row:
    """One line of the table. ``beside`` has what helps to read it: rates, sizes, other comparisons."""

    name: str
    what: str
    unit: str
    measured: Median
    target: float | None = None
    rule: Rule = "at least"
    beside: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> Met | None:
        """Whether the interval, all of it, keeps the rule; None without a target."""
        if self.target is None:
            return None
        low, high, target = self.measured.low, self.measured.high, self.target
        if self.rule == "not below":
            return "yes" if high >= target else "no"
        reached = (low >= target, high >= target) if self.rule == "at least" else (low <= target, high <= target)
        return "yes" if all(reached) else "unclear" if any(reached) else "no"


@dataclass(frozen=True)
class Bench:
    """What every measurement is given: a folder on the disk that is measured, sizes, ledgers to use."""

    folder: Path
    sizes: Sizes
    ledgers: Ledgers


Measurement = Callable[[Bench], list[Row]]
