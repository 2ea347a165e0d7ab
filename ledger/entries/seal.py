"""Sealed content: the disclosure, its salted digest, and the box that keeps it.

The disclosure is the JSON array ``[salt, name, value]`` with 128 random bits of salt; its digest is
base64url(SHA-256(ASCII of base64url(disclosure))), as in RFC 9901 (SD-JWT). The entry holds the digest,
the store an AES-256-GCM box of the disclosure under the key of its erasure scope::

    box = nonce (12 bytes) || ciphertext and tag,   associated data = origin || 0x0A || digest

GCM commits to no key, so a box may open to something under another key: what binds the content is the
digest in the entry, and opening always compares it.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import Malformed, VerificationError

SALT_BYTES = 16
NONCE_BYTES = 12
KEY_BYTES = 32
MAX_DISCLOSURE_BYTES = 64 * 1024 * 1024

_SALT = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]", re.ASCII)
_PLAIN = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Disclosure:
    """The content of one sealed field, ready to be boxed: its JSON bytes and their digest."""

    name: str
    content: bytes
    digest: str


def make_disclosure(name: str, value: Any, salt: bytes) -> Disclosure:
    """Salt ``value`` (any JSON with finite numbers); ``Malformed`` where it has no JSON form."""
    try:
        _require_json(value, name)
        content = orjson.dumps([_base64url(salt), name, value])
    except (TypeError, RecursionError) as error:
        raise Malformed(f"sealed field {name!r}: {error}") from error
    if len(content) > MAX_DISCLOSURE_BYTES:
        raise Malformed(f"sealed field {name!r}: {len(content)} bytes, at most {MAX_DISCLOSURE_BYTES} fit")
    return Disclosure(name, content, digest_of(content))


def digest_of(content: bytes) -> str:
    """The digest under which a disclosure's JSON bytes stand in the entry."""
    return _base64url(hashlib.sha256(urlsafe_b64encode(content).rstrip(b"=")).digest())


def make_box(cipher: AESGCM, nonce: bytes, disclosure: Disclosure, origin: bytes) -> bytes:
    """Encrypt a disclosure. A nonce is used once under a key: 12 random bytes each time."""
    associated = origin + b"\n" + disclosure.digest.encode()
    return nonce + cipher.encrypt(nonce, disclosure.content, associated)


def open_box(cipher: AESGCM, box: bytes, name: str, digest: str, origin: bytes) -> Any:
    """Decrypt a box and return the value; ``VerificationError`` unless it is what ``digest`` binds."""
    return read_disclosure(open_disclosure(cipher, box, name, digest, origin), name)


def open_disclosure(cipher: AESGCM, box: bytes, name: str, digest: str, origin: bytes) -> bytes:
    """Decrypt a box and return the disclosure's JSON bytes; raises as ``open_box`` does."""
    if type(box) is not bytes:
        raise VerificationError(f"sealed field {name!r}: expected a box of bytes, found {type(box).__name__}")
    try:
        content = cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], origin + b"\n" + digest.encode())
    except (InvalidTag, ValueError) as error:
        raise VerificationError(f"sealed field {name!r}: the box does not open under its scope's key") from error
    if digest_of(content) != digest:
        raise VerificationError(f"sealed field {name!r}: expected digest {digest}, found {digest_of(content)}")
    return content


def read_disclosure(content: bytes, name: str) -> Any:
    """The value in a disclosure's JSON bytes, which must be ``[salt, name, value]`` for this ``name``."""
    try:
        parts = orjson.loads(content)
    except ValueError as error:
        raise VerificationError(f"sealed field {name!r}: the disclosure is not JSON") from error
    if type(parts) is not list or len(parts) != 3 or parts[1] != name or not _is_salt(parts[0]):
        raise VerificationError(f"sealed field {name!r}: expected a disclosure [salt, {name!r}, value]")
    if orjson.dumps(parts) != content:  # as printed by another writer, or with a key twice
        _require_unique_keys(content, name)
    return parts[2]


def _is_salt(part: object) -> bool:
    return type(part) is str and _SALT.fullmatch(part) is not None


def _require_unique_keys(content: bytes, name: str) -> None:
    """Refuse an object that names a key twice, which two readers could read as two texts."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise VerificationError(f"sealed field {name!r}: a key stands twice in an object of the disclosure")
        return found

    json.loads(content, object_pairs_hook=unique)


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _require_json(value: Any, name: str) -> None:
    """Refuse NaN and infinities, which orjson would write as null without a word.

    Other classes are refused too: orjson prints some of them, and what is read back would be another value.
    """
    kind = type(value)
    if kind is float:
        if value != value or value in (float("inf"), float("-inf")):
            raise Malformed(f"sealed field {name!r}: expected finite numbers, found {value}")
    elif kind is dict:
        for item in value.values():
            _require_json(item, name)
    elif kind is list or kind is tuple:
        for item in value:
            _require_json(item, name)
    elif kind not in _PLAIN:
        raise Malformed(f"sealed field {name!r}: expected plain JSON values, found {kind.__name__}")
