"""Erasures: whose keys were destroyed, why and when; what stays; and the rule of retention."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from ....domain.event import Recorded, Withheld
from ....ledger.events import ErasureExecuted, ErasureRequested
from ....ledger.folds.erasures import ERASURE_STREAM
from ...moment import Moment
from ...retention import KINDS, read_retention
from ..formats import num
from ..frame import Figure, VisitDep

router = APIRouter(include_in_schema=False)

PAGE = 50


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """One erasure. ``executed`` is None while it was only asked for, ``requested`` where the request is not shown here.

    ``note`` is sealed; it is None where none was given.
    """

    scope: str
    reason: str
    note: str | Withheld | None
    requested: int | None
    requested_at: str | None
    executed: int | None
    executed_at: str | None
    fingerprint: str | None
    aliases: int | None


@router.get("/ledger/erasures")
def list_erasures(visit: VisitDep, before: int | None = None) -> Response:
    with visit.moment() as moment:
        events, reader = moment.events, moment.events.reader
        total = reader.events_before(ERASURE_STREAM, moment.size)
        stop = total if before is None else max(0, min(before, total))
        start = max(0, stop - 2 * PAGE)
        end = reader.seq_of(ERASURE_STREAM, stop - 1) + 1 if stop else 0
        rows = _pair(list(events.stream(ERASURE_STREAM, end, start)))
        rule = read_retention(events)
        return visit.render(
            "ledger/erasures.html",
            moment,
            title="Erasures",
            figures=_figures,
            rows=rows,
            total=total,
            newest=visit.here(before=None) if stop < total else None,
            older=visit.here(before=start) if start else None,
            kinds=KINDS,
            rule=rule,
        )


def scope_page(scope: str) -> str | None:
    """Where one reads about what an erasure scope seals, as far as it is a stream."""
    category = scope.partition("/")[0]
    return f"/ledger/streams/{scope}" if category in ("run", "import", "retrieval", "score") else None


def _pair(recorded: list[Recorded]) -> list[ErasureRow]:
    """Requests and what came of them, newest first. Positions order them, so each stands right before its end."""
    rows: list[ErasureRow] = []
    asked: Recorded | None = None
    for each in recorded:
        event = each.event
        if isinstance(event, ErasureRequested):
            if asked is not None:
                rows.append(_row(asked, None))
            asked = each
        elif isinstance(event, ErasureExecuted):
            rows.append(_row(asked if asked is not None and asked.seq == event.requested else None, each))
            asked = None
    if asked is not None:
        rows.append(_row(asked, None))
    return rows[::-1]


def _row(asked: Recorded | None, done: Recorded | None) -> ErasureRow:
    request = asked.event if asked is not None and isinstance(asked.event, ErasureRequested) else None
    end = done.event if done is not None and isinstance(done.event, ErasureExecuted) else None
    told = end or request
    assert told is not None
    return ErasureRow(
        told.scope,
        told.reason,
        None if request is None else request.note,
        end.requested if end is not None else asked.seq if asked is not None else None,
        None if asked is None else asked.at,
        None if done is None else done.seq,
        None if done is None else done.at,
        None if end is None else end.key_fingerprint,
        None if end is None else end.aliases,
    )


def _figures(moment: Moment) -> list[Figure]:
    return [Figure("entries about erasures", num(moment.events.reader.events_before(ERASURE_STREAM, moment.size)))]
