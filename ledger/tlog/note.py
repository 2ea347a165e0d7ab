"""Signed notes: a text and the signatures under it (C2SP signed-note; docs/format.md, "Checkpoint").

::

    <text, ends in a newline>
    <empty line>
    — <key name> <base64 of 4-byte key ID || signature>

A reader configures the keys that it trusts, each as one line, a vkey:
``<name>+<8 lowercase hex digits of the key ID>+<base64 of type || public key>``.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..errors import Malformed, UnsupportedFormat, VerificationError

ED25519 = 0x01
ED25519_COSIGNATURE = 0x04
ML_DSA_44_COSIGNATURE = 0x06

ML_DSA_44_NAME_SIZE = 255  # a cosigned message of type 0x06 holds each name behind one byte of length

_KEY_SIZES = {ED25519: 32, ED25519_COSIGNATURE: 32, ML_DSA_44_COSIGNATURE: 1312}
_KEY_ID_SIZE = 4
_MAX_SIGNATURES = 100
_SIGNATURE_PREFIX = "— "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")

_P = 2**255 - 19
_Y8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
# The y of every point of order 1, 2, 4 and 8; x follows up to its sign.
_LOW_ORDER_Y = {1, _P - 1, 0, _Y8, _P - _Y8}


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name that it signs under.

    Key ID = first 4 bytes of ``SHA256(name || 0x0A || type || public key)``. Raises ``Malformed`` for a bad
    name, an unknown type, a wrong length or an Ed25519 point of low order, under which one signature fits
    many texts.
    """

    name: str
    algorithm: int
    public_key: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        _check_public_key(self.name, self.algorithm, self.public_key)
        hashed = _encode(self.name) + b"\n" + bytes([self.algorithm]) + self.public_key
        object.__setattr__(self, "key_id", sha256(hashed).digest()[:_KEY_ID_SIZE])


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line, not yet verified."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note taken apart, not yet verified: do not show or trust the text before ``open_note``."""

    text: str
    signatures: tuple[NoteSignature, ...]


def parse_vkey(vkey: str) -> VerifierKey:
    """Read a vkey; raises ``Malformed`` also if its key ID is not that of its name and key."""
    parts = vkey.split("+", 2)  # base64 may hold more of them
    if len(parts) != 3:
        raise Malformed("vkey: expected <name>+<key ID>+<key>")
    name, key_id, encoded = parts
    data = decode_base64(encoded)
    if not data:
        raise Malformed(f"vkey of {name!r}: no key type")
    key = VerifierKey(name, data[0], data[1:])
    if key.key_id.hex() != key_id:
        raise Malformed(f"vkey of {name!r}: key ID is {key_id!r}, expected {key.key_id.hex()}")
    return key


def print_vkey(key: VerifierKey) -> str:
    """Return the line that ``parse_vkey`` reads."""
    return f"{key.name}+{key.key_id.hex()}+{encode_base64(bytes([key.algorithm]) + key.public_key)}"


def sign_note(text: str, name: str, private_key: Ed25519PrivateKey) -> bytes:
    """Return ``text`` as a note with one Ed25519 signature (type 0x01) over its bytes.

    Raises ``Malformed`` if the text does not end in a newline or holds another control character.
    """
    body = encode_text(text)
    key_id = VerifierKey(name, ED25519, private_key.public_key().public_bytes_raw()).key_id
    return body + b"\n" + print_signature(NoteSignature(name, key_id, private_key.sign(body))).encode()


def encode_text(text: str) -> bytes:
    """Return the bytes of ``text`` that a note holds and its signatures of type 0x01 cover.

    Raises ``Malformed`` if the text does not end in a newline or holds another control character.
    """
    if not text.endswith("\n"):
        raise Malformed("note: text does not end in a newline")
    _check_control(text)
    return _encode(text)


def print_signature(signature: NoteSignature) -> str:
    """Return the signature line, its newline included."""
    return f"{_SIGNATURE_PREFIX}{signature.name} {encode_base64(signature.key_id + signature.signature)}\n"


def parse_signature(line: str) -> NoteSignature:
    """Read one signature line, its newline included; raises ``Malformed``."""
    if not line.endswith("\n"):
        raise Malformed("note: signature line does not end in a newline")
    _check_control(line)
    return _parse_signature(line[:-1])


def parse_note(note: bytes) -> SignedNote:
    """Split a note at its last empty line, and read its signature lines; verifies nothing.

    Raises ``Malformed`` unless the note is UTF-8 without control characters but newline, and has 1 to 100
    signatures.
    """
    try:
        decoded = note.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"note: byte {error.start} is not UTF-8") from error
    _check_control(decoded)
    text, separator, lines = decoded.rpartition("\n\n")
    if not separator:
        raise Malformed("note: no empty line between text and signatures")
    if not lines.endswith("\n"):
        raise Malformed("note: last signature line does not end in a newline")
    count = lines.count("\n")
    if count > _MAX_SIGNATURES:
        raise Malformed(f"note: expected at most {_MAX_SIGNATURES} signatures, found {count}")
    return SignedNote(text + "\n", tuple(_parse_signature(line) for line in lines[:-1].split("\n")))


