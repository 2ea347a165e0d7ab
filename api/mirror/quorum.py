"""A policy's quorum, asked of what a mirror takes: what it serves is then what the policy's readers accept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ledger.audit.quorum import counted
from ...ledger.errors import QuorumNotMet
from ...ledger.tlog.checkpoint import Checkpoint
from ...ledger.tlog.cosignature import open_cosigned
from ...ledger.tlog.note import VerifierKey
from ...ledger.tlog.policy import Policy
from ...ledger.tlog.witness import KeysOf
from .following import RequireNote


def requiring_quorum(
    policy: Policy, keys_of: KeysOf, own: Sequence[VerifierKey], clock: Callable[[], float]
) -> RequireNote:
    """Raise ``QuorumNotMet`` for a checkpoint that lacks the quorum of ``policy``.

    The ``own`` keys count: what they say is added to what is taken. ``clock`` gives seconds since 1970. Raises as
    ``open_cosigned`` does, also for the wrong line of a witness.
    """
    witnesses = [each.key for each in policy.witnesses if each.key not in own]

    def require(checkpoint: Checkpoint, note: bytes) -> None:
        keys = keys_of(checkpoint.origin, checkpoint.size) or ()
        opened = counted(open_cosigned(note, keys, witnesses, checkpoint.origin), int(clock()))
        lacking = policy.lacking([*(each.key for each in opened.cosignatures), *own])
        if lacking:
            raise QuorumNotMet(
                f"checkpoint of size {checkpoint.size} of {checkpoint.origin}: {lacking}; it is not taken"
            )

    return require
