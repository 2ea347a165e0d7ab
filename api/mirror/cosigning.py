"""A mirror's cosignature: that it holds all that the checkpoint covers, durably, and that the log only grew.

It is a cosignature as a witness gives it, under a name and a key of the mirror's own, and with a memory of its own: a
folder that is thrown away must not let the same key vouch for another history.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ledger.errors import SigningRefused, Unavailable
from ...ledger.tlog.checkpoint import Checkpoint, claimed_checkpoint
from ...ledger.tlog.cosignature import add_signatures
from ...ledger.tlog.note import VerifierKey, parse_note, print_signature
from ...ledger.tlog.tiles import ReadHashes, tile_nodes
from ...ledger.tlog.tree import prove_consistency
from ...ledger.tlog.witness import OTHER_SIZE, Submission, WitnessRefusal, state_path
from ..witness.store import WitnessStore


class MirrorCosigner:
    """Cosigns with the ``keys`` that ``store`` signs with."""

    def __init__(self, store: WitnessStore, keys: Sequence[VerifierKey]) -> None:
        self._store = store
        self._keys = {(key.name, key.key_id) for key in keys}

    def complete(self, checkpoint: Checkpoint, note: bytes, hashes: ReadHashes) -> bytes:
        """The note with the mirror's own lines under it, in place of any that stand there already.

        ``SigningRefused`` where the keys have cosigned what this checkpoint does not extend.
        """
        bare = self._without_own(note)
        before = self._store.latest(state_path(checkpoint.origin))
        old = 0 if before is None else claimed_checkpoint(before).size
        if old > checkpoint.size:
            raise SigningRefused(
                "rollback", f"rollback: the mirror's key has cosigned size {old} of this log, not {checkpoint.size}"
            )
        proof: tuple[bytes, ...] = ()
        if 0 < old < checkpoint.size:
            proof = tuple(prove_consistency(old, checkpoint.size, tile_nodes(checkpoint.size, hashes)))
        try:
            lines = self._store.cosign(Submission(old, proof, checkpoint, bare))
        except WitnessRefusal as refusal:
            if refusal.status == OTHER_SIZE:
                raise Unavailable("another process cosigned with this key meanwhile; it is tried again") from refusal
            raise SigningRefused(
                "fork", f"fork: the mirror's key has cosigned another history of this log: {refusal}"
            ) from refusal
        return add_signatures(bare, [f"{line}\n" for line in lines.removesuffix("\n").split("\n")])

    def _without_own(self, note: bytes) -> bytes:
        """Whoever serves the log may have put lines there that nobody signed."""
        parsed = parse_note(note)
        lines = [each for each in parsed.signatures if (each.name, each.key_id) not in self._keys]
        return f"{parsed.text}\n{''.join(map(print_signature, lines))}".encode()
