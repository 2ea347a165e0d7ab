"""Everything that listens to one server, behind one object; where an extra is not installed, that part is silent."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...ledger.watching import Figures, Step
from ..http.limits import InProgress
from .answered import Answered

if TYPE_CHECKING:
    from .metrics import Metrics
    from .spans import Spans

ACCESS_LOG = "affidavit.access"
_LOG = logging.getLogger("affidavit.telemetry")
_ACCESS = logging.getLogger(ACCESS_LOG)


class Telemetry:
    """What a server tells of its work. ``stopping`` is set when it was told to stop. Close it last.

    ``requests_at_once`` bounds how many requests are being answered at a time. ``ledger`` is the name of one of many,
    which stands on its access lines and spans.
    """

    def __init__(self, *, requests_at_once: int, spans: Spans | None = None, ledger: str | None = None) -> None:
        self._ledger = ledger
        self.stopping = threading.Event()
        self.in_progress = InProgress(requests_at_once)
        self.metrics: Metrics | None = _metrics(self.in_progress)
        self._spans = spans

    @contextmanager
    def watch(self, step: Step) -> Iterator[Figures]:
        """Stands around a step of the ledger's work (see ``ledger.watching``)."""
        figures: Figures = {}
        started = time.perf_counter()
        error: str | None = None
        with ExitStack() as around:
            if self._spans is not None:
                around.enter_context(self._spans.step(step, figures, self._ledger))
            try:
                yield figures
            except BaseException as raised:
                error = type(raised).__name__
                raise
            finally:
                if self.metrics is not None:
                    self.metrics.count_step(step, time.perf_counter() - started, figures, error)

    @contextmanager
    def request(self, headers: Mapping[str, str], answered: Answered) -> Iterator[None]:
        """Stands around a request; ``answered`` is filled in meanwhile."""
        answered.ledger = self._ledger
        started = time.perf_counter()
        with ExitStack() as around:
            if self._spans is not None:
                around.enter_context(self._spans.request(headers, answered))
            try:
                yield
            finally:
                answered.seconds = time.perf_counter() - started
        if self.metrics is not None:
            self.metrics.count_request(
                answered.method, answered.route, answered.status, answered.seconds, answered.rule
            )
        if _ACCESS.isEnabledFor(logging.INFO):
            _ACCESS.info(
                "%s %s %d", answered.method, answered.route, answered.status, extra={"fields": _told(answered)}
            )

    def close(self) -> None:
        if self._spans is not None:
            self._spans.close()


def spans_from_environment() -> Spans | None:
    """Where the environment names a receiver of traces; a warning where it does, and the extra is not installed."""
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp" if any(map(os.environ.get, named)) else "none")
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return None
    if find_spec("opentelemetry.sdk") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        _LOG.warning("OTEL_* ask for traces; they need the extra `affidavit[traces]`, which is not installed")
        return None
    if exporter != "otlp":
        _LOG.warning("OTEL_TRACES_EXPORTER=%s: traces are sent by otlp over HTTP, or not at all", exporter)
        return None
    from .spans import from_environment

    return from_environment()


def _metrics(in_progress: InProgress) -> Metrics | None:
    if find_spec("prometheus_client") is None:
        return None
    from .metrics import Metrics

    return Metrics(lambda: in_progress.now)


def _told(answered: Answered) -> dict[str, object]:
    told = {
        "request": answered.request_id,
        "ledger": answered.ledger,
        "method": answered.method,
        "route": answered.route,
        "status": answered.status,
        "ms": round(answered.seconds * 1000, 1),
        "rule": answered.rule,
        "key": answered.key,
        "seq": answered.seq,
    }
    return {name: value for name, value in told.items() if value is not None}
