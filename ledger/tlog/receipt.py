"""Receipts: an inclusion proof with the checkpoint that it leads to (C2SP tlog-proof; docs/format.md, "Checkpoint").

One file, checked offline with nothing but the entry and the ledger's public key.

::

    c2sp.org/tlog-proof@v1
    extra <base64>                       (may be left out; not authenticated)
    index 1
    <base64 of one hash of the path>     (one line each, bottom-up)
    <empty line>
    <signed checkpoint, verbatim>
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import Malformed
from .checkpoint import Checkpoint, decode_hash, open_checkpoint, parse_number
from .note import VerifierKey, decode_base64, encode_base64
from .proof import verify_inclusion

_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_PATH = 63  # sizes are below 2^63


@dataclass(frozen=True, slots=True)
class Receipt:
    """A claim that an entry stands at ``index``, not yet verified; ``extra`` proves nothing by itself."""

    index: int
    path: tuple[bytes, ...]
    checkpoint_note: bytes
    extra: bytes | None = None


def print_receipt(receipt: Receipt) -> bytes:
    """Return the file that ``parse_receipt`` reads."""
    extra = [] if receipt.extra is None else [f"extra {encode_base64(receipt.extra)}"]
    lines = [_HEADER, *extra, f"index {receipt.index}", *map(encode_base64, receipt.path), "", ""]
    return "\n".join(lines).encode("ascii") + receipt.checkpoint_note


def parse_receipt(data: bytes) -> Receipt:
    """Read a receipt; the checkpoint in it is taken over as it stands, and read by ``verify_receipt``.

    Raises ``Malformed`` for all that ``print_receipt`` would not have written.
    """
    head, _, note = data.partition(b"\n\n")
    if not note:
        raise Malformed("receipt: no checkpoint after an empty line")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed(f"receipt: byte {error.start} is not ASCII") from error
    if lines.pop(0) != _HEADER:
        raise Malformed(f"receipt: first line is not {_HEADER!r}")
    extra = decode_base64(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else None
    if not lines or not lines[0].startswith("index "):
        raise Malformed("receipt: no line 'index <number>' where it is expected")
    index = parse_number(lines.pop(0).removeprefix("index "))
    if len(lines) > _MAX_PATH:
        raise Malformed(f"receipt: expected a path of at most {_MAX_PATH} hashes, found {len(lines)}")
    return Receipt(index, tuple(map(decode_hash, lines)), note, extra)


def verify_receipt(receipt: Receipt, leaf: bytes, verifiers: Iterable[VerifierKey], origin: str) -> Checkpoint:
    """Check that the entry with the leaf hash ``leaf`` stands at the receipt's index in the ledger ``origin``.

    Returns the receipt's checkpoint. Raises as ``open_checkpoint`` and ``verify_inclusion`` do.
    """
    checkpoint = open_checkpoint(receipt.checkpoint_note, verifiers, origin)
    verify_inclusion(receipt.index, checkpoint.size, leaf, receipt.path, checkpoint.root)
    return checkpoint
