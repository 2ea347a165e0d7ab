"""What was recorded since an entry: how much of what, and the newest of it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ....domain.errors import Refused
from ...anchoring import recorded_at
from ..asked import Whole
from ..frame import VisitDep
from .rows import CATEGORIES, entry_rows

router = APIRouter(include_in_schema=False)

PAGE = 50
COUNTED = 10_000
"""How many entries, the newest, one page counts by type."""


@router.get("/ledger/changes")
def show_changes(visit: VisitDep, since: Whole = 0, before: Whole | None = None) -> Response:
    """Entries behind ``since`` and below seq ``before``, newest first, ``PAGE`` at a time; ``since`` unknown is 404."""
    with visit.moment() as moment:
        reader = moment.events.reader
        if not 0 <= since < moment.size:
            raise Refused("entry_known", f"entry {since}: the log has {moment.size} entries, from 0 on")
        start, size = since + 1, moment.size
        counted_from = max(start, size - COUNTED)
        stop = size if before is None else max(start, min(before, size))
        rows = reader.newest(stop, min(PAGE, stop - start))
        return visit.render(
            "ledger/changes.html",
            moment,
            title=f"Recorded since entry {since}",
            since=since,
            since_at=recorded_at(reader, since),
            total=size - start,
            counted_from=counted_from,
            counted=size - counted_from,
            counts=reader.count_types(counted_from, size),
            meanings=CATEGORIES,
            rows=entry_rows(rows),
            first=size - stop + 1,
            newer=visit.here(before=stop + PAGE if stop + PAGE < size else None) if stop < size else None,
            older=visit.here(before=rows[-1].seq) if rows and rows[-1].seq > start else None,
        )
