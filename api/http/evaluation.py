"""Routes for reviewers: the overview, comparisons, sessions, trend, grading, regeneration, assignments."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ...domain.evaluation.events import AssignmentDeclared, RegenerationStarted
from ...domain.registry import invalid_is_refused
from ...projections.evaluation.comparisons import evaluation_results, recent_comparisons, top_disagreements
from ...projections.evaluation.jobs import job_progress
from ...projections.evaluation.overview import pinned_version
from ...projections.evaluation.sessions import list_sessions as sessions_of_window
from ...projections.evaluation.undecided import list_undecided
from ...projections.evaluation.windows import OverviewRequest
from ..answers import overview_answer, trend_answer
from ..workers.on_demand import Ungraded, look_up
from ..workers.regeneration import cancel_regeneration, start_regeneration
from .documents import JOB, OVERVIEW
from .errors import Problem
from .schemas import (
    MAX_INTEGER,
    AsOf,
    AssignmentRequest,
    GetResultsRequest,
    GradeRequest,
    NonEmpty,
    RegenerateRequest,
    SessionsRequest,
    Window,
)
from .service import AsOfQuery, ServiceDep, StrictRoute, ack, answer, no_judge, seconds

router = APIRouter(tags=["evaluation"], route_class=StrictRoute)

RECENT_MOST = 100
_LATEST = (2**63 - 1) // 1_000_000
"""Seconds; a verdict's time is kept in microseconds, so none is later."""


class OverviewBody(OverviewRequest):
    """An overview request, as of a moment."""

    as_of: AsOf = None


