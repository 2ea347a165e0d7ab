"""What is recorded while we measure: evaluations of prompts, and ledgers that are full of them.

An entry has about 490 bytes. Twenty runs go on side by side, as they do when several optimisations record
on one ledger; nothing is sealed unless a text is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from eventsourcing.application import Application
from eventsourcing.domain import datetime_now_with_tzinfo

from affidavit.domain.event import Meta, NewEvent
from affidavit.domain.optimization.events import PromptEvaluated
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY

BATCH = 1000
RUNS = 20
RUN_LENGTH = 500
META = Meta(actor="actor-3f9c2b7d1a60e854", recorder="affidavit/0.1.0")
_SENTENCE = "Answer from the sources that are given, cite each of them, and say so where they do not suffice. "
TEXT = (_SENTENCE * 5)[:450]
"""A sealed text of 450 bytes."""


def evaluations(first_run: int = 0, text: str | None = None) -> Iterator[NewEvent]:
    """Evaluations without end, in turn from ``RUNS`` runs; these end after ``RUN_LENGTH``, and others begin."""
    while True:
        streams = [f"run/{run:06}" for run in range(first_run, first_run + RUNS)]
        for pos in range(RUN_LENGTH):
            for stream in streams:
                yield NewEvent(stream, pos, _evaluated(pos, text), META)
        first_run += RUNS


def _evaluated(n: int, text: str | None) -> PromptEvaluated:
    return PromptEvaluated(
        evaluation=n,
        prompt=n,
        purpose="train",
        score=0.8125 - n % 97 / 400,
        n=40,
        failed=n % 3,
        parent=max(0, n - 1),
        tokens=18_000 + n % 991,
        elapsed_seconds=12.5 + n % 77 / 8,
        system_prompt=text,
    )


@dataclass(frozen=True)
class LibraryEvent:
    """The same event as users of plain ``eventsourcing`` write it: a frozen dataclass with its time."""

    originator_id: str
    originator_version: int
    timestamp: datetime
    actor: str
    recorder: str
    evaluation: int
    prompt: int
    purpose: str
    kind: str
    score: float
    n: int
    failed: int
    passes: int
    scores_by_metric: dict[str, float]
    sample_set: str
    parent: int
    tokens: int
    elapsed_seconds: float


@dataclass(frozen=True)
class LibraryEventWithText(LibraryEvent):
    """The text that our side seals stands in its JSON."""

    system_prompt: str


def library_event(new: NewEvent) -> LibraryEvent:
    """What the library's side stores for ``new``: the same fields with the same values."""
    fields: dict[str, Any] = {name: value for name, value in new.event.__dict__.items() if value is not None}
    cls = LibraryEventWithText if "system_prompt" in fields else LibraryEvent
    return cls(
        originator_id=new.stream,
        originator_version=new.pos,
        timestamp=datetime_now_with_tzinfo(),
        actor=new.meta["actor"],
        recorder=new.meta["recorder"],
        **fields,
    )


def library_application(path: Path) -> Application[str]:
    """Plain ``eventsourcing`` on SQLite with its JSON mapper and its defaults, which are as durable as ours."""
    app: Application[str] = Application(
        {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(path),
            "ORIGINATOR_ID_TYPE": "text",  # ids are names, as ours are; converting UUIDs would slow it down
        }
    )
    recorder: Any = app.recorder
    with recorder.datastore.transaction(commit=False) as cursor:
        cursor.execute("PRAGMA synchronous")
        synchronous = cursor.fetchone()[0]
    if synchronous != 2:
        raise RuntimeError(f"PRAGMA synchronous is {synchronous} by default here; build SQLite with 2 (FULL)")
    return app


@dataclass
class Ledgers:
    """Ledgers under a temporary folder, each built once and then used by every row that asks for it."""

    folder: Path
    _built: dict[int, Path] = field(default_factory=dict)

    def create(self, name: str) -> Ledger:
        """A new ledger, open, that signs only when asked."""
        return Ledger.create(self.folder / name, self.keys, REGISTRY, sign_in_background=False)

    def open(self, folder: Path) -> Ledger:
        return Ledger(folder, self.keys, REGISTRY, sign_in_background=False)

    def of_size(self, size: int) -> Path:
        """The folder of a signed ledger that was built with ``size`` entries."""
        if size not in self._built:
            with self.create(f"ledger-{size}") as ledger:
                fill(ledger, size)
                self._built[size] = self.folder / f"ledger-{size}"
        return self._built[size]

    @property
    def keys(self) -> Path:
        return self.folder / "keys"


def fill(ledger: Ledger, size: int) -> None:
    """Append until ``ledger`` has ``size`` entries."""
    events = evaluations()
    missing = size - ledger.recorder.max_notification_id()
    while batch := list(islice(events, min(BATCH, missing))):
        ledger.record(*batch)
        missing -= len(batch)
