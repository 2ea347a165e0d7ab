"""The pages of reviews: what people signed, signing in the page, handing in what was signed elsewhere, and packs."""

from __future__ import annotations

import re
import threading
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....domain.errors import Refused
from ....ledger.application import Ledger
from ....ledger.entries.entry import format_at
from ....ledger.entries.review import MAX_STATEMENT_BYTES, OPINIONS, Subject
from ....ledger.errors import Malformed
from ....ledger.evidence.evidence import Evidence
from ....ledger.store.folding import read_identity
from ....projections.reviews_view import count_reviews, newest_reviews, verdict_counts
from ....projections.simulated import simulated_models
from ...http.errors import Problem
from ...http.service import Service
from ...moment import Moment
from ...pack.collect import collect_evidence, require_subject, select_asked
from ...pack.pdf import render_pdf
from ...pack.render import render_page
from ...reading import open_reader, parse_time
from ...reviews import record_review, review_at
from ...settings import recorder_name
from ..formats import num
from ..frame import Figure, Visit, VisitDep
from ..runs.records import known_run
from . import signers

router = APIRouter(include_in_schema=False)
router.include_router(signers.router)

PAGE = 20
SHOWN_BESIDE = 10
"""How many of the newest reviews of a run are shown to whoever signs another."""

_DIGITS = re.compile(r"[0-9]{1,15}", re.ASCII)
_packing = threading.BoundedSemaphore(1)


@router.get("/reviews")
def list_reviews(visit: VisitDep, run: str = "", verdict: str = "", before: str = "") -> Response:
    """Reviews, newest first, each verified as it is read."""
    asked_run, asked_verdict = run.strip() or None, verdict if verdict in OPINIONS else None
    with visit.moment() as moment:
        below = min(_number("before", before) or moment.size, moment.size)
        seqs = newest_reviews(moment.views, below, PAGE + 1, run=asked_run, verdict=asked_verdict)
        total = count_reviews(moment.views, moment.size, run=asked_run, verdict=asked_verdict)
        newer = count_reviews(moment.views, moment.size, start=below, run=asked_run, verdict=asked_verdict)
        shown = [review_at(moment.events, seq) for seq in seqs[:PAGE]]
        return visit.render(
            "reviews/list.html",
            moment,
            title="Reviews",
            figures=_figures,
            reviews=shown,
            counts=verdict_counts(moment.views, moment.size),
            opinions=OPINIONS,
            run=asked_run,
            verdict=asked_verdict,
            total=total,
            first=newer + 1,
            handed_in=_number("handed_in", visit.query.get("handed_in", "")),
            newest=visit.here(before=None, handed_in=None) if newer else None,
            older=visit.here(before=shown[-1].seq, handed_in=None) if len(seqs) > PAGE else None,
        )


def _figures(moment: Moment) -> list[Figure]:
    counts = verdict_counts(moment.views, moment.size)
    return [Figure(f"reviews: {opinion}", num(counts.get(opinion, 0))) for opinion in OPINIONS]


@dataclass(frozen=True, slots=True)
class Considered:
    """What somebody is about to sign about. ``facts`` are label and value; ``models`` the simulated ones."""

    subject: Subject
    facts: list[tuple[str, str]]
    models: list[str]
    spans: str


@router.get("/reviews/new")
def show_signing(
    visit: VisitDep,
    run: str = "",
    iteration: str = "",
    first: str = "",
    last: str = "",
) -> Response:
    """The form that signs a verdict in the page; without a subject, the choice of one."""
    with visit.moment() as moment:
        asked = run.strip() or first.strip() or last.strip() or visit.query.get("from", "").strip()
        if not asked:
            return visit.render("reviews/choose.html", moment, title="Review", size=moment.size)
        considered = _considered(visit, moment, run.strip(), iteration, first, last)
        subject = considered.subject
        others = newest_reviews(moment.views, moment.size, SHOWN_BESIDE, run=subject.run) if subject.run else []
        return visit.render(
            "reviews/new.html",
            moment,
            title=f"Review {_in_words(subject)}",
            subject=subject,
            considered=considered,
            statement={
                "origin": read_identity(moment.events.reader, moment.size).origin_at(moment.size),
                "subject": str(subject),
                "size": moment.size,
                "root": b64encode(moment.root).decode(),
            },
            reviews=[review_at(moment.events, seq) for seq in others],
            others=count_reviews(moment.views, moment.size, run=subject.run) if subject.run else 0,
        )


