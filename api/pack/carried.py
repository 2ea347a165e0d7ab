"""The events that evidence carries, read as a ledger's are: what is not carried is not there.

The entries stand in a log in memory, in their places, so that every projection reads them as it reads a ledger.
Nothing is verified here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...domain.event import Withheld
from ...domain.registry import Registry
from ...ledger.entries.entry import Entry
from ...ledger.entries.mapper import scope_of
from ...ledger.evidence.evidence import Evidence
from ...ledger.store.folding import read_erasures
from ...ledger.store.opening import EventReader
from ...ledger.store.reader import LedgerReader
from ...ledger.store.sqlite.reader import SqliteReader
from ...ledger.store.sqlite.schema import SCHEMA
from ...projections.registry import REGISTRY


class CarriedEvents(EventReader):
    """Events of the entries that evidence carries; sealed content is open where its disclosure is carried."""

    def __init__(self, reader: LedgerReader, registry: Registry, evidence: Evidence) -> None:
        super().__init__(reader, registry)
        self._disclosed = {item.seq: item for item in evidence.entries if item.disclosures}
        self._erasures = read_erasures(reader)

    def _opened(self, entry: Entry, boxes: Mapping[str, bytes], ciphers: dict[str, AESGCM | None]) -> Mapping[str, Any]:
        item = self._disclosed.get(entry["seq"])
        opened = {} if item is None else item.opened()
        scope = scope_of(entry["meta"], entry["stream"])
        erased = self._erasures.executed_after(entry["seq"], scope) is not None
        return {
            name: opened[name] if name in opened else Withheld(digest, "erased" if erased else "closed")
            for name, digest in entry["sealed"].items()
        }


@contextmanager
def carried_events(evidence: Evidence, size: int) -> Iterator[CarriedEvents]:
    """The events of evidence about a log of ``size`` entries; raises as ``parse_entry`` does."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        rows = []
        for item in evidence.entries:
            entry = item.parsed()
            rows.append((entry["seq"], entry["stream"], entry["pos"], entry["type"], item.raw, item.leaf))
        origin = evidence.entries[0].parsed()["data"].get("origin", "")
        db.execute("INSERT INTO ledger VALUES (0, ?)", (str(origin),))
        db.execute("INSERT INTO head VALUES (0, ?, ?, ?, ?, 0)", (size, rows[-1][-1], "", b""))
        db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
        yield CarriedEvents(SqliteReader(db), REGISTRY, evidence)
