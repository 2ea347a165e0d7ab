"""Erasures: whose keys were destroyed, why and when; what stays; and the rule of retention."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ....ledger.folds.erasures import ERASURE_STREAM, pair_erasures
from ...moment import Moment
from ...retention import KINDS, read_retention
from ..asked import Whole
from ..formats import num
from ..frame import Figure, VisitDep

router = APIRouter(include_in_schema=False)

PAGE = 50


@router.get("/ledger/erasures")
def list_erasures(visit: VisitDep, before: Whole | None = None) -> Response:
    with visit.moment() as moment:
        events, reader = moment.events, moment.events.reader
        total = reader.events_before(ERASURE_STREAM, moment.size)
        stop = total if before is None else max(0, min(before, total))
        start = max(0, stop - 2 * PAGE)
        end = reader.seq_of(ERASURE_STREAM, stop - 1) + 1 if stop else 0
        rows = pair_erasures(events.stream(ERASURE_STREAM, end, start))
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


def _figures(moment: Moment) -> list[Figure]:
    return [Figure("entries about erasures", num(moment.events.reader.events_before(ERASURE_STREAM, moment.size)))]
