"""The export of interactions and of what was judged of them, as OpenTelemetry spans that lead back to the evidence.

One line of OTLP/JSON for each request, verdict, grade and score, in the order of the ledger. A request is a span for
each exchange: what was said to the agent, and its answers. A verdict is a span below that of its turn, a grade or a
score one of its own; its result is an event of the conventions.

Without ``content`` a line says what stands open in the ledger, and nothing that is sealed: people and sessions are
their aliases. With it texts, names and whatever else is sealed are opened and leave the ledger.

The same first N entries, options and version of the program give the same bytes, until something is erased.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ....domain.evaluation.events import (
    InteractionPublished,
    RequestPublished,
    ScoreImported,
    SessionGraded,
    ShadowJudged,
)
from ....domain.event import Recorded, Withheld
from ....ledger.entries.entry import StoredEntry
from ....ledger.errors import Unavailable
from ....ledger.files import whole_file
from ....ledger.store.opening import EventReader
from ....projections.evaluation.trend import outcome_of
from ....projections.registry import REGISTRY
from ...reading import OpenLedger
from ...settings import recorder_name
from .importer import ORIGIN, SECOND
from .messages import INPUT, OUTPUT, make_message
from .spans import MAX_NANOS, Span, SpanEvent, print_request
from .telemetry import EVALUATION, OPERATION

Progress = Callable[[int, int], None]

SHADOW = "shadow_comparison"
"""The name of the evaluation that a verdict is a result of."""

_KINDS = {
    RequestPublished.type_name: "interaction",
    ShadowJudged.type_name: "shadow_verdict",
    SessionGraded.type_name: "session_grade",
    ScoreImported.type_name: "imported_score",
}
_CLIENT, _INTERNAL = 3, 1


class Window(NamedTuple):
    """Seconds since 1970, both inclusive; None is no bound."""

    first: int | None = None
    last: int | None = None

    def holds(self, at: int) -> bool:
        return (self.first is None or at >= self.first) and (self.last is None or at <= self.last)


ALWAYS = Window()


@dataclass(slots=True)
class TelemetryExport:
    """What was written: spans by kind, from the first ``size`` entries, whose root is ``root``.

    ``withheld`` counts spans whose content was asked for and is erased, or closed for want of a key.
    """

    size: int
    root: bytes
    spans: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS.values(), 0))
    withheld: dict[str, int] = field(default_factory=lambda: {"erased": 0, "closed": 0})

    def as_json(self) -> dict[str, Any]:
        stamp = {"size": self.size, "root": b64encode(self.root).decode()}
        return {"spans": self.spans, "withheld": self.withheld, **stamp}


def export_telemetry(
    ledger: OpenLedger,
    path: Path,
    *,
    size: int,
    window: Window = ALWAYS,
    content: bool = False,
    on_progress: Progress | None = None,
) -> TelemetryExport:
    """Write the first ``size`` entries' interactions and evaluations within ``window`` to a new file.

    It appears whole or not at all. ``Unavailable`` where something is in its place. Windows go by when a request
    arrived, a turn was judged, a graded session began, or a score was made.
    """
    if path.exists() or path.is_symlink():
        raise Unavailable(f"{path}: expected nothing here, found something; an export never writes over it")
    export = _Export(ledger, size, content)
    try:
        with whole_file(path, new=True) as file:
            file.writelines(export.lines(window, on_progress))
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    return export.report


class _Stored(NamedTuple):
    """An event and its leaf hash."""

    leaf: bytes
    recorded: Recorded
    event: Any


class _Judged(NamedTuple):
    """What an evaluation's span says beside where its entry stands. ``at`` is nanoseconds."""

    kind: str
    name: str
    at: int
    session: str | None
    result: dict[str, Any]
    attributes: dict[str, Any]
    resource: dict[str, Any]
    detail: dict[str, Any] | Withheld
    explanation: Any
    above: tuple[str, str] | None = None


