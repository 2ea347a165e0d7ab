"""Routes for agents: publish one request, or many in one NDJSON body."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import orjson
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from ...domain.errors import AffidavitError
from ...domain.evaluation.publication import Publication, carries_content
from ...ledger.errors import OutcomeUnknown
from ..publishing import Published
from .access import bodies_take_all, held_of
from .documents import PUBLISHED
from .errors import Problem, problem_of
from .limits import MIB, Held
from .schemas import InteractionData, PublishRequest, publish_warnings
from .service import Service, ack, answer, invalid_json, parse_json

router = APIRouter(tags=["publish"])

IN_FLIGHT = 2000
"""Lines of a batch that may wait for the disk at once; reading the body waits for them."""

IN_FLIGHT_BYTES = 8 * MIB
"""How long these lines may be together, but for the last."""

_FIELDS = "content, shadow_content, expert_content, interacted_image_url, image_encoding, tools_used, citations, "
_BOOLEANS = frozenset({"true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"})
_JSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PublishRequest"}}},
    },
    "parameters": [{"name": "wait_for_response", "in": "query", "schema": {"type": "boolean", "default": False}}],
}
_NDJSON_BODY = {
    "requestBody": {
        "required": True,
        "description": "One PublishRequest on each line.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
}


class NdjsonResponse(StreamingResponse):
    media_type = "application/x-ndjson"


class Parsed:
    """A publish request that has been read: what to record, and what to warn of."""

    __slots__ = ("new_id", "publication", "warnings")

    def __init__(self, service: Service, body: bytes) -> None:
        """``RequestValidationError`` where it is none."""
        try:
            raw = parse_json(body)
            asked = PublishRequest.model_validate(raw)
        except json.JSONDecodeError as error:
            raise invalid_json(error) from None
        except ValidationError as error:
            raise RequestValidationError(_in_body(error)) from None
        sent = asked.model_dump(exclude_defaults=True, exclude_none=True)
        entries: list[dict[str, Any]] = sent.pop("interaction_data_list", [])
        turns = [entry for entry in entries if carries_content(entry)]
        skipped = [index for index, entry in enumerate(entries) if not carries_content(entry)]
        if not turns:
            raise RequestValidationError([_all_empty(raw)])
        self.new_id = asked.request_id is None
        self.warnings = publish_warnings(raw, skipped)
        self.publication = Publication(
            user_id=asked.user_id,
            session_id=asked.session_id,
            request_id=asked.request_id or uuid4().hex,
            source=asked.source,
            agent_version=asked.agent_version or service.settings.agent_version,
            evaluation_only=asked.evaluation_only,
            requested_at=service.now(),
            sent=sent,
            turns=turns,
            dropped=len(skipped),
        )


@router.post("/api/publish_interaction", openapi_extra=_JSON_BODY, responses=PUBLISHED, summary="Publish one request")
async def publish_interaction(request: Request) -> Response:
    """Durable and chained when it answers. ``wait_for_response`` is accepted: there is nothing more to wait for."""
    service: Service = request.app.state.service
    _require_boolean(request.query_params.get("wait_for_response"))
    parsed = Parsed(service, await request.body())
    try:
        published = await asyncio.wrap_future(service.publisher.submit(parsed.publication, new_id=parsed.new_id))
    except OutcomeUnknown as error:
        raise _unknown(parsed, error) from error
    return answer(published.size, published.root, _told(service, parsed, published), nulls=False)


@router.post(
    "/api/publish_interactions",
    openapi_extra=_NDJSON_BODY,
    response_class=NdjsonResponse,
    summary="Publish many requests, one a line",
)
async def publish_interactions(request: Request) -> Response:
    """Each line is recorded whole or not at all, and answered on a line of its own, in order.

    The first line that the limits cut off is answered as such; nothing after it was read.
    """
    service: Service = request.app.state.service
    results = await _results(service, request)
    failed = sum(b'"success":false' in line[:32] for line in results)
    size, root = await run_in_threadpool(service.head)
    summary = answer(size, root, {"lines": len(results), "published": len(results) - failed, "failed": failed})

    async def lines() -> AsyncIterator[bytes]:
        for start in range(0, len(results), 256):
            yield b"".join(line + b"\n" for line in results[start : start + 256])
        yield bytes(summary.body) + b"\n"

    headers = {name: value for name, value in summary.headers.items() if name.startswith("affidavit-")}
    return NdjsonResponse(lines(), headers=headers)


async def _results(service: Service, request: Request) -> list[bytes]:
    """The answer to each line, in order; reading waits where too many are on their way."""
    batch = _Batch(service, held_of(request.scope["state"]))
    try:
        async for line in _lines(service, request, batch):
            await batch.add(line)
    except Problem as problem:  # the body broke off, or broke a limit: what was read before it stands
        batch.fail(problem)
    return await batch.end()


class _Batch:
    """The lines of one body on their way, and the bytes of it that are held for them."""

    def __init__(self, service: Service, bodies: Held) -> None:
        self._service = service
        self._bodies = bodies
        self._waiting: deque[tuple[tuple[int, Parsed, asyncio.Future[Published]] | bytes, int]] = deque()
        self._lines = 0
        self._in_flight = 0
        self._answers: list[bytes] = []

    async def take(self, count: int) -> None:
        """Hold so many more bytes; where they are not to be had, once lines that wait have given theirs back."""
        while not self._bodies.take(count):
            if not self._waiting:
                raise bodies_take_all()
            await self._settle()

    def give_back(self, count: int) -> None:
        """Of what was taken, what no line holds."""
        self._bodies.give_back(count)

    async def add(self, line: bytes) -> None:
        """Have a line recorded, whose bytes and line break were taken."""
        most = self._service.settings.limits.batch_lines
        if self._lines == most:
            raise Problem(413, "batch_too_long", f"at most {most} lines")
        self._lines = number = self._lines + 1
        try:
            parsed = Parsed(self._service, line)
            future = asyncio.wrap_future(self._service.publisher.submit(parsed.publication, new_id=parsed.new_id))
            self._waiting.append(((number, parsed, future), len(line) + 1))
        except (RequestValidationError, AffidavitError) as error:
            self._waiting.append((_failed(number, error), len(line) + 1))
        self._in_flight += len(line) + 1
        while len(self._waiting) > IN_FLIGHT or self._in_flight > IN_FLIGHT_BYTES:
            await self._settle()

    def fail(self, problem: Problem) -> None:
        """Nothing from the next line on is read."""
        self._waiting.append((_failed(self._lines + 1, problem), 0))

    async def end(self) -> list[bytes]:
        """The answers, once all lines are settled."""
        while self._waiting:
            await self._settle()
        return self._answers

    async def _settle(self) -> None:
        waiting, held = self._waiting.popleft()
        self._answers.append(await _settled(self._service, waiting))
        self._in_flight -= held
        if held:
            self._bodies.give_back(held)


async def _lines(service: Service, request: Request, batch: _Batch) -> AsyncIterator[bytes]:
    """Its lines, but for empty ones; the bytes of each, and of its line break, are taken before it comes."""
    most = service.settings.limits.body_bytes
    rest = bytearray()
    async for chunk in request.stream():
        if not chunk:
            continue
        await batch.take(len(chunk))
        rest += chunk
        if b"\n" in chunk:
            *whole, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in whole:
                _require_short(line, most)
                if line.strip():
                    yield line
                else:
                    batch.give_back(len(line) + 1)
        _require_short(rest, most)
    if rest.strip():
        await batch.take(1)
        yield bytes(rest)


async def _settled(service: Service, waiting: tuple[int, Parsed, asyncio.Future[Published]] | bytes) -> bytes:
    if isinstance(waiting, bytes):
        return waiting
    number, parsed, future = waiting
    try:
        published = await future
    except OutcomeUnknown as error:
        return _failed(number, _unknown(parsed, error))
    except AffidavitError as error:
        return _failed(number, error)
    return orjson.dumps({"success": True, "line": number, "status": 200, **_told(service, parsed, published)})


def _unknown(parsed: Parsed, error: OutcomeUnknown) -> Problem:
    """The problem, with the id to ask again with: it may have been made here."""
    problem = problem_of(error)
    problem.more["request_id"] = parsed.publication.request_id
    return problem


def _failed(number: int, error: Exception) -> bytes:
    return orjson.dumps({"success": False, "line": number, **problem_of(error).as_json()})


def _told(service: Service, parsed: Parsed, published: Published) -> dict[str, Any]:
    """The peer's answer, with where everything stands in the ledger."""
    warnings = parsed.warnings
    message = "Interaction published successfully"
    return {
        "success": True,
        "message": f"{message} with {len(warnings)} warning(s)" if warnings else message,
        "warnings": warnings,
        "request_id": published.request_id,
        "storage_type": "affidavit",
        "storage_label": service.ledger.origin,
        "profiles_added": 0,
        "playbooks_added": 0,
        "learning_status": "done",
        "learning_reason": "not_applicable",
        "repeated": published.repeated,
        **ack(published.request),
        "interactions": [ack(interaction) for interaction in published.interactions],
    }


def _in_body(error: ValidationError) -> list[dict[str, Any]]:
    return [{**told, "loc": ("body", *told["loc"])} for told in error.errors(include_url=False)]


def _all_empty(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The entries say nothing: most likely their texts stand under a key that nobody knows."""
    keys = {key for entry in raw["interaction_data_list"] for key in entry}
    unknown = sorted(keys - InteractionData.model_fields.keys())
    cause = f"; unknown keys, likely the cause: {', '.join(unknown[:5])}" if unknown else ""
    return {
        "type": "value_error",
        "loc": ("body", "interaction_data_list"),
        "msg": f"Value error, every interaction is empty: one needs at least one of {_FIELDS}"
        f"retrieved_learnings, or a user_action{cause}",
    }


def _require_boolean(given: str | None) -> None:
    if given is not None and given.lower() not in _BOOLEANS:
        told = {"type": "bool_parsing", "loc": ("query", "wait_for_response"), "msg": "Input should be a valid boolean"}
        raise RequestValidationError([told])


def _require_short(line: bytes | bytearray, most: int) -> None:
    if len(line) > most:
        raise Problem(413, "line_too_large", f"a line is longer than {most} bytes; nothing from it on was read")
