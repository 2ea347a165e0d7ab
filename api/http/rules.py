"""Routes for agents that ask for rules, and for whoever publishes rules and scores."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from starlette.responses import Response

from ...domain.evaluation.events import RulePublished, RulesRetrieved, ScoreImported
from ...domain.registry import invalid_is_refused
from ...ledger.entry import format_at
from ...projections.evaluation.rules import by_kind, list_rules, search_rules
from .schemas import Rule, RulesRequest, Score, ScoresRequest, SearchRequest
from .service import AsOfQuery, Service, ServiceDep, StrictRoute, ack, answer

router = APIRouter(tags=["rules"], route_class=StrictRoute)

_KINDS = {
    "profiles": ("profile",),
    "user_playbooks": ("user_playbook",),
    "agent_playbooks": ("agent_playbook", "playbook"),
}


@router.post("/api/search")
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
def publish_rules(asked: Annotated[RulesRequest | Rule, Body()], service: ServiceDep, request: Request) -> Response:
    """Publish rules; under an id that is known, a new version. All of them or none is not promised: each is a fact."""
    rules = asked.rules if isinstance(asked, RulesRequest) else [asked]
    meta = service.meta(actor=service.actor(request))
    with invalid_is_refused():
        events = [RulePublished(**rule.model_dump()) for rule in rules]
    recorded = [{"rule": event.rule, **ack(service.append(f"rule/{event.rule}", event, meta))} for event in events]
    return answer(*service.head(), {"success": True, "rules": recorded})


@router.get("/api/rules")
def get_rules(service: ServiceDep, retired: Annotated[bool, Query()] = False, as_of: AsOfQuery = None) -> Response:
    """The newest version of each rule."""
    with service.moment(as_of) as moment:
        return answer(moment.size, moment.root, {"rules": list_rules(moment.views, moment.size, retired=retired)})


@router.post("/api/scores")
def import_scores(asked: Annotated[ScoresRequest | Score, Body()], service: ServiceDep, request: Request) -> Response:
    """Figures of outside scorers. The same source, run and scorer again replaces the one before."""
    scores = asked.scores if isinstance(asked, ScoresRequest) else [asked]
    actor = service.actor(request)
    recorded = [_record_score(service, score, actor) for score in scores]
    return answer(*service.head(), {"success": True, "scores": recorded})


def _record_score(service: Service, score: Score, actor: str | None) -> dict[str, Any]:
    run = service.ledger.alias("run", f"{score.source}\n{score.source_run_id}")
    sessions = [] if score.session_id is None else service.ledger.find_aliases("session", score.session_id)
    scopes = {scope for _, scope in sessions}
    with invalid_is_refused():
        event = ScoreImported(
            source=score.source,
            run=run,
            scorer=score.scorer_name,
            value=score.value,
            scored_at=score.ts,
            sessions=tuple(alias for alias, _ in sessions),
            names_session=score.session_id is not None,
            detail={"source_run_id": score.source_run_id, "session_id": score.session_id},
        )
    # The session's id is that of one person, if it is: it goes with them.
    scope = scopes.pop() if len(scopes) == 1 else f"run/{run}"
    recorded = service.append(f"score/{run}", event, service.meta(scope, actor))
    return {"source_run_id": score.source_run_id, "matched_sessions": len(sessions), **ack(recorded)}


def _record_retrieval(service: Service, asked: SearchRequest, rules: list[int]) -> dict[str, Any]:
    user = session = request = None
    with service.ledger.naming():
        if asked.user_id:
            user = service.ledger.alias("user", asked.user_id)
            scope = f"user/{user}"
            if asked.session_id:
                session = service.ledger.alias("session", asked.session_id, under=scope)
            if asked.request_id:
                known = service.ledger.find_aliases("request", asked.request_id)
                request = known[0][0] if known else service.ledger.alias("request", asked.request_id, under=scope)
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