def open_note(note: bytes, verifiers: Iterable[VerifierKey]) -> str:
    """Return the text of a note that at least one of ``verifiers`` signed.

    A signature under an unknown (name, key ID) is passed over; one under a known pair that does not verify
    rejects the whole note, and so does the lack of a known one: ``VerificationError``. Raises ``Malformed``
    for bytes that are no note and for two verifiers with one (name, key ID), ``UnsupportedFormat`` for a
    verifier that is not of type 0x01.
    """
    verifiers = list(verifiers)
    for key in verifiers:
        check_signs_text(key)
    parsed = parse_note(note)
    verified = 0
    for key, signature in known_signatures(parsed, verifiers):
        verify_signature(key, signature, parsed.text)
        verified += 1
    if not verified:
        raise VerificationError(f"note: none of its {len(parsed.signatures)} signatures is by a known key")
    return parsed.text


def named_keys(note: bytes, keys: Iterable[VerifierKey]) -> list[VerifierKey]:
    """Those of ``keys`` whose name and ID a signature line of the note bears; verifies nothing.

    Raises as ``parse_note`` does.
    """
    signers = {(line.name, line.key_id) for line in parse_note(note).signatures}
    return [key for key in keys if (key.name, key.key_id) in signers]


def known_signatures(note: SignedNote, verifiers: Iterable[VerifierKey]) -> Iterator[tuple[VerifierKey, NoteSignature]]:
    """Yield the note's signatures that bear the (name, key ID) of a verifier, in the note's order, unverified.

    Raises ``Malformed`` for two verifiers with one (name, key ID).
    """
    known = _by_name_and_id(verifiers)
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            yield key, signature


def verify_signature(key: VerifierKey, signature: NoteSignature, text: str) -> None:
    """Check a signature of type 0x01 over the text of a note, or raise ``VerificationError``."""
    verify_ed25519(key, signature.signature, text.encode())


def verify_ed25519(key: VerifierKey, signature: bytes, message: bytes) -> None:
    """Check the bare signature of an Ed25519 key of either type, or raise ``VerificationError``."""
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except InvalidSignature as error:
        raise wrong_signature(key) from error


def wrong_signature(key: VerifierKey) -> VerificationError:
    """Return the error that says whose signature it is that does not verify."""
    return VerificationError(f"note: signature of {key.name!r} with ID {key.key_id.hex()} is wrong")


def check_signs_text(key: VerifierKey) -> None:
    """Raise ``UnsupportedFormat`` unless the key signs the bytes of a text: type 0x01."""
    if key.algorithm != ED25519:
        raise UnsupportedFormat(f"key of {key.name!r}: type is {key.algorithm:#04x}, expected 0x01")


def check_name(name: str) -> None:
    """Raise ``Malformed`` unless ``name`` may name a key: not empty, no space, control character or plus."""
    if not name or "+" in name or any(char.isspace() or char < " " for char in name):
        raise Malformed(f"key name {name!r}: expected no space, control character or plus, and at least one character")
    _encode(name)


def encode_base64(data: bytes) -> str:
    """Return standard base64 with padding."""
    return b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Read standard base64; raises ``Malformed`` for all that ``encode_base64`` would not have written."""
    try:
        data = b64decode(text, validate=True)
    except ValueError as error:
        raise Malformed(f"base64: {text[:80]!r} does not decode") from error
    if encode_base64(data) != text:
        raise Malformed(f"base64: {text[:80]!r} is not in canonical form")
    return data


def _by_name_and_id(verifiers: Iterable[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in verifiers:
        if (key.name, key.key_id) in known:
            raise Malformed(f"verifiers: two keys are named {key.name!r} with ID {key.key_id.hex()}")
        known[key.name, key.key_id] = key
    return known


def _parse_signature(line: str) -> NoteSignature:
    if not line.startswith(_SIGNATURE_PREFIX):
        raise Malformed("note: signature line does not begin with an em dash and a space")
    name, _, encoded = line.removeprefix(_SIGNATURE_PREFIX).partition(" ")
    check_name(name)
    data = decode_base64(encoded)
    if len(data) <= _KEY_ID_SIZE:
        raise Malformed(f"note: signature of {name!r} has {len(data)} bytes, expected a key ID and more")
    return NoteSignature(name, data[:_KEY_ID_SIZE], data[_KEY_ID_SIZE:])


def _check_public_key(name: str, algorithm: int, public_key: bytes) -> None:
    expected = _KEY_SIZES.get(algorithm)
    if expected is None:
        raise Malformed(f"key of {name!r}: type is {algorithm:#04x}, expected 0x01, 0x04 or 0x06")
    if len(public_key) != expected:
        raise Malformed(f"key of {name!r}: expected {expected} bytes, found {len(public_key)}")
    if algorithm == ML_DSA_44_COSIGNATURE:
        if len(_encode(name)) > ML_DSA_44_NAME_SIZE:
            raise Malformed(f"key of {name[:80]!r}: name has more than {ML_DSA_44_NAME_SIZE} bytes")
    elif _is_low_order(public_key):
        raise Malformed(f"key of {name!r}: Ed25519 point {public_key.hex()} is of low order")


def _is_low_order(public_key: bytes) -> bool:
    y = int.from_bytes(public_key, "little") % 2**255  # the top bit is the sign of x
    return y % _P in _LOW_ORDER_Y  # reduced, since OpenSSL takes y >= p too


def _check_control(text: str) -> None:
    found = _CONTROL.search(text)
    if found:
        raise Malformed(f"note: control character {found.group()!r} at character {found.start()}")


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"note: character {error.start} has no UTF-8 form") from error
