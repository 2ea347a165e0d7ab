"""Appending to PostgreSQL: the eventsourcing library's recorder; who appends waits for the ledger's head row alone.

A commit takes two round trips: one that takes the head and the positions, one that writes everything and commits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.persistence import Notification, PersistenceError, StoredEvent, Subscription
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow, tuple_row
from psycopg.sql import SQL, Identifier

from ...entries.chain import Batch, Head
from ...entries.mapper import PendingEntry
from ...errors import LedgerError, OutcomeUnknown, SigningRefused, Unavailable
from ..reader import LedgerReader
from ..recorder import Box, ChainingRecorder, Note
from ..scopes import ScopeKeys
from .connecting import BoundedConnection, Login, NoAnswer, is_lost, waiting_at_most
from .following import Follower
from .reader import ONE_STATE, SELECT_POSITIONS, PostgresReader, positions_of

_CONNECTIONS = 32
"""How many read at once; who comes later waits for one."""
_WAIT_SECONDS = 30
_READ_SECONDS = 300
"""How long who reads waits for an answer of a server that may be at work on it."""
_RETRY_SECONDS = 0.2
_LAST_LOOK_SECONDS = 1.0
"""What is left, at least, to look for the outcome of a commit whose server has kept silent all the time."""
# The positions are asked by a statement of their own, whose state is that after the wait for the head.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_TAKE_HEAD = "SELECT size, leaf, at, frontier, held FROM head FOR NO KEY UPDATE"
_LAST_TYPE = "SELECT type FROM entries ORDER BY seq DESC LIMIT 1"
_SELECT = "SELECT seq, stream, pos, type, entry FROM entries "


class LedgerDatastore(PostgresDatastore):
    """The library's datastore over connections of a reader, each used again by whoever reads next.

    Not with the library's pool, which looks for a server in threads of its own: here who reads is told at once.
    """

    def __init__(self, login: Login) -> None:
        super().__init__("", "", "", "", "", schema=login.schema, originator_id_type="text")
        self.login = login
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        self._mutex = threading.Lock()
        self._idle: list[Connection[Any]] = []
        self._closed = False

    def register_type_adapters(self) -> None:
        return  # for types of the library's tables, which are not ours

    @contextmanager
    def reading(self) -> Iterator[PostgresReader]:
        """Read one consistent state."""
        if not self._free.acquire(timeout=_WAIT_SECONDS):
            raise Unavailable(f"{self.login}: {_CONNECTIONS} read already, and none ended in {_WAIT_SECONDS} seconds")
        try:
            db = self._begun()
            try:
                yield PostgresReader(db, self.login)
            finally:
                self._give_back(db)
        except psycopg.Error as error:
            raise Unavailable(f"{self.login}: {str(error).strip()}") from error
        finally:
            self._free.release()

    def close(self) -> None:
        with self._mutex:
            self._closed = True
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()

    def _begun(self) -> Connection[Any]:
        """A connection that sees one state from now on."""
        while True:
            with self._mutex:
                db = self._idle.pop() if self._idle else None
            if db is None:
                db = self.login.connect("reader")
                db.patience = _READ_SECONDS
                try:
                    db.execute(ONE_STATE)
                except BaseException:
                    db.close()
                    raise
                return db
            try:
                db.execute(ONE_STATE)
            except psycopg.Error as error:
                db.close()
                if isinstance(error, NoAnswer) or not is_lost(db, error):
                    raise
            else:
                return db

    def _give_back(self, db: Connection[Any]) -> None:
        with suppress(psycopg.Error):
            db.execute("ROLLBACK")
        usable = db.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        with self._mutex:
            if usable and not self._closed:
                self._idle.append(db)
                return
        db.close()


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
        self._db: BoundedConnection | None = None
        self._closed = False
        self._in_doubt: float | None = None  # when the transaction began whose commit was sent, and not answered
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
        statement = f"{_SELECT}WHERE stream=? AND pos > ? AND pos <= ? ORDER BY pos {'DESC' if desc else 'ASC'} LIMIT ?"
        bounds = (-1 if gt is None else gt, 2**62 if lte is None else lte, limit)
        with self.datastore.reading() as reader:
            rows = reader.rows(statement, str(originator_id), *bounds)
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
        statement = f"{_SELECT}WHERE seq >= ? AND seq < ? AND (? OR type = ANY(?)) ORDER BY seq LIMIT ?"
        with self.datastore.reading() as reader:
            rows = reader.rows(statement, first, 2**62 if stop is None else stop, not topics, list(topics), limit)
        return [Notification(row[1], row[2], row[3], row[4], id=row[0] + 1) for row in rows]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[PostgresApplicationRecorder]:
        """Follow the log from after notification ``gt``, also what other processes append."""
        return Follower(self, self._login, self.channel_name, gt, topics)

    def growing(self) -> Follower:
        return Follower(self, self._login, self.channel_name, None, ())

    def publish_checkpoint(self, size: int, note: bytes) -> None:
        self._scopes.require_outside()
        with self._explained(), self._commit_mutex, self._writing() as transaction:
            transaction.begin()
            db = transaction.db
            db.execute("INSERT INTO checkpoints VALUES (%s, %s) ON CONFLICT DO NOTHING", (size, note))
            row = db.execute("SELECT note FROM checkpoints WHERE size=%s", (size,)).fetchone()
            if row is None or bytes(row[0]) != note:
                raise SigningRefused("self_check_failed", f"{self.place}: another checkpoint of size {size} lies there")
            transaction.commit()

    @contextmanager
    def holding_appends(self) -> Iterator[None]:
        self._scopes.require_outside()
        with self._explained(), self._commit_mutex, self._transaction() as transaction:
            with waiting_at_most(self._login.patience):
                transaction.take_head(())
            yield

    def close(self) -> None:
        with self._commit_mutex:  # no connection is taken away from who commits on it
            self._closed = True
            if self._db is not None:
                self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[_PostgresWriting]:
        """As ``_transaction``, all of which is waited for as long as for one answer."""
        with waiting_at_most(self._login.patience), self._transaction() as transaction:
            yield transaction

    @contextmanager
    def _transaction(self) -> Iterator[_PostgresWriting]:
        """What is not committed inside is rolled back."""
        begun = time.monotonic()
        with waiting_at_most(self._login.patience):
            transaction = _PostgresWriting(self._connected, self._login, self.channel_name)
        self._in_doubt = None
        try:
            yield transaction
        finally:
            self._in_doubt = begun if transaction.is_committing else None
            transaction.end()

    def _connected(self) -> BoundedConnection:
        """The one connection that writes, made anew where it was lost."""
        if self._closed:
            raise Unavailable(f"{self.place}: it is closed here")
        db = self._db
        if db is None or db.closed:
            db = self._db = self._login.connect("writer")
            db.prepare_threshold = 0
        db.patience = self._login.patience
        return db

    def settle(self) -> None:
        self._scopes.require_outside()
        with self._explained(), self._commit_mutex, self._writing() as transaction:
            transaction.begin()
            transaction.settle()

    def _was_committed(self, batch: Batch) -> bool:
        """Once a commit was sent, an error tells nothing of it: whether the batch is there, the log itself knows.

        Whoever takes the head waits until the doubtful transaction has ended, one way or the other. What was seen
        then, the standbys have before it is told.
        """
        begun = self._in_doubt
        if begun is None:
            return False
        first = batch.entries[0]
        deadline = max(begun + self._login.commit_timeout, time.monotonic() + _LAST_LOOK_SECONDS)
        while True:
            try:
                return self._is_there(first.seq, first.leaf, deadline)
            except (psycopg.Error, Unavailable) as error:
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(
                        f"{self.place}: no answer came to the commit of entries from {first.seq} on, and "
                        f"whether they are recorded could not be found out: {str(error).strip()}"
                    ) from error
            threading.Event().wait(_RETRY_SECONDS)

    def _is_there(self, seq: int, leaf: bytes, deadline: float) -> bool:
        seconds = max(deadline - time.monotonic(), _RETRY_SECONDS)
        with waiting_at_most(seconds + _RETRY_SECONDS), self._transaction() as transaction:
            transaction.begin(lock_seconds=seconds)
            transaction.move_head_nowhere()
            row = transaction.db.execute("SELECT leaf FROM entries WHERE seq=%s", (seq,)).fetchone()
            transaction.commit()
            return row is not None and bytes(row[0]) == leaf

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except LedgerError:
            raise
        except psycopg.errors.LockNotAvailable as error:
            raise Unavailable(
                f"{self.place}: another commit has not ended for {self._login.commit_timeout:g} seconds; does it wait "
                "for a standby? Nothing was acknowledged"
            ) from error
        except (psycopg.Error, PersistenceError, OSError) as error:
            raise Unavailable(f"{self.place}: {str(error).strip()}; nothing was acknowledged") from error


class _PostgresWriting:
    """One transaction of PostgreSQL. Locks the ledger's head row, and nothing that another ledger needs."""

    def __init__(self, connected: Callable[[], BoundedConnection], login: Login, channel: str) -> None:
        self._connected = connected
        self._login = login
        self._channel = channel
        self.db = connected()
        self.is_committing = False
        """Whether a commit was sent of which no answer has come that it is done."""

    @property
    def reader(self) -> PostgresReader:
        return PostgresReader(self.db, self._login)

    def begin(self, lock_seconds: float | None = None) -> None:
        """Begin, and take nothing yet. No lock is waited for longer than ``lock_seconds``."""
        self._first(lambda: self.db.execute(_BEGIN))
        if lock_seconds is not None:
            self.db.execute("SELECT set_config('lock_timeout', %s, true)", (f"{int(lock_seconds * 1000)}ms",))

    def take_head(self, streams: Collection[str]) -> tuple[Head, dict[str, int], str | None]:
        answers: list[Cursor[TupleRow]] = []

        def take() -> None:
            answers[:] = [self.db.cursor(row_factory=tuple_row, binary=True) for _ in range(3)]
            with self.db.pipeline():
                self.db.execute(_BEGIN)
                answers[0].execute(_TAKE_HEAD)
                answers[1].execute(SELECT_POSITIONS, (list(streams),))
                answers[2].execute(_LAST_TYPE)

        self._first(take)
        head, positions, last_type = answers
        row = head.fetchone()
        if row is None:
            raise Unavailable(f"{self._login}: table head: expected one row, found none")
        last = last_type.fetchone()
        taken = Head(row[0], row[1], row[2], row[3], held=bool(row[4]))
        return taken, positions_of(positions.fetchall()), None if last is None else last[0]

    def keep_checkpoints(self, notes: Sequence[Note]) -> None:
        self.db.execute(
            "INSERT INTO checkpoints SELECT * FROM unnest(%b::bigint[], %b::bytea[]) ON CONFLICT DO NOTHING",
            ([size for size, _ in notes], [note for _, note in notes]),
        )

    def store(self, batch: Batch, boxes: Sequence[Box]) -> None:
        entries, head = batch.entries, batch.head
        self.db.stopped_waiting = False
        self.is_committing = True
        with self.db.pipeline(), self.db.cursor() as cursor:
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
                "UPDATE head SET size=%s::bigint, leaf=%b, at=%s, frontier=%b, held=%s::integer",
                (head.size, head.leaf, head.at, head.frontier, int(head.held)),
            )
            cursor.execute("COMMIT")
            # Not inside: a transaction that notifies holds a lock of the whole server while it waits for the disk.
            cursor.execute(SQL("NOTIFY {}").format(Identifier(self._channel)))
        self._require_waited()
        self.is_committing = False

    def settle(self) -> None:
        """Make what is seen here as durable as what is acknowledged, and end.

        After a crash, or where somebody cancelled the wait, a server shows commits that no standby has. A commit
        that changes something waits until they have it and all before it.
        """
        self.move_head_nowhere()
        self.commit()

    def move_head_nowhere(self) -> None:
        """Change something; what commits before has ended by then."""
        self.db.execute("UPDATE head SET size=size")

    def commit(self) -> None:
        self.db.stopped_waiting = False
        self.db.execute("COMMIT")
        self._require_waited()

    def end(self) -> None:
        """Roll back what was not committed."""
        if not self.db.closed and self.db.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                self.db.execute("ROLLBACK")

    def _require_waited(self) -> None:
        if self.db.stopped_waiting:
            raise Unavailable(f"{self._login}: the server was told not to wait for its standby")

    def _first(self, begin: Callable[[], object]) -> None:
        """Begin, on a new connection where the one that was there is lost: nothing was written on it."""
        try:
            begin()
        except psycopg.Error as error:
            if isinstance(error, NoAnswer) or not is_lost(self.db, error):
                raise
            self.db.close()
            self.db = self._connected()
            begin()