def _considered(visit: Visit, moment: Moment, run: str, iteration: str, first: str, last: str) -> Considered:
    """What the query asks to review; ``Refused`` where the log has no such thing at the moment."""
    if run:
        return _considered_run(visit.service, moment, run, _number("iteration", iteration))
    if not first.strip() and not last.strip():
        start, stop = _seqs(moment, visit.query.get("from", ""), visit.query.get("to", ""))
    else:
        start, stop = _number("first", first) or 0, _number("last", last) or 0
    if stop >= moment.size:
        raise Refused("entry_known", f"entry {stop}: the log has {moment.size} entries, from 0 on")
    if start > stop:
        raise Refused("review_subject", f"entries {start} to {stop}: expected a first that is not after the last")
    reader = moment.events.reader
    facts = [
        ("entries", f"{stop - start + 1:,}"),
        ("recorded", f"{_recorded_at(moment, start)} to {_recorded_at(moment, stop)}"),
        ("published checkpoint", "covers all of them" if (reader.latest_checkpoint() or (0,))[0] > stop else "not yet"),
    ]
    return Considered(Subject(first=start, last=stop), facts, [], f"{start}-{stop}")


def _considered_run(service: Service, moment: Moment, run: str, iteration: int | None) -> Considered:
    known = known_run(service, moment, run)
    record = known.record
    found = [each for each in record.iterations if each.number == iteration]
    if iteration is not None and not found:
        raise Refused("iteration_known", f"run {run}: iteration {iteration} is not recorded as of this moment")
    facts = [
        ("strategy", record.started.strategy),
        ("status", record.status),
        ("iterations", f"{len(record.iterations)}"),
    ]
    return Considered(
        Subject(run=run, iteration=iteration),
        facts,
        simulated_models(record),
        ",".join(f"{first}-{last}" for first, last in known.spans),
    )


def _seqs(moment: Moment, start: str, end: str) -> tuple[int, int]:
    """The first and last entry recorded from a time to a time, as people write them."""
    reader = moment.events.reader
    first = reader.size_at(parse_time(start.strip()))
    stop = min(moment.size, reader.size_at(parse_time(end.strip()))) if end.strip() else moment.size
    if first >= stop:
        raise Refused("review_subject", f"nothing was recorded from {start} to {end or 'now'}")
    return first, stop - 1


def _in_words(subject: Subject) -> str:
    if subject.run is None:
        return f"entries {subject.first} to {subject.last}"
    return f"run {subject.run}" + ("" if subject.iteration is None else f", iteration {subject.iteration}")


def _recorded_at(moment: Moment, seq: int) -> str:
    recorded = moment.events.event(seq)
    return "" if recorded is None else f"{recorded.at[:16].replace('T', ' ')} UTC"


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


@router.get("/reviews/pack")
def download_pack(
    visit: VisitDep, run: str = "", to: str = "", texts: str = "", calls: str = "", form: str = ""
) -> Response:
    """The evidence pack of a run, or of a window of evaluation; the form that asks which, where none is named.

    A pack is of the log as it is now. One is made at a time.
    """
    start, end, name = visit.query.get("from", "").strip() or None, to.strip() or None, run.strip() or None
    if visit.as_of is not None or (name, start, end) == (None, None, None):
        with visit.moment() as moment:
            return visit.render("reviews/pack.html", moment, title="Evidence pack", run=name, start=start, end=end)
    require_subject(name, start, end)
    if not _packing.acquire(blocking=False):
        raise Problem(503, "pack_busy", "another pack is being made; try again in a moment", {"Retry-After": "5"})
    try:
        evidence = _collect(visit.service, name, start, end, calls=calls == "yes", content=texts != "no")
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


def _collect(
    service: Service, run: str | None, start: str | None, end: str | None, *, calls: bool, content: bool
) -> Evidence:
    """The evidence, read from one state of the log. Nobody who records, or looks at a page, waits for it."""
    ledger = service.ledger
    _cover(ledger)
    with ledger.recorder.reading() as reader:
        opened = open_reader(ledger.place, reader, ledger.scopes)
        chosen = select_asked(opened, run, start, end, calls=calls, content=content)
        return collect_evidence(opened, chosen, recorder_name(), format_at(service.clock()), None)


def _cover(ledger: Ledger) -> None:
    """Sign what no published checkpoint covers yet."""
    with ledger.recorder.reading() as reader:
        latest = reader.latest_checkpoint()
        covered = latest is not None and latest[0] == reader.head().size
    if not covered:
        ledger.sign()


def _number(name: str, value: str) -> int | None:
    given: Any = value.strip()
    if not given:
        return None
    if not _DIGITS.fullmatch(given):
        raise Refused("number_readable", f"{name} {value[:40]!r}: expected a whole number from 0")
    return int(given)
