"""Private keys of witnesses and reviewers: one line of text, in the form of Go's ``note`` package.

::

    PRIVATE+KEY+<name>+<8 lowercase hex digits of the key ID>+<base64 of type || 32-byte seed>

The ledger's own signing key is kept otherwise (``keys.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..errors import Malformed, Unavailable
from ..files import write_whole
from . import ml_dsa
from .note import (
    ML_DSA_44_COSIGNATURE,
    NoteSignature,
    VerifierKey,
    check_signs_text,
    decode_base64,
    encode_base64,
    encode_text,
    print_signature,
)

_PREFIX = "PRIVATE+KEY+"
_SEED_SIZE = 32
_MAX_FILE = 4096


@dataclass(frozen=True, slots=True)
class NotePrivateKey:
    """The seed of a key, and what it signs as: one of the types 0x01, 0x04 and 0x06.

    Raises as ``VerifierKey`` does, ``Malformed`` for a seed that has not 32 bytes, and ``UnsupportedFormat`` for
    type 0x06 where ML-DSA-44 is not installed.
    """

    name: str
    algorithm: int
    seed: bytes = field(repr=False)
    verifier_key: VerifierKey = field(init=False)
    _ed25519: Ed25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.seed) != _SEED_SIZE:
            raise Malformed(f"private key of {self.name!r}: expected a seed of {_SEED_SIZE} bytes")
        key = VerifierKey(self.name, self.algorithm, _public_key(self.algorithm, self.seed))
        object.__setattr__(self, "verifier_key", key)
        # Made once: deriving it from the seed takes as long as signing.
        object.__setattr__(self, "_ed25519", Ed25519PrivateKey.from_private_bytes(self.seed))

    def sign(self, message: bytes) -> bytes:
        """Return the bare signature over ``message``: 64 bytes, or 2,420 of ML-DSA-44."""
        if self.algorithm == ML_DSA_44_COSIGNATURE:
            return ml_dsa.sign(self.seed, message)
        return self._ed25519.sign(message)

    def sign_text(self, text: str) -> bytes:
        """Return ``text`` as a note with this key's signature; raises ``UnsupportedFormat`` unless its type is 0x01."""
        check_signs_text(self.verifier_key)
        body = encode_text(text)
        signature = NoteSignature(self.name, self.verifier_key.key_id, self.sign(body))
        return body + b"\n" + print_signature(signature).encode()


def make_private_key(name: str, algorithm: int, random: Callable[[int], bytes]) -> NotePrivateKey:
    """Return a new key; ``random(n)`` must give n bytes that nobody can guess."""
    return NotePrivateKey(name, algorithm, random(_SEED_SIZE))


def parse_private_key(text: str) -> NotePrivateKey:
    """Read the line, with or without its newline; raises ``Malformed``, which tells nothing of the secret."""
    parts = text.removesuffix("\n").removeprefix(_PREFIX).split("+", 2)  # base64 may hold more of them
    if not text.startswith(_PREFIX) or len(parts) != 3:
        raise Malformed(f"private key: expected {_PREFIX}<name>+<key ID>+<key>")
    name, key_id, encoded = parts
    data = _decode(name, encoded)
    if len(data) != 1 + _SEED_SIZE:
        raise Malformed(f"private key of {name!r}: expected a type and {_SEED_SIZE} bytes, found {len(data)} bytes")
    key = NotePrivateKey(name, data[0], data[1:])
    if key.verifier_key.key_id.hex() != key_id:
        raise Malformed(
            f"private key of {name!r}: key ID is {key_id!r}, expected {key.verifier_key.key_id.hex()}",
        )
    return key


def print_private_key(key: NotePrivateKey) -> str:
    """Return the line that ``parse_private_key`` reads, without a newline."""
    secret = encode_base64(bytes([key.algorithm]) + key.seed)
    return f"{_PREFIX}{key.name}+{key.verifier_key.key_id.hex()}+{secret}"


def read_private_key(path: Path) -> NotePrivateKey:
    """Read a key file; raises ``Unavailable`` for a file that cannot be read or that others may read."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            content = file.read(_MAX_FILE)
    except OSError as error:
        raise Unavailable(f"key file {path}: {error.strerror}") from error
    if mode & 0o077:
        raise Unavailable(f"key file {path}: mode is {mode:04o}, expected 0600: others may read the key")
    try:
        return parse_private_key(content.decode())
    except UnicodeDecodeError:
        raise Malformed(f"key file {path}: expected one line of text") from None


def write_private_key(path: Path, key: NotePrivateKey) -> None:
    """Write a new key file of mode 0600, durable when this returns; ``Unavailable`` where one is already."""
    try:
        write_whole(path, print_private_key(key).encode() + b"\n", new=True, private=True)
    except OSError as error:
        raise Unavailable(f"key file {path}: {error.strerror}") from error


def _decode(name: str, encoded: str) -> bytes:
    try:
        return decode_base64(encoded)
    except Malformed:
        # Its message would show the secret.
        raise Malformed(f"private key of {name!r}: the key is not canonical base64") from None


def _public_key(algorithm: int, seed: bytes) -> bytes:
    if algorithm == ML_DSA_44_COSIGNATURE:
        return ml_dsa.public_key_of(seed)
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
