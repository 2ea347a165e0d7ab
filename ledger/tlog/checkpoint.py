"""Checkpoints: a signed tree head as text (C2SP tlog-checkpoint; docs/format.md, "Checkpoint").

::

    ledger.example/acme/prod
    3
    5ndRP38zc8pbwFyck31wvPWY4mRxOch0vgfS1UjkJUs=

Origin, size and root, one line each; extension lines are refused, since cosignatures do not cover them.
In our profile the log signs under its origin as key name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..errors import Malformed, VerificationError
from .hashing import EMPTY_ROOT, HASH_SIZE
from .note import VerifierKey, check_name, decode_base64, encode_base64, open_note, parse_note, sign_note

_MAX_SIZE = 2**63 - 1
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of the tree that ``origin`` vouches for: its size and root.

    Raises ``Malformed`` unless the origin is a key name, the size below 2^63, the root 32 bytes, and size 0
    has the empty root.
    """

    origin: str
    size: int
    root: bytes

    @classmethod
    def empty(cls, origin: str) -> Checkpoint:
        """Return the head of the tree without leaves."""
        return cls(origin, 0, EMPTY_ROOT)

    def __post_init__(self) -> None:
        check_name(self.origin)
        if not 0 <= self.size <= _MAX_SIZE:
            raise Malformed(f"checkpoint: size is {self.size}, expected 0 to 2^63-1")
        if len(self.root) != HASH_SIZE:
            raise Malformed(f"checkpoint: root has {len(self.root)} bytes, expected {HASH_SIZE}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise Malformed(f"checkpoint: root of size 0 is {self.root.hex()}, expected {EMPTY_ROOT.hex()}")


def print_checkpoint(checkpoint: Checkpoint) -> str:
    """Return the three lines that ``parse_checkpoint`` reads: the text that is signed."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{encode_base64(checkpoint.root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text; ``Malformed`` for all that ``print_checkpoint`` would not have written."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise Malformed(f"checkpoint: expected 3 lines, each ended, found {len(lines) - 1}")
    return Checkpoint(lines[0], parse_number(lines[1]), decode_hash(lines[2]))


def claimed_checkpoint(note: bytes) -> Checkpoint:
    """What a signed note says, before any signature is checked; ``Malformed`` where it is no checkpoint."""
    return parse_checkpoint(parse_note(note).text)


def sign_checkpoint(checkpoint: Checkpoint, private_key: Ed25519PrivateKey) -> bytes:
    """Return the checkpoint as a note signed under its origin.

    Whether this may be signed at all, after what was signed before, is for the caller to check.
    """
    return sign_note(print_checkpoint(checkpoint), checkpoint.origin, private_key)


def open_checkpoint(note: bytes, verifiers: Iterable[VerifierKey], origin: str) -> Checkpoint:
    """Return the checkpoint of ``origin`` in a note signed by one of the ``verifiers`` that bear its name.

    Other verifiers are passed over: no other ledger's key can speak for this origin. Raises as ``open_note``
    and ``parse_checkpoint`` do, and ``VerificationError`` for another origin.
    """
    checkpoint = parse_checkpoint(open_note(note, [key for key in verifiers if key.name == origin]))
    if checkpoint.origin != origin:
        raise VerificationError(f"checkpoint: expected origin {origin!r}, found {checkpoint.origin!r}")
    return checkpoint


def parse_number(text: str) -> int:
    """Read a size or an index: ASCII decimal below 2^63 without sign or leading zero, or ``Malformed``."""
    if not _NUMBER.fullmatch(text) or int(text) > _MAX_SIZE:
        raise Malformed(f"number: found {text[:80]!r}, expected a decimal from 0 to 2^63-1")
    return int(text)


def decode_hash(text: str) -> bytes:
    """Read the base64 of one 32-byte hash, or raise ``Malformed``."""
    data = decode_base64(text)
    if len(data) != HASH_SIZE:
        raise Malformed(f"hash: expected {HASH_SIZE} bytes, found {len(data)}")
    return data
