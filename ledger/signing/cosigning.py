"""Witnesses from the log's side: what it says of whom it asks, and asking them before it publishes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ..errors import Malformed, QuorumNotMet, VerificationError
from ..events import WitnessesDeclared
from ..tlog.checkpoint import Checkpoint
from ..tlog.cosignature import add_signatures, open_cosigned
from ..tlog.note import VerifierKey
from ..tlog.policy import print_policy
from ..tlog.witness import Collected, Cosigners


def declare(cosigners: Cosigners) -> WitnessesDeclared:
    """What the log says before it asks these."""
    return WitnessesDeclared(policy=print_policy(cosigners.policy.without_addresses()), required=cosigners.required)


def require_asked(declared: WitnessesDeclared | None, cosigners: Cosigners | None) -> None:
    """``QuorumNotMet`` where the log says that nothing is published without witnesses, and others or none are asked.

    Another process may have said so since this one was opened.
    """
    if declared is None or not declared.required:
        return
    if cosigners is None:
        raise QuorumNotMet(
            "the log says that its witnesses are required, and none are configured here; "
            "AFFIDAVIT_WITNESS_POLICY names them"
        )
    if declare(cosigners) != declared:
        raise QuorumNotMet(
            "the log says that its witnesses are required, and it was opened here before that, with other rules; "
            "open it again"
        )


def with_cosignatures(
    note: bytes,
    checkpoint: Checkpoint,
    log_keys: Sequence[VerifierKey],
    cosigners: Cosigners,
    prove: Callable[[int], Sequence[bytes]],
) -> bytes:
    """The note with what its witnesses sign; ``QuorumNotMet`` where they are required and not enough of them do.

    A line that does not verify is left out: it would spoil the note for every reader.
    """
    collected = cosigners.collect(note, checkpoint, prove)
    log = logging.getLogger(__name__)
    for name, said in collected.contradictions.items():
        log.error("witness %s knows another log %s than is here: %s", name, checkpoint.origin, said)
    witnesses = [witness.key for witness in cosigners.policy.witnesses]
    signed_by: list[VerifierKey] = []
    lines = []
    for line in dict.fromkeys(collected.lines):
        try:
            opened = open_cosigned(add_signatures(note, [line]), log_keys, witnesses, checkpoint.origin)
        except (Malformed, VerificationError) as error:
            log.warning("left out a line of a witness: %s", error)
            continue
        lines.append(line)
        signed_by += [cosignature.key for cosignature in opened.cosignatures]
    if not cosigners.policy.is_met(signed_by):
        missing = f"checkpoint of size {checkpoint.size}: {cosigners.policy.lacking(signed_by)}{_reasons(collected)}"
        if cosigners.required:
            raise QuorumNotMet(missing)
        log.warning("published without quorum: %s", missing)
    return add_signatures(note, lines)


def _reasons(collected: Collected) -> str:
    return "".join(f"; {name}: {reason}" for name, reason in collected.failures.items())
