"""Routes for whoever sets up evaluation: the configuration, its history, and erasing a person.

A configuration is checked strictly: what no version of the peer knows is refused by name. What only the peer's
learning goes by is kept, secrets redacted, and decides nothing here.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from ...domain.errors import Refused
from ...domain.evaluation.config import AgentSuccessConfig, EvaluationConfig
from ...domain.redaction import redact
from ...projections.evaluation.configs import config_history
from ..config import change_config, read_config
from ..erasing import USER, erase_scopes, plan_subject
from .errors import Problem, plain_errors
from .schemas import ClearUserDataRequest, require_plain
from .service import AsOfQuery, ServiceDep, StrictRoute, ack, answer

router = APIRouter(tags=["configuration"], route_class=StrictRoute)

PEER_KEYS = frozenset(
    {
        "agent_context_prompt",
        "api_key_config",
        "batch_interval",
        "batch_interval_override",
        "batch_size",
        "batch_size_override",
        "enable_document_expansion",
        "expiry_reclamation",
        "extraction_preset",
        "governance_retention",
        "lineage_gc",
        "llm_config",
        "pending_tool_call_config",
        "playbook_optimizer_config",
        "profile_extractor_config",
        "profile_extractor_configs",
        "retrieval_experiment_config",
        "retrieval_experiment_history",
        "retrieval_floor",
        "skip_should_run_check",
        "storage_config",
        "storage_config_test",
        "stride_size",
        "stride_size_override",
        "tool_can_use",
        "user_playbook_extractor_config",
        "user_playbook_extractor_configs",
        "window_size",
        "window_size_override",
    }
)
"""What the peer's clients 0.2.2 to 0.2.16 may send besides what decides something here."""

GRADING_KEYS = frozenset(
    {
        "batch_interval_override",
        "batch_size_override",
        "evaluation_name",
        "metadata_definition_prompt",
        "stride_size_override",
        "tagging_definition_prompt",
        "window_size_override",
    }
)
LEGACY_GRADING = "agent_success_configs"
_ANSWERED = frozenset({"seq", "size", "root"})
"""What our answers add, so that an answer can be sent back."""

ConfigBody = Annotated[dict[str, Any], Body(description="Fields of the configuration.")]


@router.get("/api/get_config")
def get_config(service: ServiceDep, as_of: AsOfQuery = None) -> Response:
    """The configuration in force."""
    with service.moment(as_of) as moment:
        document = {"storage_config": None} | read_config(moment.events, moment.size).document
    return answer(moment.size, moment.root, document)


@router.get("/api/config_history")
def get_config_history(
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**53 - 1)] = 0,
    as_of: AsOfQuery = None,
) -> Response:
    """Changes of the configuration, the newest first."""
    with service.moment(as_of) as moment:
        changes = config_history(moment.views, moment.size, limit=limit, offset=offset)
    return answer(moment.size, moment.root, {"changes": changes})


@router.post("/api/set_config")
def set_config(asked: ConfigBody, service: ServiceDep, request: Request) -> Response:
    """Replace the whole configuration; what is left out has its default. 409 where another change came between."""
    return _change(service, request, asked, whole=True)


@router.post("/api/update_config")
def update_config(asked: ConfigBody, service: ServiceDep, request: Request) -> Response:
    """Replace the fields that are given. 409 where another change came between."""
    return _change(service, request, asked, whole=False)


@router.post("/api/clear_user_data")
def clear_user_data(asked: ClearUserDataRequest, service: ServiceDep, request: Request) -> Response:
    """Erase a person: the key that their texts, ids and what judges said of them lie under is destroyed."""
    known = service.find(USER, asked.user_id)
    if not known:
        document: dict[str, Any] = {"success": True, "deleted_counts": {}, "message": "nothing is known of this user"}
        return answer(*service.head(), document)
    alias, scope = known[0]
    scopes = plan_subject(service.live, asked.user_id, [USER]).scopes
    meta = service.meta(actor=service.actor(request))
    erased = list(erase_scopes(service.ledger, scopes, "user_request", meta=meta))
    if not erased or erased[-1].scope != scope:
        raise Refused("scope_erased", f"scope {scope!r}: somebody else erased it at the same time")
    service.publisher.forget()
    document = {
        "success": True,
        "deleted_counts": {"keys": 1},
        "message": "the key was destroyed: nothing that was sealed under it can be read again, here or in any copy",
        "scope": scope,
        "erased": [
            "texts of requests and interactions",
            "ids of the user, of their sessions and of their requests",
            "what judges wrote about them: reasons, and the calls that led to them",
            "questions of their searches, details of reported outcomes",
        ],
        "stays": [
            f"the random alias {alias}, which nothing links to a name any more",
            "sources, agent versions, citations, verdicts and numbers, so that every figure and proof still holds",
        ],
        "requested": ack(erased[-1].requested),
        "executed": ack(erased[-1].executed),
    }
    return answer(*service.head(), document)


