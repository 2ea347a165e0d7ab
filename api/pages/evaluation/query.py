"""What a reader asks of the evaluation page: a window of time, a source, versions of judges, sets of sources.

All of it stands in the address, so that a link shows the same to everybody: ``?days=`` or ``?from=&to=``, ``?source=``,
``?bucket=``, ``?version=`` of the shadow judge, ``?graded=`` of the judge of sessions, and ``?set=label:source,source``
for each set. In a set ``%25``, ``%3A`` and ``%2C`` stand for per cent, colon and comma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote

from pydantic import ValidationError

from ....projections.evaluation.view import DAY
from ....projections.evaluation.windows import OverviewRequest, SourceSet
from ...http.errors import Problem
from ..frame import Visit
from .places import source_of as read_source

PRESETS = (7, 30, 90)
DEFAULT_DAYS = 30
SETS_OFFERED = 4
"""Sets that the form builds; an address may ask for more."""

_DAILY_UP_TO = 45
_PICK, _LABEL = "in:", "label:"
_NO_SOURCE = "no source"


@dataclass(frozen=True, slots=True)
class Window:
    """From ``first`` to ``last``, seconds, both included. ``days`` is how many were asked for, None: dates were."""

    first: int
    last: int
    days: int | None

    @property
    def length(self) -> int:
        """In days, a begun one counted."""
        return -(-(self.last + 1 - self.first) // DAY)


def read_window(visit: Visit, newest_day: int | None) -> Window:
    """The window that is asked for: whole days (UTC) up to ``newest_day``, or today where nothing is known."""
    query = visit.query
    start, end = query.get("from", "").strip(), query.get("to", "").strip()
    days = _days(query.get("days", ""))
    final = newest_day if newest_day is not None else visit.now // DAY
    last = (final + 1) * DAY - 1 if not end else _second(end, whole_day=True)
    first = (last + 1 - days * DAY) if not start else _second(start, whole_day=False)
    if first > last:
        raise Problem(422, "window_readable", f"the window begins after it ends: from {start or '…'} to {end or '…'}")
    return Window(max(0, first), last, None if start or end else days)


def request_of(visit: Visit, window: Window, sets: Sequence[SourceSet]) -> OverviewRequest:
    """The overview request behind the page."""
    bucket: Literal["day", "week"] = "day" if window.length <= _DAILY_UP_TO else "week"
    match visit.query.get("bucket"):
        case "day":
            bucket = "day"
        case "week":
            bucket = "week"
    try:
        return OverviewRequest(
            from_ts=window.first,
            to_ts=window.last,
            bucket=bucket,
            include_shadow=False,
            source_sets=tuple(sets),
            source=source_of(visit),
            session_lists=False,
        )
    except ValidationError as error:
        told = "; ".join(str(found["msg"]).removeprefix("Value error, ") for found in error.errors())
        raise Problem(422, "request_invalid", told) from error


def source_of(visit: Visit) -> str | None:
    """The source that the page is narrowed to, None for all."""
    return read_source(visit.query.get("source"))


def sets_asked(visit: Visit) -> list[SourceSet]:
    """The sets in the address, in order."""
    return [_set(text) for text in visit.all("set")]


def set_text(given: SourceSet) -> str:
    """A set as it stands in an address."""
    return f"{_coded(given.label)}:{','.join(_coded(source) for source in given.sources)}"


def sets_built(visit: Visit) -> list[SourceSet] | None:
    """The sets that the form asks for: a number for each source, a label for each number. None: no form was sent."""
    picks = {name.removeprefix(_PICK): value for name, value in visit.query.items() if name.startswith(_PICK)}
    if not picks:
        return None
    found = []
    for number in range(1, SETS_OFFERED + 1):
        sources = tuple(source for source, value in picks.items() if value == str(number))
        if sources:
            label = visit.query.get(f"{_LABEL}{number}", "").strip()
            found.append(SourceSet(label=label or label_of(sources), sources=sources))
    return found


def form_names(visit: Visit) -> list[str]:
    """The fields of the form that builds sets, which no link carries on."""
    return [name for name in visit.query if name.startswith((_PICK, _LABEL))]


def one_each(sources: Sequence[str]) -> list[SourceSet]:
    """Each source as a set of its own, where there are few: what the page compares when nobody has built sets."""
    if not 2 <= len(sources) <= SETS_OFFERED:
        return []
    return [SourceSet(label=label_of([source]), sources=(source,)) for source in sources]


def label_of(sources: Sequence[str]) -> str:
    return " + ".join(source or _NO_SOURCE for source in sources)


def _set(text: str) -> SourceSet:
    label, colon, sources = text.partition(":")
    if not colon:
        raise Problem(422, "request_invalid", f"a set is written label:source,source; found {text!r}")
    try:
        return SourceSet(label=unquote(label), sources=tuple(unquote(source) for source in sources.split(",")))
    except ValidationError as error:
        raise Problem(422, "request_invalid", f"a set needs a label and sources; found {text!r}") from error


def _coded(text: str) -> str:
    return text.replace("%", "%25").replace(":", "%3A").replace(",", "%2C")


def _days(text: str) -> int:
    if not text:
        return DEFAULT_DAYS
    try:
        days = int(text)
    except ValueError as error:
        raise Problem(422, "window_readable", f"days: expected a number of days, found {text!r}") from error
    if not 1 <= days <= 36_600:
        raise Problem(422, "window_readable", f"days: expected 1 to 36,600, found {days}")
    return days


def _second(text: str, *, whole_day: bool) -> int:
    """The second that a date or a time names; of a date the first, or with ``whole_day`` the last."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        at = int(moment.timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise Problem(422, "window_readable", f"expected a date such as 2026-11-22, found {text!r}") from error
    if at < 0:
        raise Problem(422, "window_readable", f"expected a date from 1970 on, found {text!r}")
    return at + DAY - 1 if whole_day and len(text) == len("2026-11-22") else at
