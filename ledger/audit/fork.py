"""Fork evidence: two checkpoints that one log signed and that cannot both be of one log that only grows.

One file that convinces whoever has the log's key, with no ledger at hand. Where the sizes differ, it also shows the
root that the larger tree has at the smaller size, and the proof of that.

::

    {
      "format": "affidavit-fork@v1",
      "older": "<signed note of the smaller checkpoint>",
      "newer": "<signed note of the larger one, or of the same size>",
      "root_at_older_size": "<base64>",       (null where the sizes are equal)
      "proof": ["<base64 of one hash>"]       (from the size of older to that of newer; empty where they are equal)
    }
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Malformed, VerificationError
from ..tlog.checkpoint import Checkpoint, claimed_checkpoint, decode_hash, open_checkpoint
from ..tlog.note import VerifierKey, encode_base64
from ..tlog.proof import verify_consistency

FORK_FORMAT = "affidavit-fork@v1"
_MEMBERS = ["format", "older", "newer", "root_at_older_size", "proof"]


@dataclass(frozen=True, slots=True)
class ForkEvidence:
    """Two signed notes and what makes them contradict each other; a claim until ``verify_fork`` agrees."""

    older: bytes
    newer: bytes
    root_at_older_size: bytes | None = None
    proof: tuple[bytes, ...] = ()


def print_fork(evidence: ForkEvidence) -> bytes:
    """Return the file that ``parse_fork`` reads."""
    root = evidence.root_at_older_size
    document = {
        "format": FORK_FORMAT,
        "older": evidence.older.decode(),
        "newer": evidence.newer.decode(),
        "root_at_older_size": None if root is None else encode_base64(root),
        "proof": [encode_base64(each) for each in evidence.proof],
    }
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"


def parse_fork(data: bytes) -> ForkEvidence:
    """Read fork evidence; raises ``Malformed`` for other members than these five, each once, and other types."""
    try:
        document = json.loads(data.decode(), object_pairs_hook=_members)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"fork evidence: expected one JSON document: {error}") from error
    if not isinstance(document, dict) or sorted(document) != sorted(_MEMBERS):
        raise Malformed(f"fork evidence: expected an object with the members {', '.join(_MEMBERS)}")
    if document["format"] != FORK_FORMAT:
        raise Malformed(f"fork evidence: format is {document['format']!r:.80}, expected {FORK_FORMAT!r}")
    root, proof = document["root_at_older_size"], document["proof"]
    if not isinstance(proof, list):
        raise Malformed(f"fork evidence: proof is {type(proof).__name__}, expected a list")
    return ForkEvidence(
        _note(document["older"]),
        _note(document["newer"]),
        None if root is None else _hash(root),
        tuple(map(_hash, proof)),
    )


def verify_fork(
    evidence: ForkEvidence, keys_at: Callable[[int], Sequence[VerifierKey]]
) -> tuple[Checkpoint, Checkpoint]:
    """Check that one log signed both notes, each with one of its keys at that size, and that they contradict another.

    Returns the smaller checkpoint and the larger one. ``VerificationError`` where they prove no fork; ``Malformed``
    for a note that is none.
    """
    origin = claimed_checkpoint(evidence.older).origin
    older, newer = (
        open_checkpoint(note, keys_at(claimed_checkpoint(note).size), origin)
        for note in (evidence.older, evidence.newer)
    )
    root = evidence.root_at_older_size
    if older.size == newer.size:
        if root is not None or evidence.proof:
            raise VerificationError("fork evidence: expected no proof for two checkpoints of one size")
        root = newer.root
    elif root is None:
        raise VerificationError(f"fork evidence: no root of the larger tree at size {older.size}")
    else:
        verify_consistency(older.size, newer.size, evidence.proof, root, newer.root)
    if root == older.root:
        raise VerificationError(f"fork evidence: both checkpoints have one root at size {older.size}, so they agree")
    return older, newer


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("fork evidence: a member stands there twice")
    return members


def _note(value: object) -> bytes:
    if not isinstance(value, str):
        raise Malformed(f"fork evidence: a note is {value!r:.80}, expected text")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise Malformed("fork evidence: a note holds a lone surrogate") from error


def _hash(value: object) -> bytes:
    if not isinstance(value, str):
        raise Malformed(f"fork evidence: a hash is {value!r:.80}, expected base64")
    return decode_hash(value)
