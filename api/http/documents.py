"""What some answers look like, for the OpenAPI document: what is always there. More may stand beside it."""

from __future__ import annotations

from typing import Any

_INTEGER = {"type": "integer"}
_TEXT = {"type": "string"}
_BOOLEAN = {"type": "boolean"}
_OBJECT = {"type": "object"}
_OBJECTS = {"type": "array", "items": _OBJECT}
_PLACE = {"type": "object", "required": ["seq", "leaf_hash"], "properties": {"seq": _INTEGER, "leaf_hash": _TEXT}}
_ANCHORED = {"seq": _INTEGER, "size": _INTEGER, "root": {"type": "string", "format": "byte"}}

Responses = dict[int | str, dict[str, Any]]


def _answers(**properties: dict[str, Any]) -> Responses:
    """An object with these members, each always there, and those that say from what it was computed."""
    properties |= _ANCHORED
    schema = {"type": "object", "required": [*properties], "properties": properties}
    return {200: {"description": "Successful Response", "content": {"application/json": {"schema": schema}}}}


PUBLISHED = _answers(
    success=_BOOLEAN,
    message=_TEXT,
    warnings={"type": "array", "items": _TEXT},
    request_id=_TEXT,
    repeated=_BOOLEAN,
    leaf_hash=_TEXT,
    interactions={"type": "array", "items": _PLACE},
)
FOUND = _answers(
    success=_BOOLEAN,
    profiles=_OBJECTS,
    agent_playbooks=_OBJECTS,
    user_playbooks=_OBJECTS,
    degraded=_BOOLEAN,
    search_mode_effective=_TEXT,
)
SESSIONS = _answers(success=_BOOLEAN, sessions=_OBJECTS, has_more=_BOOLEAN)
OVERVIEW = _answers(hero=_OBJECT, context_tiles=_OBJECT)
JOB = _answers(
    job_id=_TEXT,
    status=_TEXT,
    total=_INTEGER,
    completed=_INTEGER,
    failed=_INTEGER,
    failures=_OBJECTS,
    started_at={"type": "number"},
    finished_at={"type": ["number", "null"]},
)
