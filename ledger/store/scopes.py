"""Erasure scopes: the keys that sealed content lies under, and the aliases that stand for names.

``keys.db`` holds each scope's AES-256 key wrapped under the master key, and each alias's row. Neither is
ever backed up with the ledger: destroying a row is what erasure means. Keys are fetched inside the
append lock and not kept, so nothing is sealed under a key that has been destroyed meanwhile; the names of
destroyed scopes are, so that none gets a second key.

From the first name that is made until whoever closes it last the database is in WAL mode, with one wait for the
disk for each commit; closed, it is a single file with a rollback journal. A reader never writes, not even into
``-shm``; SQLite shares that within a process, so a process that reads while others write cannot open it for
writing as well. Opening, changing the mode and closing take the append lock, so that nobody copies the files meanwhile.
"""

from __future__ import annotations

import fcntl
import hmac
import shutil
import sqlite3
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...domain.errors import Refused
from ..entries.seal import KEY_BYTES, NONCE_BYTES
from ..errors import Unavailable
from ..files import hold_lock
from ..folds.erasures import Destroyed
from .schema import LOCK_FILE

OWN_SCOPE = "ledger"
"""Made with the database; its key tells at once if a master key is wrong."""

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
_SELECT_ALIAS = "SELECT alias, scope, box FROM aliases WHERE lookup=? AND scope ="
_CHUNK = 1000
_BUSY_SECONDS = 60
_READ_ONLY = "mode=ro&readonly_shm=1"


