"""Reading a ledger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import tuple_row

from ...errors import Unavailable, Unreachable, UnsupportedFormat
from ..reader import LedgerReader
from .connecting import Login
from .description import described, differences
from .schema import SCHEMA_VERSION

ONE_STATE = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
SELECT_POSITIONS = (
    "SELECT stream, (SELECT pos FROM entries e WHERE e.stream = s.stream ORDER BY pos DESC LIMIT 1) "
    "FROM unnest(%b::text[]) AS s(stream)"
)
"""The last position of each of the streams given; ``positions_of`` reads the answer."""
_CHUNK = 512
_cursors = count()


class PostgresReader(LedgerReader):
    """Reads what one transaction sees. A statement that fails is ``Unavailable``."""

    def __init__(self, db: Connection[Any], login: Login, snapshot: str | None = None) -> None:
        self._db = db
        self._login = login
        self.again = None if snapshot is None else partial(_open, login, snapshot)

    def rows(self, statement: str, *values: object) -> list[Any]:
        """Every row of the answer to a query of the database's own; ``?`` stands for a value."""
        return self._rows(statement, *values)

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._explained(), self._db.cursor(row_factory=tuple_row, binary=True) as cursor:
            return cursor.execute(as_asked(statement), [*map(as_stored, values)]).fetchall()

    def _stream(self, statement: str, *values: object) -> Iterator[Any]:
        name = f"streamed_{next(_cursors)}"
        with self._explained():
            cursor = self._db.cursor(name, row_factory=tuple_row)
            cursor.itersize = _CHUNK
            try:
                yield from cursor.execute(as_asked(statement), [*map(as_stored, values)], binary=True)
            finally:
                try:
                    cursor.close()
                except psycopg.Error:  # lost with its connection, and left open it would say so later
                    self._db.close()
                    cursor.close()

    def next_positions(self, streams: Iterable[str]) -> dict[str, int]:
        asked = {stream: as_stored(stream) for stream in streams}
        found = positions_of(self._rows(SELECT_POSITIONS, [*asked.values()]))
        return {stream: found[str(stored)] for stream, stored in asked.items()}

    def problems(self) -> list[str]:
        """Where the schema is not a ledger's. Guard triggers that are gone change nothing that is read.

        What lies in PostgreSQL's pages and indexes is not asked of it: that takes a superuser, and ``amcheck``. What
        they hold of the log is re-hashed by whoever verifies.
        """
        with self._explained():
            found = described(self._db, self._login.schema)
        return [f"the schema differs from a ledger's at {name}" for name in differences(found)]

    def _explained(self) -> AbstractContextManager[None]:
        return _explained(self._login)


def as_asked(statement: str) -> bytes:
    """A statement of those that the databases have in common, as psycopg takes it."""
    return statement.replace("?", "%s").encode()


def as_stored(value: object) -> object:
    """A value to look for. PostgreSQL holds no text with NUL, and refuses to look for one: another that is nowhere."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def positions_of(rows: Iterable[Any]) -> dict[str, int]:
    """The position that the next event of each stream takes."""
    return {stream: 0 if pos is None else pos + 1 for stream, pos in rows}


@contextmanager
def one_state(db: Connection[Any], login: Login, *, shared: bool = False) -> Iterator[PostgresReader]:
    """Read one consistent state; ``shared``: other processes may read the same."""
    try:
        snapshot = None
        with _explained(login):
            db.execute(ONE_STATE)
            if shared:
                row = db.execute("SELECT pg_export_snapshot()").fetchone()
                snapshot = None if row is None else str(row[0])
        yield PostgresReader(db, login, snapshot)
    finally:
        with suppress(psycopg.Error):  # lost, it has ended
            db.execute("ROLLBACK")


def _open(login: Login, snapshot: str) -> LedgerReader:
    """The state of an exported snapshot, in a worker process; it ends with the process."""
    db = login.connect("reader")
    with _explained(login):
        db.execute(ONE_STATE)
        db.execute(psycopg.sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
    return PostgresReader(db, login, snapshot)


@contextmanager
def _explained(login: Login) -> Iterator[None]:
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.InsufficientPrivilege) as error:
        raise Unreachable(f"{login}: {str(error).strip()}") from error
    except psycopg.Error as error:
        raise Unavailable(f"{login}: {str(error).strip()}") from error


def check_version(db: Connection[Any], login: Login) -> None:
    """Refuse what is no ledger, or one of a newer version than this program knows."""
    try:
        row = db.execute("SELECT version FROM ledger").fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise Unavailable(f"no ledger in {login}; `affidavit init` makes one") from error
    except psycopg.Error as error:
        raise Unavailable(f"{login}: {str(error).strip()}") from error
    if row is None or row[0] > SCHEMA_VERSION:
        found = None if row is None else row[0]
        raise UnsupportedFormat(f"{login}: ledger format {found}, this version knows up to {SCHEMA_VERSION}")
