"""Traces: what is in them, what is not, and where they are sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.testclient import TestClient

from affidavit.api.http.app import create_app, open_service
from affidavit.api.telemetry.answered import Answered
from affidavit.api.telemetry.spans import Spans
from affidavit.api.telemetry.telemetry import Telemetry, spans_from_environment
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.store.place import Place
from affidavit.projections.registry import REGISTRY
from affidavit.tests.api.http.conftest import LOCAL, a_request

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def made() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(made: InMemorySpanExporter) -> Iterator[Telemetry]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(made))
    opened = Telemetry(requests_at_once=9, spans=Spans(provider))
    yield opened
    opened.close()


@pytest.fixture
def watched(place: Place, tmp_path: Path, telemetry: Telemetry) -> Iterator[Ledger]:
    """A new ledger that tells of its work."""
    edge = Edge(watch=telemetry.watch)
    with Ledger(place, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as opened:
        yield opened


def test_requests_and_steps_are_spans_without_content(
    watched: Ledger, telemetry: Telemetry, made: InMemorySpanExporter
) -> None:
    with open_service(watched) as service:
        client = TestClient(create_app(service, telemetry=telemetry), base_url=LOCAL, client=("127.0.0.1", 4))
        shown = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        client.post("/api/publish_interaction", json=a_request("r-secret", user="u-secret"), headers=shown)
        client.get("/api/get_all_interactions?as_of=2", headers=shown)
        client.get("/runs/r-secret?q=t-secret", headers={"Authorization": "Bearer afk_secret"})
    watched.sign()

    spans = {span.name: span for span in made.get_finished_spans()}
    assert _told(spans["POST /api/publish_interaction"]) == {
        "http.request.method": "POST",
        "http.route": "/api/publish_interaction",
        "http.response.status_code": 200,
    }
    assert _told(spans["commit"]) == {"affidavit.entries": 3}
    assert _told(spans["sign"]) == {"affidavit.size": 4}
    assert _told(spans["catch_up"]) == {"affidavit.size": 4}
    reading = spans["GET /api/get_all_interactions"]
    for name in ("POST /api/publish_interaction", "GET /api/get_all_interactions", "catch_up"):
        assert f"{spans[name].context.trace_id:032x}" == TRACE
    catching_up = spans["catch_up"].parent
    assert catching_up is not None
    assert catching_up.span_id == reading.context.span_id
    assert "secret" not in "".join(span.to_json() for span in spans.values())


def test_a_step_that_fails_says_how_and_not_with_what_words(telemetry: Telemetry, made: InMemorySpanExporter) -> None:
    with suppress(ValueError), telemetry.watch("ask_model"):
        raise ValueError("what a user wrote")
    with suppress(KeyError), telemetry.request({}, Answered("id", "GET")):
        raise KeyError("what a user wrote")

    asked, request = made.get_finished_spans()
    assert (asked.status.status_code, _told(asked)) == (StatusCode.ERROR, {"error.type": "ValueError"})
    assert request.status.status_code == StatusCode.ERROR
    assert "what a user wrote" not in asked.to_json() + request.to_json()
    assert not asked.events


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "zipkin"},
    ],
)
def test_traces_are_off_unless_the_environment_names_a_receiver(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    assert spans_from_environment() is None


def test_traces_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[ExportTraceServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        spans = spans_from_environment()
        assert spans is not None
        with spans.request({}, Answered("id", "GET", "/api/whoami", 200)):
            pass
        spans.close()
        server.shutdown()
        thread.join()

    (resource,) = [found for request in received for found in request.resource_spans]
    assert ("service.name", "affidavit") in [
        (each.key, each.value.string_value) for each in resource.resource.attributes
    ]
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["GET /api/whoami"]


def _told(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})
