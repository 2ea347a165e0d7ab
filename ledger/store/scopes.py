"""Erasure scopes: the keys that sealed content lies under, and the aliases that stand for names.

Each scope's AES-256 key lies wrapped under the master key, each alias's row beside it, neither ever backed up with
the ledger: destroying a row is what erasure means. Keys are fetched inside the append lock and not kept, so nothing is
sealed under a key that has been destroyed meanwhile; the names of destroyed scopes are, so that none gets a second key.
"""

from __future__ import annotations

import hmac
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...domain.errors import Refused
from ..entries.seal import KEY_BYTES, NONCE_BYTES
from ..errors import Unavailable
from ..folds.erasures import Destroyed
from .forking import Opened

OWN_SCOPE = "ledger"
"""Made with the database; its key tells at once if a master key is wrong."""

_SELECT_ALIAS = "SELECT alias, scope, box FROM aliases WHERE lookup=? AND scope ="
_CHUNK = 1000


class KeyCounts(NamedTuple):
    """How many scopes have a key, how many aliases stand for names, how many scopes are known to be destroyed."""

    scopes: int
    aliases: int
    destroyed: int


class ScopeKeys(ABC):
    """The key database of one ledger. Safe from threads and processes; each call is its own transaction,
    but for those inside ``together``.

    ``place`` names it in errors. What a database does in its own way is abstract; ``?`` stands for a value.
    """

    def __init__(self, place: str, master: bytes, origin: str, random: Callable[[int], bytes]) -> None:
        self._place = place
        self._origin = origin.encode()
        self._random = random
        self._opened = Opened()
        self._mutex = threading.RLock()
        self._depth = 0
        self._inside: int | None = None
        self._held: dict[str, AESGCM] = {}
        self._master = AESGCM(master)
        self._lookup_mac = hmac.new(hmac.digest(master, b"affidavit alias lookup", "sha256"), digestmod="sha256")

    @property
    @abstractmethod
    def _in_transaction(self) -> bool:
        """Whether something was begun, and neither committed nor rolled back."""

    @abstractmethod
    def _begin(self) -> None:
        """Begin to write; nobody else does until it ends."""

    @abstractmethod
    def _commit(self) -> None:
        """Make durable what was written."""

    @abstractmethod
    def _rollback(self) -> None:
        """Undo what was written."""

    @abstractmethod
    def _rows(self, statement: str, *values: object) -> list[Any]:
        """Every row of the answer. ``Unavailable`` where the database does not serve."""

    @abstractmethod
    def _change(self, statement: str, *values: object) -> None:
        """Carry out a statement that answers nothing. ``Unavailable`` where the database does not serve."""

    @abstractmethod
    def sweep(self) -> None:
        """Leave no byte of what was destroyed, as far as the database can.

        Takes time in proportion to the database, and others wait meanwhile.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run all calls inside in one transaction: one wait for the disk, all or none. May be nested.

        Other threads wait meanwhile. Appending inside is refused: a name must be durable before an entry says
        its alias, and who appends may wait for who is in here.
        """
        self._opened.require_here(self._place)
        with self._mutex:
            self._depth += 1
            self._inside = threading.get_ident()
            try:
                yield
                if self._depth == 1 and self._in_transaction:
                    self._commit()
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._inside = None
                    self._held.clear()
                    if self._in_transaction:
                        self._rollback()

    def require_outside(self) -> None:
        """RuntimeError where this thread is inside ``together``, or this process was forked since this was opened."""
        self._opened.require_here(self._place)
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
                if self._in_transaction:  # nobody else can destroy it before the transaction ends
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
            if alias is None and self._in_transaction:
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
            self._change("DELETE FROM scopes WHERE scope=?", scope)
            self._change("DELETE FROM aliases WHERE scope=?", scope)
            self._change("DELETE FROM destroyed WHERE scope=?", scope)
            self._change("INSERT INTO destroyed VALUES (?, ?, ?)", scope, *destroyed)

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

    def counts(self) -> KeyCounts:
        """How many rows of each kind there are."""
        return KeyCounts(
            *(int(self._rows(f"SELECT count(*) FROM {table}")[0][0]) for table in ("scopes", "aliases", "destroyed"))
        )

    def take_over(self, other: ScopeKeys) -> KeyCounts:
        """Hold what another key database of this ledger holds, wrapped as it is, and nothing else; how much that is.

        All in one transaction. ``sweep`` after it: what was here before may have been destroyed there.
        """
        with self._writing():
            self._held.clear()
            for table in ("aliases", "scopes", "destroyed"):
                self._change(f"DELETE FROM {table}")
            # Aliases first: whoever makes one meanwhile makes its scope before it.
            aliases = sum(
                self._insert("aliases (alias, scope, lookup, box)", [row[1:] for row in page])
                for page in other._pages("aliases", "added, alias, scope, lookup, box")
            )
            scopes = sum(self._insert("scopes", page) for page in other._pages("scopes", "scope, wrapped"))
            destroyed = sum(
                self._insert("destroyed", page) for page in other._pages("destroyed", "scope, fingerprint, aliases")
            )
            return KeyCounts(scopes, aliases, destroyed)

    def _pages(self, table: str, columns: str) -> Iterator[list[Any]]:
        """All rows by their first column, which is unique."""
        first = columns.partition(",")[0]
        page = self._rows(f"SELECT {columns} FROM {table} ORDER BY {first} LIMIT {_CHUNK}")
        while page:
            yield page
            page = self._rows(
                f"SELECT {columns} FROM {table} WHERE {first} > ? ORDER BY {first} LIMIT {_CHUNK}", page[-1][0]
            )

    def _insert(self, into: str, rows: list[Any]) -> int:
        row = f"({','.join('?' * len(rows[0]))})"
        values = [value for values in rows for value in values]
        self._change(f"INSERT INTO {into} VALUES {','.join([row] * len(rows))}", *values)
        return len(rows)

    def _require_own(self) -> None:
        """``Unavailable`` where this is not the key database of this ledger under this master key."""
        if self.cipher(OWN_SCOPE) is None:
            raise Unavailable(f"key database {self._place}: no key for scope {OWN_SCOPE!r}; it is not this ledger's")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """As ``together``, begun for writing, so that what is read inside cannot change before it is written."""
        with self.together():
            if not self._in_transaction:
                self._begin()
            yield

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
            raise Unavailable(f"key database {self._place}: the row of alias {alias} was changed") from error

    def _make_alias(self, lookup: bytes, kind: str, name: str, under: str | None) -> str:
        alias = f"{kind}-{self._random(8).hex()}"
        if under is None:
            scope = f"{kind}/{alias}"
            cipher = self._make_key(scope)  # as new as the alias: there is none to look for
        else:
            scope, cipher = under, self.cipher_for_sealing(under)
        nonce = self._random(NONCE_BYTES)
        box = nonce + cipher.encrypt(nonce, name.encode(), alias.encode())
        self._change("INSERT INTO aliases (alias, scope, lookup, box) VALUES (?, ?, ?, ?)", alias, scope, lookup, box)
        return alias

    def _make_key(self, scope: str) -> AESGCM:
        wrapped = wrap_key(self._master, self._random, scope, self._origin)
        self._change("INSERT INTO scopes VALUES (?, ?)", scope, wrapped)
        cipher = self._held[scope] = AESGCM(self._unwrap(scope, wrapped))
        return cipher

    def _renamed(self, alias: str) -> Unavailable:
        return Unavailable(f"key database {self._place}: alias {alias} was changed to another name")

    def _unwrap(self, scope: str, wrapped: bytes) -> bytes:
        try:
            if type(wrapped) is not bytes:
                raise ValueError(f"expected bytes, found {type(wrapped).__name__}")  # noqa: TRY301
            return self._master.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _context(scope, self._origin))
        except (InvalidTag, ValueError) as error:
            raise Unavailable(
                f"key database {self._place}: the master key does not open scope {scope!r}; "
                "it belongs to another ledger, or the row was changed"
            ) from error

    def _fingerprint(self, scope: str, key: bytes) -> str:
        """SHA-256 over a random key of 256 bits, which tells nothing of it."""
        return sha256(b"affidavit erased key\n" + _context(scope, self._origin) + b"\n" + key).hexdigest()


def wrap_key(master: AESGCM, random: Callable[[int], bytes], scope: str, origin: bytes) -> bytes:
    """A new key for a scope, as it is stored."""
    nonce = random(NONCE_BYTES)
    return nonce + master.encrypt(nonce, random(KEY_BYTES), _context(scope, origin))


def _context(scope: str, origin: bytes) -> bytes:
    return origin + b"\n" + scope.encode()
