"""The key database in SQLite, ``keys.db``.

From the first name that is made until whoever closes it last the database is in WAL mode, with one wait for the
disk for each commit; closed, it is a single file with a rollback journal. A reader never writes, not even into
``-shm``; SQLite shares that within a process, so a process that reads while others write cannot open it for
writing as well. Opening, changing the mode and closing take the append lock, so that nobody copies the files meanwhile.
"""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...errors import Unavailable
from ...files import hold_lock
from ..scopes import OWN_SCOPE, ScopeKeys, wrap_key
from .schema import LOCK_FILE

_VERSION = 1
"""Kept as SQLite's ``user_version``. In version 0 each alias had its own scope, and nothing was ever destroyed."""

_SCOPES = "CREATE TABLE scopes (scope TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID"
_DESTROYED = (
    "TABLE destroyed (scope TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, aliases INTEGER NOT NULL) WITHOUT ROWID"
)
_SINCE_VERSION_1 = (
    "CREATE TABLE aliases (added INTEGER PRIMARY KEY, alias TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, "
    "lookup BLOB NOT NULL, box BLOB NOT NULL)",
    "CREATE INDEX aliases_lookup ON aliases (lookup, scope)",
    "CREATE INDEX aliases_scope ON aliases (scope)",
    f"CREATE {_DESTROYED}",
    f"PRAGMA user_version={_VERSION}",
)
_OWN_SCOPE_OF_ALIAS = "substr(alias, 1, length(alias) - 17) || '/' || alias"  # the kind; a dash and 16 digits follow it
_FROM_VERSION_0 = (
    "ALTER TABLE aliases RENAME TO aliases_0",
    *_SINCE_VERSION_1,
    f"INSERT INTO aliases (alias, scope, lookup, box) SELECT alias, {_OWN_SCOPE_OF_ALIAS}, lookup, box FROM aliases_0",
    "DROP TABLE aliases_0",
)
_VERSION_0_READ_AS_1 = (
    f"CREATE TEMP VIEW aliases AS SELECT alias AS added, alias, {_OWN_SCOPE_OF_ALIAS} AS scope, lookup, box "
    "FROM main.aliases",
    f"CREATE TEMP {_DESTROYED}",
)
_BUSY_SECONDS = 60
_READ_ONLY = "mode=ro&readonly_shm=1"


