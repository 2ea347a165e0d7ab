"""The key database in PostgreSQL: a schema of its own, which belongs to the role that may destroy what is in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import Connection
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from ...errors import Unavailable
from ..scopes import OWN_SCOPE, ScopeKeys, wrap_key
from .connecting import Login, Role

_TABLES = ("scopes", "aliases", "destroyed")


class PostgresScopeKeys(ScopeKeys):
    """Scope keys in the schema of keys, on a connection of its own."""

    def __init__(
        self, login: Login, master: bytes, origin: str, random: Callable[[int], bytes], *, read_only: bool = False
    ) -> None:
        super().__init__(str(login), master, origin, random)
        self._login = login
        self._role: Role = "reader" if read_only else "writer"
        self._writer = threading.get_ident()
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
        status = self._db.info.transaction_status
        return status in (psycopg.pq.TransactionStatus.INTRANS, psycopg.pq.TransactionStatus.INERROR)

    def _begin(self) -> None:
        if self._db.closed:
            self._db = self._connected()
        self._change("BEGIN")
        # One who writes at a time, whichever rows they are of: two must not make a key each for one scope.
        self._change("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", self._login.names.keys)

    def _commit(self) -> None:
        self._change("COMMIT")

    def _rollback(self) -> None:
        with suppress(Unavailable):  # lost with its connection, it is undone
            self._change("ROLLBACK")

    def _rows(self, statement: str, *values: object) -> list[Any]:
        return self._run(statement, values) or []

    def _change(self, statement: str, *values: object) -> None:
        self._run(statement, values)

    def _run(self, statement: str, values: tuple[object, ...]) -> list[Any] | None:
        with self._mutex:
            if self._db.closed and self._depth == 0:
                self._db = self._connected()
            try:
                with self._db.cursor(row_factory=tuple_row, binary=True) as cursor:
                    cursor.execute(statement.replace("?", "%s").encode(), values)
                    return cursor.fetchall() if cursor.description else None
            except psycopg.Error as error:
                raise Unavailable(f"key database {self._place}: {str(error).strip()}") from error

    def sweep(self) -> None:
        # Deleted rows stay in their pages until the tables are written anew. What has left them for the server's own
        # log and for copies of it is not ours to reach: docs/postgresql.md says what an operator does about it.
        self.require_outside()
        with self._mutex:
            for table in _TABLES[:2]:
                self._change(f"VACUUM (FULL) {table}")

    def close(self) -> None:
        self._db.close()

    def _connected(self) -> Connection[Any]:
        db = self._login.connect(self._role)
        try:
            db.execute(SQL("SET search_path TO {}").format(Identifier(self._login.names.keys)))
        except psycopg.Error as error:
            db.close()
            raise Unavailable(f"key database {self._place}: {str(error).strip()}") from error
        return db
