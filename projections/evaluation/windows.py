"""The time windows of an overview, and the request that asks for one.

Trend is ``[from, to]``. Current is the last seven days of it, both ends included; prior the seven days before,
``[p, c)``. A request for less than seven days compares unequal lengths: the answer says how long both are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from .view import DAY

WEEK = 7 * DAY
MAX_TIME = 2**53 - 1
MILLISECONDS_FROM = 10**11
"""Seconds; the year 5138. A larger number is most likely in milliseconds, which the answer then says."""

MAX_SETS = 50
"""Sets in one request: each two of them are compared."""

Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Time = Annotated[int, Field(ge=0, le=MAX_TIME)]


class SourceSet(BaseModel):
    """Sessions whose first request had one of these sources, under a label. ``""`` is a source like any other."""

    model_config = ConfigDict(frozen=True)

    label: Label
    sources: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]


class OverviewRequest(BaseModel):
    """What an overview is asked for, with the peer's names, defaults and rules.

    ``source`` narrows hero, tiles, rules, recent results and session lists to sessions of that first source.
    ``session_lists`` False leaves out the lists that grow with the number of sessions.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    from_ts: Time
    to_ts: Time
    bucket: Literal["day", "week"] = "week"
    include_shadow: bool = True
    source_sets: Annotated[tuple[SourceSet, ...], Field(max_length=MAX_SETS)] = ()
    source: str | None = None
    session_lists: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> OverviewRequest:
        if self.from_ts > self.to_ts:
            raise ValueError(f"from_ts {self.from_ts} must not be after to_ts {self.to_ts}")
        labels = [given.label for given in self.source_sets]
        if len(set(labels)) != len(labels):
            raise ValueError("source_sets: each label may stand once")
        sources = [source for given in self.source_sets for source in given.sources]
        if len(set(sources)) != len(sources):
            raise ValueError("source_sets: each source may stand in one set, once")
        return self


@dataclass(frozen=True, slots=True)
class Windows:
    """Bounds in seconds: ``first`` to ``last`` is the trend, ``current`` where the current window begins,
    ``prior`` where the one before does. ``step`` is the length of a bucket."""

    first: int
    last: int
    current: int
    prior: int
    step: int

    @classmethod
    def of(cls, request: OverviewRequest) -> Windows:
        current = max(request.from_ts, request.to_ts - WEEK)
        step = DAY if request.bucket == "day" else WEEK
        return cls(request.from_ts, request.to_ts, current, max(0, current - WEEK), step)

    @property
    def days(self) -> tuple[int, int]:
        """The first and the last day that any window touches."""
        return min(self.first, self.prior) // DAY, self.last // DAY

    @property
    def warnings(self) -> list[str]:
        """What is odd about the request, in words."""
        found = []
        if self.last >= MILLISECONDS_FROM:
            found.append(f"to_ts {self.last} is read as seconds since 1970; it looks like milliseconds")
        # both ends of the current window are in it, so that seven whole days are a second less than WEEK
        if self.last - self.current + 1 < self.current - self.prior:
            found.append(
                f"the current window has {self.last - self.current} s, the prior {self.current - self.prior} s"
            )
        return found

    def as_json(self) -> dict[str, list[int] | int]:
        return {
            "trend": [self.first, self.last],
            "current": [self.current, self.last],
            "prior": [self.prior, self.current],
            "current_seconds": self.last - self.current,
            "prior_seconds": self.current - self.prior,
        }
