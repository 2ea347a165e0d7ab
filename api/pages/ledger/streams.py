"""Streams: what each is about, and the events of one in order."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from ....ledger.entries.entry import require_stream
from ....ledger.errors import Malformed
from ....ledger.store.reader import LedgerReader
from ...anchoring import recorded_at
from ...http.errors import Problem
from ...moment import Moment
from ..asked import Whole
from ..formats import num
from ..frame import Figure, VisitDep
from .rows import CATEGORIES, about, entry_rows

router = APIRouter(include_in_schema=False)

PAGE = 50
_MOST_NAMES = 1000
"""How many names one page looks at: as of an earlier moment most may not have begun."""


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream, its number of events, and when the first and the last of them were recorded."""

    name: str
    events: int
    first: int
    last: int
    first_at: str
    last_at: str


@router.get("/ledger/streams")
def list_streams(visit: VisitDep, category: str = "", after: str = "") -> Response:
    with visit.moment() as moment:
        reader = moment.events.reader
        categories = reader.categories(None if visit.as_of is None else moment.size)
        if category and category not in categories:
            raise Problem(404, "category_known", f"no stream begins with {category!r}")
        rows, more = _rows(reader, category, after, moment.size) if category else ([], None)
        return visit.render(
            "ledger/streams.html",
            moment,
            title=f"Streams of category {category}" if category else "Streams",
            category=category,
            categories=[(name, CATEGORIES.get(name, "")) for name in categories],
            rows=rows,
            older=None if more is None else visit.here(after=more),
            newest=visit.here(after=None) if after else None,
            about=about,
        )


@router.get("/ledger/streams/{name:path}")
def show_stream(visit: VisitDep, name: str, before: Whole | None = None) -> Response:
    try:
        require_stream(name)
    except Malformed as error:
        raise Problem(404, "stream_known", str(error)) from error
    with visit.moment() as moment:
        reader = moment.events.reader
        total = reader.events_before(name, moment.size)
        if total == 0:
            raise Problem(404, "stream_known", f"stream {name}: no entry of the first {num(moment.size)} is in it")
        stop = total if before is None else max(0, min(before, total))
        rows = reader.newest_of_stream(name, stop, PAGE)

        def figures(at: Moment) -> list[Figure]:
            return [Figure(f"events of {name}", num(at.events.reader.events_before(name, at.size)))]

        return visit.render(
            "ledger/stream.html",
            moment,
            title=f"Stream {name}",
            figures=figures,
            name=name,
            category=name.partition("/")[0],
            meaning=CATEGORIES.get(name.partition("/")[0]),
            about=about(name),
            row=_row(reader, name, total),
            destroyed=visit.service.ledger.scopes.destroyed(name),
            rows=entry_rows(rows),
            first=total - stop + 1,
            total=total,
            newer=visit.here(before=stop + PAGE if stop + PAGE < total else None) if stop < total else None,
            older=visit.here(before=rows[-1].pos) if rows and rows[-1].pos else None,
        )


def _rows(reader: LedgerReader, category: str, after: str, size: int) -> tuple[list[StreamRow], str | None]:
    """The streams after ``after`` that had begun, and the name to go on after, None at the end."""
    rows: list[StreamRow] = []
    looked = 0
    while looked < _MOST_NAMES:
        names = reader.stream_names(category, after, PAGE)
        for name in names:
            after = name
            looked += 1
            if events := reader.events_before(name, size):
                rows.append(_row(reader, name, events))
            if len(rows) == PAGE:
                return rows, name if reader.stream_names(category, name, 1) else None
        if len(names) < PAGE:
            return rows, None
    return rows, after


def _row(reader: LedgerReader, name: str, events: int) -> StreamRow:
    first, last = reader.seq_of(name, 0), reader.seq_of(name, events - 1)
    return StreamRow(name, events, first, last, recorded_at(reader, first), recorded_at(reader, last))
