"""The ledger: how much of it there is, how it grew, and its newest entries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from markupsafe import Markup
from starlette.responses import Response

from ....ledger.audit.witnesses import Declared, read_declarations
from ....ledger.entries.entry import require_stream
from ....ledger.errors import Malformed
from ....ledger.folds.anchors import ANCHOR_STREAM, Anchor
from ....ledger.store.folding import read_anchors
from ....ledger.store.reader import LedgerReader
from ....projections.registry import REGISTRY
from ...anchoring import recorded_at
from ...http.errors import Problem
from ...moment import Moment
from ..asked import Whole
from ..charts.growth import draw_growth
from ..formats import num
from ..frame import Figure, Visit, VisitDep
from .rows import EntryRow, entry_rows

router = APIRouter(include_in_schema=False)

PAGE = 50
LOOKED_AT = 50_000
"""How many entries one page looks at for those of a type, which nothing indexes."""

_POINTS = 40


@dataclass(frozen=True, slots=True)
class Page:
    """Entries, newest first. ``newer`` and ``older`` lead on; ``looked`` says between which entries was looked."""

    rows: list[EntryRow]
    first: int
    total: int | None
    newer: str | None
    older: str | None
    looked: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """How the log grew, as a picture and as (entries, time)."""

    picture: Markup
    points: list[tuple[int, str]]


@router.get("/ledger")
def show_ledger(
    visit: VisitDep,
    before: Whole | None = None,
    stream: str = "",
    type_name: Annotated[str, Query(alias="type")] = "",
    category: str = "",
) -> Response:
    """Entries below seq ``before``, newest first, ``PAGE`` at a time.

    A ``stream`` goes before ``type`` and ``category``, which look back over at most ``LOOKED_AT`` entries a page. A
    name that no stream can have is 422.
    """
    with visit.moment() as moment:
        reader = moment.events.reader
        shown = _page(visit, moment, before, stream.strip(), type_name.strip(), category.strip())
        newest = reader.newest_checkpoints(moment.size, 1)
        running, _ = visit.service.verifier.look()
        return visit.render(
            "ledger/log.html",
            moment,
            title="Ledger",
            figures=_figures,
            shown=shown,
            is_newest=before is None,
            filters={"stream": stream.strip(), "type": type_name.strip(), "category": category.strip()},
            types=REGISTRY.names(),
            categories=reader.categories(None if visit.as_of is None else moment.size),
            size=moment.size,
            last_at=recorded_at(reader, moment.size - 1),
            signed=newest[0][0] if newest else None,
            declared=declared_by(reader, moment.size),
            anchor=newest_anchor(reader, moment.size),
            running=running,
            verified=visit.service.verifier.look_alone(),
            growth=_growth(reader, moment.size, newest[0][0] if newest else None) if before is None else None,
        )


def newest_anchor(reader: LedgerReader, size: int) -> Anchor | None:
    """The last anchor that the first ``size`` entries record."""
    count = reader.events_before(ANCHOR_STREAM, size)
    found = read_anchors(reader, size, max(0, count - 1))
    return found[-1] if found else None


def declared_by(reader: LedgerReader, size: int) -> Declared | None:
    """What the first ``size`` entries declare last of witnesses."""
    return next((each for each in reversed(read_declarations(reader)[0]) if each.seq < size), None)


def _page(visit: Visit, moment: Moment, before: int | None, stream: str, type_name: str, category: str) -> Page:
    reader, size = moment.events.reader, moment.size
    start = size if before is None else max(0, min(before, size))
    if stream:
        return _of_stream(visit, reader, size, start, stream)
    if not (type_name or category):
        rows = reader.newest(start, PAGE)
        newer = visit.here(before=None if start + PAGE >= size else start + PAGE) if start < size else None
        older = visit.here(before=rows[-1].seq) if rows and rows[-1].seq else None
        return Page(entry_rows(rows), size - start + 1, size, newer, older)
    rows, low = reader.look_back(start, PAGE, LOOKED_AT, type_name=type_name or None, category=category or None)
    older = visit.here(before=low) if low else None
    newer = visit.here(before=None) if start < size else None
    return Page(entry_rows(rows), 1, None, newer, older, (low, start - 1))


def _of_stream(visit: Visit, reader: LedgerReader, size: int, start: int, stream: str) -> Page:
    try:
        require_stream(stream)
    except Malformed as error:
        raise Problem(422, "stream_readable", str(error)) from error
    total = reader.events_before(stream, size)
    stop = total if start == size else reader.events_before(stream, start)
    rows = reader.newest_of_stream(stream, stop, PAGE)
    older = visit.here(before=rows[-1].seq) if rows and rows[-1].pos else None
    newer = None
    if stop < total:
        newer = visit.here(before=reader.seq_of(stream, stop + PAGE) if stop + PAGE < total else None)
    return Page(entry_rows(rows), total - stop + 1, total, newer, older)


def _growth(reader: LedgerReader, size: int, signed: int | None) -> Growth:
    """As many points as can be told apart, at equal numbers of entries."""
    sizes = sorted({max(1, size * n // _POINTS) for n in range(1, _POINTS + 1)} | {1})
    points = [(count, recorded_at(reader, count - 1)) for count in sizes]
    drawn = [(datetime.fromisoformat(at).timestamp(), count) for count, at in points]
    return Growth(draw_growth(drawn, signed), points[:: max(1, len(points) // 10)])


def _figures(moment: Moment) -> list[Figure]:
    reader = moment.events.reader
    newest = reader.newest_checkpoints(moment.size, 1)
    anchor = newest_anchor(reader, moment.size)
    return [
        Figure("entries", num(moment.size)),
        Figure("entries under the newest checkpoint", num(newest[0][0]) if newest else "none"),
        Figure("entries that are anchored", num(anchor.size) if anchor else "none"),
    ]
