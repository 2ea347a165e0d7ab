"""A ledger open for reading: no byte of its evidence changes, and what cannot be opened is said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from ..domain.errors import Refused
from ..ledger.application import as_place
from ..ledger.entries.entry import format_at
from ..ledger.errors import Unavailable
from ..ledger.signing.keys import KeyFolder
from ..ledger.store.opening import EventReader
from ..ledger.store.place import Place
from ..ledger.store.reader import LedgerReader
from ..ledger.store.scopes import ScopeKeys
from ..projections.registry import REGISTRY
from ..projections.runner import scratch_views
from ..projections.runs.record import RunRecord, fold_run

_MONTH = 30 * 86_400
_DIGITS = 18
"""Of a number that may be a seq, or a second."""


@dataclass(frozen=True, slots=True)
class OpenLedger:
    """A snapshot. Answers are computed from its first ``size`` entries, whose root is ``root``."""

    place: Place
    reader: LedgerReader
    events: EventReader
    size: int
    root: bytes
    scopes: ScopeKeys | None

    def size_as_of(self, moment: str | None) -> int:
        """How many entries stood at ``moment``."""
        return size_as_of(self.reader, self.size, moment)

    def root_at(self, size: int) -> bytes:
        """The root of the first ``size`` entries: what an answer as of that size was computed from."""
        return self.root if size == self.size else self.reader.frontier_at(size).root()

    def run(self, name: str, before: int | None = None) -> RunRecord:
        """A run as of the first ``before`` entries; ``Refused`` where there is none."""
        record = fold_run(self.events.stream(f"run/{name}", before))
        if record is None:
            raise Refused("run_known", f"run {name!r} is not on this ledger; `affidavit runs` lists those that are")
        return record

    def run_seed(self, *runs: RunRecord) -> int:
        """What seeds the bootstrap intervals of figures about these runs.

        It is of the root at the end of the last of them as read here, so whatever is recorded after it changes no
        interval.
        """
        return int.from_bytes(self.root_at(max(run.last_seq for run in runs) + 1)[:8], "big")

    @contextmanager
    def views(self, *, jobs: int | None = 1) -> Iterator[Connection]:
        """The read models, brought up to date by ``jobs`` processes; for None by all cores where it is worth it.

        Only a program whose main module can be imported again without doing anything may start processes.
        """
        with scratch_views(self.place, self.events, jobs=jobs) as connection:
            yield connection


@contextmanager
def open_for_reading(where: Path | Place, keys: Path) -> Iterator[OpenLedger]:
    """Open a snapshot of a ledger, by its place or folder; sealed content opens where its keys are at hand."""
    place = as_place(where)
    with place.snapshot() as reader:
        scopes, _ = open_scopes(place, keys, reader.origin())
        try:
            yield open_reader(place, reader, scopes)
        finally:
            if scopes is not None:
                scopes.close()


def open_reader(place: Place, reader: LedgerReader, scopes: ScopeKeys | None) -> OpenLedger:
    """The ledger behind a snapshot that is open already."""
    head = reader.head()
    return OpenLedger(place, reader, EventReader(reader, REGISTRY, scopes), head.size, head.root(), scopes)


def open_scopes(place: Place, keys: Path, origin: str) -> tuple[ScopeKeys | None, str]:
    """The keys of a ledger's sealed content, or None and why they are not at hand."""
    try:
        master = KeyFolder(keys, origin).master_key()
        return place.scope_keys_to_read(master, origin), ""
    except Unavailable as error:
        return None, str(error)


def size_as_of(reader: LedgerReader, size: int, moment: str | None) -> int:
    """How many of ``size`` entries stood at ``moment``: all digits is a seq (that entry counts), else a time."""
    if moment is None:
        return size
    if moment.isascii() and moment.isdecimal():
        if len(moment) > _DIGITS or int(moment) >= size:
            raise Refused("entry_known", f"entry {moment[:_DIGITS]}: the log has {size} entries, from 0 on")
        return int(moment) + 1
    return min(size, reader.size_at(parse_time(moment)))


def parse_time(text: str) -> str:
    """A moment as people write it, in the form of ``at``; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        # Nothing was recorded before 1970, and the years below 1000 would print with fewer digits.
        return format_at(max(0, round(moment.astimezone(UTC).timestamp() * 1_000_000)))
    except (ValueError, OverflowError) as error:
        told = f"time {text[:40]!r}: expected like 2026-11-22 or 2026-11-22T10:00:00Z"
        raise Refused("time_readable", told) from error


def parse_seconds(text: str) -> int:
    """Seconds since 1970, given as such, or as a time as people write it."""
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS:
        return int(text)
    return int(datetime.fromisoformat(parse_time(text)).timestamp())


def parse_window(start: str | None, end: str | None) -> tuple[int, int]:
    """First and last second since 1970; without an end it is now, without a start 30 days before the end."""
    last = int(time.time()) if end is None else parse_seconds(end)
    return (max(0, last - _MONTH) if start is None else parse_seconds(start)), last
