"""Anchors: which checkpoints a timestamp authority has stamped, and between which times entries were written."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from ....ledger.audit.anchors import ALLOWED_SKEW_US, check_anchors, print_bounds
from ....ledger.folds.anchors import ANCHOR_STREAM
from ....ledger.store.folding import read_anchors, read_identity
from ...anchoring import recorded_at
from ...http.errors import Problem
from ...moment import Moment
from ..asked import Whole
from ..formats import num
from ..frame import Figure, VisitDep
from .entries import attached

router = APIRouter(include_in_schema=False)

PAGE = 25


@router.get("/ledger/anchors")
def list_anchors(visit: VisitDep, before: Whole | None = None) -> Response:
    """Anchors below position ``before`` of their stream, newest first, ``PAGE`` at a time; any number is taken."""
    with visit.moment() as moment:
        reader = moment.events.reader
        total = reader.events_before(ANCHOR_STREAM, moment.size)
        stop = total if before is None else max(0, min(before, total))
        start = max(0, stop - PAGE)
        end = reader.seq_of(ANCHOR_STREAM, stop - 1) + 1 if stop else 0
        anchors = read_anchors(reader, end, start)
        anchoring = visit.service.anchoring
        roots = anchoring.authority.roots if anchoring is not None else ()

        def note_of(size: int) -> bytes | None:
            return next((note for found, note in reader.newest_checkpoints(size, 1) if found == size), None)

        token_of = visit.service.ledger.place.token
        keys_of = read_identity(reader).keys_at
        report = check_anchors(anchors, token_of, note_of, keys_of, roots, partial(recorded_at, reader))
        return visit.render(
            "ledger/anchors.html",
            moment,
            title="Anchors",
            figures=_figures,
            anchors=list(reversed(anchors)),
            total=total,
            first=total - stop + 1,
            newer=visit.here(before=stop + PAGE if stop + PAGE < total else None) if stop < total else None,
            older=visit.here(before=start) if start else None,
            report=report,
            has_roots=bool(roots),
            damaged={damage.seq: damage.detail for damage in report.damage},
            bounds=print_bounds(report.bounds, moment.size)[::-1] if report.anchored_to else [],
            schedule=None if anchoring is None else anchoring.status(),
            size=moment.size,
            skew=ALLOWED_SKEW_US // 60_000_000,
        )


@router.get("/ledger/anchors/{size}/token")
def download_token(visit: VisitDep, size: Whole) -> Response:
    """The authority's answer as it came (RFC 3161), to keep."""
    token = visit.service.ledger.place.token(size)
    if token is None:
        raise Problem(404, "token_known", f"no timestamp token of a checkpoint of size {size} lies here")
    return attached(token, f"{size}.tsr", "application/timestamp-reply")


def _figures(moment: Moment) -> list[Figure]:
    reader = moment.events.reader
    return [Figure("anchors", num(reader.events_before(ANCHOR_STREAM, moment.size)))]
