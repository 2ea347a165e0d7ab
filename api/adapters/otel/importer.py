"""The import of GenAI telemetry: a call of a model or an agent becomes a request with its turns, a result a score.

Requests go the way of the HTTP API's, through the publisher, under ids made of trace and span. So importing again adds
nothing, an import that was killed goes on where it stopped, and what a span says otherwise now is a finding.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ....domain.errors import AffidavitError, Refused
from ....domain.evaluation.publication import Publication
from ....domain.event import NewEvent
from ....domain.redaction import key_shaped, redact
from ....ledger.application import Ledger
from ....ledger.errors import Unavailable
from ...http.schemas import Id, InteractionData, require_plain
from ...publishing import Published, Publisher
from ...scoring import score_event
from ..evaluation.rows import Name
from ..file_import import BATCH, EvaluationImport, FileImport, ImportedFile, Progress
from .messages import Said, holds_messages, is_answer, is_message_event, make_turn, read_messages, signature
from .spans import Span
from .telemetry import EVALUATION, Evaluation, Telemetry, open_telemetry

SYSTEM = "opentelemetry"
ORIGIN = "affidavit.origin"
"""The resource attribute under which an export names the ledger that it comes from."""

IN_FLIGHT = 2000
"""Events that may wait for the publisher; reading on waits for them."""

SECOND = 1_000_000_000

FINDINGS: dict[str, str] = {
    "call_within_agent": "a span of an agent above it carries what went in and what came out; not recorded again",
    "evaluation_without_name": "a result that says not what was evaluated; not recorded",
    "evaluation_without_session": "it names no session, span or trace; recorded without a session",
    "evaluation_without_value": "a result without a finite number as its score; not recorded",
    "history_not_in_file": "earlier messages of its conversation that no span of the file carries; not recorded",
    "key_shaped_text": "a text holds what looks like a key; recorded as it is",
    "log_without_span": "messages in a log record of a call that the file does not have; not recorded",
    "message_unreadable": "a message of no known form; not recorded",
    "not_recordable": "it breaks a limit of what can be published; not recorded",
    "other_log_record": "a log record that holds neither messages nor a result; not recorded",
    "other_operation": "a GenAI span that is neither a call of a model nor one of an agent; not recorded",
    "other_signal": "metrics or profiles; not read",
    "other_span": "a span that is not of the GenAI conventions; not recorded",
    "own_export": "this ledger's own export, which it has already; not recorded",
    "request_differs": "the ledger has this span's request otherwise; it stays as it was",
    "secret_redacted": "a value under the name of a secret; recorded as redacted",
    "span_without_content": "a call that carries no message of its own; not recorded",
}
"""Every kind of finding, and what it means."""


_OPEN = TypeAdapter(list[Name])


class _Checked(BaseModel):
    """What is checked of a request: the bounds of the HTTP API, but for the source, which imports take as it is."""

    user_id: Id
    session_id: Id
    source: Name
    agent_version: Name
    turns: Annotated[list[InteractionData], Field(min_length=1, max_length=1000)]


def import_telemetry(ledger: Ledger, path: Path, on_progress: Progress | None = None) -> EvaluationImport:
    """Record the interactions and results of a file of OTLP/JSON (telemetry.py says of what form).

    The file is read whole first: where it is not OTLP/JSON this raises ``Refused`` and records nothing.
    """
    with open_telemetry(path) as file, Publisher(ledger) as publisher:
        return _Import(ledger, file, path.name, publisher, on_progress).run()


class _Import(FileImport):
    system = SYSTEM
    completed = "import/opentelemetry"
    finding_meanings = FINDINGS

    def __init__(
        self, ledger: Ledger, file: Telemetry, name: str, publisher: Publisher, on_progress: Progress | None
    ) -> None:
        super().__init__(ledger, ImportedFile(name, file.sha256, file.size), file.counts)
        self._file = file
        self._publisher = publisher
        self._on_progress = on_progress
        self._waiting: deque[tuple[str, int, Future[Published]]] = deque()
        self._in_flight = 0
        self._done = 0

    def run(self) -> EvaluationImport:
        self._refuse_the_erased()
        for kind, place in self._file.noted():
            self._find(kind, place)
        for place in self._file.orphans():
            self._find("log_without_span", place)
        self._look_through()
        for span, told, session, user in self._file.said():
            self._publish(span, read_messages(span.attributes, [*span.events, *told]), session, user)
            self._advance(1)
            while self._in_flight > IN_FLIGHT:
                self._settle()
        while self._waiting:
            self._settle()
        self._record_results()
        self._complete()
        return self._report

    def _look_through(self) -> None:
        """Which calls carry messages must be known of all before one is recorded: agents may come after their calls."""
        for n, span, told in self._file.calls():
            if span.resource.get(ORIGIN) == self._ledger.genesis:
                self._find("own_export", _place(span))
                continue
            said = read_messages(span.attributes, [*span.events, *told])
            if said.unreadable:
                self._find("message_unreadable", _place(span), said.unreadable)
            if said:
                self._file.add_said(n, span, whole=bool(said.inputs and said.outputs))
            else:
                self._find("span_without_content", _place(span))

    def _publish(self, span: Span, said: Said, session: str, user: str) -> None:
        fresh = self._fresh(span, said, session)
        if self._file.is_within_agent(span):
            self._find("call_within_agent", _place(span))
            return
        turns, places = _turns(span, fresh, said.outputs)
        telling = [turn for turn in turns if _says_something(turn)]
        if not telling:
            self._find("span_without_content", _place(span))
            return
        sent, more = _sent(span)
        if places or more:
            self._find("secret_redacted", _place(span), len(places) + len(more))
        try:
            publication = _publication(span, session, user, sent, telling, len(turns) - len(telling))
        except ValueError as error:
            self._find("not_recordable", f"{_place(span)}: {_first_error(error)}")
            return
        if shapes := sum(len(key_shaped(turn.get("content", ""))) for turn in telling):
            self._find("key_shaped_text", _place(span), shapes)
        events = 1 + len(telling)
        self._in_flight += events
        self._waiting.append((_place(span), events, self._publisher.submit(publication)))

    def _fresh(self, span: Span, said: Said, session: str) -> list[dict[str, Any]]:
        """The messages that went in and that no call before has told: those after the last answer."""
        answers = [index for index, message in enumerate(said.inputs) if is_answer(message)]
        start = answers[-1] + 1 if answers else 0
        unknown = sum(not self._file.has_heard(session, signature(message)) for message in said.inputs[:start])
        if unknown:
            self._find("history_not_in_file", _place(span), unknown)
        for message in (*said.inputs[start:], *said.outputs):
            self._file.hear(session, signature(message))
        return said.inputs[start:]

    def _settle(self) -> None:
        place, events, answer = self._waiting.popleft()
        self._in_flight -= events
        try:
            published = answer.result()
        except Unavailable:
            raise
        except (AffidavitError, ValueError) as error:
            taken = isinstance(error, Refused) and error.rule == "request_id_taken"
            self._find("request_differs" if taken else "not_recordable", place if taken else f"{place}: {error}")
        else:
            if published.repeated:
                self._report.unchanged += events
            else:
                self._report.events += events

    def _record_results(self) -> None:
        results = self._file.evaluations()
        while batch := list(islice(results, BATCH)):
            with self._ledger.naming():
                new = [event for result in batch for event in self._score(result)]
            self._ledger.record(*new)
            self._report.events += len(new)
            self._advance(len(batch))

    def _score(self, result: Evaluation) -> Iterator[NewEvent]:
        attributes = dict(result.event.attributes)
        place = f"span {result.trace}/{result.span}" if result.span else "a log record without a span"
        if result.resource.get(ORIGIN) == self._ledger.genesis:
            self._find("own_export", place)
            return
        name, value = attributes.pop("gen_ai.evaluation.name", None), _number(attributes)
        if not isinstance(name, str) or not name:
            self._find("evaluation_without_name", place)
            return
        if value is None:
            self._find("evaluation_without_value", f"{place}: {name}")
            return
        session = self._file.session_of(result)
        if session is None:
            self._find("evaluation_without_session", f"{place}: {name}")
        source = _open_text(result.resource, "service.name")
        safe = redact(attributes)
        if safe.places:
            self._find("secret_redacted", place, len(safe.places))
        detail = {"otel": {"trace_id": result.trace, "span_id": result.span, "attributes": safe.value}}
        try:
            require_plain(detail)
            _OPEN.validate_python([name, source])
        except ValueError as error:
            self._find("not_recordable", f"{place}: {_first_error(error)}")
            return
        new = score_event(
            self._ledger,
            0,
            source=source,
            source_run_id=_run_of(result),
            session_id=session,
            scorer=name,
            value=value,
            scored_at=result.event.time // SECOND,
            more=detail,
        )
        yield from self._new_score(new)

    def _advance(self, count: int) -> None:
        self._done += count
        if self._on_progress is not None:
            self._on_progress(self._done, self._file.count_said() + self._report.rows["evaluations"])


def _turns(
    span: Span, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The turns of a call, and where secrets were taken out of them."""
    turns: list[dict[str, Any]] = []
    places: list[str] = []
    for messages, at, answers in ((inputs, span.start, False), (outputs, max(span.start, span.end), True)):
        for message in messages:
            turn, found = make_turn(message, at // SECOND, answer=answers)
            turns.append(turn)
            places += found
    return turns, places


def _says_something(turn: dict[str, Any]) -> bool:
    """Blanks alone say nothing; parts that are no text do."""
    beside = turn.keys() - {"role", "content", "created_at", "otel"}
    return bool(turn["content"].strip() or "parts" in turn.get("otel", {}) or any(turn[name] for name in beside))


def _sent(span: Span) -> tuple[dict[str, Any], list[str]]:
    """What else the span says, sealed with the request, and where secrets were taken out of it."""
    kept = {name: value for name, value in span.attributes.items() if not holds_messages(name)}
    events = [event for event in span.events if event.name != EVALUATION and not is_message_event(event.name)]
    safe = redact(
        {
            "attributes": kept,
            "events": [
                {"name": event.name, "time": str(event.time), "attributes": event.attributes} for event in events
            ],
            "links": list(span.links),
            "resource": span.resource,
        }
    )
    told = {name: value for name, value in safe.value.items() if value}
    whole = {
        "trace_id": span.trace,
        "span_id": span.span,
        "parent_span_id": span.parent,
        "name": span.name,
        "kind": span.kind,
        "start": str(span.start),
        "end": str(span.end),
        "status": span.status,
        "scope": span.scope,
        **told,
    }
    return {"otel": whole}, list(safe.places)


def _publication(
    span: Span, session: str, user: str, sent: dict[str, Any], turns: list[dict[str, Any]], dropped: int
) -> Publication:
    """The request that a span becomes; ``ValueError`` where it breaks a bound."""
    version = _open_text(span.attributes, "gen_ai.agent.version") or _open_text(span.resource, "service.version")
    checked = _Checked.model_validate(
        {
            "user_id": user,
            "session_id": session,
            "source": _open_text(span.resource, "service.name"),
            "agent_version": version,
            "turns": turns,
        }
    )
    said = [
        entry.model_dump(exclude_defaults=True, exclude_none=True) | ({"otel": turn["otel"]} if "otel" in turn else {})
        for entry, turn in zip(checked.turns, turns, strict=True)
    ]
    require_plain(sent)
    require_plain(said)
    return Publication(
        user_id=checked.user_id,
        session_id=checked.session_id,
        request_id=f"{span.trace}-{span.span}",
        source=checked.source,
        agent_version=checked.agent_version,
        evaluation_only=False,
        requested_at=span.start // SECOND,
        sent=sent,
        turns=said,
        dropped=dropped,
    )


def _run_of(result: Evaluation) -> str:
    """What a result is a result of: another one of the same, under the same name, replaces it."""
    response = result.event.attributes.get("gen_ai.response.id")
    named = [part for part in (result.trace, result.span, response) if isinstance(part, str) and part]
    if named:
        return "-".join(named)
    return hashlib.sha256(orjson.dumps([result.event.time, result.event.attributes])).hexdigest()


def _number(attributes: dict[str, Any]) -> float | None:
    value = attributes.pop("gen_ai.evaluation.score.value", None)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _open_text(attributes: dict[str, Any], name: str) -> str:
    value = attributes.get(name)
    return value if isinstance(value, str) else ""


def _place(span: Span) -> str:
    return f"span {span.trace}/{span.span}"


def _first_error(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