@router.post("/api/get_evaluation_overview", responses=OVERVIEW)
def get_evaluation_overview(asked: OverviewBody, service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """Everything that the evaluation page shows."""
    with service.moment(asked.as_of or as_of) as moment:
        document = overview_answer(moment, asked)
    return answer(moment.size, moment.root, document)


@router.get("/api/evaluations/shadow_comparisons/recent")
def recent_shadow_comparisons(
    service: ServiceDep, limit: Annotated[int, Query(ge=-MAX_INTEGER, le=MAX_INTEGER)] = 10, as_of: AsOfQuery = None
) -> Response:
    """The newest verdicts of the pinned version, of the last 30 days; ``limit`` is clamped to 1 to 100.

    The 30 days end now, with ``as_of`` when its entry was recorded.
    """
    with service.moment(as_of) as moment:
        last = None if as_of is None else moment.events.event(moment.size - 1)
        version = pinned_version(moment.views, moment.size)
        verdicts = recent_comparisons(
            moment.views,
            moment.events,
            moment.size,
            version=version,
            now=(service.now() if last is None else int(_timestamp(last.at))) + 1,  # all of this second
            limit=min(max(limit, 1), RECENT_MOST),
            names_of=moment.names_of,
        )
    return answer(moment.size, moment.root, {"verdicts": verdicts})


@router.get("/api/evaluations/shadow_comparisons/top_disagreements")
def top_shadow_disagreements(
    service: ServiceDep,
    from_ts: Annotated[Window, Query()] = 0,
    to_ts: Annotated[Window, Query()] = 253_402_300_799,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
    source: Annotated[str | None, Query()] = None,
    judge_prompt_version: Annotated[NonEmpty | None, Query()] = None,
    as_of: AsOfQuery = None,
) -> Response:
    """Every turn of the window whose shadow was significantly better, by pages, with its texts."""
    _require_order(from_ts, to_ts)
    with service.moment(as_of) as moment:
        found = top_disagreements(
            moment.views,
            moment.events,
            moment.size,
            version=judge_prompt_version or pinned_version(moment.views, moment.size),
            from_at=min(from_ts, _LATEST),
            to_at=min(to_ts, _LATEST),
            limit=limit,
            offset=offset,
            names_of=moment.names_of,
            source=source,
        )
    return answer(moment.size, moment.root, found)


@router.get("/api/evaluations/undecided")
def undecided(
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
    as_of: AsOfQuery = None,
) -> Response:
    """Turns and sessions whose judging ended undecided and that have no verdict since, by pages, the newest first."""
    with service.moment(as_of) as moment:
        found = list_undecided(
            moment.views, moment.events, moment.size, limit=limit, offset=offset, names_of=moment.names_of
        )
    return answer(moment.size, moment.root, found)


@router.post("/api/evaluations/sessions")
def list_sessions(asked: SessionsRequest, service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """The evaluated sessions of a window, by pages."""
    with service.moment(asked.as_of or as_of) as moment:
        found = sessions_of_window(
            moment.views,
            moment.size,
            from_at=asked.from_ts,
            to_at=asked.to_ts,
            source=asked.source,
            limit=asked.limit,
            offset=asked.offset,
            names_of=moment.names_of,
        )
    return answer(moment.size, moment.root, found)


@router.get("/api/evaluations/trend")
def trend(
    service: ServiceDep,
    from_ts: Annotated[Window, Query()] = 0,
    to_ts: Annotated[Window, Query()] = 253_402_300_799,
    source: Annotated[str | None, Query()] = None,
    version: Annotated[str | None, Query()] = None,
    as_of: AsOfQuery = None,
) -> Response:
    """The shadow win rate day by day, for each version of the judge's prompt and each source."""
    _require_order(from_ts, to_ts)
    with service.moment(as_of) as moment:
        found = trend_answer(moment, from_ts=from_ts, to_ts=to_ts, source=source, version=version)
    return answer(moment.size, moment.root, found)


@router.post("/api/get_agent_success_evaluation_results")
def get_results(asked: GetResultsRequest, service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """The results that count, newest session first."""
    with service.moment(asked.as_of or as_of) as moment:
        results = evaluation_results(
            moment.views,
            moment.events,
            moment.size,
            limit=asked.limit or 100,
            agent_version=asked.agent_version,
            start_at=seconds(asked.start_time),
            end_at=seconds(asked.end_time),
            names_of=moment.names_of,
        )
    document = {"success": True, "agent_success_evaluation_results": results}
    return answer(moment.size, moment.root, document, nulls=False)


@router.post("/api/evaluations/grade_on_demand")
def grade_on_demand(asked: GradeRequest, service: ServiceDep) -> Response:
    """Grade one session now, or answer with its grade of the last 24 hours; without a judge's model only the latter.

    ``evaluation_name`` is accepted and changes nothing, as with the peer.
    """
    if service.judges is None:
        graded = look_up(service.live, asked.session_id, asked.agent_version, service.clock())
    else:
        graded = service.judges.on_demand.grade(asked.session_id, asked.agent_version)
    if isinstance(graded, Ungraded):
        raise no_judge()
    size, root = service.head()
    # ``seq`` names the last entry that an answer was computed from, here as everywhere.
    document = {name: value for name, value in asdict(graded).items() if name != "seq"}
    return answer(size, root, {**document, "result_seq": graded.seq})


@router.post("/api/evaluations/regenerate")
def regenerate(asked: RegenerateRequest, service: ServiceDep, request: Request) -> Response:
    """Start judging a sample of a window again; ``total`` counts what is in the window before sampling.

    The work is done by the judges of this process, or by an ``affidavit judge`` beside it.
    """
    started = start_regeneration(service.live, asked.from_ts, asked.to_ts, actor=service.actor(request))
    if service.judges is not None:
        service.judges.poke()
    document = {
        "job_id": started.job,
        "total": started.total,
        "total_candidates": started.candidates,
        "sampled_count": started.sampled,
        "shadow": started.shadow,
    }
    return answer(*service.head(), document)


@router.get("/api/evaluations/regenerate/{job_id}", responses=JOB)
def regeneration_status(job_id: str, service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """How far a job has come. ``finished_at`` always stands here, null while it runs."""
    with service.moment(as_of) as moment:
        job = job_progress(moment.views, moment.size, job_id)
        if job is None:
            raise Problem(404, "job_known", "Unknown job_id")
        started = moment.events.event(job.seq)
        names = moment.names_of([failure.session for failure in job.failures])
    failures = [
        {"session_id": names[failure.session] or f"[withheld {failure.session}]", "reason": failure.reason}
        for failure in job.failures
    ]
    tuples = started.event.tuples if started and isinstance(started.event, RegenerationStarted) else None
    document = {
        "job_id": job.job,
        "status": job.status,
        "total": job.candidates if tuples is None else tuples,
        "completed": job.completed,
        "failed": job.failed,
        "failures": failures,
        "started_at": _timestamp(job.started_at),
        "finished_at": None if job.finished_at is None else _timestamp(job.finished_at),
        "total_candidates": job.candidates,
        "sampled_count": job.sampled,
        "concurrency_limit": job.concurrency,
        "cancelling": job.cancelling,
        "reason": job.reason,
        "strata": job.strata,
        "sample_n_per_stratum": job.sample_n,
        "seed": job.seed,
        "from_ts": job.from_at,
        "to_ts": job.to_at,
        "shadow": job.shadow,
        "judge_prompt_version": job.version,
        "turns": job.turns,
        "turns_undecided": job.turns_undecided,
    }
    return answer(moment.size, moment.root, document)


@router.delete("/api/evaluations/regenerate/{job_id}")
def cancel(job_id: str, service: ServiceDep, request: Request) -> Response:
    """Ask a job to go no further: what is being judged at this moment is finished. ``job_status`` says how it is."""
    job = cancel_regeneration(service.live, job_id, actor=service.actor(request))
    if service.judges is not None:
        service.judges.poke()
    return answer(*service.head(), {"status": "cancelled", "job_status": job.status, "cancelling": job.cancelling})


@router.post("/api/assignments")
def declare_assignment(asked: AssignmentRequest, service: ServiceDep, request: Request) -> Response:
    """Declare how sessions are assigned to sources from a moment on."""
    with invalid_is_refused():
        event = AssignmentDeclared(**asked.model_dump())
    recorded = service.append("assignment", event, service.meta(actor=service.actor(request)))
    return answer(*service.head(), {"success": True, **ack(recorded)})


@router.get("/api/assignments")
def list_assignments(service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """Every declaration, the newest first."""
    with service.moment(as_of) as moment:
        rows = moment.views.exec_driver_sql(
            "SELECT * FROM assignments WHERE seq < ? ORDER BY seq DESC LIMIT 1000", (moment.size,)
        ).mappings()
        listed: list[dict[str, Any]] = [
            {**row, "shares": {name: float(share) for name, share in json.loads(row["shares"]).items()}} for row in rows
        ]
    return answer(moment.size, moment.root, {"assignments": listed})


def _require_order(from_ts: int, to_ts: int) -> None:
    if from_ts > to_ts:
        raise Problem(422, "window_ordered", "from_ts must not be after to_ts")


def _timestamp(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
