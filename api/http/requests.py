"""Routes for whoever looks at what agents published."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from ...projections.evaluation.requests import find_interactions, find_sessions
from .documents import SESSIONS
from .schemas import MAX_INTEGER, GetInteractionsRequest, GetRequestsRequest
from .service import AsOfQuery, ServiceDep, StrictRoute, answer, seconds

router = APIRouter(tags=["requests"], route_class=StrictRoute)


@router.post("/api/get_requests", responses=SESSIONS)
def get_requests(asked: GetRequestsRequest, service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """Sessions, the newest first, each with its matching requests. ``has_more`` is true only if more follow."""
    with service.moment(asked.as_of or as_of) as moment:
        sessions, has_more = find_sessions(
            moment.views,
            moment.events,
            moment.size,
            users=service.aliases("user", asked.user_id),
            sessions=service.aliases("session", asked.session_id),
            requests=service.aliases("request", asked.request_id),
            source=asked.source,
            start_at=seconds(asked.start_time),
            end_at=seconds(asked.end_time),
            limit=asked.top_k or 30,
            offset=asked.offset or 0,
            names_of=moment.names_of,
        )
    document = {"success": True, "sessions": sessions, "has_more": has_more}
    return answer(moment.size, moment.root, document, nulls=False)


@router.post("/api/get_interactions")
def get_interactions(asked: GetInteractionsRequest, service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """A user's interactions, the newest first. ``has_more`` says if others follow, at ``offset`` plus as many."""
    with service.moment(asked.as_of or as_of) as moment:
        found, has_more = find_interactions(
            moment.views,
            moment.events,
            moment.size,
            users=service.aliases("user", asked.user_id),
            start_at=seconds(asked.start_time),
            end_at=seconds(asked.end_time),
            limit=asked.top_k or 30,
            offset=asked.offset or 0,
            names_of=moment.names_of,
        )
    document = {"success": True, "interactions": found, "has_more": has_more}
    return answer(moment.size, moment.root, document, nulls=False)


@router.get("/api/get_all_interactions")
def get_all_interactions(
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    offset: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
    as_of: AsOfQuery = None,
) -> Response:
    """Everybody's interactions, the newest first. ``has_more`` says if others follow, at ``offset`` plus as many."""
    with service.moment(as_of) as moment:
        found, has_more = find_interactions(
            moment.views, moment.events, moment.size, limit=limit, offset=offset, names_of=moment.names_of
        )
    document = {"success": True, "interactions": found, "has_more": has_more}
    return answer(moment.size, moment.root, document, nulls=False)
