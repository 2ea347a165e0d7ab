"""The SQLite store: the eventsourcing library's recorder over a database that only grows.

``append`` is the one way in. Its steps stand in crash-safe order, with the reason beside each.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
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
    SQLiteFactory,
)
from eventsourcing.utils import Environment

from ...domain.errors import Refused
from ..entries.chain import Batch, ChainedEntry, Head, chain_batch
from ..entries.entry import NO_ENTRY, format_at
from ..entries.mapper import PendingEntry
from ..entries.seal import NONCE_BYTES, make_box
from ..errors import Conflict, LedgerError, SigningRefused, Unavailable
from ..files import hold_lock, lock_file
from ..tlog.tiles import TILE_WIDTH
from .reader import LedgerReader, check_schema
from .schema import LOCK_FILE, SCHEMA, SCHEMA_VERSION
from .scopes import ScopeKeys

_PRAGMAS = (
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


class _DurablePool(SQLiteConnectionPool):
    def __init__(self, path: Path) -> None:
        super().__init__(db_name=f"{path.absolute().as_uri()}?mode=rw", lock_timeout=60)

    def _create_connection(self) -> SQLiteConnection:
        # Not the library's: it asks for a cache of ``True``, which is one, prepared statement, so that each
        # of the six of an append would be prepared again each time.
        db = sqlite3.connect(self.db_name, uri=True, check_same_thread=False, isolation_level=None, timeout=60)
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        return SQLiteConnection(db, max_age=self.max_age)


class _Appender:
    """One caller's pending entries in a commit that it may share with others, and how it went."""

    def __init__(self, pending: Sequence[PendingEntry]) -> None:
        self.pending = pending
        self.entries: list[ChainedEntry] = []
        self.error: Exception | None = None
        self.done = False