class ScopeKeys:
    """The key database of one ledger. Safe from threads and processes; each call is its own transaction,
    but for those inside ``together``."""

    def __init__(
        self, path: Path, master: bytes, origin: str, random: Callable[[int], bytes], *, read_only: bool = False
    ) -> None:
        self._path = path
        self._origin = origin.encode()
        self._random = random
        self._mutex = threading.RLock()
        self._depth = 0
        self._inside: int | None = None
        self._held: dict[str, AESGCM] = {}
        self._mode_is_set = False
        self._master = AESGCM(master)
        self._lookup_mac = hmac.new(hmac.digest(master, b"affidavit alias lookup", "sha256"), digestmod="sha256")
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
                    self._require_own(self.cipher(OWN_SCOPE))
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
            wrapped = _wrap(AESGCM(master), random, OWN_SCOPE, origin.encode())
            db.execute("INSERT INTO scopes VALUES (?, ?)", (OWN_SCOPE, wrapped))
        db.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run all calls inside in one transaction: one wait for the disk, all or none. May be nested.

        Other threads wait meanwhile. Appending inside is refused: a name must be durable before an entry says
        its alias, and who appends may wait for who is in here.
        """
        with self._mutex:
            self._depth += 1
            self._inside = threading.get_ident()
            try:
                yield
                if self._depth == 1 and self._db.in_transaction:
                    with self._wrapped():
                        self._db.execute("COMMIT")
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._inside = None
                    self._held.clear()
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")

    def require_outside(self) -> None:
        """RuntimeError where this thread is inside ``together``."""
        if self._inside == threading.get_ident():
            raise RuntimeError("append after the block of `naming` or `together`, not inside it")

    def cipher(self, scope: str) -> AESGCM | None:
        """The cipher of a scope, or None where there is no key (never made, or destroyed)."""
        with self._mutex:
            cipher = self._held.get(scope)
            if cipher is None:
                row = self._row("SELECT wrapped FROM scopes WHERE scope=?", scope)
                if row is None:
                    return None
                cipher = AESGCM(self._unwrap(scope, row[0]))
                if self._db.in_transaction:  # nobody else can destroy it before the transaction ends
                    self._held[scope] = cipher
            return cipher

    def cipher_for_sealing(self, scope: str) -> AESGCM:
        """The cipher of a scope, its key made and durable if it is new. Call inside the append lock.

        ``Refused`` (``scope_erased``) where its key was destroyed.
        """
        cipher = self.cipher(scope)
        if cipher is None:
            with self._writing():
                cipher = self.cipher(scope)
                if cipher is None:
                    if self.destroyed(scope) is not None:
                        raise Refused("scope_erased", f"scope {scope!r} was erased; nothing more is sealed under it")
                    cipher = self._make_key(scope)
        return cipher

    def alias(self, kind: str, name: str, under: str | None = None) -> str:
        """The random alias that stands for ``name`` in the log, made at first use (``actor-3f9c…``).

        It lives and dies with the key of scope ``under``, where the same name has another alias than anywhere
        else; without ``under`` with a key of its own, ``<kind>/<alias>``. ``Refused`` (``scope_erased``) where
        that scope was erased.
        """
        lookup = self._lookup(kind, name)
        with self._mutex:
            alias = self._alias_of(lookup, kind, name, under)
            if alias is None and self._db.in_transaction:
                return self._make_alias(lookup, kind, name, under)
            if alias is None:
                with self._writing():  # another process may have made it before we began
                    alias = self._alias_of(lookup, kind, name, under) or self._make_alias(lookup, kind, name, under)
            return alias

    def oldest_alias(self, kind: str, name: str, under: str) -> str:
        """The oldest living alias of a name, in whichever scope; where there is none, one made under ``under``.

        Two processes never make one each. ``Refused`` as ``alias``.
        """
        with self._writing():
            found = self.find(kind, name)
            return found[0][0] if found else self._make_alias(self._lookup(kind, name), kind, name, under)

    def find(self, kind: str, name: str) -> list[tuple[str, str]]:
        """(alias, scope) of every living alias of a name, in the order in which they were made."""
        rows = self._rows("SELECT alias, scope FROM aliases WHERE lookup=? ORDER BY added", self._lookup(kind, name))
        names = self.names_of(alias for alias, _ in rows)
        for alias, found in names.items():
            if found not in (name, None):
                raise self._renamed(alias)
        return [(alias, scope) for alias, scope in rows if names[alias] is not None]

    def name_of(self, alias: str) -> str | None:
        """The name that an alias stands for, or None where its row or key is gone."""
        return self.names_of([alias])[alias]

    def names_of(self, aliases: Iterable[str]) -> dict[str, str | None]:
        """The name of each alias, None where its row or key is gone. Each scope's key is unwrapped once."""
        names: dict[str, str | None] = dict.fromkeys(aliases)
        boxes: defaultdict[str, list[tuple[str, Any]]] = defaultdict(list)
        for scope, alias, box in self._rows_in("SELECT scope, alias, box FROM aliases WHERE alias IN", [*names]):
            boxes[scope].append((alias, box))
        for scope, wrapped in self._rows_in("SELECT scope, wrapped FROM scopes WHERE scope IN", [*boxes]):
            cipher = AESGCM(self._unwrap(scope, wrapped))
            for alias, box in boxes[scope]:
                names[alias] = self._open(cipher, alias, box)
        return names

    def destroy(self, scope: str) -> Destroyed | None:
        """Destroy a scope's key and the rows of its aliases, or say how it was destroyed before; None without a key.

        Call inside the append lock, and ``sweep`` after it.
        """
        with self._writing():
            row = self._row("SELECT wrapped FROM scopes WHERE scope=?", scope)
            if row is None:
                return self.destroyed(scope)
            (count,) = self._rows("SELECT count(*) FROM aliases WHERE scope=?", scope)[0]
            destroyed = Destroyed(self._fingerprint(scope, self._unwrap(scope, row[0])), count)
            self.destroy_as(scope, destroyed)
            return destroyed

    def destroy_as(self, scope: str, destroyed: Destroyed) -> None:
        """Make true what the log says of a scope, after an older copy of this database was put back."""
        with self._writing():
            self._held.pop(scope, None)
            self._db.execute("DELETE FROM scopes WHERE scope=?", (scope,))
            self._db.execute("DELETE FROM aliases WHERE scope=?", (scope,))
            self._db.execute("INSERT OR REPLACE INTO destroyed VALUES (?, ?, ?)", (scope, *destroyed))

    def sweep(self) -> None:
        """Write the database anew: SQLite overwrites what is deleted, but not copies from before a page was split.

        Takes time in proportion to the database, and others wait meanwhile.
        """
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

    def destroyed(self, scope: str) -> Destroyed | None:
        """How a scope's key was destroyed; None where it is there, or never was."""
        row = self._row("SELECT fingerprint, aliases FROM destroyed WHERE scope=?", scope)
        return None if row is None else Destroyed(*row)

    def all_destroyed(self) -> dict[str, Destroyed]:
        """Every scope whose key is known to be destroyed, and how."""
        rows = self._rows("SELECT scope, fingerprint, aliases FROM destroyed ORDER BY scope")
        return {scope: Destroyed(fingerprint, aliases) for scope, fingerprint, aliases in rows}

    def count_destroyed(self) -> int:
        """How many scopes are known to be destroyed."""
        return int(self._rows("SELECT count(*) FROM destroyed")[0][0])

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

    def _require_own(self, cipher: AESGCM | None) -> None:
        if cipher is None:
            raise Unavailable(f"key database {self._path}: no key for scope {OWN_SCOPE!r}; it is not this ledger's")

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

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """As ``together``, begun for writing, so that what is read inside cannot change before it is written."""
        with self.together(), self._wrapped():
            if not self._db.in_transaction:
                if not self._mode_is_set:
                    self._enter_wal()
                self._db.execute("BEGIN IMMEDIATE")
            yield

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

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._mutex:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise Unavailable(f"key database {self._path}: {error}") from error

    def _row(self, statement: str, *values: object) -> Any:
        return next(iter(self._rows(statement, *values)), None)

    def _rows_in(self, statement: str, values: list[str]) -> Iterator[Any]:
        """The rows for all ``values``, so many at a time that others need not wait for the whole."""
        for start in range(0, len(values), _CHUNK):
            chunk = values[start : start + _CHUNK]
            yield from self._rows(f"{statement} ({','.join('?' * len(chunk))})", *chunk)

    def _lookup(self, kind: str, name: str) -> bytes:
        mac = self._lookup_mac.copy()  # `hmac.digest` lets go of the interpreter each time, and waits to have it again
        mac.update(f"{kind}\n{name}".encode())
        return mac.digest()

    def _alias_of(self, lookup: bytes, kind: str, name: str, under: str | None) -> str | None:
        if under is None:
            row = self._row(f"{_SELECT_ALIAS} ? || '/' || alias", lookup, kind)
        else:
            row = self._row(f"{_SELECT_ALIAS} ?", lookup, under)
        if row is None:
            return None
        alias, scope, box = row
        cipher = self.cipher(scope)
        if cipher is None or self._open(cipher, alias, box) != name:
            raise self._renamed(alias)
        return str(alias)

    def _open(self, cipher: AESGCM, alias: str, box: bytes) -> str:
        try:
            return cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], alias.encode()).decode()
        except (InvalidTag, ValueError, TypeError) as error:
            raise Unavailable(f"key database {self._path}: the row of alias {alias} was changed") from error

    def _make_alias(self, lookup: bytes, kind: str, name: str, under: str | None) -> str:
        alias = f"{kind}-{self._random(8).hex()}"
        if under is None:
            scope = f"{kind}/{alias}"
            cipher = self._make_key(scope)  # as new as the alias: there is none to look for
        else:
            scope, cipher = under, self.cipher_for_sealing(under)
        nonce = self._random(NONCE_BYTES)
        box = nonce + cipher.encrypt(nonce, name.encode(), alias.encode())
        self._db.execute(
            "INSERT INTO aliases (alias, scope, lookup, box) VALUES (?, ?, ?, ?)",
            (alias, scope, lookup, box),
        )
        return alias

    def _make_key(self, scope: str) -> AESGCM:
        wrapped = _wrap(self._master, self._random, scope, self._origin)
        self._db.execute("INSERT INTO scopes VALUES (?, ?)", (scope, wrapped))
        cipher = self._held[scope] = AESGCM(self._unwrap(scope, wrapped))
        return cipher

    def _renamed(self, alias: str) -> Unavailable:
        return Unavailable(f"key database {self._path}: alias {alias} was changed to another name")

    def _unwrap(self, scope: str, wrapped: bytes) -> bytes:
        try:
            if type(wrapped) is not bytes:
                raise ValueError(f"expected bytes, found {type(wrapped).__name__}")  # noqa: TRY301
            return self._master.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _context(scope, self._origin))
        except (InvalidTag, ValueError) as error:
            raise Unavailable(
                f"key database {self._path}: the master key does not open scope {scope!r}; "
                "it belongs to another ledger, or the row was changed"
            ) from error

    def _fingerprint(self, scope: str, key: bytes) -> str:
        """SHA-256 over a random key of 256 bits, which tells nothing of it."""
        return sha256(b"affidavit erased key\n" + _context(scope, self._origin) + b"\n" + key).hexdigest()


def _wrap(master: AESGCM, random: Callable[[int], bytes], scope: str, origin: bytes) -> bytes:
    nonce = random(NONCE_BYTES)
    return nonce + master.encrypt(nonce, random(KEY_BYTES), _context(scope, origin))


def _context(scope: str, origin: bytes) -> bytes:
    return origin + b"\n" + scope.encode()
