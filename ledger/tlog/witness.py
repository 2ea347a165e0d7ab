"""Witnesses: what one decides about a checkpoint, and what a log asks of them (C2SP tlog-witness).

A witness remembers one head per log, and cosigns a checkpoint only where it is shown to extend that head. So nobody
who requires its cosignature can be shown two histories of one log. This is the decision alone: no storage, no clock,
no network. Whoever serves it keeps the head that was decided on durably before answering, and decides the next
request of the same log on that head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from ..errors import LedgerError, Malformed, VerificationError
from .checkpoint import Checkpoint, decode_hash, parse_checkpoint, parse_number
from .note import (
    SignedNote,
    VerifierKey,
    encode_base64,
    known_signatures,
    parse_note,
    print_signature,
    verify_signature,
)
from .policy import Policy
from .proof import verify_consistency

MAX_PROOF_HASHES = 63

MALFORMED = 400
WRONG_SIGNATURE = 403
UNKNOWN_LOG = 404
OTHER_SIZE = 409
INCONSISTENT = 422

KeysOf = Callable[[str, int], Sequence[VerifierKey] | None]
"""The keys that a log may sign a checkpoint of a size with, by its origin; None for a log that is not known."""


class WitnessRefusal(LedgerError):
    """A witness does not cosign; ``status`` is the HTTP status that says why.

    ``size`` is the size that the witness has, where that is not the one that the request builds on (409).
    """

    def __init__(self, status: int, message: str, size: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.size = size


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: ``note`` is a signed checkpoint, ``proof`` shows that it extends the one of size ``old``."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes


@dataclass(frozen=True, slots=True)
class Submission:
    """A request whose checkpoint a known log has signed. ``note`` has that log's signature lines and no others."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: bytes


def print_add_checkpoint(request: AddCheckpoint) -> bytes:
    """Return the body that ``parse_add_checkpoint`` reads."""
    lines = [f"old {request.old}", *map(encode_base64, request.proof), "", ""]
    return "\n".join(lines).encode() + request.note


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Read a request's body; ``Malformed`` for all that ``print_add_checkpoint`` would not have written.

    The note is taken as it is.
    """
    head, separator, note = body.partition(b"\n\n")
    if not separator:
        raise Malformed("add-checkpoint: no empty line before the checkpoint")
    if not head.isascii():
        raise Malformed("add-checkpoint: expected ASCII before the checkpoint")
    first, *proof = head.decode("ascii").split("\n")
    if not first.startswith("old "):
        raise Malformed(f"add-checkpoint: first line is {first[:80]!r}, expected 'old <size>'")
    if len(proof) > MAX_PROOF_HASHES:
        raise Malformed(f"add-checkpoint: expected at most {MAX_PROOF_HASHES} hashes, found {len(proof)}")
    return AddCheckpoint(parse_number(first.removeprefix("old ")), tuple(map(decode_hash, proof)), note)


def read_submission(body: bytes, keys_of: KeysOf) -> Submission:
    """Check all of a request that needs no memory; ``WitnessRefusal`` (400, 403, 404, 422) where it fails."""
    try:
        request = parse_add_checkpoint(body)
        parsed = parse_note(request.note)
        origin, size = _origin_and_size(parsed.text)
        keys = keys_of(origin, size)
        if keys is None:
            raise WitnessRefusal(UNKNOWN_LOG, f"unknown log {origin!r}")
        lines = _verified_lines(parsed, keys)
        checkpoint = _checkpoint(parsed.text, size)
    except Malformed as error:
        raise WitnessRefusal(MALFORMED, str(error)) from error
    except VerificationError as error:
        raise WitnessRefusal(WRONG_SIGNATURE, str(error)) from error
    if request.old > size:
        raise WitnessRefusal(MALFORMED, f"add-checkpoint: old size {request.old} is more than {size}")
    return Submission(request.old, request.proof, checkpoint, f"{parsed.text}\n{lines}".encode())


def require_growth(submission: Submission, stored: Checkpoint | None) -> None:
    """Refuse what is not shown to extend ``stored``, the head that was cosigned last, or None where none was.

    ``WitnessRefusal`` 409 where the request builds on another size, 422 where its proof does not hold.
    """
    stored = stored or Checkpoint.empty(submission.checkpoint.origin)
    if submission.old != stored.size:
        message = f"the size cosigned last is {stored.size}, and old is {submission.old}"
        raise WitnessRefusal(OTHER_SIZE, message, stored.size)
    new = submission.checkpoint
    try:
        verify_consistency(stored.size, new.size, submission.proof, stored.root, new.root)
    except VerificationError as error:
        raise WitnessRefusal(INCONSISTENT, f"consistency proof: {error}") from error


def state_path(origin: str) -> str:
    """Where a witness shows the checkpoint that it cosigned last of ``origin``, below its own address."""
    return f"{sha256(origin.encode()).hexdigest()}/checkpoint"


def _verified_lines(note: SignedNote, keys: Sequence[VerifierKey]) -> str:
    lines = ""
    for key, signature in dict.fromkeys(known_signatures(note, keys)):
        verify_signature(key, signature, note.text)
        lines += print_signature(signature)
    if not lines:
        raise VerificationError(f"note: none of its {len(note.signatures)} signatures is by a key of the log")
    return lines


def _origin_and_size(text: str) -> tuple[str, int]:
    lines = text.split("\n")
    if len(lines) < 3:
        raise Malformed(f"checkpoint: expected 3 lines, each ended, found {len(lines) - 1}")
    return lines[0], parse_number(lines[1])


def _checkpoint(text: str, size: int) -> Checkpoint:
    try:
        return parse_checkpoint(text)
    except Malformed as error:
        # The specification has a status of its own for a tree of no leaves that has some root.
        if size == 0 and "root of size 0" in str(error):
            raise WitnessRefusal(INCONSISTENT, str(error)) from error
        raise


@dataclass(frozen=True, slots=True)
class Collected:
    """What witnesses answered: signature lines, each ended by a newline, and why others gave none, by their name.

    ``contradictions`` names the witnesses among those failures that remember more of this log, or another history of
    it, than they were shown, with what they said: where that is so, the log was rolled back or forked, or they lie.
    """

    lines: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    contradictions: Mapping[str, str] = field(default_factory=dict)


class Cosigners(Protocol):
    """Asks witnesses to cosign what a log is about to publish."""

    @property
    def policy(self) -> Policy:
        """Whose cosignatures count, and how many are enough."""
        ...

    @property
    def required(self) -> bool:
        """Whether nothing may be published without the quorum of the policy (fail-closed)."""
        ...

    def collect(self, note: bytes, checkpoint: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> Collected:
        """Show every witness a checkpoint and the log's ``note`` of it; does not raise for what they do.

        ``prove`` gives the consistency proof from a smaller size to the checkpoint's; it is called from this thread
        only.
        """
        ...