class _Export:
    def __init__(self, ledger: OpenLedger, size: int, content: bool) -> None:
        root = ledger.root_at(size)
        self.report = TelemetryExport(size, root)
        self._ledger = ledger
        self._size = size
        self._content = content
        self._closed = EventReader(ledger.reader, REGISTRY)
        self._events = ledger.events if content else self._closed
        self._stamp = {"affidavit.size": size, "affidavit.root": b64encode(root).decode()}
        self._origin = ledger.reader.origin()
        self._scope = ("affidavit", recorder_name().partition("/")[2])

    def lines(self, window: Window, on_progress: Progress | None) -> Iterator[bytes]:
        """The lines in order of seq, one at a time in memory."""
        for row in self._ledger.reader.entries(0, self._size):
            if row.type_name in _KINDS:
                yield from self._line(_read(row, self._events), window)
            if on_progress is not None and row.seq % 1000 == 0:
                on_progress(row.seq, self._size)

    def _line(self, stored: _Stored, window: Window) -> Iterator[bytes]:
        match stored.event:
            case RequestPublished() as event if window.holds(event.requested_at):
                yield from self._request(stored, event)
            case ShadowJudged() as event if window.holds(event.judged_at // 1_000_000):
                yield self._evaluation(stored, self._verdict(event))
            case SessionGraded() as event if window.holds(event.started_at):
                yield self._evaluation(stored, self._grade(stored, event))
            case ScoreImported() as event if window.holds(event.scored_at):
                yield self._evaluation(stored, self._score(event))

    def _request(self, stored: _Stored, event: RequestPublished) -> Iterator[bytes]:
        rows = self._ledger.reader.stream(stored.recorded.stream, self._size, start=stored.recorded.pos + 1)
        turns = _turns(rows, self._events)
        origin = _origin(event.sent)
        spans = [self._exchange(stored, event, origin, said) for said in _exchanges(turns)]
        if spans:
            self.report.spans["interaction"] += len(spans)
            resource = {**origin.get("resource", {}), **({"service.name": event.source} if event.source else {})}
            if event.agent_version:
                resource.setdefault("service.version", event.agent_version)
            yield print_request({**resource, ORIGIN: self._origin}, self._scope, spans)

    def _exchange(
        self, request: _Stored, event: RequestPublished, origin: dict[str, Any], said: Sequence[_Stored]
    ) -> Span:
        last = said[-1]
        start = _nanos(said[0].event.created_at)
        attributes: dict[str, Any] = dict(origin.get("attributes", {}))
        attributes.setdefault(OPERATION, "chat")
        attributes["gen_ai.conversation.id"] = self._name(event.session)
        attributes["user.id"] = self._name(event.user)
        withheld = next((turn.event.turn for turn in said if isinstance(turn.event.turn, Withheld)), None)
        if withheld is None:
            for name, answers in ((INPUT, False), (OUTPUT, True)):
                messages = [
                    make_message(turn.event.turn) for turn in said if (turn.event.speaker == "agent") == answers
                ]
                if messages:
                    attributes[name] = orjson.dumps(messages).decode()
        attributes |= {
            "affidavit.kind": "interaction",
            "affidavit.request.seq": request.recorded.seq,
            "affidavit.turns": [turn.recorded.seq for turn in said],
            "affidavit.has_shadow": any(turn.event.has_shadow for turn in said),
        }
        return Span(
            trace=_trace_id(request.leaf),
            span=_span_id(last.leaf),
            parent="",
            name=origin.get("name") or str(attributes[OPERATION]),
            kind=origin.get("kind") or _CLIENT,
            start=start,
            end=max(start, _nanos(last.event.created_at)),
            attributes=attributes | self._evidence(last, withheld),
            links=_links(origin),
            status=origin.get("status", {}),
        )

    def _evaluation(self, stored: _Stored, judged: _Judged) -> bytes:
        self.report.spans[judged.kind] += 1
        withheld = judged.detail if isinstance(judged.detail, Withheld) else None
        attributes: dict[str, Any] = {}
        if judged.session is not None:
            attributes["gen_ai.conversation.id"] = self._name(judged.session)
        attributes |= {name: value for name, value in judged.attributes.items() if value is not None}
        attributes["affidavit.kind"] = judged.kind
        result = {"gen_ai.evaluation.name": judged.name, **judged.result}
        if isinstance(judged.explanation, str):
            result["gen_ai.evaluation.explanation"] = judged.explanation
        trace, parent = judged.above or (_trace_id(stored.leaf), "")
        span = Span(
            trace=trace,
            span=_span_id(stored.leaf),
            parent=parent,
            name=f"evaluate {judged.name}",
            kind=_INTERNAL,
            start=judged.at,
            end=judged.at,
            attributes=attributes | self._evidence(stored, withheld),
            events=(SpanEvent(EVALUATION, judged.at, result),),
        )
        resource = {name: value for name, value in judged.resource.items() if value}
        return print_request({**resource, ORIGIN: self._origin}, self._scope, [span])

    def _verdict(self, event: ShadowJudged) -> _Judged:
        """A verdict stands below the span of its turn, where that turn is on the ledger."""
        above = None if event.turn is None else self._span_of(event.turn)
        return _Judged(
            kind="shadow_verdict",
            name=SHADOW,
            at=_nanos(event.judged_at, 1_000_000),
            session=event.session,
            result={"gen_ai.evaluation.score.label": outcome_of(event.better, event.reflexio_is_request_1)},
            attributes={
                "gen_ai.request.model": event.model,
                "affidavit.turn": event.turn,
                "affidavit.reflexio_is_request_1": event.reflexio_is_request_1,
                "affidavit.better": event.better,
                "affidavit.significant": event.significant,
                "affidavit.made": event.made,
                "affidavit.job": event.job,
            },
            resource={"service.version": event.agent_version},
            detail=event.detail,
            explanation=_of(event.detail, "comparison_reason"),
            above=above,
        )

    def _grade(self, stored: _Stored, event: SessionGraded) -> _Judged:
        recorded = int(datetime.fromisoformat(stored.recorded.at).timestamp())
        return _Judged(
            kind="session_grade",
            name=event.evaluation_name,
            at=_nanos(event.started_at if event.made == "import" else recorded),
            session=event.session,
            result={
                "gen_ai.evaluation.score.value": float(event.success),
                "gen_ai.evaluation.score.label": "success" if event.success else "failure",
            },
            attributes={
                "gen_ai.request.model": event.model,
                "affidavit.failure_type": event.failure_type,
                "affidavit.corrections": event.corrections,
                "affidavit.turns_to_resolution": event.turns,
                "affidavit.escalated": event.escalated,
                "affidavit.started_at": event.started_at,
                "affidavit.made": event.made,
                "affidavit.job": event.job,
            },
            resource={"service.version": event.agent_version},
            detail=event.detail,
            explanation=_of(event.detail, "failure_reason"),
        )

    def _score(self, event: ScoreImported) -> _Judged:
        told = _of(_of(event.detail, "otel"), "attributes")
        named = _of(event.detail, "session_id")
        label = _of(told, "gen_ai.evaluation.score.label")
        return _Judged(
            kind="imported_score",
            name=event.scorer,
            at=_nanos(event.scored_at),
            session=event.sessions[0] if event.sessions else event.named,
            result={
                "gen_ai.evaluation.score.value": event.value,
                **({"gen_ai.evaluation.score.label": label} if isinstance(label, str) else {}),
            },
            attributes={
                "gen_ai.conversation.id": named if isinstance(named, str) else None,
                "affidavit.run": event.run,
                "affidavit.source_run_id": _of(event.detail, "source_run_id"),
            },
            resource={"service.name": event.source},
            detail=event.detail,
            explanation=_of(told, "gen_ai.evaluation.explanation"),
        )

    def _span_of(self, turn: int) -> tuple[str, str] | None:
        """(trace, span) of the exchange that a turn is part of."""
        for row in self._ledger.reader.entries(turn, min(turn + 1, self._size)):
            request = next(self._ledger.reader.stream(row.stream, self._size), None)
            rows = self._ledger.reader.stream(row.stream, self._size, start=1)
            for said in _exchanges(_turns(rows, self._closed)):
                if request is not None and any(found.recorded.seq == turn for found in said):
                    return _trace_id(request.leaf), _span_id(said[-1].leaf)
        return None

    def _evidence(self, stored: _Stored, withheld: Withheld | None) -> dict[str, Any]:
        """Where the entry stands, what it was exported from, and whether its content came along."""
        found = "included" if self._content else "left_out"
        if self._content and withheld is not None:
            found = withheld.why
            self.report.withheld[found] += 1
        version = stored.recorded.meta.get("judge_prompt_version")
        judged = {} if version is None else {"affidavit.judge_prompt_version": version}
        place = {"affidavit.seq": stored.recorded.seq, "affidavit.leaf_hash": stored.leaf.hex()}
        return {**judged, **place, **self._stamp, "affidavit.content": found}

    def _name(self, alias: str) -> str:
        """The name behind an alias where content is asked for and it is not erased, else the alias."""
        if not self._content or self._ledger.scopes is None:
            return alias
        return self._ledger.scopes.name_of(alias) or alias


def _read(row: StoredEntry, events: EventReader) -> _Stored:
    recorded = events.event(row.seq)
    if recorded is None:
        raise Unavailable(f"entry {row.seq}: it went away while it was read")
    return _Stored(row.leaf, recorded, recorded.event)


def _turns(rows: Iterable[StoredEntry], events: EventReader) -> list[_Stored]:
    found = [_read(row, events) for row in rows]
    return [turn for turn in found if isinstance(turn.event, InteractionPublished)]


def _exchanges(turns: Sequence[_Stored]) -> Iterator[list[_Stored]]:
    """Turns parted before each that follows an answer without being one."""
    said: list[_Stored] = []
    for turn in turns:
        if said and said[-1].event.speaker == "agent" and turn.event.speaker != "agent":
            yield said
            said = []
        said.append(turn)
    if said:
        yield said


def _origin(sent: dict[str, Any] | Withheld) -> dict[str, Any]:
    """What an import of telemetry sealed of the span that it found; empty where the request came another way.

    Other imports keep what they find under any name, so nothing is taken for granted.
    """
    found = _of(sent, "otel")
    if not isinstance(found, dict) or not isinstance(found.get("trace_id"), str):
        return {}
    kinds = {"attributes": dict, "resource": dict, "status": dict, "links": list, "name": str, "kind": int}
    kinds |= {"trace_id": str, "span_id": str}
    return found if all(type(found[name]) is kind for name, kind in kinds.items() if name in found) else {}


def _links(origin: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The span that an import found, and those that it named."""
    named = [_of(link, "trace_id") and link for link in (origin, *origin.get("links", ()))]
    return tuple({name: link[name] for name in ("trace_id", "span_id")} for link in named if _of(link, "span_id"))


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _trace_id(leaf: bytes) -> str:
    return leaf[:16].hex()


def _span_id(leaf: bytes) -> str:
    return leaf[16:24].hex()


def _nanos(units: int, per_second: int = 1) -> int:
    """Whole units as nanoseconds, kept within what a span can say."""
    return min(max(units, 0) * (SECOND // per_second), MAX_NANOS)
