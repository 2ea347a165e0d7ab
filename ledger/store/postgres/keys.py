"""The key database in PostgreSQL: a schema of its own, which belongs to the role that may destroy what is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import Connection
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from ...errors import Unavailable
from ..scopes import OWN_SCOPE, ScopeKeys, wrap_key
from .connecting import BoundedConnection, Login, NoAnswer, Role, is_lost, waiting_at_most
from .reader import as_asked, as_stored

_SECRETS = (("scopes", "wrapped"), ("aliases", "box"))
_BUSY_SECONDS: float = 60
"""How long a sweep waits for those who read."""


class PostgresScopeKeys(ScopeKeys):
    """Scope keys in the schema of keys, on a connection of its own."""

    def __init__(
        self, login: Login, master: bytes, origin: str, random: Callable[[int], bytes], *, read_only: bool = False
    ) -> None:
        super().__init__(str(login), master, origin, random)
        self._login = login
        self._role: Role = "reader" if read_only else "writer"
        self._begun = self._closed = False
        self._db = self._connected()
        try:
            self._require_own()
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def create(cls, db: Connection[Any], master: bytes, origin: str, random: Callable[[int], bytes]) -> None:
        """Make the ledger's own scope; ``db`` looks into the schema of keys."""
        wrapped = wrap_key(AESGCM(master), random, OWN_SCOPE, origin.encode())
        db.execute("INSERT INTO scopes VALUES (%s, %s)", (OWN_SCOPE, wrapped))

    @property
    def _in_transaction(self) -> bool:
        return self._begun

    def _begin(self) -> None:
        self._change("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        self._begun = True
        # One who writes at a time, whichever rows they are of: two must not make a key each for one scope.
        self._change("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", self._login.names.keys)

    def _commit(self) -> None:
        self._db.stopped_waiting = False
        self._change("COMMIT")
        self._begun = False
        if self._db.stopped_waiting:
            raise Unavailable(f"key database {self._place}: the server was told not to wait for its standby")

    def _rollback(self) -> None:
        with suppress(Unavailable):  # lost with its connection, it is undone
            self._change("ROLLBACK")
        self._begun = False

    def _rows(self, statement: str, *values: object) -> list[Any]:
        return self._run(statement, [*map(as_stored, values)]) or []

    def _change(self, statement: str, *values: object) -> None:
        self._run(statement, values)

    def _run(self, statement: str, values: Sequence[object]) -> list[Any] | None:
        with self._mutex, waiting_at_most(self._db.patience):
            try:
                try:
                    return self._execute(statement, values)
                except psycopg.Error as error:
                    if self._begun or self._closed or isinstance(error, NoAnswer) or not is_lost(self._db, error):
                        raise
                    # By itself a statement reads, begins, or may be carried out twice.
                    self._db.close()
                    self._db = self._connected()
                    return self._execute(statement, values)
            except psycopg.Error as error:
                raise Unavailable(f"key database {self._place}: {str(error).strip()}") from error

    def _execute(self, statement: str, values: Sequence[object]) -> list[Any] | None:
        with self._db.cursor(row_factory=tuple_row, binary=True) as cursor:
            cursor.execute(as_asked(statement), values)
            return cursor.fetchall() if cursor.description else None

    def sweep(self) -> None:
        # Deleted rows stay in the tables' files until these are written anew. VACUUM (FULL) would keep the rows that
        # somebody's old snapshot may still see; this takes only those that are there now. What has left for the
        # server's own log and for copies of it is not ours to reach: docs/postgresql.md says what to do about it.
        self.require_outside()
        try:
            with self._writing():
                self._db.patience = None  # many keys take their time
                self._change(f"SET LOCAL lock_timeout = '{int(1000 * _BUSY_SECONDS)}ms'")
                for table, column in _SECRETS:
                    self._change(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE bytea USING {column} || ''::bytea")
        except Unavailable as error:
            if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise Unavailable(
                    f"key database {self._place}: somebody has read it for {_BUSY_SECONDS} seconds, so what was "
                    "destroyed may still lie in its files; erasing or opening the ledger again finishes it"
                ) from error
            raise
        finally:
            self._db.patience = self._login.patience

    def close(self) -> None:
        with self._mutex:
            self._closed = True
            self._db.close()

    def _connected(self) -> BoundedConnection:
        db = self._login.connect(self._role)
        try:
            db.execute(SQL("SET search_path TO {}").format(Identifier(self._login.names.keys)))
        except psycopg.Error as error:
            db.close()
            raise Unavailable(f"key database {self._place}: {str(error).strip()}") from error
        return db
