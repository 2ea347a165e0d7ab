"""Reading a ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row

from ...errors import Unavailable, UnsupportedFormat
from ..reader import LedgerReader
from .connecting import Login
from .schema import SCHEMA_VERSION

_ONE_STATE = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_CHUNK = 512
_cursors = count()


class PostgresReader(LedgerReader):
    """Reads what one transaction sees. A statement that fails is ``Unavailable``."""

    def __init__(self, db: Connection[Any], login: Login, snapshot: str | None = None) -> None:
        self._db = db
        self._login = login
        self.again = None if snapshot is None else partial(_open, login, snapshot)

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._explained(), self._db.cursor(row_factory=tuple_row, binary=True) as cursor:
            return cursor.execute(statement.replace("?", "%s").encode(), values).fetchall()

    def _stream(self, statement: str, *values: object) -> Iterator[Any]:
        name = f"streamed_{next(_cursors)}"
        with self._explained(), self._db.cursor(name, row_factory=tuple_row) as cursor:
            cursor.itersize = _CHUNK
            yield from cursor.execute(statement.replace("?", "%s").encode(), values, binary=True)

    def next_positions(self, streams: Iterable[str]) -> dict[str, int]:
        rows = self._rows(
            "SELECT stream, (SELECT pos FROM entries e WHERE e.stream = s.stream ORDER BY pos DESC LIMIT 1) "
            "FROM unnest(?::text[]) AS s(stream)",
            list(streams),
        )
        return {stream: 0 if pos is None else pos + 1 for stream, pos in rows}

    def problems(self) -> list[str]:
        """Where the schema is not a ledger's. Guard triggers that are gone change nothing that is read."""
        return []

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise Unavailable(f"{self._login}: {error}") from error


@contextmanager
def one_state(db: Connection[Any], login: Login, *, shared: bool = False) -> Iterator[PostgresReader]:
    """Read one consistent state; ``shared``: other processes may read the same."""
    db.execute(_ONE_STATE)
    try:
        snapshot = None
        if shared:
            row = db.execute("SELECT pg_export_snapshot()").fetchone()
            snapshot = None if row is None else str(row[0])
        yield PostgresReader(db, login, snapshot)
    finally:
        if not db.closed:
            db.execute("ROLLBACK")


def _open(login: Login, snapshot: str) -> LedgerReader:
    """The state of an exported snapshot, in a worker process; it ends with the process."""
    db = login.connect("reader")
    db.execute(_ONE_STATE)
    db.execute(psycopg.sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
    return PostgresReader(db, login, snapshot)


def check_version(db: Connection[Any], login: Login) -> None:
    """Refuse what is no ledger, or one of a newer version than this program knows."""
    try:
        row = db.execute("SELECT version FROM ledger").fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise Unavailable(f"no ledger in {login}; `affidavit init` makes one") from error
    if row is None or row[0] > SCHEMA_VERSION:
        found = None if row is None else row[0]
        raise UnsupportedFormat(f"{login}: ledger format {found}, this version knows up to {SCHEMA_VERSION}")
