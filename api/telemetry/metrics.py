"""Metrics for Prometheus, of one server. Labels are route templates, methods, statuses and rules, and nothing else.

The library is an extra; this module alone imports it, and is imported where it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ...ledger.watching import Figures, Step
from .standing import Standing

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_ENTRIES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)


class Metrics:
    """Counts what is done here. Safe from threads. ``in_progress`` says how many requests are being answered."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, in_progress: Callable[[], int]) -> None:
        self._in_progress = in_progress
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "affidavit_http_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "affidavit_http_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._refused = Counter(
            "affidavit_http_refused",
            "Requests refused, by status and rule.",
            ["status", "rule"],
            registry=self._registry,
        )
        self._steps = Histogram(
            "affidavit_step_seconds",
            "Seconds that a commit, a signature, a catching up of read models or a call of a model took.",
            ["step", "outcome"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._entries = Histogram(
            "affidavit_commit_entries", "Entries of one commit.", buckets=_ENTRIES, registry=self._registry
        )

    def count_request(self, method: str, route: str, status: int, seconds: float, rule: str | None) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
        if rule is not None:
            self._refused.labels(str(status), rule).inc()

    def count_step(self, step: Step, seconds: float, figures: Figures, error: str | None) -> None:
        self._steps.labels(step, "ok" if error is None else "failed").observe(seconds)
        if "entries" in figures:
            self._entries.observe(figures["entries"])

    def page(self, standing: Standing | None) -> bytes:
        """All of it, and how the ledger stands; None where it does not answer."""
        now = CollectorRegistry()
        now.register(_Now(standing, self._in_progress()))
        return generate_latest(self._registry) + generate_latest(now)


class _Now(Collector):
    def __init__(self, standing: Standing | None, in_progress: int) -> None:
        self._standing = standing
        self._in_progress = in_progress

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, help_text, value in self._gauges():
            yield GaugeMetricFamily(f"affidavit_{name}", help_text, value)

    def _gauges(self) -> Iterator[tuple[str, str, float]]:
        yield "http_requests_in_progress", "Requests being answered.", self._in_progress
        found = self._standing
        yield "store_up", "Whether the ledger's database answered just now.", found is not None
        if found is None:
            return
        yield "entries", "Entries of the ledger.", found.size
        yield "checkpoint_entries", "Entries under the newest checkpoint.", found.checkpoint
        yield "unsigned_entries", "Entries under no checkpoint.", found.unsigned
        yield "unsigned_seconds", "Age of the oldest entry under no checkpoint.", found.unsigned_seconds
        yield "signing_stopped", "Whether signing was refused, and has ended for good.", found.signing_stopped
        yield "projection_lag_entries", "Entries that the read models lack.", found.unprojected
        yield "projection_lag_seconds", "Age of the oldest entry that they lack.", found.unprojected_seconds
        yield "erasure_unfinished", "Whether an erasure was requested and not carried out.", found.erasure_unfinished
        judging = found.judging
        if judging is not None:
            yield "judge_calls_in_flight", "Turns and sessions being judged.", judging.in_flight
            yield "judge_queue_turns", "Turns that wait for a judge.", judging.turns
            yield "judge_queue_sessions", "Sessions that wait for a judge.", judging.sessions
            yield "judge_paused", "Whether judging waits for the model's server.", judging.paused
