"""Appending to PostgreSQL: the eventsourcing library's recorder; who appends waits for the ledger's head row alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.persistence import Notification, PersistenceError, StoredEvent, Subscription
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore, PostgresSubscription
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from ...entries.chain import Batch, Head
from ...entries.mapper import PendingEntry
from ...errors import LedgerError, SigningRefused, Unavailable
from ..reader import LedgerReader
from ..recorder import Box, ChainingRecorder
from ..scopes import ScopeKeys
from .connecting import Login
from .reader import PostgresReader, one_state

_CONNECTIONS = 32
"""How many read at once; who comes later waits for one."""
_WAIT_SECONDS = 30
_FIND_OUT_SECONDS = 60
"""How long the outcome of a commit that was cut off is looked for."""
_TAKE_HEAD = "SELECT size, leaf, at, frontier, held FROM head FOR UPDATE"
_SELECT = "SELECT seq, stream, pos, type, entry FROM entries "


class LedgerDatastore(PostgresDatastore):
    """The library's datastore, its connections those of a reader."""

    def __init__(self, login: Login) -> None:
        given = conninfo_to_dict(login.conninfo)
        super().__init__(
            dbname=str(given.get("dbname", "")),
            host=str(given.get("host", "")),
            port=str(given.get("port", "")),
            user=str(given.get("user", "")),
            password=str(given.get("password", "")),
            connect_timeout=_WAIT_SECONDS,
            pool_size=1,
            max_overflow=_CONNECTIONS - 1,
            pre_ping=True,
            schema=login.schema,
            originator_id_type="text",
        )
        self.login = login
        self.pool.conninfo = login.conninfo
        self.pool.kwargs = {"application_name": "affidavit"}

    def after_connect_func(self) -> Callable[[Connection[Any]], None]:
        def settle(db: Connection[Any]) -> None:
            db.autocommit = True
            self.login.settle(db, "reader")

        return settle

    @contextmanager
    def reading(self) -> Iterator[PostgresReader]:
        """Read one consistent state."""
        try:
            with self.get_connection() as db, one_state(db, self.login) as reader:
                yield reader
        except (psycopg.Error, PersistenceError) as error:
            raise Unavailable(f"{self.login}: {error}") from error


