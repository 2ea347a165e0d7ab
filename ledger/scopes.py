"""Erasure scopes: the keys that sealed content lies under, and the aliases that stand for names.

``keys.db`` holds each scope's AES-256 key wrapped under the master key, and each alias's row. Neither is
ever backed up with the ledger: destroying a row is what erasure means. Keys are fetched inside the
append lock and not kept, so nothing is sealed under a key that has been destroyed meanwhile.
"""

from __future__ import annotations

import hmac
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import Unavailable
from .seal import KEY_BYTES, NONCE_BYTES

_SCHEMA = """
CREATE TABLE scopes (scope TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE aliases (alias TEXT PRIMARY KEY, lookup BLOB NOT NULL UNIQUE, box BLOB NOT NULL) WITHOUT ROWID;
"""
_CANARY = "ledger"


class ScopeKeys:
    """The key database of one ledger. Safe from threads; each call is its own transaction."""

    def __init__(
        self, path: Path, master: bytes, origin: str, random: Callable[[int], bytes], *, read_only: bool = False
    ) -> None:
        self._path = path
        self._origin = origin.encode()
        self._random = random
        self._mutex = threading.RLock()
        self._master = AESGCM(master)
        self._lookup_key = hmac.digest(master, b"affidavit alias lookup", "sha256")
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        source = self._copied() if read_only and path.with_name(path.name + "-journal").exists() else path
        mode = "ro" if read_only and source == path else "rw"
        try:
            self._db = sqlite3.connect(
                f"{source.absolute().as_uri()}?mode={mode}", uri=True, check_same_thread=False, isolation_level=None
            )
            self._db.execute("PRAGMA secure_delete=ON")
            self._db.execute("PRAGMA synchronous=FULL")
            known = self._fetch(_CANARY)
        except sqlite3.Error as error:
            raise Unavailable(f"key database {path}: {error}") from error
        if known is None:
            raise Unavailable(f"key database {path}: no key for scope {_CANARY!r}; it is not this ledger's")

    @classmethod
    def create(cls, path: Path, master: bytes, origin: str, random: Callable[[int], bytes]) -> None:
        """Make the database with the ledger's own scope, whose key tells at once if a master key is wrong."""
        with sqlite3.connect(path) as db:
            db.executescript(_SCHEMA)
            wrapped = _wrap(AESGCM(master), random, _CANARY, origin.encode())
            db.execute("INSERT INTO scopes VALUES (?, ?)", (_CANARY, wrapped))
        db.close()

    def cipher(self, scope: str) -> AESGCM | None:
        """The cipher of a scope, or None where there is no key (never made, or destroyed)."""
        return self._fetch(scope)

    def cipher_for_sealing(self, scope: str) -> AESGCM:
        """The cipher of a scope, its key made and durable if it is new. Call inside the append lock."""
        with self._mutex:
            cipher = self._fetch(scope)
            if cipher is None:
                wrapped = _wrap(self._master, self._random, scope, self._origin)
                self._db.execute("INSERT INTO scopes VALUES (?, ?)", (scope, wrapped))
                cipher = self._unwrap(scope, wrapped)
            return cipher

    def alias(self, kind: str, name: str) -> str:
        """The random alias that stands for ``name`` in the log, made at first use (``actor-3f9c…``)."""
        lookup = hmac.digest(self._lookup_key, f"{kind}\n{name}".encode(), "sha256")
        with self._transaction():
            row = self._db.execute("SELECT alias FROM aliases WHERE lookup=?", (lookup,)).fetchone()
            if row is not None:
                if self.name_of(str(row[0])) != name:
                    raise Unavailable(f"key database {self._path}: alias {row[0]} was changed to another name")
                return str(row[0])
            alias = f"{kind}-{self._random(8).hex()}"
            cipher, nonce = self.cipher_for_sealing(f"{kind}/{alias}"), self._random(NONCE_BYTES)
            box = nonce + cipher.encrypt(nonce, name.encode(), alias.encode())
            self._db.execute("INSERT INTO aliases VALUES (?, ?, ?)", (alias, lookup, box))
            return alias

    def name_of(self, alias: str) -> str | None:
        """The name that an alias stands for, or None where its row or key is gone."""
        row = self._db.execute("SELECT box FROM aliases WHERE alias=?", (alias,)).fetchone()
        kind = alias.rpartition("-")[0]
        cipher = self._fetch(f"{kind}/{alias}") if row else None
        if cipher is None:
            return None
        try:
            box = bytes(row[0])
            return cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], alias.encode()).decode()
        except (InvalidTag, ValueError, TypeError) as error:
            raise Unavailable(f"key database {self._path}: the row of alias {alias} was changed") from error

    def close(self) -> None:
        self._db.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _copied(self) -> Path:
        """A copy in which SQLite may roll back what a kill left half done; a reader must not do it in place."""
        self._scratch = tempfile.TemporaryDirectory(prefix="affidavit-")
        copy = Path(self._scratch.name) / self._path.name
        for suffix in ("", "-journal"):
            with suppress(FileNotFoundError):  # its writer has just committed
                shutil.copyfile(self._path.with_name(self._path.name + suffix), copy.with_name(copy.name + suffix))
        return copy

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._mutex:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise Unavailable(f"key database {self._path}: {error}") from error
                raise

    def _fetch(self, scope: str) -> AESGCM | None:
        row = self._db.execute("SELECT wrapped FROM scopes WHERE scope=?", (scope,)).fetchone()
        return None if row is None else self._unwrap(scope, row[0])

    def _unwrap(self, scope: str, wrapped: bytes) -> AESGCM:
        try:
            if type(wrapped) is not bytes:
                raise ValueError(f"expected bytes, found {type(wrapped).__name__}")  # noqa: TRY301
            key = self._master.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _context(scope, self._origin))
        except (InvalidTag, ValueError) as error:
            raise Unavailable(
                f"key database {self._path}: the master key does not open scope {scope!r}; "
                "it belongs to another ledger, or the row was changed"
            ) from error
        return AESGCM(key)


def _wrap(master: AESGCM, random: Callable[[int], bytes], scope: str, origin: bytes) -> bytes:
    nonce = random(NONCE_BYTES)
    return nonce + master.encrypt(nonce, random(KEY_BYTES), _context(scope, origin))


def _context(scope: str, origin: bytes) -> bytes:
    return origin + b"\n" + scope.encode()
