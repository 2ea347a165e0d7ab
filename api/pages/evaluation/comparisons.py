"""Verdicts turn by turn: the newest comparisons, top disagreements, one verdict whole, and what stayed undecided."""

from __future__ import annotations

from typing import Literal, cast

from fastapi import APIRouter
from starlette.responses import Response

from ....projections.evaluation.judge_versions import prompt_seq
from ....projections.evaluation.overview import pinned_version
from ....projections.evaluation.session_list import recent_sources
from ....projections.evaluation.undecided import LOOKED_AT_MOST, newest_undecided
from ....projections.evaluation.verdicts import (
    Outcome,
    judged_versions,
    list_verdicts,
    newest_verdict,
    read_verdict,
    verdicts_of_turn,
)
from ...http.errors import Problem
from ...moment import Moment
from ..asked import Whole, asked_number
from ..frame import Figure, Visit, VisitDep
from .places import MADE, REASONS, place, place_of, source_named, source_of

router = APIRouter(include_in_schema=False)

PAGE = 20
UNDECIDED_PAGE = 50
OUTCOMES = {"win": "wins of the served answer", "tie": "ties", "loss": "losses of the served answer"}


@router.get("/evaluation/comparisons")
def show_comparisons(visit: VisitDep) -> Response:
    """The newest verdicts of one version."""
    return _list(visit, "comparisons")


@router.get("/evaluation/disagreements")
def show_disagreements(visit: VisitDep) -> Response:
    """The turns whose shadow was significantly better."""
    return _list(visit, "disagreements")


@router.get("/evaluation/comparisons/{seq}")
def show_verdict(visit: VisitDep, seq: Whole) -> Response:
    """One verdict, side by side, with what the judge saw and all that proves it."""
    with visit.moment() as moment:
        found = read_verdict(moment.views, moment.events, moment.size, seq, moment.names_of)
        if found is None:
            raise Problem(404, "verdict_known", f"entry {seq} is no verdict of a judge, as of {moment.size} entries")
        verdict, earlier = found
        others = (
            []
            if verdict.turn is None
            else verdicts_of_turn(moment.views, moment.events, moment.size, verdict.turn, moment.names_of)
        )
        proven = [known for known in (verdict.turn, verdict.call, verdict.seq) if known is not None]
        return visit.render(
            "evaluation/comparison.html",
            moment,
            title=f"Verdict {seq}",
            verdict=verdict,
            earlier=earlier,
            others=others,
            prompt=prompt_seq(moment.views, moment.size, verdict.version),
            pinned=pinned_version(moment.views, moment.size),
            proven=",".join(str(known) for known in sorted(proven)),
            made_words=MADE,
        )


@router.get("/evaluation/undecided")
def show_undecided(visit: VisitDep, before: str | None = None) -> Response:
    """Turns and sessions without a verdict, with the code of why."""
    with visit.moment() as moment:
        page = newest_undecided(
            moment.views,
            moment.events,
            moment.size,
            before=asked_number("before", before, "place_readable"),
            limit=UNDECIDED_PAGE,
            names_of=moment.names_of,
        )
        return visit.render(
            "evaluation/undecided.html",
            moment,
            title="Undecided",
            page=page,
            most=LOOKED_AT_MOST,
            first_page=before is None,
            words=REASONS,
        )


def _list(visit: Visit, kind: Literal["comparisons", "disagreements"]) -> Response:
    query = visit.query
    losses = kind == "disagreements"
    outcome = query.get("outcome") or None
    if outcome is not None and outcome not in OUTCOMES:
        raise Problem(422, "outcome_known", f"outcome={outcome}: expected one of {', '.join(OUTCOMES)}")
    before = place_of(query.get("before"))
    source = source_of(query.get("source"))
    with visit.moment() as moment:
        pinned = pinned_version(moment.views, moment.size)
        named = source_of(query.get("version"))
        version = pinned if named is None else named
        page = list_verdicts(
            moment.views,
            moment.events,
            moment.size,
            version=version,
            names_of=moment.names_of,
            outcome="loss" if losses else cast(Outcome | None, outcome),
            significant=losses,
            source=source,
            before=before,
            limit=PAGE,
        )
        known = judged_versions(moment.views, moment.size)
        sources = recent_sources(moment.views, moment.size)
        return visit.render(
            "evaluation/comparisons.html",
            moment,
            title="Top disagreements" if losses else "Recent comparisons",
            figures=_newest_verdict,
            kind=kind,
            page=page,
            older=None if page.older is None else visit.here(before=place(page.older)),
            newest=None if before is None else visit.here(before=None),
            version=version,
            pinned=pinned,
            versions=[(source_named(name), name) for name in sorted({*known, pinned, version})],
            outcome=outcome,
            outcomes=OUTCOMES,
            source=source,
            sources=[(source_named(name), name) for name in sorted({*sources, *([source] if source else [])})],
            simulated=sorted({found.model for found in page.verdicts if found.simulated and found.model}),
        )


def _newest_verdict(moment: Moment) -> list[Figure]:
    version = pinned_version(moment.views, moment.size)
    newest = newest_verdict(moment.views, moment.size, version)
    return [
        Figure("pinned version of the judge's prompt", version),
        Figure("newest verdict under it", "none" if newest is None else f"entry {newest}"),
    ]
