"""Appending to a ``ledger.db``: the eventsourcing library's recorder over a database that only grows."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    Notification,
    PersistenceError,
    StoredEvent,
    Subscription,
)
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
)

from ...entries.chain import Batch, Head
from ...entries.entry import NO_ENTRY
from ...entries.mapper import PendingEntry
from ...errors import LedgerError, SigningRefused, Unavailable
from ...files import hold_lock, lock_file
from ..forking import Opened
from ..recorder import Box, ChainingRecorder, Note
from ..scopes import ScopeKeys
from .reader import SqliteReader, check_schema
from .schema import LOCK_FILE, SCHEMA, SCHEMA_VERSION

PRAGMAS = (
    "synchronous=FULL",  # a commit returns when it is on the disk
    "secure_delete=ON",
    "wal_autocheckpoint=4000",  # pages: an append dirties several, and few of them differ between appends
    "trusted_schema=OFF",
    "mmap_size=0",
)
_SELECT = "SELECT seq, stream, pos, type, entry FROM entries "


def create_database(path: Path, origin: str) -> None:
    """Make an empty ``ledger.db``. Its tables refuse UPDATE and DELETE from then on."""
    db = sqlite3.connect(path)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(SCHEMA)
        db.execute("INSERT INTO ledger VALUES (0, ?)", (origin,))
        db.execute("INSERT INTO head VALUES (0, 0, ?, '', x'', 0)", (NO_ENTRY,))
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        db.commit()
    finally:
        db.close()


class LedgerDatastore(SQLiteDatastore):
    """The library's datastore, its connections set for durability on purpose and not by default."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), originator_id_type="text", lock_timeout=60)
        self.path = path
        self.pool = _DurablePool(path)
        self._opened = Opened()

    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[SQLiteCursor]:
        self._opened.require_here(self.path)
        with super().transaction(commit=commit) as cursor:
            yield cursor


class _DurablePool(SQLiteConnectionPool):
    def __init__(self, path: Path) -> None:
        super().__init__(db_name=f"{path.absolute().as_uri()}?mode=rw", lock_timeout=60)

    def _create_connection(self) -> SQLiteConnection:
        # Not the library's: it asks for a cache of ``True``, which is one, prepared statement, so that each
        # of the six of an append would be prepared again each time.
        db = sqlite3.connect(self.db_name, uri=True, check_same_thread=False, isolation_level=None, timeout=60)
        for pragma in PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        return SQLiteConnection(db, max_age=self.max_age)


