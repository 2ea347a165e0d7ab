"""OTLP/JSON, the JSON form of OpenTelemetry's protocol: spans, their events and log records, read and written.

Ids are lower-case hex, times nanoseconds since 1970 as decimal text, attributes lists of ``{key, value}``. A value read
is plain JSON that a ledger can seal: integers beyond 2^53 − 1, NaN and infinities become text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ....domain.errors import Refused
from ....ledger.entries.grammar import MAX_INTEGER

MAX_NANOS = 2**63 - 1
_SIGNALS = ("resourceSpans", "resourceLogs", "resourceMetrics", "resourceProfiles")
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_CODES = ("UNSET", "OK", "ERROR")
_HEX = re.compile(r"[0-9a-fA-F]*", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened within a span. ``body`` is that of the log record it came as. ``time`` is nanoseconds."""

    name: str
    time: int
    attributes: dict[str, Any]
    body: Any = None


@dataclass(frozen=True, slots=True)
class Span:
    """A span. ``start`` and ``end`` are nanoseconds since 1970; ``parent`` is empty for a root."""

    trace: str
    span: str
    parent: str
    name: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    events: tuple[SpanEvent, ...] = ()
    links: tuple[dict[str, Any], ...] = ()
    status: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    scope: str = ""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A log record; ``trace`` and ``span`` are empty where it names none."""

    trace: str
    span: str
    event: SpanEvent
    resource: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OtherSignal:
    """Metrics or profiles, which are not read."""

    name: str


def read_request(document: Any, place: str) -> Iterator[Span | LogRecord | OtherSignal]:
    """What one export request holds, in its order.

    ``Refused`` (``import_readable``) names the first place that is not OTLP/JSON. Unknown keys are ignored, as the
    protocol asks; scopes are read under the name that they had before OTLP 0.15, too.
    """
    if not isinstance(document, dict) or not document.keys() & set(_SIGNALS):
        raise Refused("import_readable", f"{place}: expected an object with any of {', '.join(_SIGNALS)}")
    for where, group in _members(document, "resourceSpans", place):
        resource = _resource(group, where)
        for groups, owner in (("scopeSpans", "scope"), ("instrumentationLibrarySpans", "instrumentationLibrary")):
            for inner, scope in _members(group, groups, where):
                named = _text(_object(scope, owner, inner), "name", f"{inner}.{owner}")
                for at, span in _members(scope, "spans", inner):
                    yield _span(span, resource, named, at)
    for where, group in _members(document, "resourceLogs", place):
        resource = _resource(group, where)
        for inner, scope in _members(group, "scopeLogs", where):
            for at, record in _members(scope, "logRecords", inner):
                yield _log_record(record, resource, at)
    for name in _SIGNALS[2:]:
        for _ in _members(document, name, place):
            yield OtherSignal(name)


def _span(span: dict[str, Any], resource: dict[str, Any], scope: str, place: str) -> Span:
    parent = _text(span, "parentSpanId", place)
    return Span(
        trace=_id(span, "traceId", 32, place),
        span=_id(span, "spanId", 16, place),
        parent=_id(span, "parentSpanId", 16, place) if parent.strip("0") else "",
        name=_text(span, "name", place),
        kind=_enum(span, "kind", "SPAN_KIND_", _KINDS, place),
        start=_nanos(span, "startTimeUnixNano", place),
        end=_nanos(span, "endTimeUnixNano", place),
        attributes=_attributes(span, place),
        events=tuple(_event(event, at) for at, event in _members(span, "events", place)),
        links=tuple(_link(link, at) for at, link in _members(span, "links", place)),
        status=_status(_object(span, "status", place), f"{place}.status"),
        resource=resource,
        scope=scope,
    )


def _status(status: dict[str, Any], place: str) -> dict[str, Any]:
    found = {"message": _text(status, "message", place), "code": _enum(status, "code", "STATUS_CODE_", _CODES, place)}
    return {name: value for name, value in found.items() if value}


def _enum(owner: dict[str, Any], name: str, prefix: str, values: tuple[str, ...], place: str) -> int:
    """An enum's number. Names are none of OTLP/JSON, but what protobuf libraries print by themselves."""
    found = owner.get(name)
    if found is None:
        return 0
    if isinstance(found, str) and found.removeprefix(prefix) in values:
        return values.index(found.removeprefix(prefix))
    if type(found) is int and 0 <= found < len(values):
        return found
    raise _expected(f"{place}.{name}", f"a number from 0 to {len(values) - 1}", found)


def _event(event: dict[str, Any], place: str) -> SpanEvent:
    return SpanEvent(_text(event, "name", place), _nanos(event, "timeUnixNano", place), _attributes(event, place))


def _link(link: dict[str, Any], place: str) -> dict[str, Any]:
    named = {"trace_id": _id(link, "traceId", 32, place), "span_id": _id(link, "spanId", 16, place)}
    attributes = _attributes(link, place)
    return {**named, "attributes": attributes} if attributes else named


