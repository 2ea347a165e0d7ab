"""The key folder: what must never lie beside the evidence.

One folder per ledger, outside the ledger's own, named after its origin::

    signing.pem   Ed25519 private key, PKCS#8, mode 0600: signs checkpoints
    master.key    32 random bytes in hex, mode 0600: wraps the keys of erasure scopes
    signed        the body of the last checkpoint signed: nothing that contradicts it is ever signed
    signing.lock  held while signing

While two keys sign, the newer lies in ``signing-<key ID>.pem``. A log that goes on under another origin has all of
these but the master key in a folder of its own inside this one, named after that origin. There is no ``master.key``
where the environment gives the master key.

Whoever copies the ledger has none of these; whoever has these can sign, so back them up elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..entries.seal import KEY_BYTES
from ..errors import Malformed, Unavailable
from ..files import lock_file, sync_folder
from ..folds.identity import Identity, KeyRange
from ..tlog.checkpoint import Checkpoint, parse_checkpoint, print_checkpoint
from ..tlog.note import ED25519, VerifierKey
from .master_key import master_key_from, parse_master_key

_ORIGIN = re.compile(r"[A-Za-z0-9._-]{1,64}(/[A-Za-z0-9._-]{1,64}){0,3}", re.ASCII)


def make_origin(name: str, random: Callable[[int], bytes]) -> str:
    """``NAME/<16 hex at random>``: a name that no other ledger has, nor a copy of this one made anew."""
    if not _ORIGIN.fullmatch(name):
        raise Malformed(f"origin name {name!r}: expected words of [A-Za-z0-9._-], parted by '/'")
    return f"{name}/{random(8).hex()}"


def make_signing_key(random: Callable[[int], bytes]) -> Ed25519PrivateKey:
    """A new key that no file holds yet; ``random(n)`` must give n bytes that nobody can guess."""
    return Ed25519PrivateKey.from_private_bytes(random(KEY_BYTES))


class KeyFolder:
    """The files of one ledger's keys under ``root``. Reading a missing file raises ``Unavailable``.

    ``genesis`` is the origin that entry 0 names, ``origin`` the one that is signed under now, if that is another.
    """

    def __init__(self, root: Path, genesis: str, origin: str | None = None) -> None:
        self.path = root / _folder_name(genesis)
        self.origin = origin or genesis
        self._signing = self.path if self.origin == genesis else self.path / _folder_name(self.origin)
        self._state = self._signing / "signed"

    def create(self, random: Callable[[int], bytes]) -> None:
        """Make both keys and the empty signing state; refuses to write over what is there.

        Where the environment gives the master key, that is taken, and none is written.
        """
        given = master_key_from(os.environ)
        self.path.mkdir(parents=True, mode=0o700)
        self._create_signing(make_signing_key(random))
        if given is None:
            _write_private(self.path / "master.key", random(KEY_BYTES).hex().encode() + b"\n")
        sync_folder(self.path.parent)

    def create_continued(self, private: Ed25519PrivateKey) -> None:
        """Keep ``private`` and an empty signing state for an origin that goes on with an older log."""
        self._signing.mkdir(mode=0o700)
        self._create_signing(private)
        sync_folder(self.path)

    def signing_key(self) -> Ed25519PrivateKey:
        """The key in ``signing.pem``: the oldest of those that still sign."""
        return _read_signing_key(self._main)

    def oldest_key(self) -> VerifierKey:
        """The public key to ``signing_key``."""
        return self.verifier_key(self.signing_key())

    def private_key(self, signer: KeyRange) -> Ed25519PrivateKey:
        """The private key of ``signer``; ``Unavailable`` where it is in none of the files."""
        newer = self._newer(signer.key)
        for path in (self._main, newer):
            if path == self._main or path.exists():
                private = _read_signing_key(path)
                if self.verifier_key(private) == signer.key:
                    return private
        raise Unavailable(
            f"key folder {self._signing}: signing.pem is not the key that entry {signer.named_by} names, "
            f"and {newer.name} is not there"
        )

    def add_key(self, random: Callable[[int], bytes]) -> VerifierKey:
        """Make another signing key beside the present one; durable when this returns. It signs nothing yet."""
        private = make_signing_key(random)
        key = self.verifier_key(private)
        try:
            _write_private(self._newer(key), _print_signing_key(private))
            sync_folder(self._signing)
        except OSError as error:
            raise Unavailable(f"key folder {self._signing}: {error.strerror}") from error
        return key

    def retire(self, identity: Identity, size: int) -> None:
        """Remove the keys that sign no checkpoint of more than ``size`` entries, and those that no entry names.

        Call while holding the signing lock, after a checkpoint of ``size`` entries was published: then no rotation is
        under way, and an entry whose commit failed cannot come back.
        """
        newer = list(self._signing.glob(_newer_name("*")))
        if not newer:
            return
        live = {
            self._newer(signer.key): signer.key
            for signer in identity.ranges
            if signer.last is None or signer.last > size
        }
        try:
            for path in newer:  # by name: one whose making was interrupted may hold half a key
                if path not in live:
                    path.unlink()
            if self.oldest_key() not in live.values():
                oldest = next(path for path in live if path in newer)
                oldest.replace(self._main)  # in one step: there is a signing.pem at every moment
            sync_folder(self._signing)
        except OSError as error:
            raise Unavailable(f"key folder {self._signing}: {error.strerror}") from error

    def master_key(self) -> bytes:
        """The master key: as the environment gives it, else from ``master.key``."""
        given = master_key_from(os.environ)
        if given is not None:
            return given
        path = self.path / "master.key"
        try:
            text = _read(path).decode()
        except ValueError as error:
            raise Unavailable(f"master key {path}: expected 64 hex digits") from error
        return parse_master_key(text, str(path))

    def signed(self) -> Checkpoint:
        """The last checkpoint signed with this key, as far as this folder knows."""
        try:
            return parse_checkpoint(_read(self._state).decode())
        except (Malformed, ValueError) as error:
            raise Unavailable(f"signing state {self._state}: expected a checkpoint body: {error}") from error

    def write_signed(self, checkpoint: Checkpoint) -> None:
        """Replace the signing state; durable when this returns."""
        fresh = self._state.with_name("signed.new")  # one name: who signs is alone, and a crash leaves no more of them
        try:
            with fresh.open("wb") as file:
                file.write(print_checkpoint(checkpoint).encode())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._state)
            sync_folder(self._signing)
        except OSError as error:
            raise Unavailable(f"signing state {self._state}: {error.strerror}") from error

    def verifier_key(self, private: Ed25519PrivateKey) -> VerifierKey:
        """The public key to ``private`` under the present origin."""
        return VerifierKey(self.origin, ED25519, private.public_key().public_bytes_raw())

    @contextmanager
    def signing_lock(self) -> Iterator[None]:
        """Held by the one process that signs; others wait."""
        with lock_file(self._signing / "signing.lock"):
            yield

    @property
    def _main(self) -> Path:
        return self._signing / "signing.pem"

    def _newer(self, key: VerifierKey) -> Path:
        return self._signing / _newer_name(key.key_id.hex())

    def _create_signing(self, private: Ed25519PrivateKey) -> None:
        _write_private(self._main, _print_signing_key(private))
        self.write_signed(Checkpoint.empty(self.origin))


def _folder_name(origin: str) -> str:
    return origin.replace("/", "_")


def _newer_name(key_id: str) -> str:
    return f"signing-{key_id}.pem"


def _print_signing_key(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_signing_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise Unavailable(f"signing key {path}: expected an unencrypted PKCS#8 Ed25519 key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Unavailable(f"signing key {path}: expected an Ed25519 key, found {type(key).__name__}")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"key file {path}: {error.strerror}; AFFIDAVIT_KEYS names the key folder") from error


def _write_private(path: Path, content: bytes) -> None:
    # Under its own name at once: a copy under another that a crash leaves would outlive the key.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