class SqliteRecorder(ChainingRecorder, SQLiteApplicationRecorder):
    """Records in a ``ledger.db``. Safe from threads and from processes on one machine."""

    datastore: LedgerDatastore

    def __init__(
        self,
        datastore: LedgerDatastore,
        path: Path,
        scopes: ScopeKeys,
        clock: Callable[[], int],
        random: Callable[[int], bytes],
        clock_finding: Callable[[int, int], PendingEntry],
    ) -> None:
        SQLiteApplicationRecorder.__init__(self, datastore, events_table_name="entries")
        self._lock_path = path.with_name(LOCK_FILE)
        self._begin(str(path), scopes, clock, random, clock_finding)

    def construct_create_table_statements(self) -> list[str]:
        return []  # create_database made them; an append never changes the schema

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
        bounds = (-1 if gt is None else gt, 2**62 if lte is None else lte, -1 if limit is None else limit)
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(statement, (originator_id, *bounds))
            return [StoredEvent(row[1], row[2], row[3], row[4]) for row in cursor.fetchall()]

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
        statement = f"{_SELECT}WHERE seq >= ? AND seq < ? "
        if topics:
            statement += f"AND type IN ({','.join('?' * len(topics))}) "
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(statement + "ORDER BY seq LIMIT ?", (first, 2**62 if stop is None else stop, *topics, limit))
            return [Notification(row[1], row[2], row[3], row[4], id=row[0] + 1) for row in cursor.fetchall()]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Follow the log from after notification ``gt``, also what other processes append."""
        return Follower(self, gt, topics)

    def growing(self) -> Follower:
        return Follower(self, None, ())

    @contextmanager
    def reading(self) -> Iterator[SqliteReader]:
        """Read one consistent state of the log on a connection of the pool."""
        with reading(self.datastore) as reader:
            yield reader

    def publish_checkpoint(self, size: int, note: bytes) -> None:
        self._scopes.require_outside()
        with self._explained(), lock_file(self._lock_path), self.datastore.transaction(commit=True) as cursor:
            cursor.execute("INSERT OR IGNORE INTO checkpoints VALUES (?, ?)", (size, note))
            cursor.execute("SELECT note FROM checkpoints WHERE size=?", (size,))
            if cursor.fetchone()[0] != note:
                raise SigningRefused("self_check_failed", f"{self.place}: another checkpoint of size {size} lies there")

    @contextmanager
    def holding_appends(self) -> Iterator[None]:
        self._scopes.require_outside()
        with self._explained(), self._commit_mutex, lock_file(self._lock_path):
            yield

    @contextmanager
    def _writing(self) -> Iterator[_SqliteWriting]:
        # Queue behind other processes in a file's lock: SQLite's own waiting is not fair and gives up.
        with lock_file(self._lock_path), self.datastore.transaction(commit=True) as cursor:
            yield _SqliteWriting(cursor)

    def _explained(self) -> AbstractContextManager[None]:
        return _wrapped(self.place)


class _SqliteWriting:
    """One transaction of SQLite."""

    def __init__(self, cursor: SQLiteCursor) -> None:
        self._cursor = cursor
        self.reader = SqliteReader(_connection(cursor))

    def take_head(self, streams: Collection[str]) -> tuple[Head, dict[str, int], str | None]:
        self._cursor.execute("UPDATE head SET size=size RETURNING size, leaf, at, frontier, held")
        row = self._cursor.fetchone()
        head = Head(row[0], row[1], row[2], row[3], held=bool(row[4]))
        self._cursor.execute("SELECT type FROM entries WHERE seq=?", (head.size - 1,))
        last = self._cursor.fetchone()
        return head, self.reader.next_positions(streams), None if last is None else last[0]

    def keep_checkpoints(self, notes: Sequence[Note]) -> None:
        self._cursor.executemany("INSERT OR IGNORE INTO checkpoints VALUES (?, ?)", notes)

    def store(self, batch: Batch, boxes: Sequence[Box]) -> None:
        _store(self._cursor, batch, boxes)

    def settle(self) -> None:
        return  # the transaction ends with a commit, and to take the head was a change


class Follower(Subscription[ApplicationRecorder]):
    """Iterates over notifications as they are committed, by whichever process.

    SQLite tells nobody of a commit, but ``PRAGMA data_version`` changes when another connection has
    written; it is asked every ``poll_seconds`` and the log only where it moved.
    """

    poll_seconds = 0.05
    _section = 512

    def __init__(self, recorder: SqliteRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, topics)
        self._last = gt or 0
        self._seen: int | None = None
        self._ready: list[Notification] = []
        self._stop = threading.Event()
        self._db = sqlite3.connect(recorder.datastore.pool.db_name, uri=True, check_same_thread=False)

    def stop(self) -> None:
        super().stop()
        self._stop.set()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)
        self._db.close()

    def __next__(self) -> Notification:
        while not self._ready:
            if self._stop.is_set():
                raise StopIteration
            version = self._db.execute("PRAGMA data_version").fetchone()[0]
            if version == self._seen:
                self._stop.wait(self.poll_seconds)
                continue
            found = self._recorder.select_notifications(
                self._last, self._section, topics=self._topics, inclusive_of_start=False
            )
            if found:
                self._ready = list(reversed(found))
                self._last = found[-1].id
            else:
                self._seen = version  # nothing more until another commit
        return self._ready.pop()

    def wait_past(self, size: int) -> bool:
        """Wait until the log has more than ``size`` entries; False once stopped. None of them is read."""
        while not self._stop.is_set():
            version = self._db.execute("PRAGMA data_version").fetchone()[0]
            if version == self._seen:
                self._stop.wait(self.poll_seconds)
            elif self._db.execute("SELECT size FROM head").fetchone()[0] > size:
                return True
            else:
                self._seen = version
        return False


def open_datastore(path: Path) -> LedgerDatastore:
    """Open an existing ``ledger.db`` for appending; ``Unavailable`` or ``UnsupportedFormat`` where it cannot be."""
    # Asked before the library's connections switch whatever they open to WAL: it may be no ledger.
    # Under the append lock, because closing it may move the WAL, which a snapshot may be copying.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with (
        _wrapped(path),
        hold_lock(path.with_name(LOCK_FILE), alone=True),
        closing(sqlite3.connect(uri, uri=True)) as db,
    ):
        check_schema(db, path)
    return LedgerDatastore(path)


@contextmanager
def reading(datastore: LedgerDatastore) -> Iterator[SqliteReader]:
    """Read one consistent state of the log on a connection of the datastore's pool."""
    try:
        with datastore.transaction(commit=False) as cursor:
            yield SqliteReader(_connection(cursor))
    except (sqlite3.Error, PersistenceError) as error:
        raise Unavailable(f"{datastore.path}: {error}") from error


def _store(cursor: SQLiteCursor, batch: Batch, boxes: Sequence[Box]) -> None:
    cursor.executemany(
        "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                entry.seq,
                entry.pending.originator_id,
                entry.pending.originator_version,
                entry.pending.topic,
                entry.raw,
                entry.leaf,
            )
            for entry in batch.entries
        ],
    )
    if boxes:
        cursor.executemany("INSERT INTO boxes VALUES (?, ?, ?)", boxes)
    if batch.tiles:
        rows = [(tile.level, tile.n, tile.root, tile.hashes) for tile in batch.tiles]
        cursor.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
    head = batch.head
    cursor.execute(
        "UPDATE head SET size=?, leaf=?, at=?, frontier=?, held=?",
        (head.size, head.leaf, head.at, head.frontier, head.held),
    )


def _connection(cursor: SQLiteCursor) -> sqlite3.Connection:
    connection: sqlite3.Connection = cursor.sqlite_cursor.connection
    return connection


@contextmanager
def _wrapped(path: Path | str) -> Iterator[None]:
    """No error of SQLite or of the library leaves unexplained."""
    try:
        yield
    except LedgerError:
        raise
    except (sqlite3.Error, PersistenceError, OSError) as error:
        raise Unavailable(f"{path}: {error}; nothing was acknowledged") from error