def _log_record(record: dict[str, Any], resource: dict[str, Any], place: str) -> LogRecord:
    attributes = _attributes(record, place)
    name = _text(record, "eventName", place) or str(attributes.pop("event.name", ""))  # older SDKs write an attribute
    time = _nanos(record, "timeUnixNano", place) or _nanos(record, "observedTimeUnixNano", place)
    body = record.get("body")
    return LogRecord(
        trace=_id(record, "traceId", 32, place) if record.get("traceId") else "",
        span=_id(record, "spanId", 16, place) if record.get("spanId") else "",
        event=SpanEvent(name, time, attributes, None if body is None else _value(body, f"{place}.body")),
        resource=resource,
    )


def _resource(group: dict[str, Any], place: str) -> dict[str, Any]:
    return _attributes(_object(group, "resource", place), f"{place}.resource")


def _attributes(owner: dict[str, Any], place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for at, item in _members(owner, "attributes", place):
        found[_text(item, "key", at)] = _value(item.get("value") or {}, f"{at}.value")
    return found


def _value(value: Any, place: str) -> Any:
    if not isinstance(value, dict) or len(value) > 1:
        raise _expected(place, "a value under one key", value)
    for kind, given in value.items():
        match kind:
            case "stringValue" | "bytesValue" if isinstance(given, str):
                return given
            case "boolValue" if isinstance(given, bool):
                return given
            case "intValue" if _is_integer(given):
                return int(given) if abs(int(given)) <= MAX_INTEGER else str(given)
            case "doubleValue" if type(given) in (int, float):
                return float(given) if math.isfinite(given) else str(given)
            case "doubleValue" if given in ("NaN", "Infinity", "-Infinity"):
                return given
            case "arrayValue" if isinstance(given, dict):
                return [_value(item or {}, at) for at, item in _items(given, "values", place)]
            case "kvlistValue" if isinstance(given, dict):
                return {
                    _text(item, "key", at): _value(item.get("value") or {}, at)
                    for at, item in _members(given, "values", place)
                }
            case _:
                raise _expected(place, "stringValue, intValue, doubleValue, boolValue or a container", value)
    return None


def _is_integer(given: Any) -> bool:
    return type(given) is int or (isinstance(given, str) and _INTEGER.fullmatch(given) is not None)


def _items(owner: dict[str, Any], name: str, place: str) -> Iterator[tuple[str, Any]]:
    items = owner.get(name)
    if items is None:
        return
    if not isinstance(items, list):
        raise _expected(f"{place}.{name}", "a list", items)
    for number, item in enumerate(items):
        yield f"{place}.{name}[{number}]", item


def _members(owner: dict[str, Any], name: str, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for at, item in _items(owner, name, place):
        if not isinstance(item, dict):
            raise _expected(at, "an object", item)
        yield at, item


def _object(owner: dict[str, Any], name: str, place: str) -> dict[str, Any]:
    found = owner.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _expected(f"{place}.{name}", "an object", found)
    return found


def _text(owner: dict[str, Any], name: str, place: str) -> str:
    found = owner.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _expected(f"{place}.{name}", "text", found)
    return found


def _id(owner: dict[str, Any], name: str, digits: int, place: str) -> str:
    found = _text(owner, name, place)
    if len(found) != digits or not _HEX.fullmatch(found) or not found.strip("0"):
        raise _expected(f"{place}.{name}", f"{digits} hex digits that are not all 0", found)
    return found.lower()


def _nanos(owner: dict[str, Any], name: str, place: str) -> int:
    found = owner.get(name)
    if found is None:
        return 0
    if type(found) is int or (isinstance(found, str) and _DIGITS.fullmatch(found)):
        number = int(found)
        if 0 <= number <= MAX_NANOS:
            return number
    raise _expected(f"{place}.{name}", f"nanoseconds from 0 to {MAX_NANOS}", found)


def _expected(place: str, expected: str, found: Any) -> Refused:
    return Refused("import_readable", f"{place}: expected {expected}, found {found!r:.60}")


def print_request(resource: Mapping[str, Any], scope: tuple[str, str], spans: Sequence[Span]) -> bytes:
    """One export request of one resource and scope (name, version) as a line of JSON."""
    written = [_written(span) for span in spans]
    scoped = {"scope": {"name": scope[0], "version": scope[1]}, "spans": written}
    group = {"resource": {"attributes": _pairs(resource)}, "scopeSpans": [scoped]}
    return orjson.dumps({"resourceSpans": [group]}, option=orjson.OPT_APPEND_NEWLINE)


def _written(span: Span) -> dict[str, Any]:
    parent = {"parentSpanId": span.parent} if span.parent else {}
    written: dict[str, Any] = {
        "traceId": span.trace,
        "spanId": span.span,
        **parent,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": _pairs(span.attributes),
    }
    if span.events:
        written["events"] = [
            {"timeUnixNano": str(event.time), "name": event.name, "attributes": _pairs(event.attributes)}
            for event in span.events
        ]
    if span.links:
        written["links"] = [{"traceId": link["trace_id"], "spanId": link["span_id"]} for link in span.links]
    if span.status:
        written["status"] = span.status
    return written


def _pairs(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in attributes.items()]


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _pairs(value)}}
    return {}