class PostgresRecorder(ChainingRecorder, PostgresApplicationRecorder):
    """Records in a ledger's schema. Safe from threads, processes and machines."""

    datastore: LedgerDatastore

    def __init__(
        self,
        datastore: LedgerDatastore,
        scopes: ScopeKeys,
        clock: Callable[[], int],
        random: Callable[[int], bytes],
        clock_finding: Callable[[int, int], PendingEntry],
    ) -> None:
        PostgresApplicationRecorder.__init__(self, datastore, events_table_name="entries")
        self.channel_name = f"{datastore.login.schema}_appended"
        self._login = datastore.login
        self._db: Connection[Any] | None = None
        self._in_doubt = False
        self._begin(str(datastore.login), scopes, clock, random, clock_finding)

    def reading(self) -> AbstractContextManager[LedgerReader]:
        return self.datastore.reading()

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        order = "DESC" if desc else "ASC"
        rows = self._select(
            f"{_SELECT}WHERE stream=%s AND pos > %s AND pos <= %s ORDER BY pos {order} LIMIT %s",
            (originator_id, -1 if gt is None else gt, 2**62 if lte is None else lte, limit),
        )
        return [StoredEvent(row[1], row[2], row[3], row[4]) for row in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 0 if start is None else start - 1 if inclusive_of_start else start
        rows = self._select(
            f"{_SELECT}WHERE seq >= %s AND seq < %s AND (%s OR type = ANY(%s)) ORDER BY seq LIMIT %s",
            (first, 2**62 if stop is None else stop, not topics, list(topics), limit),
        )
        return [Notification(row[1], row[2], row[3], row[4], id=row[0] + 1) for row in rows]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[PostgresApplicationRecorder]:
        """Follow the log from after notification ``gt``, also what other processes append."""
        return PostgresSubscription(self, gt, topics)

    def publish_checkpoint(self, size: int, note: bytes) -> None:
        self._scopes.require_outside()
        with self._explained(), self._commit_mutex, self._transaction() as db:
            db.execute("INSERT INTO checkpoints VALUES (%s, %s) ON CONFLICT DO NOTHING", (size, note))
            row = db.execute("SELECT note FROM checkpoints WHERE size=%s", (size,)).fetchone()
            if row is None or bytes(row[0]) != note:
                raise SigningRefused("self_check_failed", f"{self.place}: another checkpoint of size {size} lies there")

    @contextmanager
    def holding_appends(self) -> Iterator[None]:
        self._scopes.require_outside()
        with self._explained(), self._commit_mutex, self._transaction() as db:
            db.execute(_TAKE_HEAD)
            yield

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _select(self, statement: str, values: Sequence[object]) -> list[Any]:
        with self.datastore.get_connection() as db, db.cursor(row_factory=tuple_row, binary=True) as cursor:
            return cursor.execute(statement.encode(), values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[_PostgresWriting]:
        with self._transaction() as db:
            yield _PostgresWriting(db, self._login, self.channel_name)

    @contextmanager
    def _transaction(self) -> Iterator[Connection[Any]]:
        """A transaction on the one connection that writes, which is made anew where it was lost."""
        db = self._db
        if db is None or db.closed:
            db = self._db = self._login.connect("writer")
        self._in_doubt = False
        db.execute("BEGIN")
        try:
            yield db
            if db.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
                db.execute("COMMIT")
        except BaseException:
            with suppress(psycopg.Error):
                db.execute("ROLLBACK")
            self._in_doubt = db.closed
            raise

    def _was_committed(self, batch: Batch) -> bool:
        """Where the connection was lost while committing, nobody can tell but the log itself.

        Whoever takes the head waits until the lost transaction has ended, one way or the other.
        """
        if not self._in_doubt:
            return False
        last = batch.entries[-1]
        deadline = time.monotonic() + _FIND_OUT_SECONDS
        while True:
            try:
                with self._transaction() as db:
                    db.execute(_TAKE_HEAD)
                    row = db.execute("SELECT leaf FROM entries WHERE seq=%s", (last.seq,)).fetchone()
                    return row is not None and bytes(row[0]) == last.leaf
            except (psycopg.Error, Unavailable) as error:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{self.place}: the connection was lost while committing entries {batch.entries[0].seq} to "
                        f"{last.seq}, and whether they are recorded could not be found out: {error}"
                    ) from error
                threading.Event().wait(0.2)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except LedgerError:
            raise
        except (psycopg.Error, PersistenceError, OSError) as error:
            raise Unavailable(f"{self.place}: {str(error).strip()}; nothing was acknowledged") from error


class _PostgresWriting:
    """One transaction of PostgreSQL. Locks the ledger's head row, and nothing that another ledger needs."""

    def __init__(self, db: Connection[Any], login: Login, channel: str) -> None:
        self._db = db
        self._channel = channel
        self.reader = PostgresReader(db, login)

    def take_head(self) -> Head:
        with self._db.cursor(row_factory=tuple_row, binary=True) as cursor:
            row = cursor.execute(_TAKE_HEAD).fetchone()
        assert row is not None
        return Head(row[0], row[1], row[2], row[3], held=bool(row[4]))

    def store(self, batch: Batch, boxes: Sequence[Box]) -> None:
        entries, head = batch.entries, batch.head
        with self._db.pipeline(), self._db.cursor() as cursor:
            cursor.execute(
                "INSERT INTO entries SELECT * FROM unnest(%b::bigint[], %b::text[], %b::bigint[], %b::text[], "
                "%b::bytea[], %b::bytea[])",
                (
                    [entry.seq for entry in entries],
                    [str(entry.pending.originator_id) for entry in entries],
                    [entry.pending.originator_version for entry in entries],
                    [entry.pending.topic for entry in entries],
                    [entry.raw for entry in entries],
                    [entry.leaf for entry in entries],
                ),
            )
            if boxes:
                cursor.execute(
                    "INSERT INTO boxes SELECT * FROM unnest(%b::bigint[], %b::text[], %b::bytea[])",
                    tuple(list(column) for column in zip(*boxes, strict=True)),
                )
            if batch.tiles:
                cursor.execute(
                    "INSERT INTO tiles SELECT * FROM unnest(%b::integer[], %b::bigint[], %b::bytea[], %b::bytea[])",
                    tuple(
                        list(column)
                        for column in zip(*((t.level, t.n, t.root, t.hashes) for t in batch.tiles), strict=True)
                    ),
                )
            cursor.execute(
                "UPDATE head SET size=%s, leaf=%s, at=%s, frontier=%s, held=%s",
                (head.size, head.leaf, head.at, head.frontier, int(head.held)),
            )
            cursor.execute("COMMIT")
            # Not inside: a transaction that notifies holds a lock of the whole server while it waits for the disk.
            cursor.execute(SQL("NOTIFY {}").format(Identifier(self._channel)))
