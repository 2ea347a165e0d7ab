"""Routes for callers that know how a session ended. It is no judgement, and stands in no figure of the overview."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Text, bindparam, text
from starlette.responses import Response

from ...domain.evaluation.events import SessionOutcomeReported
from ...domain.event import NewEvent
from ...domain.registry import invalid_is_refused
from ...ledger.errors import Conflict
from ...projections.evaluation.outcomes import find_outcomes, trajectory_digest
from ..moment import Moment
from .schemas import GetSessionOutcomesRequest, SessionOutcomeRequest
from .service import AsOfQuery, Service, ServiceDep, StrictRoute, ack, answer

router = APIRouter(tags=["outcomes"], route_class=StrictRoute)

_FUTURE_SECONDS = 300
"""How far a caller's clock may be ahead of ours."""


@router.post("/api/session_outcome")
def report_outcome(asked: SessionOutcomeRequest, service: ServiceDep, request: Request) -> Response:
    """Report how a session ended. The same as any before records nothing; another is a new revision."""
    sessions = service.aliases("session", asked.session_id) or []
    for _ in range(20):
        with service.moment() as moment:
            owner = _owner(moment, sessions)
            if owner is None:
                return _refused(moment, "unknown_session", "no request of this session is on the ledger")
            if asked.occurred_at < owner["requested_at"]:
                return _refused(moment, "occurred_before_session", "the session had not begun")
            if asked.occurred_at > service.now() + _FUTURE_SECONDS:
                return _refused(moment, "occurred_in_future", "occurred_at lies in the future")
            known = find_outcomes(
                moment.views,
                moment.events,
                moment.size,
                sessions=[owner["session"]],
                limit=None,
                every_revision=True,
                names_of=moment.names_of,
            )
            pos = moment.events.reader.next_pos(f"session/{owner['session']}")
        fields = ("outcome", "occurred_at", "label", "value", "metadata")
        for report in known:
            if all(report[name] == getattr(asked, name) for name in fields):
                told = {**_told(report, recorded=False), "leaf_hash": report["outcome_contract_digest"]}
                return answer(moment.size, moment.root, {**told, "seq": report["seq"]}, nulls=False)
        revision = 1 + max((report["outcome_revision"] for report in known), default=0)
        try:
            return _record(service, asked, owner, pos, revision, request)
        except Conflict:
            continue
    raise Conflict(f"session/{owner['session']}", pos, pos + 1)


@router.post("/api/get_session_outcomes")
def get_outcomes(asked: GetSessionOutcomesRequest, service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """The outcomes in force, that which occurred last first."""
    sessions: list[str] | None = None
    if asked.session_ids is not None:
        sessions = [alias for name in asked.session_ids for alias in service.aliases("session", name) or []]
    with service.moment(asked.as_of or as_of) as moment:
        found = find_outcomes(
            moment.views,
            moment.events,
            moment.size,
            sessions=sessions,
            users=service.aliases("user", asked.user_id),
            source=asked.source,
            outcome=asked.outcome,
            label=asked.label,
            start_at=asked.start_time,
            end_at=asked.end_time,
            limit=asked.top_k,
            offset=asked.offset,
            names_of=moment.names_of,
        )
    return answer(moment.size, moment.root, {"success": True, "session_outcomes": found}, nulls=False)


def _owner(moment: Moment, sessions: list[str]) -> Any:
    """The first request of the session; where users share its id, of the one that began first."""
    query = text(
        'SELECT session, "user", source, requested_at FROM requests WHERE session IN :sessions AND seq < :size '
        "ORDER BY requested_at, seq LIMIT 1"
    ).bindparams(bindparam("sessions", type_=Text(), expanding=True))
    return moment.views.execute(query, {"sessions": sessions, "size": moment.size}).mappings().one_or_none()


def _record(
    service: Service, asked: SessionOutcomeRequest, owner: Any, pos: int, revision: int, request: Request
) -> Response:
    session, user = owner["session"], owner["user"]
    with invalid_is_refused():
        event = SessionOutcomeReported(
            session=session,
            outcome=asked.outcome,
            occurred_at=asked.occurred_at,
            value=asked.value,
            revision=revision,
            detail={"label": asked.label, "metadata": asked.metadata},
        )
    meta = service.meta(f"user/{user}", service.actor(request))
    recorded = service.ledger.record(NewEvent(f"session/{session}", pos, event, meta))[0]
    with service.moment() as moment:
        told = {
            "user_id": moment.names_of([user])[user],
            "source": owner["source"],
            "outcome_id": f"{session}.{revision}",
            "outcome_revision": revision,
            "outcome_contract_digest": recorded.leaf_hash.hex(),
            "finalized_trajectory_digest": trajectory_digest(moment.views, moment.events, session, recorded.seq),
        }
    return answer(moment.size, moment.root, {**_told(told, recorded=True), **ack(recorded)}, nulls=False)


def _told(outcome: dict[str, Any], *, recorded: bool) -> dict[str, Any]:
    names = ("user_id", "source", "outcome_id", "outcome_revision", "outcome_contract_digest")
    told = {name: outcome[name] for name in (*names, "finalized_trajectory_digest")}
    return {"success": True, "recorded": recorded, "message": "", **told}


def _refused(moment: Moment, reason: str, message: str) -> Response:
    """As the peer does: the question was sound, the answer is no."""
    document = {"success": False, "recorded": False, "reason": reason, "message": message}
    return answer(moment.size, moment.root, document)
