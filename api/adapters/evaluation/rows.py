"""Reading an evaluation file: one JSON document, or one row a line, checked whole before anything is recorded.

A document is the object ``{"requests": […], "interactions": […], "results": […], "verdicts": […],
"imported_scores": […], "config": {…}}``, or has it under ``dataset``. In NDJSON each line is a row with its ``kind``:
``request``, ``interaction``, ``result``, ``verdict``, ``imported_score`` or ``config``; rows may come in any order.

Rows lie in a scratch database until they are recorded, so that memory does not grow with a stream of them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ....domain.errors import Refused
from ....domain.evaluation.config import EvaluationConfig
from ....domain.evaluation.events import Better, CitationKind
from ....domain.evaluation.publication import MAX_OPEN_BYTES
from ....ledger.entries.grammar import MAX_INTEGER
from ....ledger.errors import Unavailable

MAX_DOCUMENT_BYTES = 512 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024

Name = Annotated[str, StringConstraints(max_length=1000)]
"""Text that stands in the open; an entry has room for it."""

Whole = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Kind = Literal["config", "request", "interaction", "result", "verdict", "imported_score"]
SECTIONS: dict[str, Kind] = {
    "requests": "request",
    "interactions": "interaction",
    "results": "result",
    "verdicts": "verdict",
    "imported_scores": "imported_score",
}


def _with_zone(moment: datetime) -> datetime:
    """A time without a zone is UTC: whoever wrote it in another zone did not say so."""
    found = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if not 1900 <= moment.year <= 2200:
        raise ValueError(f"expected a time between the years 1900 and 2200, found {moment.year}")
    return found


Moment = Annotated[datetime, AfterValidator(_with_zone)]


class Row(BaseModel):
    """What is known of a row; whatever else it has is kept, sealed, as it was found."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, strict=False)


class RequestRow(Row):
    request_id: str
    user_id: str
    session_id: str
    created_at: Whole
    source: Name = ""
    agent_version: Name = ""
    evaluation_only: bool = False


class CitationRow(Row):
    kind: CitationKind
    real_id: Name
    title: Name = ""
    tag: str = ""


def _that_fit(citations: tuple[CitationRow, ...]) -> tuple[CitationRow, ...]:
    size = sum(64 + 6 * (len(cited.real_id) + len(cited.title)) for cited in citations)
    if size > MAX_OPEN_BYTES:
        raise ValueError(f"{len(citations)} citations may take {size} bytes of an entry, at most {MAX_OPEN_BYTES} fit")
    return citations


class InteractionRow(Row):
    interaction_id: Whole
    request_id: str
    created_at: Whole
    role: str = "User"
    content: str = ""
    shadow_content: str = ""
    citations: Annotated[tuple[CitationRow, ...], AfterValidator(_that_fit)] = ()


class ResultRow(Row):
    result_id: Whole
    user_id: str
    session_id: str
    agent_version: Name
    is_success: bool
    failure_type: Name | None = None
    failure_reason: str | None = None
    evaluation_name: Name = "agent_success"
    created_at: Whole
    number_of_correction_per_session: Whole = 0
    user_turns_to_resolution: Whole | None = None
    is_escalated: bool = False


class VerdictRow(Row):
    verdict_id: Whole
    interaction_id: str
    session_id: str
    agent_version: Name
    reflexio_is_request_1: bool
    better_request: Better
    is_significantly_better: bool = False
    comparison_reason: str | None = None
    judge_prompt_version: Name
    created_at: Moment


class ScoreRow(Row):
    source: Name
    source_run_id: str
    session_id: str | None = None
    scorer_name: Name
    value: float
    ts: Whole


MODELS: dict[Kind, type[BaseModel]] = {
    "config": EvaluationConfig,
    "request": RequestRow,
    "interaction": InteractionRow,
    "result": ResultRow,
    "verdict": VerdictRow,
    "imported_score": ScoreRow,
}


@dataclass(frozen=True, slots=True)
class EvaluationFile:
    """The rows of a file, all of which parse. ``sha256`` and ``bytes`` are of the file as it lies there."""

    sha256: str
    bytes: int
    counts: dict[str, int]
    db: sqlite3.Connection

    def config(self) -> dict[str, Any] | None:
        """The configuration, where the file has one that says anything."""
        rows = [orjson.loads(body) for (body,) in self.db.execute("SELECT body FROM rows WHERE kind='config'")]
        return rows[-1] if rows and rows[-1] else None

    def requests(self) -> Iterator[tuple[RequestRow, list[InteractionRow]]]:
        """Requests in order of arrival, of one second in order of id, with their interactions by id."""
        ordered = "SELECT k1, body FROM rows WHERE kind='request' ORDER BY n1, k1"
        for request_id, body in self.db.execute(ordered):
            said = self.db.execute("SELECT body FROM rows WHERE kind='interaction' AND k1=? ORDER BY n1", (request_id,))
            turns = [InteractionRow.model_validate_json(turn) for (turn,) in said]
            yield RequestRow.model_validate_json(body), turns

    def orphans(self) -> int:
        """How many interactions name a request that the file does not have."""
        found = self.db.execute(
            "SELECT count(*) FROM rows i WHERE kind='interaction' "
            "AND NOT EXISTS (SELECT 1 FROM rows r WHERE r.kind='request' AND r.k1=i.k1)"
        )
        return int(found.fetchone()[0])

    def results(self) -> Iterator[ResultRow]:
        """Results by id."""
        return (ResultRow.model_validate_json(body) for (body,) in self._ordered("result"))

    def verdicts(self) -> Iterator[VerdictRow]:
        """Verdicts by id."""
        return (VerdictRow.model_validate_json(body) for (body,) in self._ordered("verdict"))

    def scores(self) -> Iterator[ScoreRow]:
        """Scores in the order of the file."""
        return (ScoreRow.model_validate_json(body) for (body,) in self._ordered("imported_score"))

    def _ordered(self, kind: Kind) -> sqlite3.Cursor:
        return self.db.execute("SELECT body FROM rows WHERE kind=? ORDER BY n1, rowid", (kind,))


