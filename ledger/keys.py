"""The key folder: what must never lie beside the evidence.

One folder per ledger, outside the ledger's own, named after its origin::

    signing.pem   Ed25519 private key, PKCS#8, mode 0600: signs checkpoints
    master.key    32 random bytes in hex, mode 0600: wraps the keys of erasure scopes
    signed        the body of the last checkpoint signed: nothing that contradicts it is ever signed
    signing.lock  held while signing

Whoever copies the ledger has none of these; whoever has these can sign, so back them up elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .checkpoint import Checkpoint, parse_checkpoint, print_checkpoint
from .errors import Malformed, Unavailable
from .seal import KEY_BYTES

_ORIGIN = re.compile(r"[A-Za-z0-9._-]{1,64}(/[A-Za-z0-9._-]{1,64}){0,3}", re.ASCII)


def make_origin(name: str, random: Callable[[int], bytes]) -> str:
    """``NAME/<16 hex at random>``: a name that no other ledger has, nor a copy of this one made anew."""
    if not _ORIGIN.fullmatch(name):
        raise Malformed(f"origin name {name!r}: expected words of [A-Za-z0-9._-], parted by '/'")
    return f"{name}/{random(8).hex()}"


class KeyFolder:
    """The files of one ledger's keys under ``root``. Reading a missing file raises ``Unavailable``."""

    def __init__(self, root: Path, origin: str) -> None:
        self.path = root / origin.replace("/", "_")
        self._origin = origin
        self._state = self.path / "signed"

    def create(self, random: Callable[[int], bytes]) -> None:
        """Make both keys and the empty signing state; refuses to write over what is there."""
        self.path.mkdir(parents=True, mode=0o700)
        private = Ed25519PrivateKey.from_private_bytes(random(KEY_BYTES))
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write_private(self.path / "signing.pem", pem)
        _write_private(self.path / "master.key", random(KEY_BYTES).hex().encode() + b"\n")
        self.write_signed(Checkpoint.empty(self._origin))
        sync_folder(self.path.parent)

    def signing_key(self) -> Ed25519PrivateKey:
        path = self.path / "signing.pem"
        try:
            key = serialization.load_pem_private_key(_read(path), password=None)
        except (ValueError, TypeError) as error:
            raise Unavailable(f"signing key {path}: expected an unencrypted PKCS#8 Ed25519 key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Unavailable(f"signing key {path}: expected an Ed25519 key, found {type(key).__name__}")
        return key

    def master_key(self) -> bytes:
        path = self.path / "master.key"
        try:
            key = bytes.fromhex(_read(path).decode())
        except ValueError as error:
            raise Unavailable(f"master key {path}: expected 64 hex digits") from error
        if len(key) != KEY_BYTES:
            raise Unavailable(f"master key {path}: expected 64 hex digits, found {len(key) * 2}")
        return key

    def signed(self) -> Checkpoint:
        """The last checkpoint signed with this key, as far as this folder knows."""
        try:
            return parse_checkpoint(_read(self._state).decode())
        except (Malformed, ValueError) as error:
            raise Unavailable(f"signing state {self._state}: expected a checkpoint body: {error}") from error

    def write_signed(self, checkpoint: Checkpoint) -> None:
        """Replace the signing state; durable when this returns."""
        fresh = self._state.with_name("signed.new")
        try:
            with fresh.open("wb") as file:
                file.write(print_checkpoint(checkpoint).encode())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._state)
            sync_folder(self.path)
        except OSError as error:
            raise Unavailable(f"signing state {self._state}: {error.strerror}") from error

    @contextmanager
    def signing_lock(self) -> Iterator[None]:
        """Held by the one process that signs; others wait."""
        with lock_file(self.path / "signing.lock"):
            yield


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` among processes. The kernel queues waiters and frees it at a kill."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"lock file {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make renames and new files in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"key file {path}: {error.strerror}; AFFIDAVIT_KEYS names the key folder") from error


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
