"""Regeneration jobs: start one, watch it, cancel it, and see what it sampled."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....domain.errors import Refused
from ....domain.evaluation.events import RegenerationStarted
from ....domain.event import Withheld
from ....projections.evaluation.jobs import JobProgress, job_progress, list_jobs, running_jobs
from ....projections.evaluation.overview import pinned_version
from ....projections.evaluation.requests import newest_day
from ...config import read_config
from ...http.errors import Problem
from ...moment import Moment
from ...workers.regeneration import cancel_regeneration, start_regeneration
from ..asked import asked_number
from ..frame import Figure, VisitDep
from .places import REASONS

router = APIRouter(include_in_schema=False)

PAGE = 20
MOST_STRATA = 400
_DAY = 86_400
TOLD = {
    "regeneration_running": "A job is running already; one runs at a time. Wait for its end, or cancel it.",
    "window_ordered": "The first day must not be after the last.",
    "date_readable": "Both days must be dates like 2026-11-22.",
}


@router.get("/evaluation/jobs")
def show_jobs(visit: VisitDep, before: str | None = None, told: str = "") -> Response:
    """Jobs, newest first, and the form that starts one."""
    query = visit.query
    with visit.moment() as moment:
        jobs, more = list_jobs(
            moment.views, moment.size, before=asked_number("before", before, "place_readable"), limit=PAGE
        )
        first, last = _window(moment, visit.now)
        return visit.render(
            "evaluation/jobs.html",
            moment,
            title="Jobs",
            figures=_figures,
            jobs=[(job, _took(job.started_at, job.finished_at, visit.now)) for job in jobs],
            older=visit.here(before=jobs[-1].seq) if more else None,
            newest=None if before is None else visit.here(before=None),
            running=any(job.status == "running" for job in jobs),
            told=TOLD.get(told),
            first=query.get("from") or first,
            last=query.get("to") or last,
            version=pinned_version(moment.views, moment.size),
            most=read_config(moment.events, moment.size).document["eval_sample_n_per_stratum"],
            judged_here=visit.service.judges is not None,
        )


@router.post("/evaluation/jobs")
async def start_job(visit: VisitDep) -> Response:
    """Start a job over whole days, in UTC."""
    form = await visit.form()
    given = {"from": form.get("from", "")[:40], "to": form.get("to", "")[:40]}
    try:
        first, last = (datetime.combine(_date(given[name]), time(), UTC) for name in ("from", "to"))
        until = int((last + timedelta(days=1)).timestamp()) - 1
    except (ValueError, OverflowError):
        return visit.see("/evaluation/jobs", told="date_readable", **given)
    actor = visit.service.actor(visit.request)
    try:
        started = await run_in_threadpool(
            start_regeneration, visit.service.live, int(first.timestamp()), until, actor=actor
        )
    except Refused as error:
        if error.rule not in TOLD:
            raise
        return visit.see("/evaluation/jobs", told=error.rule, **given)
    if visit.service.judges is not None:
        visit.service.judges.poke()
    return visit.see(f"/evaluation/jobs/{started.job}")


@router.get("/evaluation/jobs/{job}")
def show_job(visit: VisitDep, job: str) -> Response:
    """How far one job has come, and what it sampled."""
    with visit.moment() as moment:
        progress = _progress(moment, job)
        started = moment.events.event(progress.seq)
        strata: Any = None
        if started is not None and isinstance(started.event, RegenerationStarted):
            plan = started.event.plan
            strata = plan if isinstance(plan, Withheld) else plan.get("strata", [])
        names = moment.names_of([failure.session for failure in progress.failures])
        return visit.render(
            "evaluation/job.html",
            moment,
            title=f"Job {job[:8]}",
            figures=lambda then: _job_figures(then, job),
            job=progress,
            strata=strata if isinstance(strata, Withheld) else (strata or [])[:MOST_STRATA],
            strata_left_out=0 if isinstance(strata, Withheld) else max(0, len(strata or []) - MOST_STRATA),
            names=names,
            took=_took(progress.started_at, progress.finished_at, visit.now),
            judged_here=visit.service.judges is not None,
            words=REASONS,
        )


@router.post("/evaluation/jobs/{job}/cancel")
async def cancel_job(visit: VisitDep, job: str) -> Response:
    """Ask the job to go no further."""
    actor = visit.service.actor(visit.request)
    await run_in_threadpool(cancel_regeneration, visit.service.live, job, actor=actor)
    if visit.service.judges is not None:
        visit.service.judges.poke()
    return visit.see(f"/evaluation/jobs/{job}")


def _progress(moment: Moment, job: str) -> JobProgress:
    found = job_progress(moment.views, moment.size, job)
    if found is None:
        raise Problem(404, "job_known", f"there is no job {job}, as of {moment.size} entries")
    return found


def _window(moment: Moment, now: int) -> tuple[str, str]:
    """The days that the form offers: the last seven up to the newest request."""
    newest = newest_day(moment.views, moment.size)
    last = now // _DAY if newest is None else newest
    try:
        days = [datetime.fromtimestamp(day * _DAY, UTC).date().isoformat() for day in (max(0, last - 6), last)]
    except (OverflowError, ValueError, OSError):
        days = [datetime.fromtimestamp(now - back * _DAY, UTC).date().isoformat() for back in (6, 0)]
    return days[0], days[1]


def _date(text: str) -> Any:
    return datetime.strptime(text.strip(), "%Y-%m-%d").date()


def _figures(moment: Moment) -> list[Figure]:
    jobs, _ = list_jobs(moment.views, moment.size, limit=1)
    running = running_jobs(moment.views, moment.size)
    newest = f"{jobs[0].job[:8]}, {jobs[0].status}" if jobs else "none"
    return [Figure("jobs that run", str(len(running))), Figure("newest job", newest)]


def _job_figures(moment: Moment, job: str) -> list[Figure]:
    found = job_progress(moment.views, moment.size, job)
    if found is None:
        return [Figure("status", "not started")]
    return [
        Figure("status", found.status),
        Figure("sessions graded", str(found.completed)),
        Figure("sessions undecided", str(found.failed)),
        Figure("turns judged", str(found.turns)),
    ]


def _took(started_at: str, finished_at: str | None, now: int) -> float:
    """Seconds from a job's start to its end, or up to now."""
    ended = float(now) if finished_at is None else _timestamp(finished_at)
    return max(0.0, ended - _timestamp(started_at))


def _timestamp(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
