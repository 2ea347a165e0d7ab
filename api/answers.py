"""Answers that more than one door gives: the same document by HTTP and by command."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from ..projections.evaluation.overview import build_overview
from ..projections.evaluation.trend import build_trend
from ..projections.evaluation.windows import OverviewRequest
from .moment import Moment


def stamped(moment: Moment, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer, and what it was computed from: the last entry, how many there are, and their root."""
    return {**answer, "seq": moment.size - 1, "size": moment.size, "root": b64encode(moment.root).decode()}


_KEPT_WHOLE = frozenset({"tool_data", "metadata"})


def without_nulls(value: Any) -> Any:
    """JSON data without its null members, at every depth but inside what users sent, as the peer leaves them out."""
    if isinstance(value, Mapping):
        return {
            name: item if name in _KEPT_WHOLE else without_nulls(item)
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def overview_answer(moment: Moment, request: OverviewRequest) -> dict[str, Any]:
    """The evaluation overview as of a moment."""
    overview = build_overview(moment.views, moment.events, moment.size, request, moment.names_of, moment.sessions_named)
    found: dict[str, Any] = without_nulls(stamped(moment, overview))
    return found


def trend_answer(
    moment: Moment, *, from_ts: int, to_ts: int, source: str | None = None, version: str | None = None
) -> dict[str, Any]:
    """The shadow win-rate trend of each version apart, as of a moment."""
    trend = build_trend(moment.views, moment.size, from_at=from_ts, to_at=to_ts, source=source, version=version)
    return stamped(moment, trend)
