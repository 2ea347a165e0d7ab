"""What imports of evaluation files have in common: events once, findings by kind, and the record of the whole file.

Rows become events at the end of their streams, in batches. What a stream had before the import began stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...domain.errors import Refused
from ...domain.evaluation.events import EvaluationImported
from ...domain.event import Event, Meta, NewEvent, Recorded, Withheld
from ...ledger.application import Ledger
from ...ledger.folds.erasures import ERASURE_STREAM
from ..settings import recorder_name

BATCH = 500
"""Requests, or rows of another kind, in one commit."""

LISTED_AT_MOST = 1000
"""Findings that are kept one by one; all are counted."""

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class EvaluationImport:
    """What an import did: rows of the file by kind, events it added, and what it found, by kind.

    ``stream`` is where ``import.completed`` was recorded, None where the same file had been imported before.
    """

    rows: dict[str, int]
    events: int = 0
    unchanged: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    stream: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "events": self.events,
            "unchanged": self.unchanged,
            "findings": self.findings,
            "import": self.stream,
        }


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """The file that is imported: its name, and SHA-256 and size of its bytes as they lie there."""

    name: str
    sha256: str
    bytes: int


class FileImport:
    """One import of one file. ``system`` wrote it; ``completed`` is the stream of this kind's completed imports."""

    system: str
    completed: str
    finding_meanings: Mapping[str, str]

    def __init__(self, ledger: Ledger, file: ImportedFile, rows: dict[str, int]) -> None:
        self._ledger = ledger
        self._imported = file
        self._report = EvaluationImport(dict(rows))
        self._recorder = recorder_name()
        self._positions: dict[str, int] = {}
        self._before: dict[str, list[Any]] = {}
        self._listed: list[dict[str, str]] = []

    def _refuse_the_erased(self) -> None:
        """The same file again would bring back whom the ledger has erased since."""
        imported = [recorded for recorded in self._recorded(self.completed) if self._is_of_this_file(recorded.event)]
        if not imported:
            return
        erased = [recorded.seq for recorded in self._recorded(ERASURE_STREAM) if recorded.seq > imported[-1].seq]
        if erased:
            raise Refused(
                "erased_since",
                f"the ledger has erased somebody (entry {erased[-1]}) since this file was imported (entry "
                f"{imported[-1].seq}); importing it again would bring them back: take them out of the file first",
            )

    def _has(self, stream: str, event: Event, differs: str, *identity: str) -> bool:
        """Whether the stream had this row before this import; then it stays, and what is different is a finding."""
        if self._next(stream) and stream not in self._before:
            self._before[stream] = [recorded.event for recorded in self._recorded(stream)]
        for earlier in self._before.get(stream, ()):
            if type(earlier) is type(event) and all(getattr(earlier, n) == getattr(event, n) for n in identity):
                if differs and not same(earlier, event):
                    self._find(differs, f"{identity[0]} {getattr(event, identity[0])}")
                else:
                    self._report.unchanged += 1
                return True
        return False

    def _new_score(self, new: NewEvent) -> list[NewEvent]:
        """A score at the end of its run's stream, or nothing where the stream had it before."""
        if self._has(new.stream, new.event, "", "source", "scorer", "value", "scored_at"):
            return []
        pos = self._next(new.stream)
        self._positions[new.stream] = pos + 1
        self._before.setdefault(new.stream, [])
        return [replace(new, pos=pos)]

    def _placed(self, stream: str, events: list[Event], user: str | None, version: str | None = None) -> list[NewEvent]:
        meta = Meta(recorder=self._recorder)
        if user is not None:
            meta["scope"] = f"user/{user}"
        if version is not None:
            meta["judge_prompt_version"] = version
        start = self._next(stream)
        self._positions[stream] = start + len(events)
        self._before.setdefault(stream, [])
        return [NewEvent(stream, start + n, event, meta) for n, event in enumerate(events)]

    def _next(self, stream: str) -> int:
        if stream not in self._positions:
            with self._ledger.recorder.reading() as reader:
                self._positions[stream] = reader.next_pos(stream)
        return self._positions[stream]

    def _recorded(self, stream: str) -> list[Recorded]:
        with self._ledger.recorder.reading() as reader:
            return list(self._ledger.event_reader(reader).stream(stream))

    def _find(self, kind: str, place: str, count: int = 1) -> None:
        self._report.findings[kind] = self._report.findings.get(kind, 0) + count
        if len(self._listed) < LISTED_AT_MOST:
            self._listed.append({"kind": kind, "place": place, "detail": self.finding_meanings[kind]})

    def _complete(self) -> None:
        """Record that the file has been read whole, unless an import of the same file says so already."""
        if not self._report.events and self._is_completed():
            return
        event = EvaluationImported(
            system=self.system,
            rows=self._report.rows,
            events=self._report.events,
            findings=self._report.findings,
            detail={
                "name": self._imported.name,
                "sha256": self._imported.sha256,
                "bytes": self._imported.bytes,
                "findings": self._listed,
            },
        )
        new = self._placed(self.completed, [event], None)
        self._ledger.record(*new)
        self._report.stream = new[0].stream
        self._report.events += 1

    def _is_completed(self) -> bool:
        return any(self._is_of_this_file(recorded.event) for recorded in self._recorded(self.completed))

    def _is_of_this_file(self, event: object) -> bool:
        if not isinstance(event, EvaluationImported) or isinstance(event.detail, Withheld):
            return False
        return bool(event.detail["sha256"] == self._imported.sha256)


def same(earlier: Any, event: Any) -> bool:
    """Whether two events say the same, as far as both are open."""
    return type(earlier) is type(event) and all(
        value == getattr(event, name) or isinstance(value, Withheld) for name, value in earlier
    )
