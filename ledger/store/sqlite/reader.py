"""Reading a ``ledger.db``: SQLite's own queries, and snapshots that touch no byte.

Opening and closing a database in WAL mode may rewrite it, even to read. So where no ``-wal`` file lies
beside it, a snapshot opens ``ledger.db`` immutably; where one does, because a writer is at work or was
killed, it opens a copy in a scratch folder, taken while no writer commits.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import Unavailable, UnsupportedFormat
from ...files import hold_lock
from ..reader import LedgerReader
from .schema import LEDGER_FILE, LOCK_FILE, SCHEMA_VERSION, SchemaRow, expected_schema, schema_rows


class SqliteReader(LedgerReader):
    """Reads what one connection sees. ``uri`` opens the same state once more, where that can be had."""

    _NOTE = "CAST(note AS BLOB)"
    _UNINDEXED = "+"
    _PLACE_IN = "instr"

    def __init__(self, db: sqlite3.Connection, uri: str | None = None) -> None:
        self._db = db
        self.again = None if uri is None else partial(_open, uri)

    def _rows(self, statement: str, *values: object) -> list[Any]:
        return self._db.execute(statement, values).fetchall()

    def _stream(self, statement: str, *values: object) -> Iterator[Any]:
        rows = self._db.execute(statement, values)
        rows.arraysize = 512
        while batch := rows.fetchmany():
            yield from batch

    def problems(self) -> list[str]:
        """Where the schema is not a ledger's, and what SQLite itself finds: pages, row formats, indexes.

        Guard triggers that are gone change nothing that is read, so they alone are no problem.
        """
        found, expected = self.schema(), expected_schema()
        missing = {row for row in expected - found if row[0] != "trigger"}
        differing = sorted((found - expected) | missing, key=str)
        wrong = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(10)")]
        return [f"the schema differs from a ledger's at {kind} {name}" for kind, name, *_ in differing] + (
            [] if wrong == ["ok"] else [f"SQLite finds: {problem}" for problem in wrong]
        )

    def schema(self) -> set[SchemaRow]:
        """(type, name, table, text) of every table, index, view and trigger."""
        return schema_rows(self._db)


def _open(uri: str) -> LedgerReader:
    return SqliteReader(connect(uri), uri)


def check_schema(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is not a ledger, or is a newer one than this version knows."""
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        known = db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('ledger', 'entries')").fetchone()[0]
    except sqlite3.Error as error:
        raise Unavailable(f"{path}: {error}") from error
    if version > SCHEMA_VERSION:
        raise UnsupportedFormat(f"{path}: ledger format {version}, this version knows up to {SCHEMA_VERSION}")
    if version < 1 or known != 2:
        raise Unavailable(f"{path}: not an Affidavit ledger")


@contextmanager
def open_snapshot(folder: Path, *, copy: bool = False, hold: bool = True) -> Iterator[SqliteReader]:
    """Read the ledger in ``folder`` without changing a byte of it.

    While an immutable snapshot is read, appends wait. Who reads for long says ``hold=False``, asks
    ``fingerprint`` before and after, and reads a ``copy`` where it changed.
    """
    path = folder / LEDGER_FILE
    if not path.is_file():
        raise Unavailable(f"no ledger in {folder}: expected {LEDGER_FILE}; `affidavit init` makes one")
    with tempfile.TemporaryDirectory(prefix="affidavit-") as scratch, ExitStack() as held:
        held.enter_context(hold_lock(folder / LOCK_FILE))
        source, options = path, "mode=ro&immutable=1"
        if copy or _has_wal(path):
            source, options = Path(scratch) / path.name, "mode=rw"
            shutil.copyfile(path, source)
            if _has_wal(path):
                shutil.copyfile(_wal(path), _wal(source))
        if source != path or not hold:
            held.close()
        uri = f"{source.absolute().as_uri()}?{options}"
        with closing(connect(uri)) as db:
            check_schema(db, path)
            yield SqliteReader(db, uri)


@contextmanager
def open_beside(folder: Path) -> Iterator[SqliteReader]:
    """Read one state of the ledger in ``folder``, as it is now, while a writer has it open; nobody who appends waits.

    Until it is closed SQLite keeps what is appended in the ``-wal`` file. Where no writer has the ledger open,
    ``open_snapshot`` is what touches no byte.
    """
    path = folder / LEDGER_FILE
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as db:
        check_schema(db, path)
        db.execute("BEGIN")
        reader = SqliteReader(db)
        reader.head()  # the state is taken at the first look
        yield reader


def fingerprint(folder: Path) -> tuple[object, ...]:
    """Changes when something is appended to the ledger in ``folder``, or a checkpoint is published."""
    path = folder / LEDGER_FILE
    stat = path.stat()
    return (stat.st_mtime_ns, stat.st_size, _has_wal(path))


def connect(uri: str) -> sqlite3.Connection:
    """Open a snapshot's ``uri``, here or in another process."""
    return sqlite3.connect(uri, uri=True, check_same_thread=False)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _has_wal(path: Path) -> bool:
    wal = _wal(path)
    return wal.exists() and wal.stat().st_size > 0