@router.delete("/api/delete_session", status_code=501)
@router.delete("/api/delete_request", status_code=501)
@router.delete("/api/delete_interaction", status_code=501)
@router.delete("/api/delete_requests_by_ids", status_code=501)
@router.delete("/api/delete_all_interactions", status_code=501)
def delete(service: ServiceDep) -> Response:
    """Nothing is ever deleted from a ledger."""
    raise Problem(
        501,
        "erasure_instead",
        "nothing is deleted from a ledger: erasure destroys the key that a person's content is sealed under; "
        "POST /api/clear_user_data erases a user",
        erasure="/api/clear_user_data",
    )


def _change(service: ServiceDep, request: Request, asked: dict[str, Any], *, whole: bool) -> Response:
    given = _migrated({name: value for name, value in asked.items() if name not in _ANSWERED})
    errors = _errors(given)
    with service.ledger.recorder.reading() as reader:
        seen = read_config(service.ledger.event_reader(reader))
    document = given if whole else {**seen.document, **given}
    try:
        wanted = EvaluationConfig.model_validate(redact(document).value).as_json()
    except ValidationError as error:
        errors += plain_errors(error.errors(include_url=False))
    if errors:
        first = errors[0]
        detail = {
            "error": "Invalid configuration",
            "hint": f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            "validation_errors": errors,
        }
        raise Problem(422, "config_invalid", detail)
    if all(wanted.get(name) == seen.document.get(name) for name in wanted.keys() | seen.document.keys()):
        return answer(*service.head(), {"success": True, "msg": "Configuration unchanged"})
    recorded = change_config(service.ledger, seen, document, actor=service.actor(request))
    return answer(*service.head(), {"success": True, "msg": "Configuration updated", **ack(recorded)})


def _migrated(given: dict[str, Any]) -> dict[str, Any]:
    """The list under the name that the oldest clients use becomes the one entry that it may hold."""
    if LEGACY_GRADING not in given:
        return given
    listed = given.pop(LEGACY_GRADING)
    if "agent_success_config" not in given:
        given["agent_success_config"] = (listed[0] if listed else None) if isinstance(listed, list) else listed
    return given


def _errors(given: dict[str, Any]) -> list[dict[str, Any]]:
    """What pydantic does not find: unknown keys, numbers that cannot be kept, a definition that says nothing."""
    errors = _unknown(given)
    for name, value in given.items():
        try:
            require_plain(value)
        except ValueError as error:
            errors.append({"type": "value_error", "loc": [name], "msg": f"Value error, {error}"})
    grading = given.get("agent_success_config")
    definition = grading.get("success_definition_prompt") if isinstance(grading, dict) else None
    if isinstance(definition, str) and not "".join(filter(str.isprintable, definition)).strip():
        place = ["agent_success_config", "success_definition_prompt"]
        errors.append({"type": "value_error", "loc": place, "msg": "Value error, the definition must say something"})
    return errors


def _unknown(given: dict[str, Any]) -> list[dict[str, Any]]:
    grading = given.get("agent_success_config")
    unknown = [[name] for name in given.keys() - EvaluationConfig.model_fields.keys() - PEER_KEYS]
    if isinstance(grading, dict):
        known = AgentSuccessConfig.model_fields.keys() | GRADING_KEYS
        unknown += [["agent_success_config", name] for name in grading.keys() - known]
    return [
        {"type": "extra_forbidden", "loc": place, "msg": "Extra inputs are not permitted"} for place in sorted(unknown)
    ]