class ChainingRecorder(SQLiteApplicationRecorder):
    """Records pending entries as a chain and a tree. ``clock`` gives microseconds since 1970.

    ``clock_finding`` makes the pending entry that says that the clock stands behind the log.
    Safe from threads and from processes on one machine.
    """

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
        super().__init__(datastore, events_table_name="entries")
        self._path = path
        self._lock_path = path.with_name(LOCK_FILE)
        self._scopes = scopes
        self._clock = clock
        self._random = random
        self._clock_finding = clock_finding
        self._commit_mutex = threading.Lock()
        self._waiting_mutex = threading.Lock()
        self._waiting: list[_Appender] = []
        with self.reading() as reader:
            self._origin = reader.origin().encode()

    def construct_create_table_statements(self) -> list[str]:
        return []  # create_database made them; an append never changes the schema

    def append(self, pending: Sequence[PendingEntry]) -> list[ChainedEntry]:
        """Make ``pending`` durable and chained, all or none, and return them in their places.

        ``Conflict`` where a stream has moved on, ``Malformed`` where an entry is too long,
        ``Refused`` (``scope_erased``) where one would be sealed under a key that was destroyed,
        ``Unavailable`` where the disk or the database does not serve. Callers from several threads
        share a commit: whoever holds the mutex commits for all who wait.
        """
        self._scopes.require_outside()
        appender = _Appender(pending)
        with self._waiting_mutex:
            self._waiting.append(appender)
        with self._commit_mutex:
            if not appender.done:
                self._commit_waiting()
        if appender.error is not None:
            raise appender.error
        return appender.entries

    def append_knowing(self, make: Callable[[LedgerReader, int], Sequence[PendingEntry]]) -> list[ChainedEntry]:
        """As ``append``, of what ``make`` gives once it knows the log as it is and the seq that its first entry takes.

        Nobody appends in between, so what it says of its own place is true, and its positions are free.
        """
        self._scopes.require_outside()
        appender = _Appender(())
        with self._commit_mutex, _wrapped(self._path):
            self._commit([appender], make)
        if appender.error is not None:
            raise appender.error
        return appender.entries

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int]:
        pending = [event for event in stored_events if isinstance(event, PendingEntry)]
        if len(pending) != len(stored_events):
            raise TypeError("expected pending entries from the ledger's own mapper")
        return [entry.seq + 1 for entry in self.append(pending)]

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

    def max_notification_id(self) -> int:
        with self.reading() as reader:
            return reader.head().size

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Follow the log from after notification ``gt``, also what other processes append."""
        return Follower(self, gt, topics)

    @contextmanager
    def reading(self) -> Iterator[LedgerReader]:
        """Read one consistent state of the log on a connection of the pool."""
        with reading(self.datastore) as reader:
            yield reader

    def publish_checkpoint(self, size: int, note: bytes) -> None:
        """Add a signed checkpoint; the same one again changes nothing."""
        self._scopes.require_outside()
        with _wrapped(self._path), lock_file(self._lock_path), self.datastore.transaction(commit=True) as cursor:
            cursor.execute("INSERT OR IGNORE INTO checkpoints VALUES (?, ?)", (size, note))
            cursor.execute("SELECT note FROM checkpoints WHERE size=?", (size,))
            if cursor.fetchone()[0] != note:
                raise SigningRefused("self_check_failed", f"{self._path}: another checkpoint of size {size} lies there")

    @contextmanager
    def holding_appends(self) -> Iterator[None]:
        """Nothing is appended meanwhile, in this process or another; appending inside would wait for itself."""
        self._scopes.require_outside()
        with _wrapped(self._path), self._commit_mutex, lock_file(self._lock_path):
            yield

    def _commit_waiting(self) -> None:
        with self._waiting_mutex:
            appenders, self._waiting = self._waiting, []
        try:
            with _wrapped(self._path):
                self._commit(appenders)
        except BaseException as error:  # every appender of the shared commit learns that it failed
            told = error if isinstance(error, Exception) else Unavailable(f"{self._path}: interrupted while committing")
            for appender in appenders:
                appender.error = appender.error or told
            if told is not error:
                raise
        finally:
            for appender in appenders:
                appender.done = True

    def _commit(
        self,
        appenders: list[_Appender],
        make: Callable[[LedgerReader, int], Sequence[PendingEntry]] | None = None,
    ) -> None:
        # 1. Queue behind other processes: SQLite's own waiting is not fair and gives up.
        # 2. The transaction's first statement is a write, which takes the write lock before anything is
        #    read; a read first could not be upgraded once another process has committed.
        with lock_file(self._lock_path), self.datastore.transaction(commit=True) as cursor:
            cursor.execute("UPDATE head SET size=size RETURNING size, leaf, at, frontier, held")
            row = cursor.fetchone()
            head = Head(row[0], row[1], row[2], row[3], held=bool(row[4]))
            reader = LedgerReader(_connection(cursor))
            # 3. The time, taken inside the lock, never earlier than the last.
            head, at, findings = self._stamp(cursor, head)
            if make is not None:
                appenders[0].pending = make(reader, head.size + len(findings))
            # 4. Each appender's expected positions, while nobody else can move them, and the keys to seal
            #    under, fetched now: a key destroyed a moment ago must not be used again, nor made anew. A new key
            #    is durable before the entry that needs it; a crash between leaves an unused key, no loss.
            accepted, ciphers = self._accept(cursor, appenders)
            if not accepted:
                return  # the head's time is that of an entry, so nothing may move it alone
            pending = [*findings, *(waiting for appender in accepted for waiting in appender.pending)]
            batch = chain_batch(head, at, pending, lambda level: _loose_hashes(reader, head.size, level))
            # 5. Seal.
            boxes = self._seal(batch, ciphers)
            # 6. Everything that belongs to the new head, then the head, then one commit: a crash before it
            #    leaves the old log, a crash after it the new one.
            _store(cursor, batch, boxes)
        # 7. Only what is durable is acknowledged.
        start = len(findings)
        for appender in accepted:
            appender.entries = batch.entries[start : start + len(appender.pending)]
            start += len(appender.pending)

    def _accept(self, cursor: SQLiteCursor, appenders: list[_Appender]) -> tuple[list[_Appender], dict[str, AESGCM]]:
        """The appenders whose positions are free, and the ciphers of their scopes; each other one fails alone."""
        next_pos: dict[str, int] = {}
        ciphers: dict[str, AESGCM] = {}
        accepted = []
        with self._scopes.together():
            for appender in appenders:
                moved: dict[str, int] = {}
                try:
                    for waiting in appender.pending:
                        stream = str(waiting.originator_id)
                        expected = moved.get(stream, next_pos.get(stream, -1))
                        if expected < 0:
                            expected = _next_pos(cursor, stream)
                        if waiting.originator_version != expected:
                            raise Conflict(stream, waiting.originator_version, expected)  # noqa: TRY301
                        moved[stream] = expected + 1
                    for waiting in appender.pending:
                        if waiting.disclosures and waiting.scope not in ciphers:
                            ciphers[waiting.scope] = self._scopes.cipher_for_sealing(waiting.scope)
                except (Conflict, Refused) as error:
                    appender.error = error
                else:
                    next_pos.update(moved)
                    accepted.append(appender)
        return accepted, ciphers

    def _stamp(self, cursor: SQLiteCursor, head: Head) -> tuple[Head, str, list[PendingEntry]]:
        """The batch's time, and a finding at the moment when the clock is first seen to stand behind."""
        at = format_at(self._clock())
        if at >= head.at:
            return replace(head, held=False), at, []
        findings = []
        if not head.held:
            behind = _microseconds(head.at) - _microseconds(at)
            findings.append(self._clock_finding(_next_pos(cursor, "clock"), behind))
        return replace(head, held=True), head.at, findings

    def _seal(self, batch: Batch, ciphers: dict[str, AESGCM]) -> list[tuple[int, str, bytes]]:
        boxes = []
        for entry in batch.entries:
            for disclosure in entry.pending.disclosures:
                cipher = ciphers[entry.pending.scope]
                box = make_box(cipher, self._random(NONCE_BYTES), disclosure, self._origin)
                boxes.append((entry.seq, disclosure.name, box))
        return boxes