class SqliteScopeKeys(ScopeKeys):
    """Scope keys in ``keys.db``."""

    def __init__(
        self, path: Path, master: bytes, origin: str, random: Callable[[int], bytes], *, read_only: bool = False
    ) -> None:
        super().__init__(str(path), master, origin, random)
        self._path = path
        self._mode_is_set = False
        self._read_only = read_only
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        with hold_lock(self._path.with_name(LOCK_FILE), alone=not read_only):
            source, options = path, "mode=rw"
            if read_only and self._needs_recovery():
                source = self._copied()
            elif read_only:
                options = _READ_ONLY
            with self._wrapped():
                self._db = sqlite3.connect(
                    f"{source.absolute().as_uri()}?{options}",
                    uri=True,
                    timeout=_BUSY_SECONDS,
                    check_same_thread=False,
                    isolation_level=None,
                )
            try:
                with self._wrapped():
                    self._db.execute("PRAGMA secure_delete=ON")
                    self._db.execute("PRAGMA synchronous=FULL")
                    self._db.execute("PRAGMA cache_size=-16384")  # KiB: aliases are random, so each is on its own page
                    self._require_own()
                    self._bring_up_to_date()
            except Unavailable:
                self._close()
                raise

    @classmethod
    def create(cls, path: Path, master: bytes, origin: str, random: Callable[[int], bytes]) -> None:
        """Make the database with the ledger's own scope."""
        with sqlite3.connect(path) as db:
            for statement in (_SCOPES, *_SINCE_VERSION_1):
                db.execute(statement)
            wrapped = wrap_key(AESGCM(master), random, OWN_SCOPE, origin.encode())
            db.execute("INSERT INTO scopes VALUES (?, ?)", (OWN_SCOPE, wrapped))
        db.close()

    @property
    def _in_transaction(self) -> bool:
        return self._db.in_transaction

    def _begin(self) -> None:
        with self._wrapped():
            if not self._mode_is_set:
                self._enter_wal()
            self._db.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        with self._wrapped():
            self._db.execute("COMMIT")

    def _rollback(self) -> None:
        self._db.execute("ROLLBACK")

    def _rows(self, statement: str, *values: object) -> list[Any]:
        self._opened.require_here(self._place)
        with self._mutex:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise Unavailable(f"key database {self._path}: {error}") from error

    def _change(self, statement: str, *values: object) -> None:
        self._rows(statement, *values)

    def sweep(self) -> None:
        # Written anew: SQLite overwrites what is deleted, but not copies from before a page was split.
        self.require_outside()
        with self._mutex, self._wrapped():
            self._db.execute("VACUUM")
            # All of it is in the -wal now, behind what was there before. Waits for those who read.
            busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Unavailable(
                f"key database {self._path}: somebody has read it for {_BUSY_SECONDS} seconds, so what was destroyed "
                "may still lie in its -wal; erasing or opening the ledger again finishes it"
            )

    def close(self) -> None:
        with hold_lock(self._path.with_name(LOCK_FILE), alone=not self._read_only):
            self._close()

    def _close(self) -> None:
        if not self._read_only:
            with suppress(sqlite3.Error):  # others have it open, or it is closed
                self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _needs_recovery(self) -> bool:
        """Whether SQLite would have to write before it can read: a kill left a journal, or a -wal without its -shm."""
        if not self._path.exists():
            return False
        if self._beside("-journal").exists():  # of a kill, or of somebody who is just writing: SQLite knows
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?{_READ_ONLY}", uri=True)) as db:
                try:
                    db.execute("SELECT 1 FROM scopes").fetchone()
                except sqlite3.Error as error:
                    return error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK
        wal, shm = self._beside("-wal").exists(), self._beside("-shm").exists()
        if wal != shm:
            return True
        if wal:  # its header is not looked at: closing a file lets go of the locks that SQLite holds on it here
            return False
        with self._path.open("rb") as file:
            return file.read(20)[18:] == b"\2\2"  # in WAL mode

    def _copied(self) -> Path:
        """A copy in which SQLite may recover what a kill left half done; a reader must not do it in place."""
        self._scratch = tempfile.TemporaryDirectory(prefix="affidavit-")
        copy = Path(self._scratch.name) / self._path.name
        for suffix in ("", "-journal", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(self._beside(suffix), copy.with_name(copy.name + suffix))
        return copy

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _bring_up_to_date(self) -> None:
        version = self._rows("PRAGMA user_version")[0][0]
        if version > _VERSION:
            raise Unavailable(f"key database {self._path}: version {version}, this program knows up to {_VERSION}")
        if version == 0 and self._read_only:
            for statement in _VERSION_0_READ_AS_1:
                self._db.execute(statement)
        elif version == 0:
            with self._writing():
                if self._rows("PRAGMA user_version")[0][0] == 0:  # else another process was faster
                    for statement in _FROM_VERSION_0:
                        self._db.execute(statement)

    def _enter_wal(self) -> None:
        """Change to WAL mode, unless the append lock is taken, by this thread perhaps: then with a later write."""
        with ExitStack() as held:
            try:
                lock = held.enter_context(self._path.with_name(LOCK_FILE).open("rb"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except FileNotFoundError:
                pass  # a ledger that is being made: nobody else has it
            except BlockingIOError:
                return
            self._db.execute("PRAGMA journal_mode=WAL")
            self._rows("PRAGMA user_version")  # whatever is read makes -wal and -shm, which a reader looks for
            self._mode_is_set = True

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Unavailable(f"key database {self._path}: {error}") from error
