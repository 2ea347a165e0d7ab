"""The keys that HTTP callers show: made here, kept as digests, and compared in constant time.

They lie in the ledger's key folder, in ``api-keys.json``, never beside the evidence. A token is shown once,
when it is made.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from ..domain.errors import Refused
from ..ledger.errors import Unavailable
from ..ledger.files import lock_file, write_whole

FILE = "api-keys.json"
PREFIX = "afk_"
TOKEN_BYTES = 32

Scope = Literal["publish", "read", "review", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
"""``publish``: what agents hand in; ``read``: every read; ``review``: reads, grading, rules; ``admin``: everything."""

_IMPLIED = {"publish": {"publish"}, "read": {"read"}, "review": {"review", "read"}, "admin": set(SCOPES)}
_TOKEN = re.compile(r"afk_[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: ``digest`` is the SHA-256 of its token (hex), ``id`` its public name."""

    id: str
    digest: str
    scopes: tuple[str, ...]
    name: str
    created_at: str
    revoked_at: str | None = None

    def may(self, scope: str) -> bool:
        """Whether the key opens what needs ``scope``."""
        return any(scope in _IMPLIED[held] for held in self.scopes)


class Keyring:
    """The keys of one ledger, in its key folder ``folder``. What another process changes is seen at the next look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE
        self._mutex = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()

    def create(
        self, scopes: Sequence[str], name: str, now: str, random: Callable[[int], bytes] = os.urandom
    ) -> tuple[str, ApiKey]:
        """Make a key with one or more scopes; its token, which is kept nowhere, and the key."""
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            named = ", ".join(unknown) or "missing"
            raise Refused("scope_known", f"scope {named}: expected one of {', '.join(SCOPES)}")
        token = PREFIX + urlsafe_b64encode(random(TOKEN_BYTES)).rstrip(b"=").decode()
        key = ApiKey(random(4).hex(), _digest(token), tuple(dict.fromkeys(scopes)), name, now)
        with self._writing():
            self._write((*self._read(), key))
        return token, key

    def revoke(self, key_id: str, now: str) -> ApiKey:
        """Take a key out of use; revoking twice changes nothing."""
        with self._writing():
            keys = self._read()
            found = next((key for key in keys if key.id == key_id), None)
            if found is None:
                raise Refused("key_known", f"key {key_id!r}: there is none; `affidavit keys list` shows them")
            revoked = found if found.revoked_at else replace(found, revoked_at=now)
            self._write(tuple(revoked if key is found else key for key in keys))
        return revoked

    def every(self) -> tuple[ApiKey, ...]:
        """Every key that was made, the oldest first, revoked ones too."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return ()
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        with self._mutex:
            if seen != self._seen:
                self._keys, self._seen = self._read(), seen
            return self._keys

    def find(self, token: str) -> ApiKey | None:
        """The key that a token belongs to, None where there is none in use."""
        if not _TOKEN.fullmatch(token):
            return None
        digest, found = _digest(token), None
        for key in self.every():  # all of them, so that the time tells nothing
            if hmac.compare_digest(key.digest, digest) and key.revoked_at is None:
                found = key
        return found

    def _writing(self) -> AbstractContextManager[None]:
        return lock_file(self._path.with_name("api-keys.lock"))

    def _read(self) -> tuple[ApiKey, ...]:
        try:
            listed = json.loads(self._path.read_bytes())
            return tuple(ApiKey(**{**item, "scopes": tuple(item["scopes"])}) for item in listed)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Unavailable(f"API keys {self._path}: {error}") from error

    def _write(self, keys: Sequence[ApiKey]) -> None:
        content = json.dumps([asdict(key) for key in keys], indent=1).encode()
        try:
            write_whole(self._path, content, private=True)
        except OSError as error:
            raise Unavailable(f"API keys {self._path}: {error.strerror}") from error


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
