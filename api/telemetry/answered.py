"""What became of one request, in the words that may be told of it."""

from __future__ import annotations

from dataclasses import dataclass

NO_ROUTE = "(none)"
"""Stands for the route of what was refused before it was routed, or has none."""


@dataclass(slots=True)
class Answered:
    """``status`` is 500 until an answer begins. ``seq`` is the newest entry that the answer was computed from.
    ``ledger`` is named where there are many.
    """

    request_id: str
    method: str
    route: str = NO_ROUTE
    status: int = 500
    rule: str | None = None
    key: str | None = None
    seq: str | None = None
    ledger: str | None = None
    seconds: float = 0.0
