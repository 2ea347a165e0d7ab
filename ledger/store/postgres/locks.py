"""Locks of a ledger in PostgreSQL: advisory locks of a session of their own, which the server lets go of with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import Connection

from ...errors import Unavailable
from ..place import Lock, Locks
from .connecting import Login, NoAnswer

_IS_HELD = """
SELECT 1 FROM pg_locks, hashtextextended(%s, 0) AS number
WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND objsubid = 1
AND (classid::bigint << 32 | objid::bigint) = number
"""


class AdvisoryLock(Lock):
    """A lock by name. Its session stays open from one time to the next."""

    def __init__(self, login: Login, name: str) -> None:
        self._login = login
        self._name = f"{login.name}/{name}"
        self._db: Connection[Any] | None = None
        self._mutex = threading.Lock()  # a session is given twice what it has

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._mutex:
            db = self._taken()
            try:
                yield
            finally:
                try:
                    db.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (self._name,))
                except psycopg.Error:
                    db.close()  # lost, or in doubt: the lock ends with its session
                except BaseException:
                    db.close()  # interrupted, it may have it still, and would be given it twice
                    raise

    def require_held(self) -> None:
        db = self._db
        try:
            if db is not None and db.execute(_IS_HELD, (self._name,)).fetchone() is not None:
                return
        except psycopg.Error as error:
            raise Unavailable(f"{self._login}: lost the lock {self._name} with its session: {error}") from error
        raise Unavailable(f"{self._login}: lost the lock {self._name}; whoever connects must reach one session")

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _taken(self) -> Connection[Any]:
        kept, self._db = self._db, None
        if kept is not None and not kept.closed:
            try:
                self._take(kept)
            except NoAnswer as error:  # nor would it answer on another
                raise Unavailable(f"{self._login}: {error}") from error
            except psycopg.OperationalError:
                pass  # the server may have ended it meanwhile
            else:
                return kept
        db = self._login.connect("reader")
        try:
            self._take(db)
        except psycopg.Error as error:
            db.close()
            raise Unavailable(f"{self._login}: {str(error).strip()}") from error
        return db

    def _take(self, db: Connection[Any]) -> None:
        try:
            db.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (self._name,))
        except BaseException:
            db.close()  # interrupted while it waits, it may be given the lock all the same
            raise
        self._db = db


class AdvisoryLocks(Locks):
    """Locks by kind and number, of one session. Where it is lost, so are they, and the next goes to a new one."""

    def __init__(self, login: Login, kind: str) -> None:
        self._login = login
        self._name = f"{login.name}/{kind}/"
        self._db = login.connect("reader")
        self._held: set[int] = set()
        self._mutex = threading.Lock()

    def take(self, number: int) -> bool:
        with self._mutex:
            if self._db.closed:
                self._renew()
            if number in self._held:
                return False
            try:
                row = self._ask("pg_try_advisory_lock", number)
            except psycopg.OperationalError:
                self._renew()
                row = self._ask("pg_try_advisory_lock", number)
            if not row[0]:
                return False
            self._held.add(number)
            return True

    def release(self, number: int) -> None:
        with self._mutex:
            if number not in self._held:
                return
            self._held.discard(number)
            with suppress(psycopg.Error):  # lost with its session, it is free
                self._ask("pg_advisory_unlock", number)

    def close(self) -> None:
        with self._mutex:
            with suppress(psycopg.Error):  # the server ends a session some time after it is closed
                self._db.execute("SELECT pg_advisory_unlock_all()")
            self._db.close()

    def _renew(self) -> None:
        self._db.close()
        self._held.clear()
        self._db = self._login.connect("reader")

    def _ask(self, function: str, number: int) -> Any:
        named = f"{self._name}{number}"
        return self._db.execute(f"SELECT {function}(hashtextextended(%s, 0))".encode(), (named,)).fetchone()
