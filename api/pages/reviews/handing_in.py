"""Handing in a statement that was signed elsewhere."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....domain.errors import Refused
from ....ledger.entries.review import MAX_STATEMENT_BYTES
from ....ledger.errors import Malformed
from ...reviews import record_review
from ..frame import Visit, VisitDep

router = APIRouter(include_in_schema=False)


@router.get("/reviews/upload")
def show_upload(visit: VisitDep) -> Response:
    """The form for a statement that was signed elsewhere."""
    return _upload(visit, {}, None)


@router.post("/reviews/upload")
async def upload(visit: VisitDep) -> Response:
    """Record a signed statement, and show where it stands."""
    form = await visit.form()
    return await run_in_threadpool(_hand_in, visit, form)


def _hand_in(visit: Visit, form: dict[str, str]) -> Response:
    note, vkey = form.get("statement", "").replace("\r\n", "\n").strip("\n") + "\n", form.get("vkey", "").strip()
    if len(note) > MAX_STATEMENT_BYTES:
        return _upload(visit, form, f"the statement has more than {MAX_STATEMENT_BYTES:,} characters")
    try:
        recorded = record_review(visit.service.ledger, note.encode(), vkey, visit.service.actor(visit.request))
    except (Refused, Malformed, UnicodeEncodeError) as refused:
        return _upload(visit, form, str(refused))
    return visit.see("/reviews", handed_in=recorded.seq, before=recorded.seq + 1)


def _upload(visit: Visit, form: dict[str, str], problem: str | None) -> Response:
    with visit.moment() as moment:
        return visit.render(
            "reviews/upload.html",
            moment,
            title="Hand in a signed statement",
            status=200 if problem is None else 422,
            given=form,
            problem=problem,
        )
