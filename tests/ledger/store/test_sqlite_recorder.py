"""What is SQLite's alone: its settings, its triggers, its files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.domain.optimization.events import SourceKept
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable, UnsupportedFormat
from affidavit.ledger.store.reader import LedgerReader
from affidavit.ledger.store.sqlite.reader import SqliteReader
from affidavit.ledger.store.sqlite.recorder import open_datastore
from affidavit.tests.folders import folder_of
from affidavit.tests.ledger.store.noting import check, noted

TABLES = ("ledger", "entries", "boxes", "tiles", "checkpoints")


def database_of(reader: LedgerReader) -> sqlite3.Connection:
    assert isinstance(reader, SqliteReader)
    return reader._db


def database(ledger: Ledger) -> Path:
    return folder_of(ledger) / "ledger.db"


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET {}={}"])
def test_the_tables_of_evidence_refuse_to_change(ledger: Ledger, table: str, statement: str) -> None:
    ledger.record(*(noted(pos) for pos in range(256)), noted(256, event=SourceKept(name="n", content="c")))
    ledger.sign()
    with closing(sqlite3.connect(database(ledger))) as db:
        column = db.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
        with pytest.raises(sqlite3.IntegrityError, match=f"{table} only grows"):
            db.execute(statement.format(table, column, column))


def test_every_connection_is_set_for_durability(ledger: Ledger) -> None:
    with ledger.recorder.reading() as one, ledger.recorder.reading() as two:
        for reader in (one, two):
            found = [
                database_of(reader).execute(f"PRAGMA {pragma}").fetchone()[0]
                for pragma in ("journal_mode", "synchronous", "secure_delete", "trusted_schema", "mmap_size")
            ]
            assert found == ["wal", 2, 1, 0, 0]


def test_an_append_begins_with_a_write(ledger: Ledger) -> None:
    """A read first could not be upgraded once another process has committed."""
    statements: list[str] = []
    with ledger.recorder.reading() as reader:
        connection = database_of(reader)
    connection.set_trace_callback(statements.append)
    ledger.record(noted(0))
    connection.set_trace_callback(None)
    assert statements[:2] == ["BEGIN", "UPDATE head SET size=size RETURNING size, leaf, at, frontier, held"]
    assert statements[-1] == "COMMIT"


def test_a_full_disk_is_said_and_nothing_is_recorded(ledger: Ledger) -> None:
    with ledger.recorder.reading() as reader:
        pages = database_of(reader).execute("PRAGMA page_count").fetchone()[0]
        database_of(reader).execute(f"PRAGMA max_page_count={pages}")
        connection = database_of(reader)
    with pytest.raises(Unavailable, match="full"):
        ledger.record(*(noted(pos) for pos in range(200)))
    assert len(check(ledger)) == 1
    connection.execute("PRAGMA max_page_count=1000000")
    ledger.record(noted(0))
    assert len(check(ledger)) == 2


def damage(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def test_a_newer_schema_is_not_opened(ledger: Ledger) -> None:
    ledger.close()
    damage(database(ledger), "PRAGMA user_version=2")
    with pytest.raises(UnsupportedFormat, match="ledger format 2"):
        open_datastore(database(ledger))


def test_another_database_is_refused_and_not_one_byte_of_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    damage(path, "CREATE TABLE accounts (id)")
    before = path.read_bytes()
    with pytest.raises(Unavailable, match="not an Affidavit ledger"):
        open_datastore(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["ledger.db"]


@pytest.mark.parametrize("content", [b"", b"no database at all, but text" * 100])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"ledger\.db"):
        open_datastore(path)
    assert path.read_bytes() == content


def test_a_database_that_may_only_be_read_is_said_to_be_so(ledger: Ledger) -> None:
    """As root a file's mode forbids nothing, so the connection itself is told."""
    with ledger.recorder.reading() as reader:
        database_of(reader).execute("PRAGMA query_only=ON")
        connection = database_of(reader)
    with pytest.raises(Unavailable, match="readonly"):
        ledger.record(noted(0))
    connection.execute("PRAGMA query_only=OFF")
    assert len(check(ledger)) == 1
