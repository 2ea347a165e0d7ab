"""Signing a verdict in the page: what it is about, and the form that states it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from ....domain.errors import Refused
from ....ledger.entries.review import Subject
from ....ledger.store.folding import read_identity
from ....projections.reviews_view import count_reviews, newest_reviews
from ....projections.simulated import simulated_models
from ...moment import Moment
from ...reading import parse_time
from ...reviews import review_at
from ..asked import asked_number
from ..frame import Visit, VisitDep
from ..known_runs import known_run

router = APIRouter(include_in_schema=False)

SHOWN_BESIDE = 10
"""How many of the newest reviews of a run are shown to whoever signs another."""


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
        return _considered_run(visit, moment, run, asked_number("iteration", iteration))
    if not first.strip() and not last.strip():
        start, stop = _seqs(moment, visit.query.get("from", ""), visit.query.get("to", ""))
    else:
        start, stop = asked_number("first", first) or 0, asked_number("last", last) or 0
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


def _considered_run(visit: Visit, moment: Moment, run: str, iteration: int | None) -> Considered:
    known = known_run(visit, moment, run)
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
