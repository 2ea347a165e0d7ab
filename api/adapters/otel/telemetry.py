"""Reading a file of telemetry whole: what of it may matter lies in a scratch database until it is recorded.

A file is one OTLP/JSON export request, or one on each line as the collector's file exporter writes them. Spans may
come in any order; who stands above whom is looked up when all are read.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import orjson

from ....domain.errors import Refused
from ....ledger.errors import Unavailable
from ..evaluation.rows import MAX_DOCUMENT_BYTES, MAX_LINE_BYTES
from .messages import is_message_event
from .spans import LogRecord, OtherSignal, Span, SpanEvent, read_request

EVALUATION = "gen_ai.evaluation.result"
OPERATION = "gen_ai.operation.name"
AGENTS = frozenset({"invoke_agent", "invoke_workflow"})
CALLS = frozenset({"chat", "generate_content", "text_completion"})

_OLD_OPERATIONS = {"chat": "chat", "completion": "text_completion"}
_CONVERSATION = ("gen_ai.conversation.id", "session.id")
_USER = ("enduser.id", "user.id")
_MAX_ANCESTORS = 100
_TABLES = (
    "CREATE TABLE spans (n INTEGER PRIMARY KEY, trace TEXT, span TEXT, parent TEXT, start INTEGER, "
    "conversation TEXT, user TEXT, kind TEXT, body BLOB)",
    "CREATE TABLE told (n INTEGER PRIMARY KEY, trace TEXT, span TEXT, evaluation INTEGER, body BLOB, resource BLOB)",
    "CREATE TABLE noted (kind TEXT, place TEXT)",
    "CREATE TABLE said (n INTEGER PRIMARY KEY, trace TEXT, span TEXT, start INTEGER, session TEXT, user TEXT, "
    "whole INTEGER, response TEXT)",
    "CREATE TABLE heard (digest BLOB PRIMARY KEY) WITHOUT ROWID",
)
_INDEXES = (
    "CREATE INDEX spans_by_id ON spans (trace, span)",
    "CREATE INDEX told_of ON told (trace, span)",
    "CREATE INDEX said_by_id ON said (trace, span)",
    "CREATE INDEX said_in ON said (session, user)",
    "CREATE INDEX said_as ON said (response)",
)


class Evaluation(NamedTuple):
    """A result of an evaluation, of the span and trace that it names, where it names any."""

    trace: str
    span: str
    event: SpanEvent
    resource: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The file as it was read. ``sha256`` and ``size`` in bytes are of the file as it lies there."""

    sha256: str
    size: int
    counts: dict[str, int]
    db: sqlite3.Connection

    def noted(self) -> Iterator[tuple[str, str]]:
        """(kind, place) of everything that is not read further, in the file's order."""
        yield from self.db.execute("SELECT kind, place FROM noted ORDER BY rowid")

    def calls(self) -> Iterator[tuple[int, Span, list[SpanEvent]]]:
        """Every call of a model or agent with its number, and the messages that log records tell of it."""
        for n, trace, span, body in self.db.execute(
            "SELECT n, trace, span, body FROM spans WHERE kind != '' ORDER BY n"
        ):
            yield n, _load(body), self._messages(trace, span)

    def add_said(self, n: int, span: Span, *, whole: bool) -> None:
        """Note that a call carries messages; ``whole`` says that what went in and what came out are both there."""
        session = self._named(span.trace, span.span, "conversation") or span.trace
        user = self._named(span.trace, span.span, "user") or _first(span.resource, _USER)
        response = _text(span.attributes.get("gen_ai.response.id"))
        row = (n, span.trace, span.span, span.start, session, user, int(whole), response)
        self.db.execute("INSERT INTO said VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def said(self) -> Iterator[tuple[Span, list[SpanEvent], str, str]]:
        """(span, messages told of it, session, user) of calls that carry messages, in order of their start.

        A user whom no span of the call names is the only one whom the session's other calls name, else the session's
        own.
        """
        rows = self.db.execute("SELECT n, trace, span, session, user FROM said ORDER BY start, n")
        for n, trace, span, session, user in rows:
            (body,) = self.db.execute("SELECT body FROM spans WHERE n=?", (n,)).fetchone()
            yield _load(body), self._messages(trace, span), session, user or self._only_user(session)

    def count_said(self) -> int:
        """How many calls carry messages."""
        return int(self.db.execute("SELECT count(*) FROM said").fetchone()[0])

    def is_within_agent(self, span: Span) -> bool:
        """Whether an agent above carries what went in and what came out: its calls within tell the same again."""
        return any(
            kind == "agent"
            and self.db.execute(
                "SELECT 1 FROM said WHERE trace=? AND span=? AND whole", (span.trace, identity)
            ).fetchone()
            for identity, kind, *_ in self._lineage(span.trace, span.parent)
        )

    def hear(self, session: str, signature: bytes) -> None:
        """Note that a message of the session is told by a call of this file."""
        self.db.execute("INSERT OR IGNORE INTO heard VALUES (?)", (_digest(session, signature),))

    def has_heard(self, session: str, signature: bytes) -> bool:
        """Whether a call before has told this message of the session."""
        row = self.db.execute("SELECT 1 FROM heard WHERE digest=?", (_digest(session, signature),)).fetchone()
        return row is not None

    def orphans(self) -> Iterator[str]:
        """The places of log records with messages of a call that the file does not have."""
        for trace, span in self.db.execute(
            "SELECT trace, span FROM told t WHERE NOT evaluation AND NOT EXISTS "
            "(SELECT 1 FROM spans s WHERE s.trace=t.trace AND s.span=t.span AND s.kind != '') ORDER BY n"
        ):
            yield f"span {trace}/{span}" if span else "no span"

    def evaluations(self) -> Iterator[Evaluation]:
        """Results of evaluations in the file's order."""
        rows = self.db.execute("SELECT trace, span, body, resource FROM told WHERE evaluation ORDER BY n")
        for trace, span, body, resource in rows:
            yield Evaluation(trace, span, SpanEvent(**orjson.loads(body)), orjson.loads(resource))

    def session_of(self, evaluation: Evaluation) -> str | None:
        """The session that a result is about: named by itself, its span, its response or its trace; else None."""
        named = _first(evaluation.event.attributes, _CONVERSATION)
        if not named and evaluation.span:
            named = self._named(evaluation.trace, evaluation.span, "conversation")
        if not named and (response := _text(evaluation.event.attributes.get("gen_ai.response.id"))):
            named = self._one("SELECT session FROM said WHERE response=? ORDER BY n", response)
        if not named and evaluation.trace:
            named = self._one("SELECT session FROM said WHERE trace=? ORDER BY n", evaluation.trace)
        return named or evaluation.trace or None

    def _messages(self, trace: str, span: str) -> list[SpanEvent]:
        rows = self.db.execute(
            "SELECT body FROM told WHERE trace=? AND span=? AND NOT evaluation ORDER BY n", (trace, span)
        )
        return [SpanEvent(**orjson.loads(body)) for (body,) in rows]

    def _only_user(self, session: str) -> str:
        named = self.db.execute(
            "SELECT DISTINCT user FROM said WHERE session=? AND user != '' LIMIT 2", (session,)
        ).fetchall()
        return str(named[0][0]) if len(named) == 1 else session

    def _named(self, trace: str, span: str, column: str) -> str:
        """What the span, else the nearest span above it says of its conversation or user."""
        place = ("conversation", "user").index(column) + 2
        return next((str(found[place]) for found in self._lineage(trace, span) if found[place]), "")

    def _lineage(self, trace: str, span: str) -> Iterator[tuple[str, str, str, str]]:
        """(id, kind, conversation, user) of a span and of those above it, as far as the file has them."""
        seen: set[str] = set()
        while span and span not in seen and len(seen) < _MAX_ANCESTORS:
            seen.add(span)
            row = self.db.execute(
                "SELECT parent, kind, conversation, user FROM spans WHERE trace=? AND span=? ORDER BY n LIMIT 1",
                (trace, span),
            ).fetchone()
            if row is None:
                return
            yield span, row[1], row[2], row[3]
            span = row[0]

    def _one(self, query: str, value: str) -> str:
        row = self.db.execute(query + " LIMIT 1", (value,)).fetchone()
        return "" if row is None else str(row[0])


@contextmanager
def open_telemetry(path: Path) -> Iterator[Telemetry]:
    """Read a file whole. ``Refused`` (``import_readable``) names the first place that is not OTLP/JSON."""
    with TemporaryDirectory(prefix="affidavit-") as scratch, closing(sqlite3.connect(Path(scratch) / "spans")) as db:
        db.execute("PRAGMA synchronous=OFF")
        for statement in _TABLES:
            db.execute(statement)
        counts = {"spans": 0, "evaluations": 0, "log_records": 0}
        digest = hashlib.sha256()
        size = 0
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                    size += len(block)
            for place, document in _documents(path, size):
                for found in read_request(document, place):
                    _keep(db, counts, found, place)
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror}") from error
        for statement in _INDEXES:
            db.execute(statement)
        db.commit()
        yield Telemetry(digest.hexdigest(), size, counts, db)


