"""Routes for agents that ask for rules, and for whoever publishes rules and scores."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ...domain.evaluation.events import RulePublished, RulesRetrieved
from ...domain.event import NewEvent
from ...domain.registry import invalid_is_refused
from ...ledger.entries.entry import format_at
from ...projections.evaluation.rules import by_kind, list_rules, search_rules
from ..scoring import score_event
from .documents import FOUND
from .schemas import RulesRequest, Score, ScoresRequest, SearchRequest
from .service import AsOfQuery, Service, ServiceDep, StrictRoute, ack, answer

router = APIRouter(tags=["rules"], route_class=StrictRoute)

_KINDS = {
    "profiles": ("profile",),
    "user_playbooks": ("user_playbook",),
    "agent_playbooks": ("agent_playbook", "playbook"),
}


@router.post("/api/search", responses=FOUND)
def search(asked: SearchRequest, service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """Rules that share words with the question, best first. What was found is recorded, but for a look at the past."""
    then = asked.as_of or as_of
    kinds = None
    if asked.entity_types is not None:
        kinds = [kind for name in asked.entity_types for kind in _KINDS.get(name, ())]
    with service.moment(then) as moment:
        found = search_rules(
            moment.views,
            moment.size,
            asked.query,
            top_k=asked.top_k or 5,
            agent_version=asked.agent_version,
            kinds=kinds,
            tags=asked.tags,
        )
    document: dict[str, Any] = {"success": True, **by_kind(found), "degraded": False, "search_mode_effective": "fts"}
    if then is None:
        document |= {"retrieval": _record_retrieval(service, asked, [rule["seq"] for rule in found])}
    return answer(moment.size, moment.root, document, nulls=False)


@router.post("/api/rules")
def publish_rules(asked: RulesRequest, service: ServiceDep, request: Request) -> Response:
    """Publish rules, all or none; under an id that is known, a new version. One may stand alone, without ``rules``."""
    with invalid_is_refused():
        events = [RulePublished(**rule.model_dump()) for rule in asked.rules]
    meta = service.meta(actor=service.actor(request))
    recorded = service.append_all([NewEvent(f"rule/{event.rule}", 0, event, meta) for event in events])
    listed = [{"rule": event.rule, **ack(found)} for event, found in zip(events, recorded, strict=True)]
    return answer(*service.head(), {"success": True, "rules": listed})


@router.get("/api/rules")
def get_rules(service: ServiceDep, retired: Annotated[bool, Query()] = False, as_of: AsOfQuery = None) -> Response:
    """The newest version of each rule."""
    with service.moment(as_of) as moment:
        return answer(moment.size, moment.root, {"rules": list_rules(moment.views, moment.size, retired=retired)})


@router.post("/api/scores")
def import_scores(asked: ScoresRequest, service: ServiceDep, request: Request) -> Response:
    """Figures of outside scorers. The same source, run and scorer again replaces the one before."""
    scores = asked.scores
    actor = service.actor(request)
    with service.ledger.naming():
        events = [
            score_event(
                service.ledger,
                0,
                source=score.source,
                source_run_id=score.source_run_id,
                session_id=score.session_id,
                scorer=score.scorer_name,
                value=score.value,
                scored_at=score.ts,
                actor=actor,
            )
            for score in scores
        ]
    recorded = service.append_all(events)
    answers = [
        {"source_run_id": score.source_run_id, "matched_sessions": _matched(service, score), **ack(found)}
        for score, found in zip(scores, recorded, strict=True)
    ]
    return answer(*service.head(), {"success": True, "scores": answers})


def _matched(service: Service, score: Score) -> int:
    return 0 if score.session_id is None else len(service.ledger.find_aliases("session", score.session_id))


def _record_retrieval(service: Service, asked: SearchRequest, rules: list[int]) -> dict[str, Any]:
    user = session = request = None
    with service.ledger.naming():
        if asked.user_id:
            user = service.ledger.alias("user", asked.user_id)
            scope = f"user/{user}"
            if asked.session_id:
                session = service.ledger.alias("session", asked.session_id, under=scope)
            if asked.request_id:
                # Of another kind than that of published requests: whose the request is, its publishing decides.
                request = service.ledger.alias("retrieval", asked.request_id, under=scope)
        else:
            named = service.ledger.find_aliases("session", asked.session_id) if asked.session_id else []
            if len(named) == 1:  # else nobody can say whose it is
                session, scope = named[0]
                user = scope.removeprefix("user/")
            else:
                # Nobody is named: what the questions of one day say is erased together.
                scope = f"retrieval/{format_at(service.clock())[:10]}"
    event = RulesRetrieved(rules=tuple(rules), user=user, session=session, request=request, query=asked.query)
    stream = scope if session is None and user is None else f"retrieval/{session or user}"
    return ack(service.append(stream, event, service.meta(scope)))
