"""Imports: what was taken over from other systems, and what was found odd in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from ....domain.evaluation.events import EvaluationImported
from ....domain.event import Recorded, Withheld
from ....ledger.events import ImportCompleted
from ...http.errors import Problem
from ...moment import Moment
from ..asked import Whole
from ..formats import num
from ..frame import Figure, VisitDep

router = APIRouter(include_in_schema=False)

CATEGORY = "import"
PAGE = 100
_STREAMS = 50
_NEWEST = 10
"""How many imports of one stream, the newest, the list shows."""


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One import: of which system, what was read (by name), and how many findings of each kind."""

    seq: int
    at: str
    stream: str
    system: str
    read: Mapping[str, int]
    findings: Mapping[str, int]
    detail: Mapping[str, Any] | Withheld

    @property
    def found(self) -> int:
        return sum(self.findings.values())


@router.get("/ledger/imports")
def list_imports(visit: VisitDep, after: str = "") -> Response:
    with visit.moment() as moment:
        events, reader = moment.events, moment.events.reader
        names = reader.stream_names(CATEGORY, after, _STREAMS + 1)
        rows = []
        more = []
        for name in names[:_STREAMS]:
            total = reader.events_before(name, moment.size)
            rows += [
                row
                for recorded in events.stream(name, moment.size, max(0, total - _NEWEST))
                if (row := _row(recorded)) is not None
            ]
            if total > _NEWEST:
                more.append((name, total))
        return visit.render(
            "ledger/imports.html",
            moment,
            title="Imports",
            rows=sorted(rows, key=lambda row: -row.seq),
            more=more,
            older=visit.here(after=names[_STREAMS - 1]) if len(names) > _STREAMS else None,
            newest=visit.here(after=None) if after else None,
        )


@router.get("/ledger/imports/{seq}")
def show_import(visit: VisitDep, seq: Whole, kind: str = "", start: Whole = 0, files: Whole = 0) -> Response:
    with visit.moment() as moment:
        recorded = moment.events.event(seq) if 0 <= seq < moment.size else None
        row = None if recorded is None else _row(recorded)
        if row is None:
            raise Problem(404, "import_known", f"entry {seq} records no import")
        detail: Mapping[str, Any] = {} if isinstance(row.detail, Withheld) else row.detail
        findings = [found for found in _list(detail, "findings") if not kind or found.get("kind") == kind]
        listed = _list(detail, "files")
        start, files = max(0, start), max(0, files)

        def turn(name: str, at: int, total: int) -> tuple[str | None, str | None]:
            newer = visit.here(**{name: at - PAGE if at > PAGE else None}) if at else None
            return newer, visit.here(**{name: at + PAGE}) if at + PAGE < total else None

        return visit.render(
            "ledger/import.html",
            moment,
            title=f"Import from {row.system}",
            figures=lambda at: [Figure("entries of this stream", num(_events(at, row.stream)))],
            row=row,
            closed=row.detail if isinstance(row.detail, Withheld) else None,
            kind=kind,
            findings=findings[start : start + PAGE],
            start=start,
            total=len(findings),
            findings_turn=turn("start", start, len(findings)),
            files=listed[files : files + PAGE],
            files_start=files,
            files_total=len(listed),
            files_turn=turn("files", files, len(listed)),
            runs=_list(detail, "runs"),
            source={name: value for name, value in detail.items() if isinstance(value, str | int)},
        )


def _row(recorded: Recorded) -> ImportRow | None:
    event = recorded.event
    if isinstance(event, ImportCompleted):
        read = {"runs": event.runs, "files": event.files}
    elif isinstance(event, EvaluationImported):
        read = {**event.rows, "entries added": event.events}
    else:
        return None
    return ImportRow(recorded.seq, recorded.at, recorded.stream, event.system, read, event.findings, event.detail)


def _list(detail: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = detail.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _events(moment: Moment, stream: str) -> int:
    return moment.events.reader.events_before(stream, moment.size)
