"""A ledger that somebody who can write to its database has changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from affidavit.domain.event import Meta, NewEvent
from affidavit.domain.optimization.events import PromptEvaluated, RunStarted, Sample, mean_score
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.audit.verdict import Verdict
from affidavit.ledger.entries.chain import Head, chain_batch
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.entries.mapper import PendingEntry
from affidavit.ledger.store.sqlite.reader import SqliteReader
from affidavit.ledger.store.sqlite.schema import SchemaRow, expected_schema
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.projections.registry import REGISTRY
from affidavit.projections.seals import check_seals
from affidavit.tests.folders import folder_of

SIZE = 12
MIDDLE = 6


def events_of(count: int) -> Iterator[NewEvent]:
    """A run and evaluations with sealed samples."""
    yield NewEvent(
        "run/001",
        0,
        RunStarted(
            run="001",
            directory="001_2026-11-22T10-00-00",
            timestamp="2026-11-22T10:00:00+00:00",
            strategy="iterative",
            system_prompt="Answer.",
            config={"seed": 7},
        ),
        Meta(),
    )
    for number in range(count - 1):
        samples = tuple(Sample(id=str(i), input="q", response="a", score=i / 4) for i in range(3))
        yield NewEvent(
            "run/001",
            number + 1,
            PromptEvaluated(
                evaluation=number,
                prompt=0,
                purpose="train",
                score=0.25,
                n=3,
                failed=0,
                detail_mean=mean_score(samples),
                samples=samples,
            ),
            Meta(actor="actor-0001"),
        )


def record_signed(ledger: Ledger) -> None:
    """Twelve entries, signed at size 1, in the middle, and at the end."""
    events = list(events_of(SIZE - 1))
    ledger.record(*events[: MIDDLE - 1])
    ledger.sign()
    ledger.record(*events[MIDDLE - 1 :])
    ledger.sign()


class Unconstrained(SqliteReader):
    """Reads tables whose constraints were dropped to attack them, and passes over that they were."""

    def schema(self) -> set[SchemaRow]:
        return expected_schema()


class Attacked:
    """A ledger in memory that may be changed at will, and verified as if it were the file."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.db = sqlite3.connect(":memory:", check_same_thread=False)
        with closing(sqlite3.connect(folder_of(ledger) / "ledger.db")) as source:
            source.backup(self.db)
        for (trigger,) in self.db.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
            self.db.execute(f"DROP TRIGGER {trigger}")
        self.db.execute("CREATE TABLE bare (seq INTEGER PRIMARY KEY, stream, pos, type, entry, leaf)")
        self.db.execute("INSERT INTO bare SELECT * FROM entries")
        self.db.execute("DROP TABLE entries")
        self.db.execute("ALTER TABLE bare RENAME TO entries")
        self.db.commit()

    def verify(self, **against: Any) -> Verdict:
        known = {"signed": self.ledger.keys.signed(), "scopes": self.ledger.scopes, "check_projections": check_seals}
        return audit(Unconstrained(self.db), REGISTRY, Against(**{**known, **against}))

    def first(self, **against: Any) -> tuple[str, int | None]:
        """(kind, seq) of the first damage; fails where there is none."""
        verdict = self.verify(**against)
        assert verdict.verdict != "ok"
        assert verdict.exit_code != 0
        return verdict.damage[0].kind, verdict.damage[0].seq

    def rows(self) -> list[list[Any]]:
        return [list(row) for row in self.db.execute("SELECT * FROM entries ORDER BY seq")]

    def write_rows(self, rows: list[list[Any]]) -> None:
        self.db.execute("DELETE FROM entries")
        self.db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)

    def rewrite(self, contents: list[tuple[str, str, int, str, bytes]]) -> None:
        """T2: chain and hash a whole new history of (at, stream, pos, type, content), tiles and head included."""
        head = Head.empty()
        rows: list[list[Any]] = []
        for at, stream, pos, type_name, content in contents:
            pending = PendingEntry(stream, pos, type_name, content, stream, ())
            batch = chain_batch(head, at, [pending], lambda _: b"".join(row[5] for row in rows[-(len(rows) % 256) :]))
            (entry,) = batch.entries
            rows.append([entry.seq, stream, pos, type_name, entry.raw, entry.leaf])
            head = batch.head
        self.write_rows(rows)
        self.db.execute(
            "UPDATE head SET size=?, leaf=?, at=?, frontier=?", (head.size, head.leaf, head.at, head.frontier)
        )

    def contents(self) -> list[tuple[str, str, int, str, bytes]]:
        """What ``rewrite`` takes, of the entries as they are."""
        found = []
        for row in self.rows():
            entry = parse_entry(row[4])
            content = row[4][row[4].index(b'"meta":') :]
            found.append((entry["at"], entry["stream"], entry["pos"], entry["type"], content))
        return found

    def note(self, size: int) -> bytes:
        """The checkpoint that is published of ``size`` entries."""
        return dict(SqliteReader(self.db).checkpoints())[size]

    def sign_anew(self) -> bytes:
        """T3: publish a checkpoint of what is there now, with the log's own key, in place of those of its size."""
        head = SqliteReader(self.db).head()
        note = sign_checkpoint(Checkpoint(self.ledger.origin, head.size, head.root()), self.ledger.keys.signing_key())
        self.db.execute("DELETE FROM checkpoints WHERE size >= ?", (head.size,))
        self.db.execute("INSERT INTO checkpoints (size, note) VALUES (?, ?)", (head.size, note))
        return note
