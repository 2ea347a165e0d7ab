"""Sessions: a list to choose from, one session whole, and grading it by a click."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....domain.errors import Refused
from ....projections.evaluation.overview import pinned_version
from ....projections.evaluation.pending import earliest_session, session_rows
from ....projections.evaluation.session_list import Glance, GradedAs, glances, newest_sessions, recent_sources
from ....projections.evaluation.session_record import (
    TURNS,
    session_judgements,
    session_outcomes,
    session_scores,
    session_searches,
    session_turns,
)
from ...http.errors import Problem
from ...http.service import Service
from ...moment import Moment
from ...scoring import NAMED_SESSION
from ...workers.on_demand import CACHE_SECONDS, GradedOnDemand, JudgeFailed, Ungraded, look_up
from ..asked import Whole
from ..charts.grades import grades_picture
from ..frame import Figure, VisitDep
from .places import MADE, REASONS, place, place_of, source_named, source_of

router = APIRouter(include_in_schema=False)

PAGE = 50
GRADED = {"graded": "graded", "success": "succeeded", "failure": "failed", "escalated": "escalated"}
TOLD = {
    "graded": ("good", "Graded just now; the grade stands below and on the ledger."),
    "cached": ("good", "Nothing was said since the grade below, which is younger than 24 hours: it still counts."),
    "empty": ("warn", "This session has no turns, so there is nothing to grade."),
    "no_judge": ("warn", "No judge is configured on this server, so nothing was graded."),
    "judge_failed": ("warn", "The judge gave no grade. That is on the ledger, too: see “undecided” below."),
    "rate_limited": ("warn", "Too many gradings on demand within a minute; nothing was graded. Try again in a minute."),
}


@router.get("/evaluation/sessions")
def show_sessions(visit: VisitDep) -> Response:
    """Sessions, the one that began last first; or those with the id that is asked for."""
    query = visit.query
    graded = query.get("grade") or None
    if graded is not None and graded not in GRADED:
        raise Problem(422, "grade_known", f"grade={graded}: expected one of {', '.join(GRADED)}")
    before = place_of(query.get("before"))
    source = source_of(query.get("source"))
    named = (query.get("id") or "").strip()
    if named:
        aliases = visit.service.aliases("session", named) or []
        with visit.moment() as moment:
            found = glances(
                moment.views,
                moment.size,
                aliases[:PAGE],
                pinned_version(moment.views, moment.size),
                moment.names_of,
            )
        if len(found) == 1:
            return visit.see(f"/evaluation/sessions/{found[0].session}")
    with visit.moment() as moment:
        version = pinned_version(moment.views, moment.size)
        if named:
            sessions: tuple[Glance, ...] = tuple(found)
            older, exhausted = None, True
        else:
            page = newest_sessions(
                moment.views,
                moment.size,
                version=version,
                names_of=moment.names_of,
                source=source,
                graded=cast(GradedAs | None, graded),
                before=before,
                limit=PAGE,
            )
            sessions, older, exhausted = page.sessions, page.older, page.exhausted
        sources = recent_sources(moment.views, moment.size)
        return visit.render(
            "evaluation/sessions.html",
            moment,
            title="Sessions",
            figures=_newest_session,
            sessions=sessions,
            exhausted=exhausted,
            older=None if older is None else visit.here(before=place(older)),
            newest=None if before is None else visit.here(before=None),
            version=version,
            graded=graded,
            grades=GRADED,
            named=named,
            source=source,
            sources=[(source_named(name), name) for name in sorted({*sources, *([source] if source else [])})],
            words=REASONS,
        )


@router.get("/evaluation/sessions/{session}")
def show_session(visit: VisitDep, session: str, first: Whole = 1, told: str = "") -> Response:
    """One session whole. ``first`` is the first turn on the page, from 1 on."""
    with visit.moment() as moment:
        version = pinned_version(moment.views, moment.size)
        rows = session_rows(moment.views, moment.size, session)
        if rows is None:
            raise Problem(404, "session_known", f"there is no session {session}, as of {moment.size} entries")
        (glance,) = glances(moment.views, moment.size, [session], version, moment.names_of)
        first = max(1, min(first, max(1, len(rows.interactions))))
        turns = session_turns(moment.views, moment.events, moment.size, session, offset=first - 1)
        judgements = session_judgements(moment.views, moment.events, moment.size, session, rows.through)
        named = [] if glance.name is None else visit.service.aliases(NAMED_SESSION, glance.name) or []
        models = {found.model for found in judgements if found.simulated and found.model is not None}
        return visit.render(
            "evaluation/session.html",
            moment,
            title=f"Session {glance.name if glance.name is not None else session}",
            figures=lambda then: _session_figures(then, session),
            session=glance,
            turns=turns,
            first=first,
            per_page=TURNS,
            judgements=judgements,
            picture=grades_picture(judgements, rows.last_at) if len(judgements) > 1 else None,
            outcomes=session_outcomes(moment.views, moment.events, moment.size, session),
            scores=session_scores(moment.views, moment.events, moment.size, session, named),
            searches=session_searches(moment.views, moment.events, moment.size, session),
            version=version,
            grading=_grading(visit.service, moment, glance),
            told=TOLD.get(told),
            simulated=sorted(models),
            words=REASONS,
            made_words=MADE,
        )


@router.post("/evaluation/sessions/{session}/grade")
async def grade(visit: VisitDep, session: str) -> Response:
    """Grade the session now, unless it has a grade that still counts, and show it."""
    told = await run_in_threadpool(_grade, visit.service, session)
    return visit.see(f"/evaluation/sessions/{session}", told=told)


def _grade(service: Service, session: str) -> str:
    with service.moment() as moment:
        rows = session_rows(moment.views, moment.size, session)
        if rows is None:
            raise Problem(404, "session_known", f"there is no session {session}")
        (glance,) = glances(moment.views, moment.size, [session], "", moment.names_of)
        problem = _grading(service, moment, glance)["problem"]
    if problem is not None and service.judges is not None:
        raise Problem(409, "session_gradable", problem)
    name = cast(str, glance.name)
    try:
        if service.judges is None:
            found: GradedOnDemand | Ungraded = look_up(service.live, name, rows.agent_version, service.clock())
        else:
            found = service.judges.on_demand.grade(name, rows.agent_version)
    except JudgeFailed:
        return "judge_failed"
    except Refused as error:
        if error.rule != "rate_limited":
            raise
        return "rate_limited"
    if isinstance(found, Ungraded):
        return "no_judge"
    return "cached" if found.cached else "empty" if found.seq is None else "graded"


def _grading(service: Service, moment: Moment, glance: Glance) -> dict[str, Any]:
    """Whether a click can grade the session: ``problem`` says why not, None where it can. The grader goes by ids."""
    problem = None
    if glance.name is None:
        problem = "Its texts are erased, or their key is not at hand here: there is nothing that a judge could read."
    elif glance.turns == 0:
        problem = "It has no turns: there is nothing that a judge could read."
    else:
        aliases = service.aliases("session", glance.name) or []
        earliest = earliest_session(moment.views, moment.size, aliases)
        if earliest != glance.session:
            problem = "Another user's session has the same id and began earlier; a click would grade that one."
    if problem is None and service.judges is None:
        problem = (
            "No judge is configured on this server. Start it with --model and --base-url, or set "
            "AFFIDAVIT_JUDGE_MODEL and AFFIDAVIT_JUDGE_BASE_URL, to grade sessions by a click."
        )
    return {
        "problem": problem,
        "model": None if service.judges is None else service.judges.status()["model"],
        "hours": CACHE_SECONDS // 3600,
    }


def _newest_session(moment: Moment) -> list[Figure]:
    page = newest_sessions(moment.views, moment.size, version="", names_of=moment.names_of, limit=1)
    newest = page.sessions[0] if page.sessions else None
    shown = "none" if newest is None else newest.name or newest.session
    return [Figure("the session that began last", shown)]


def _session_figures(moment: Moment, session: str) -> list[Figure]:
    found = glances(moment.views, moment.size, [session], pinned_version(moment.views, moment.size), moment.names_of)
    if not found:
        return [Figure("turns", "none yet")]
    (glance,) = found
    grade = "none" if glance.success is None else "success" if glance.success else "failure"
    return [
        Figure("turns", str(glance.turns)),
        Figure("requests", str(glance.requests)),
        Figure("grade that counts", grade),
        Figure("wins, ties and losses of its answers", f"{glance.wins}, {glance.ties}, {glance.losses}"),
    ]
