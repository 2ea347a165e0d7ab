"""One shape for every error: RFC 9457 problem details, with the ``detail`` that the peer's clients read.

``TABLE`` maps our errors to a status. ``detail`` is text; for a request that does not fit its schema it is
FastAPI's list, so that the field is named.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ...domain.errors import AffidavitError, Refused
from ...ledger.errors import Conflict, Malformed, OutcomeUnknown, Unavailable, VerificationError
from ..telling import FAILED, Sparing, told
from ..workers.on_demand import JudgeFailed

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER = {429: {"Retry-After": "10"}, 503: {"Retry-After": "1"}}
_LOG = logging.getLogger("affidavit.http")
_SPARING = Sparing()

RULES: dict[str, int] = {
    "request_id_taken": 409,
    "entry_fits": 422,
    "entry_known": 404,
    "time_readable": 422,
    "event_invalid": 422,
    "scope_erased": 409,
    "scope_unknown": 404,
    "stream_contended": 503,
    "rate_limited": 429,
    "regeneration_running": 409,
    "job_known": 404,
    "scope_needed": 409,
    "review_known": 404,
    "run_known": 404,
    "iteration_known": 404,
    "ledger_begun": 404,
    "ledger_moved": 409,
}
"""The status of a ``Refused``, by its rule; any other is 422."""

TABLE: tuple[tuple[type[AffidavitError], int], ...] = (
    (JudgeFailed, 502),
    (Conflict, 409),
    (Malformed, 422),
    (VerificationError, 500),
    (AffidavitError, 500),
)
"""The status of every other error of ours, the most special first."""


ASK_AGAIN = (
    "it could not be found out in time whether it is recorded; ask again with the same request_id: what is recorded is "
    "answered from the log, and nothing is doubled; of anything that has none, look first whether it is there"
)


class Problem(Exception):
    """An error with its status. ``rule`` is a stable word that callers may branch on."""

    def __init__(
        self, status: int, rule: str, detail: Any, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(str(detail))
        self.status = status
        self.rule = rule
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def as_json(self) -> dict[str, Any]:
        return {
            "type": f"urn:affidavit:problem:{self.rule}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "rule": self.rule,
            "detail": self.detail,
            **self.more,
        }

    def response(self) -> Response:
        return Response(orjson.dumps(self.as_json()), self.status, self.headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """The problem that an error is told as. What a caller is not told is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return Problem(422, "request_invalid", plain_errors(error.errors()))
    if isinstance(error, Refused):
        status = RULES.get(error.rule, 422)
        return Problem(status, error.rule, str(error), _RETRY_AFTER.get(status))
    if isinstance(error, HTTPException):
        return Problem(error.status_code, _rule_of(error.status_code), error.detail, error.headers)
    if isinstance(error, Unavailable):
        if (told(error) != str(error) or isinstance(error, OutcomeUnknown)) and _SPARING.may_say(str(error)):
            _LOG.warning("told as 503: %s", error)
        if isinstance(error, OutcomeUnknown):
            return Problem(503, "outcome_unknown", ASK_AGAIN, _RETRY_AFTER[503])
        return Problem(503, "unavailable", told(error), _RETRY_AFTER[503])
    for kind, status in TABLE:
        if isinstance(error, kind):
            return Problem(status, _snake(type(error).__name__), str(error), _RETRY_AFTER.get(status))
    _LOG.error("unexpected error", exc_info=error)
    return Problem(500, "internal_error", FAILED)


def plain_errors(errors: Any) -> list[dict[str, Any]]:
    """pydantic's errors as JSON: what is no JSON in them is left out."""
    listed = []
    for error in errors:
        told = {"type": error["type"], "loc": list(error["loc"]), "msg": error["msg"]}
        for name in ("input", "ctx"):
            value = error.get(name)
            if value is not None and _is_short_json(value):
                told[name] = value
        listed.append(told)
    return listed


Respond = Callable[[Request, Problem], Response]
"""How a problem is told to who asked."""


def noting(respond: Respond) -> Respond:
    """``respond``, which also leaves the problem's rule with the request, for whoever counts what is refused."""

    def told(request: Request, problem: Problem) -> Response:
        request.scope.setdefault("state", {})["rule"] = problem.rule
        return respond(request, problem)

    return told


def install(app: FastAPI, respond: Respond) -> None:
    """Answer every error of ``app`` by this table."""

    async def answer(request: Request, error: Exception) -> Response:
        return respond(request, problem_of(error))

    for kind in (Problem, RequestValidationError, HTTPException, AffidavitError, Exception):
        app.add_exception_handler(kind, answer)


def _is_short_json(value: Any) -> bool:
    """Whether it may be echoed: no NaN, no object of ours, nothing long."""
    try:
        printed = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return len(printed) <= 2000 and value == orjson.loads(printed)


def _rule_of(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def _snake(name: str) -> str:
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")
