"""What is published, opened: a row of the database proves nothing before its signature is checked."""

from __future__ import annotations

from ..errors import VerificationError
from ..store.folding import read_identity
from ..store.reader import LedgerReader
from ..tlog.checkpoint import Checkpoint, open_checkpoint


def open_published(reader: LedgerReader, size: int, note: bytes) -> Checkpoint:
    """The checkpoint in a published note of this ``size``, signed by a key that the log names for that size.

    Raises as ``open_checkpoint`` and ``read_identity`` do, and ``VerificationError`` for another size.
    """
    identity = read_identity(reader, size)
    checkpoint = open_checkpoint(note, identity.keys_at(size), identity.origin_at(size))
    if checkpoint.size != size:
        raise VerificationError(f"checkpoint of size {size}: it says size {checkpoint.size}")
    return checkpoint
