"""A ledger in PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from ...entries.mapper import PendingEntry
from ...errors import Unavailable
from ..place import Place, Store
from ..reader import LedgerReader
from ..scopes import ScopeKeys
from .connecting import Login
from .keys import PostgresScopeKeys
from .reader import check_version, one_state
from .recorder import LedgerDatastore, PostgresRecorder
from .schema import create_roles, create_schemas, drop_schemas, rename_schemas


@dataclass(frozen=True)
class PostgresPlace(Place):
    """A schema of a database."""

    login: Login

    def __str__(self) -> str:
        return str(self.login)

    def open(self) -> Store:
        with closing(self.login.connect("reader")) as db:
            check_version(db, self.login)
        return _PostgresStore(self.login)

    @contextmanager
    def making(self, random: Callable[[int], bytes]) -> Iterator[Place]:
        """The roles are made first and stay; whoever does this may make roles and schemas."""
        names = self.login.names
        fresh = replace(self.login, schema=f"{self.login.schema}_{random(4).hex()}")
        with self._ruling() as db:
            taken = db.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname IN (%s, %s)", (names.schema, names.keys)
            ).fetchone()
            if taken is not None:
                raise Unavailable(f"{self}: expected nothing here to make a ledger, found schema {taken[0]}")
            with db.transaction():
                create_roles(db, names)
        try:
            yield PostgresPlace(fresh)
            with self._ruling() as db, db.transaction():
                rename_schemas(db, fresh.names, names)
        except BaseException:
            with self._ruling() as db, db.transaction():
                drop_schemas(db, fresh.names)
            raise

    def create(self, origin: str, master: bytes, random: Callable[[int], bytes]) -> None:
        names = self.login.names
        with self._ruling() as db, db.transaction():
            create_schemas(db, names, origin)
            db.execute(SQL("SET LOCAL ROLE {}").format(Identifier(names.keeper)))
            db.execute(SQL("SET LOCAL search_path TO {}").format(Identifier(names.keys)))
            PostgresScopeKeys.create(db, master, origin, random)

    def sync(self) -> None:
        return  # the commit that renamed was durable

    @contextmanager
    def snapshot(self, *, copy: bool = False, hold: bool = True) -> Iterator[LedgerReader]:
        """Nobody waits for it, so there is nothing to hold, and no need of a copy."""
        with closing(self.login.connect("reader")) as db:
            check_version(db, self.login)
            with one_state(db, self.login, shared=True) as reader:
                yield reader

    def beside(self) -> AbstractContextManager[LedgerReader]:
        return self.snapshot()

    def fingerprint(self) -> object:
        with closing(self.login.connect("reader")) as db:
            return db.execute("SELECT size, (SELECT max(size) FROM checkpoints) FROM head").fetchone()

    def scope_keys_to_read(self, master: bytes, origin: str) -> ScopeKeys:
        return PostgresScopeKeys(self.login, master, origin, os.urandom, read_only=True)

    @contextmanager
    def _ruling(self) -> Iterator[Connection[Any]]:
        """As the user who logs in, with whatever rights they have."""
        with closing(self.login.connect()) as db:
            try:
                yield db
            except psycopg.Error as error:
                raise Unavailable(f"{self}: {str(error).strip()}") from error


class _PostgresStore(Store):
    def __init__(self, login: Login) -> None:
        self._login = login
        self._datastore = LedgerDatastore(login)
        self._recorder: PostgresRecorder | None = None

    def reading(self) -> AbstractContextManager[LedgerReader]:
        return self._datastore.reading()

    def scope_keys(self, master: bytes, origin: str, random: Callable[[int], bytes]) -> ScopeKeys:
        return PostgresScopeKeys(self._login, master, origin, random)

    def recorder(
        self,
        scopes: ScopeKeys,
        clock: Callable[[], int],
        random: Callable[[int], bytes],
        clock_finding: Callable[[int, int], PendingEntry],
    ) -> PostgresRecorder:
        self._recorder = PostgresRecorder(self._datastore, scopes, clock, random, clock_finding)
        return self._recorder

    def close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        self._datastore.close()
