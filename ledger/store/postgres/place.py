"""A ledger in PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from ...entries.mapper import PendingEntry
from ...errors import Unavailable
from ..condition import DatabaseCondition
from ..place import Lock, Locks, Place, Store, ViewsSchema
from ..reader import LedgerReader
from ..scopes import ScopeKeys
from .condition import database_condition
from .connecting import Login, Role
from .keys import PostgresScopeKeys
from .locks import AdvisoryLock, AdvisoryLocks
from .reader import check_version, one_state
from .recorder import LedgerDatastore, PostgresRecorder
from .schema import create_roles, create_schemas, drop_schemas, rename_schemas
from .tokens import keep_token, put_aside, stored_token, token_sizes
from .views import connect_views, forget_views


@dataclass(frozen=True)
class PostgresPlace(Place):
    """A schema of a database."""

    login: Login

    def __str__(self) -> str:
        return str(self.login)

    @property
    def kind(self) -> Literal["postgresql"]:
        return "postgresql"

    @property
    def full_name(self) -> str:
        return str(self)

    @property
    def unfinished(self) -> PostgresPlace:
        # No ledger is called so: its name has no hyphen.
        return PostgresPlace(replace(self.login, schema=f"{self.login.schema}-copying"))

    def exists(self) -> bool:
        with self._ruling() as db:
            found = db.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self.login.schema,)).fetchone()
            return found is not None

    def require_readable(self) -> None:
        with self._connected("reader") as db:
            db.execute("SELECT 1 FROM head")

    def open(self) -> Store:
        with closing(self.login.connect("reader")) as db:
            check_version(db, self.login)
        return _PostgresStore(self.login)

    def require_nothing(self) -> None:
        with self._ruling() as db:
            self._require_nothing(db)

    def rename(self, to: Place) -> None:
        if not isinstance(to, PostgresPlace):
            raise TypeError(f"{to}: expected a schema")
        with self._ruling() as db, db.transaction():
            rename_schemas(db, self.login.names, to.login.names)

    @contextmanager
    def making(self, random: Callable[[int], bytes]) -> Iterator[Place]:
        """The roles are made first and stay; whoever does this may make roles and schemas."""
        names = self.login.names
        fresh = replace(self.login, schema=f"{self.login.schema}_{random(4).hex()}")
        with self._ruling() as db:
            self._require_nothing(db)
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

    def glance(self) -> AbstractContextManager[LedgerReader]:
        return self.snapshot()

    def condition(self) -> DatabaseCondition:
        with self._ruling() as db:
            return database_condition(db, self.login)

    def fingerprint(self) -> object:
        with self._connected("reader") as db:
            return db.execute("SELECT size, (SELECT max(size) FROM checkpoints) FROM head").fetchone()

    def scope_keys_to_read(self, master: bytes, origin: str) -> ScopeKeys:
        return PostgresScopeKeys(self.login, master, origin, os.urandom, read_only=True)

    def lock(self, name: str) -> Lock:
        return AdvisoryLock(self.login, name)

    def locks(self, kind: str) -> Locks:
        return AdvisoryLocks(self.login, kind)

    def token_sizes(self) -> list[int]:
        with self._connected("reader") as db:
            return token_sizes(db)

    def token(self, size: int) -> bytes | None:
        with self._connected("reader") as db:
            return stored_token(db, size)

    def keep_token(self, size: int, token: bytes) -> bool:
        with self._connected("writer") as db:
            return keep_token(db, size, token)

    def put_token_aside(self, size: int) -> str:
        with self._connected("writer") as db:
            put_aside(db, size)
        return "it stays in the table tokens, and counts no more"

    @property
    def key_copies(self) -> str:
        return (
            f"copies of schema {self.login.names.keys} made before: dumps and base backups, the server's WAL and its "
            "archive, disks of standbys and snapshots of any of them, which could open all of it again"
        )

    @property
    def views(self) -> ViewsSchema:
        return ViewsSchema(partial(connect_views, self.login), partial(forget_views, self.login))

    def _require_nothing(self, db: Connection[Any]) -> None:
        names = self.login.names
        taken = db.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)", (list(names.schemas),)
        ).fetchone()
        if taken is not None:
            raise Unavailable(f"{self}: expected nothing here to make a ledger, found schema {taken[0]}")
        encoding = db.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise Unavailable(f"{self}: expected a database of encoding UTF8, found {encoding}")

    def _ruling(self) -> AbstractContextManager[Connection[Any]]:
        """As the user who logs in, with whatever rights they have."""
        return self._connected(None)

    @contextmanager
    def _connected(self, role: Role | None) -> Iterator[Connection[Any]]:
        with closing(self.login.connect(role)) as db:
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