@contextmanager
def open_file(path: Path) -> Iterator[EvaluationFile]:
    """Read a file whole. ``Refused`` (``import_readable``) names the first row and field that is not as expected."""
    with TemporaryDirectory(prefix="affidavit-") as scratch, closing(sqlite3.connect(Path(scratch) / "rows")) as db:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("CREATE TABLE rows (kind TEXT, n1 INTEGER, k1 TEXT, body BLOB)")
        counts = dict.fromkeys([*SECTIONS, "config"], 0)
        digest = hashlib.sha256()
        size = 0
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                    size += len(block)
            for place, kind, row in _rows(path, size):
                _check_and_keep(db, place, kind, row)
                counts[next((section for section, found in SECTIONS.items() if found == kind), "config")] += 1
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror}") from error
        db.execute("CREATE INDEX by_key ON rows (kind, k1, n1)")
        db.execute("CREATE INDEX by_number ON rows (kind, n1, k1)")
        db.commit()
        _refuse_twice(db)
        yield EvaluationFile(digest.hexdigest(), size, counts, db)


def _refuse_twice(db: sqlite3.Connection) -> None:
    """An id stands for one row."""
    for kind, column, name in (
        *(("request", "k1", "request_id"), ("interaction", "n1", "interaction_id")),
        *(("result", "n1", "result_id"), ("verdict", "n1", "verdict_id")),
    ):
        found = db.execute(
            f"SELECT {column} FROM rows WHERE kind=? GROUP BY {column} HAVING count(*) > 1 LIMIT 1", (kind,)
        ).fetchone()
        if found is not None:
            raise Refused("import_readable", f"{name} {found[0]}: more than one {kind} has it")


def _rows(path: Path, size: int) -> Iterator[tuple[str, Kind, Any]]:
    with path.open("rb") as file:
        if path.suffix in (".ndjson", ".jsonl"):
            yield from _lines(file)
            return
        if size > MAX_DOCUMENT_BYTES:
            raise Refused("import_readable", f"{path}: {size} bytes, at most {MAX_DOCUMENT_BYTES}; NDJSON has no limit")
        document = _parse(file.read(), str(path))
    if isinstance(document, dict) and isinstance(document.get("dataset"), dict):
        document = document["dataset"]
    if not isinstance(document, dict) or not document.keys() & SECTIONS.keys():
        raise Refused("import_readable", f"{path}: expected an object with any of {', '.join(SECTIONS)}")
    if document.get("config") is not None:
        yield "config", "config", document["config"]
    for section, kind in SECTIONS.items():
        rows = document.get(section) or []
        if not isinstance(rows, list):
            raise Refused("import_readable", f"{section}: expected a list, found {type(rows).__name__}")
        for number, row in enumerate(rows):
            yield f"{section}[{number}]", kind, row


def _lines(file: Any) -> Iterator[tuple[str, Kind, Any]]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        place = f"line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise Refused("import_readable", f"{place}: more than {MAX_LINE_BYTES} bytes")
        if not line.strip():
            continue
        row = _parse(line, place)
        kind = row.pop("kind", None) if isinstance(row, dict) else None
        if kind not in MODELS:
            raise Refused("import_readable", f"{place}: expected a kind of {', '.join(MODELS)}, found {kind!r:.40}")
        yield place, kind, row


def _parse(text: bytes, place: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Refused("import_readable", f"{place}: not JSON: {error}") from error


def _check_and_keep(db: sqlite3.Connection, place: str, kind: Kind, row: Any) -> None:
    try:
        found = MODELS[kind].model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused("import_readable", f"{place}.{field}: {first['msg']}") from error
    number, key = 0, ""
    match found:
        case RequestRow():
            number, key = found.created_at, found.request_id
        case InteractionRow():
            number, key = found.interaction_id, found.request_id
        case ResultRow():
            number = found.result_id
        case VerdictRow():
            number = found.verdict_id
    db.execute("INSERT INTO rows VALUES (?, ?, ?, ?)", (kind, number, key, orjson.dumps(row)))
