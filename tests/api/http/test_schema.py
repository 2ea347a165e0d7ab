"""Schemathesis over the OpenAPI document: no request makes the server fail, or answer what it does not say."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as configured
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from affidavit.api.http.app import create_app
from affidavit.api.http.limits import Limits
from affidavit.api.http.service import Service, Settings

UNROOTED = {
    *("/checkpoint", "/tile/{name}", "/openapi.json"),
    *("/health", "/healthz", "/health/live", "/health/ready", "/metrics"),
}
"""What is not computed from entries, or is the log itself."""

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@schemathesis.serializer("application/x-ndjson")
def print_lines(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Whatever text was generated, as the body."""
    return str(value).encode()


class Local:
    """The application as a caller on this machine with a key sees it."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        shown = {b"authorization": f"Bearer {token}".encode(), b"host": b"127.0.0.1"}
        self.shown = list(shown.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            kept = [header for header in scope["headers"] if header[0] not in (b"authorization", b"host")]
            scope = {**scope, "client": ("127.0.0.1", 1), "headers": kept + self.shown}
        await self.app(scope, receive, send)


@pytest.fixture
def api(service: Service) -> BaseSchema:
    token, _ = service.keyring.create(["admin"], "", "2026-11-22T10:00:00+00:00")
    return schemathesis.openapi.from_asgi("/openapi.json", Local(create_app(service), token))


class TestSchema:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(Limits(requests_per_minute=10**9))

    def test_no_request_breaks_the_server_or_its_promises(self, api: BaseSchema) -> None:
        operations = [found.ok() for found in api.get_all_operations() if isinstance(found, Ok)]

        for operation in operations:
            _try(operation)
        assert len(operations) > 30


def _try(operation: APIOperation[Any, Any, Any, Any]) -> None:
    @given(case=operation.as_strategy())
    @configured(
        max_examples=10,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def holds(case: schemathesis.Case[Any]) -> None:
        answer = case.call()
        if answer.status_code in (501, 503):  # said on purpose: erasure, no judge
            return
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code < 400 and case.path not in UNROOTED:
            assert answer.headers["affidavit-root"]

    holds()
