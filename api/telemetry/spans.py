"""Traces by OpenTelemetry, configured by its own environment, and off where that names no receiver.

A span has the route's template and numbers as attributes: no path, no query, no text of an error. The library is an
extra; this module alone imports it, and is imported where it is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ...ledger.watching import Figures, Step
from .answered import Answered


def from_environment() -> Spans:
    """To the receiver that OTEL_EXPORTER_OTLP_* name."""
    told = OTELResourceDetector().detect()
    name = Resource({SERVICE_NAME: str(told.attributes.get(SERVICE_NAME, "affidavit"))})
    provider = TracerProvider(resource=told.merge(name), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)


class Spans:
    """Makes spans. Safe from threads. Close it: what is not sent yet is sent then."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("affidavit")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, headers: Mapping[str, str], answered: Answered) -> Iterator[None]:
        """A request, as part of the trace that ``traceparent`` names; what became of it is read at the end."""
        given = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        with self._tracer.start_as_current_span(
            answered.method,
            context=self._propagator.extract(given),
            kind=SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                span.update_name(f"{answered.method} {answered.route}")
                span.set_attribute("http.request.method", answered.method)
                span.set_attribute("http.route", answered.route)
                span.set_attribute("http.response.status_code", answered.status)
                if answered.ledger is not None:
                    span.set_attribute("affidavit.ledger", answered.ledger)
                if answered.rule is not None:
                    span.set_attribute("affidavit.rule", answered.rule)
                if answered.status >= 500:
                    span.set_status(Status(StatusCode.ERROR))

    @contextmanager
    def step(self, step: Step, figures: Figures, ledger: str | None) -> Iterator[None]:
        """A step, with its figures; of a ledger that is named where there are many."""
        with self._tracer.start_as_current_span(step, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                if ledger is not None:
                    span.set_attribute("affidavit.ledger", ledger)
                for name, value in figures.items():
                    span.set_attribute(f"affidavit.{name}", value)

    def close(self) -> None:
        self._provider.shutdown()