def _documents(path: Path, size: int) -> Iterator[tuple[str, Any]]:
    """(place, export request). The collector names its files of lines .json too: the first line decides."""
    with path.open("rb") as file:
        first = file.readline(MAX_LINE_BYTES + 1)
        by_line = path.suffix in (".ndjson", ".jsonl") or _is_json(first)
        if not by_line and size > MAX_DOCUMENT_BYTES:
            raise Refused(
                "import_readable",
                f"{path}: {size} bytes, at most {MAX_DOCUMENT_BYTES}; with a request on each line there is no limit",
            )
        file.seek(0)
        if not by_line:
            yield path.name, _parse(file.read(), path.name)
            return
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            place = f"line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise Refused("import_readable", f"{place}: more than {MAX_LINE_BYTES} bytes")
            if line.strip():
                yield place, _parse(line, place)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _parse(text: bytes, place: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Refused("import_readable", f"{place}: not JSON: {error}") from error


def _keep(db: sqlite3.Connection, counts: dict[str, int], found: Span | LogRecord | OtherSignal, place: str) -> None:
    match found:
        case Span():
            counts["spans"] += 1
            _keep_span(db, counts, found)
        case LogRecord():
            counts["log_records"] += 1
            at = f"{place}, log record {found.event.name or 'without a name'}"
            _tell(db, counts, found.trace, found.span, found.event, found.resource, at)
        case OtherSignal():
            _note(db, "other_signal", f"{place}, {found.name}")


def _keep_span(db: sqlite3.Connection, counts: dict[str, int], span: Span) -> None:
    operation = _operation(span.attributes)
    kind = "agent" if operation in AGENTS else "call" if operation in CALLS else ""
    results = [event for event in span.events if event.name == EVALUATION]
    for event in results:
        _tell(db, counts, span.trace, span.span, event, span.resource, "")
    if not kind and not results:
        place = f"span {span.trace}/{span.span}, {operation or span.name}"
        _note(db, "other_operation" if operation else "other_span", place)
    named = (_first(span.attributes, _CONVERSATION), _first(span.attributes, _USER))
    body = orjson.dumps(asdict(span)) if kind else None
    row = (span.trace, span.span, span.parent, span.start, *named, kind, body)
    db.execute(
        "INSERT INTO spans (trace, span, parent, start, conversation, user, kind, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    )


def _tell(
    db: sqlite3.Connection,
    counts: dict[str, int],
    trace: str,
    span: str,
    event: SpanEvent,
    resource: dict[str, Any],
    place: str,
) -> None:
    evaluation = event.name == EVALUATION
    if evaluation:
        counts["evaluations"] += 1
    elif not is_message_event(event.name):
        _note(db, "other_log_record", place)
        return
    row = (trace, span, int(evaluation), orjson.dumps(asdict(event)), orjson.dumps(resource))
    db.execute("INSERT INTO told (trace, span, evaluation, body, resource) VALUES (?, ?, ?, ?, ?)", row)


def _note(db: sqlite3.Connection, kind: str, place: str) -> None:
    db.execute("INSERT INTO noted VALUES (?, ?)", (kind, place))


def _operation(attributes: Mapping[str, Any]) -> str:
    named = _text(attributes.get(OPERATION))
    if named:
        return named
    old = _text(attributes.get("gen_ai.request.type")) or _text(attributes.get("llm.request.type"))
    return _OLD_OPERATIONS.get(old, old)


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((found for name in names if (found := _text(attributes.get(name)))), "")


def _text(value: Any) -> str:
    """An id, which some write as a number."""
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _digest(session: str, signature: bytes) -> bytes:
    return hashlib.sha256(session.encode() + b"\n" + signature).digest()


def _load(body: bytes) -> Span:
    found = orjson.loads(body)
    found["events"] = tuple(SpanEvent(**event) for event in found["events"])
    found["links"] = tuple(found["links"])
    return Span(**found)
