"""A witness's memory: one head per log in an SQLite file, durable before the cosignature leaves.

Callers share commits: whoever holds the mutex decides and commits for all who wait. All of it happens inside one
immediate transaction, so a second process on the same file waits, and then decides on what the first has left.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...ledger.errors import LedgerError, Unavailable
from ...ledger.files import sync_folder
from ...ledger.tlog.checkpoint import Checkpoint
from ...ledger.tlog.cosignature import add_signatures, cosign
from ...ledger.tlog.private_key import NotePrivateKey
from ...ledger.tlog.witness import Submission, require_growth, state_path

_APPLICATION_ID = 0x61667774
_SCHEMA = """
CREATE TABLE heads (
    origin TEXT PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    time INTEGER NOT NULL,
    note BLOB NOT NULL
) STRICT
"""
_SELECT = "SELECT size, root, time FROM heads WHERE origin=?"
_UPSERT = """
INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (origin) DO UPDATE SET size=excluded.size, root=excluded.root, time=excluded.time, note=excluded.note
"""


class _Request:
    """One caller's submission in a commit that it may share with others, and what became of it."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.lines = ""
        self.error: Exception | None = None
        self.done = False


class WitnessStore:
    """The heads that ``keys`` have cosigned, in ``path``, which is made where it is missing.

    ``clock`` gives seconds since 1970. Safe from threads and from processes on one machine. Close it.
    """

    def __init__(self, path: Path, keys: Sequence[NotePrivateKey], clock: Callable[[], float]) -> None:
        self._path = path
        self._keys = tuple(keys)
        self._clock = clock
        self._commit_mutex = threading.Lock()
        self._waiting_mutex = threading.Lock()
        self._waiting: list[_Request] = []
        with self._wrapped():
            self._db = _open(path)

    def cosign(self, submission: Submission) -> str:
        """Return the cosignature lines; when they are returned, the head that they vouch for is durable.

        ``WitnessRefusal`` (409, 422) where the submission does not extend the head that is there, ``Unavailable``
        where the file does not serve, or the clock stands behind the last cosignature of this log.
        """
        request = _Request(submission)
        with self._waiting_mutex:
            self._waiting.append(request)
        with self._commit_mutex:
            if not request.done:
                self._commit_waiting()
        if request.error is not None:
            raise request.error
        return request.lines

    def latest(self, path: str) -> bytes | None:
        """The checkpoint cosigned last, with its cosignatures, of the log with this ``state_path``."""
        with self._commit_mutex, self._wrapped():
            row = self._db.execute("SELECT note FROM heads WHERE path=?", (path,)).fetchone()
        return None if row is None else bytes(row[0])

    def close(self) -> None:
        with self._commit_mutex:
            self._db.close()

    def _commit_waiting(self) -> None:
        with self._waiting_mutex:
            requests, self._waiting = self._waiting, []
        try:
            with self._wrapped(), _transaction(self._db):
                for request in requests:
                    self._decide(request)
        except BaseException as error:  # none of them may be answered with what is perhaps not durable
            told = error if isinstance(error, Exception) else Unavailable(f"{self._path}: interrupted")
            for request in requests:
                request.error = told
            if told is not error:
                raise
        finally:
            for request in requests:
                request.done = True

    def _decide(self, request: _Request) -> None:
        submission = request.submission
        checkpoint = submission.checkpoint
        row = self._db.execute(_SELECT, (checkpoint.origin,)).fetchone()
        try:
            require_growth(submission, None if row is None else Checkpoint(checkpoint.origin, row[0], row[1]))
            time = self._time(checkpoint.origin, 0 if row is None else row[2])
            lines = [cosign(checkpoint, key, time) for key in self._keys]
            note = add_signatures(submission.note, lines)
        except LedgerError as error:  # it fails alone: the others of this commit have no part in it
            request.error = error
            return
        head = (checkpoint.origin, state_path(checkpoint.origin), checkpoint.size, checkpoint.root, time, note)
        self._db.execute(_UPSERT, head)
        request.lines = "".join(lines)

    def _time(self, origin: str, last: int) -> int:
        """Now. A cosignature says that no larger tree was seen at its time, so times never go back."""
        time = int(self._clock())
        if time < last:
            raise Unavailable(f"the clock stands {last - time} s behind the last cosignature of {origin!r}")
        return time

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Unavailable(f"witness state {self._path}: {error}") from error


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Holds the write lock from before the first read; durable when it ends without an error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _open(path: Path) -> sqlite3.Connection:
    is_new = not path.exists()
    db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        with _transaction(db):
            _require_schema(db, path)
        if is_new:
            sync_folder(path.parent)
    except BaseException:
        db.close()
        raise
    return db


def _require_schema(db: sqlite3.Connection, path: Path) -> None:
    """Make the table in an empty database; ``Unavailable`` where the database is somebody else's."""
    if db.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID:
        return
    if db.execute("SELECT 1 FROM sqlite_schema").fetchone() is not None:
        raise Unavailable(f"witness state {path}: expected a witness's, found another database")
    db.execute(_SCHEMA)
    db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
