"""Evidence packs: one file about a run or a window of evaluation, of what the newest published checkpoint covers.

Asking for one changes nothing, so its address can be passed on. What is not covered is never left out in silence.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from ....ledger.entries.entry import format_at
from ....ledger.evidence.evidence import Evidence
from ...http.errors import Problem
from ...http.service import Service
from ...pack.collect import as_published, collect_evidence, count_tail, require_subject, select_asked
from ...pack.pdf import render_pdf
from ...pack.render import render_page
from ...reading import open_reader
from ...settings import recorder_name
from ..frame import Visit, VisitDep

router = APIRouter(include_in_schema=False)

_packing = threading.BoundedSemaphore(1)


@dataclass(frozen=True, slots=True)
class Tail:
    """``count`` entries that belong in a pack are not among the first ``size``, which the newest checkpoint covers."""

    size: int
    count: int


@router.get("/reviews/pack")
def download_pack(
    visit: VisitDep, run: str = "", to: str = "", texts: str = "", calls: str = "", form: str = "", tail: str = ""
) -> Response:
    """The evidence pack of a run, or of a window of evaluation; the form that asks which, where none is named.

    Where entries that belong in it are not covered yet, 503 and a page that says how many; ``tail=no`` leaves them
    out. One pack is made at a time.
    """
    start, end, name = visit.query.get("from", "").strip() or None, to.strip() or None, run.strip() or None
    if visit.as_of is not None or (name, start, end) == (None, None, None):
        return _ask(visit, name, start, end, None)
    require_subject(name, start, end)
    if not _packing.acquire(blocking=False):
        raise Problem(503, "pack_busy", "another pack is being made; try again in a moment", {"Retry-After": "5"})
    try:
        evidence = _collect(
            visit.service, name, start, end, calls=calls == "yes", content=texts != "no", tail=tail != "no"
        )
        if isinstance(evidence, Tail):
            return _ask(visit, name, start, end, evidence)
        content = render_pdf(evidence) if form == "pdf" else render_page(evidence).encode()
    finally:
        _packing.release()
    suffix, media_type = ("pdf", "application/pdf") if form == "pdf" else ("html", "text/html; charset=utf-8")
    named = (
        f"run-{name}"
        if name
        else "evaluation-" + "-".join(re.sub("[^0-9T]", "", each) for each in (start, end) if each)
    )
    headers = {"Content-Disposition": f'attachment; filename="evidence-{named}.{suffix}"'}
    return Response(content, headers=headers, media_type=media_type)


def _ask(visit: Visit, run: str | None, start: str | None, end: str | None, tail: Tail | None) -> Response:
    with visit.moment() as moment:
        page = visit.render(
            "reviews/pack.html",
            moment,
            title="Evidence pack",
            status=200 if tail is None else 503,
            run=run,
            start=start,
            end=end,
            tail=tail,
        )
    if tail is not None:
        page.headers["Retry-After"] = "1"
    return page


def _collect(
    service: Service, run: str | None, start: str | None, end: str | None, *, calls: bool, content: bool, tail: bool
) -> Evidence | Tail:
    """The evidence, read from one state of the log; with ``tail`` only where all of it is covered.

    Nobody who records, or looks at a page, waits for it.
    """
    ledger = service.ledger
    with ledger.recorder.reading() as reader:
        opened = open_reader(ledger.place, reader, ledger.scopes)
        published = as_published(opened)
        if tail and (left := count_tail(opened, run, start, end, published.size)):
            return Tail(published.size, left)
        chosen = select_asked(published, run, start, end, calls=calls, content=content)
        return collect_evidence(published, chosen, recorder_name(), format_at(service.clock()), None)
