"""Cosignatures: what a witness says of a checkpoint, and when (C2SP tlog-cosignature).

A cosignature stands as one more signature line under the checkpoint and says: at this time, this is the largest
consistent tree that I have seen for this origin. Its bytes after the key ID are the time, a big-endian u64 of POSIX
seconds, and the signature proper: Ed25519 (type 0x04) or ML-DSA-44 (type 0x06).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import Malformed, UnsupportedFormat, VerificationError
from . import ml_dsa
from .checkpoint import Checkpoint, open_checkpoint, print_checkpoint
from .note import (
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    ML_DSA_44_NAME_SIZE,
    NoteSignature,
    VerifierKey,
    check_signs_text,
    known_signatures,
    parse_note,
    parse_signature,
    print_signature,
    verify_ed25519,
    verify_signature,
    wrong_signature,
)
from .private_key import NotePrivateKey

_MAX_TIME = 2**63 - 1
_TIME_SIZE = 8
_START = bytes(8)  # a checkpoint is the subtree from leaf 0 on
_COSIGNATURE_TYPES = (ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE)


@dataclass(frozen=True, slots=True)
class Cosignature:
    """That ``key`` vouched for a checkpoint at ``time``, POSIX seconds by the witness's own clock."""

    key: VerifierKey
    time: int


@dataclass(frozen=True, slots=True)
class CosignedCheckpoint:
    """A checkpoint, and by whom it was signed and cosigned, in the order of the note's lines.

    ``unsupported`` are the witnesses whose cosignature stands in the note but could not be checked here.
    """

    checkpoint: Checkpoint
    log_keys: tuple[VerifierKey, ...]
    cosignatures: tuple[Cosignature, ...]
    unsupported: tuple[VerifierKey, ...]


def cosign(checkpoint: Checkpoint, key: NotePrivateKey, time: int) -> str:
    """Return the signature line, its newline included; ``time`` is in POSIX seconds.

    Whether this may be signed at all, after what was cosigned before, is for the caller to check. Raises
    ``Malformed`` for a time below 1 or from 2^63 on, ``UnsupportedFormat`` for a key that is no cosigner's.
    """
    verifier = key.verifier_key
    if not 1 <= time <= _MAX_TIME:
        raise Malformed(f"cosignature of {key.name!r}: time is {time}, expected 1 to 2^63-1")
    payload = time.to_bytes(_TIME_SIZE, "big") + key.sign(_message(checkpoint, verifier, time))
    return print_signature(NoteSignature(key.name, verifier.key_id, payload))


def verify_cosignature(checkpoint: Checkpoint, key: VerifierKey, signature: NoteSignature) -> Cosignature:
    """Check the line of a witness; raises ``VerificationError``, or ``UnsupportedFormat`` where nobody here can.

    A line under another name or key ID is wrong; so is a time of 2^63 or later, and 0 under ML-DSA-44, which says
    nothing about the largest tree.
    """
    if (signature.name, signature.key_id) != (key.name, key.key_id):
        raise VerificationError(
            f"note: expected a signature of {key.name!r} with ID {key.key_id.hex()}, "
            f"found {signature.name!r} with ID {signature.key_id.hex()}"
        )
    time, bare = int.from_bytes(signature.signature[:_TIME_SIZE], "big"), signature.signature[_TIME_SIZE:]
    message = _message(checkpoint, key, time)
    if time > _MAX_TIME:
        raise wrong_signature(key)
    if key.algorithm == ED25519_COSIGNATURE:
        verify_ed25519(key, bare, message)
    elif time == 0 or not ml_dsa.is_signed(key.public_key, bare, message):
        raise wrong_signature(key)
    return Cosignature(key, time)


def open_cosigned(
    note: bytes, log_keys: Iterable[VerifierKey], witnesses: Iterable[VerifierKey], origin: str
) -> CosignedCheckpoint:
    """Return the checkpoint of ``origin`` in a note that one of ``log_keys`` signed, and who cosigned it.

    Log keys that do not bear the origin's name are passed over, and so are lines of unknown keys. Whether the
    cosigners are enough is for a policy to say. Raises as ``open_checkpoint`` does, also for the line of a known
    witness that is wrong, and ``Malformed`` if a log key is a witness's too, for then nobody else vouched.
    """
    logs = [key for key in log_keys if key.name == origin]
    cosigners = list(witnesses)
    _check_roles(logs, cosigners)
    checkpoint = open_checkpoint(note, logs, origin)
    signed: list[VerifierKey] = []
    cosigned: list[Cosignature] = []
    unsupported: list[VerifierKey] = []
    for key, signature in known_signatures(parse_note(note), [*logs, *cosigners]):
        if key in logs:
            signed.append(key)
            continue
        try:
            cosigned.append(verify_cosignature(checkpoint, key, signature))
        except UnsupportedFormat:
            unsupported.append(key)
    return CosignedCheckpoint(checkpoint, tuple(signed), tuple(cosigned), tuple(unsupported))


def add_signatures(note: bytes, lines: Sequence[str]) -> bytes:
    """Return the note with more signature lines under it; verifies nothing.

    Raises ``Malformed`` for what is no note or no signature line, and for more lines than a note may have.
    """
    parse_note(note)
    for line in lines:
        parse_signature(line)
    longer = note + "".join(lines).encode()
    parse_note(longer)
    return longer


def log_signature_line(note: bytes, key: VerifierKey) -> str:
    """Return the line, its newline included, that a log key signed; the first, if there is more than one.

    Raises as ``open_note`` does with this key alone.
    """
    check_signs_text(key)
    parsed = parse_note(note)
    lines = []
    for _, signature in known_signatures(parsed, [key]):
        verify_signature(key, signature, parsed.text)
        lines.append(print_signature(signature))
    if not lines:
        raise VerificationError(f"note: {key.name!r} with ID {key.key_id.hex()} has not signed it")
    return lines[0]


def _message(checkpoint: Checkpoint, key: VerifierKey, time: int) -> bytes:
    """Return the bytes that a cosigner signs."""
    if key.algorithm == ED25519_COSIGNATURE:
        return f"cosignature/v1\ntime {time}\n{print_checkpoint(checkpoint)}".encode()
    if key.algorithm != ML_DSA_44_COSIGNATURE:
        raise UnsupportedFormat(f"key of {key.name!r}: type is {key.algorithm:#04x}, expected 0x04 or 0x06")
    name, origin = key.name.encode(), checkpoint.origin.encode()
    if len(origin) > ML_DSA_44_NAME_SIZE:
        raise UnsupportedFormat(f"cosignature of {key.name!r}: origin has more than {ML_DSA_44_NAME_SIZE} bytes")
    head = b"subtree/v1\n\x00" + bytes([len(name)]) + name + time.to_bytes(_TIME_SIZE, "big")
    return head + bytes([len(origin)]) + origin + _START + checkpoint.size.to_bytes(8, "big") + checkpoint.root


def _check_roles(logs: Sequence[VerifierKey], witnesses: Sequence[VerifierKey]) -> None:
    for key in logs:
        check_signs_text(key)
    for key in witnesses:
        if key.algorithm not in _COSIGNATURE_TYPES:
            raise UnsupportedFormat(f"witness {key.name!r}: type is {key.algorithm:#04x}, expected 0x04 or 0x06")
    shared = {key.public_key for key in logs} & {key.public_key for key in witnesses}
    if shared:
        raise Malformed(f"verifiers: a key of {logs[0].name!r} is a witness's too; each role needs a key of its own")