class Follower(Subscription[ApplicationRecorder]):
    """Iterates over notifications as they are committed, by whichever process.

    SQLite tells nobody of a commit, but ``PRAGMA data_version`` changes when another connection has
    written; it is asked every ``poll_seconds`` and the log only where it moved.
    """

    poll_seconds = 0.05
    _section = 512

    def __init__(self, recorder: ChainingRecorder, gt: int | None, topics: Sequence[str]) -> None:
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


class LedgerFactory(SQLiteFactory):
    """The library's factory over our datastore. It reads no environment variable."""

    def __init__(self, env: Environment, datastore: LedgerDatastore) -> None:
        InfrastructureFactory.__init__(self, env)
        self.datastore = datastore


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
def reading(datastore: LedgerDatastore) -> Iterator[LedgerReader]:
    """Read one consistent state of the log on a connection of the datastore's pool."""
    try:
        with datastore.transaction(commit=False) as cursor:
            yield LedgerReader(_connection(cursor))
    except (sqlite3.Error, PersistenceError) as error:
        raise Unavailable(f"{datastore.path}: {error}") from error


def _store(cursor: SQLiteCursor, batch: Batch, boxes: list[tuple[int, str, bytes]]) -> None:
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


def _loose_hashes(reader: LedgerReader, size: int, level: int) -> bytes:
    width = TILE_WIDTH ** (level + 1)
    first = size // width * TILE_WIDTH
    count = size // TILE_WIDTH**level - first
    return reader.hashes(level, first, count) if count else b""


def _next_pos(cursor: SQLiteCursor, stream: str) -> int:
    cursor.execute("SELECT pos FROM entries WHERE stream=? ORDER BY pos DESC LIMIT 1", (stream,))
    row = cursor.fetchone()
    return 0 if row is None else int(row[0]) + 1


def _microseconds(at: str) -> int:
    return (datetime.fromisoformat(at) - datetime.fromtimestamp(0, tz=UTC)) // timedelta(microseconds=1)


def _connection(cursor: SQLiteCursor) -> sqlite3.Connection:
    connection: sqlite3.Connection = cursor.sqlite_cursor.connection
    return connection


@contextmanager
def _wrapped(path: Path) -> Iterator[None]:
    """No error of SQLite or of the library leaves unexplained."""
    try:
        yield
    except LedgerError:
        raise
    except (sqlite3.Error, PersistenceError, OSError) as error:
        raise Unavailable(f"{path}: {error}; nothing was acknowledged") from error
