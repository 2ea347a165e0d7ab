"""Checking the signed head of something that was handed over, against what its reader brings from elsewhere.

A file names its own log, key and witnesses, and whoever made the file chose those names. So a verdict says which of
them the reader brought: keys, a policy, checkpoints kept from earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import LedgerError, Malformed, VerificationError
from ..tlog.checkpoint import Checkpoint, parse_checkpoint
from ..tlog.cosignature import CosignedCheckpoint, open_cosigned
from ..tlog.note import VerifierKey, parse_note
from ..tlog.policy import NO_QUORUM, Policy
from .fork import ForkEvidence
from .stretches import Damage
from .verdict import Verdict


@dataclass(frozen=True, slots=True)
class Outside:
    """What a reader has from elsewhere than the file: keys of logs, a policy, signed checkpoints kept from earlier
    visits, and the certificates (PEM) of timestamp authorities. Each may be missing.
    """

    log_keys: tuple[VerifierKey, ...] = ()
    policy: Policy | None = None
    pinned: tuple[bytes, ...] = ()
    tsa_roots: tuple[bytes, ...] = ()

    @property
    def names_keys(self) -> bool:
        """Whether the reader says whose signature counts."""
        return bool(self.log_keys or (self.policy and self.policy.logs))

    def all_keys(self) -> set[VerifierKey]:
        """Every key of a log that the reader has, for whatever size."""
        logs = () if self.policy is None else self.policy.logs
        return {*self.log_keys, *(log.key for log in logs)}

    def keys_at(self, origin: str, size: int) -> list[VerifierKey]:
        """The reader's keys that may sign for a log at this size."""
        stated = [] if self.policy is None else self.policy.log_keys(origin, size)
        return list(dict.fromkeys([*stated, *(key for key in self.log_keys if key.name == origin)]))


@dataclass(frozen=True, slots=True)
class KnownRoot:
    """The root of the log at a smaller size, with the proof that the checkpoint extends it."""

    root: bytes
    proof: tuple[bytes, ...] = ()


def claimed(note: bytes) -> Checkpoint:
    """What a signed note says, before any signature is checked; ``Malformed`` where it is no checkpoint."""
    return parse_checkpoint(parse_note(note).text)


def open_head(
    verdict: Verdict, note: bytes, keys: Sequence[VerifierKey], origin: str, witnesses: Iterable[VerifierKey], what: str
) -> CosignedCheckpoint | None:
    """The checkpoint of ``origin`` in a note that one of ``keys`` signed, or None and the damage."""
    try:
        return open_cosigned(note, keys, witnesses, origin)
    except VerificationError as error:
        kind = "checkpoint_invalid" if _names(note, keys) else "unknown_key"
        verdict.damage.append(Damage(kind, None, f"{what}: {error}"))
    except LedgerError as error:
        verdict.damage.append(Damage("checkpoint_invalid", None, f"{what}: {error}"))
    return None


def check_witnesses(verdict: Verdict, outside: Outside, opened: CosignedCheckpoint, stated: Policy | None) -> None:
    """Whether the cosignatures are those that the reader's policy asks for; else who cosigned, as the file names them.

    A policy that the maker states is the maker's own word.
    """
    cosigners = [cosignature.key for cosignature in opened.cosignatures]
    policy = outside.policy
    if policy is None:
        verdict.not_checked["fork"] = (
            f"{len(cosigners)} of {len(stated.witnesses)} witnesses that the file names have seen this; "
            "whether they are yours, and enough, your own policy tells"
            if stated is not None and cosigners
            else "no witness has seen this log; its operator could show others another history"
        )
        return
    if policy.quorum == NO_QUORUM:
        verdict.not_checked["fork"] = "fork not excluded: the policy asks for no witness (quorum none)"
        return
    verdict.asked.add("fork")
    if policy.is_met(cosigners):
        verdict.checked.append("witnesses")
        return
    lacking = f"checkpoint of size {opened.checkpoint.size}: {policy.lacking(cosigners)}"
    if policy.is_met([*cosigners, *opened.unsupported]):
        names = ", ".join(key.name for key in opened.unsupported)
        verdict.not_checked["fork"] = f"{lacking}; what {names} signed cannot be checked here (ML-DSA-44)"
        return
    verdict.damage.append(Damage("quorum_not_met", None, lacking, unmet=True))
    verdict.not_checked["fork"] = f"too few witnesses have seen the checkpoint of size {opened.checkpoint.size}"


def compare_pinned(
    verdict: Verdict,
    outside: Outside,
    note: bytes,
    head: Checkpoint,
    known: Mapping[int, KnownRoot],
    keys: Sequence[VerifierKey],
    earlier_origins: Iterable[str] = (),
) -> None:
    """Compare the checkpoints that the reader kept with the head, and with what is proven of smaller sizes.

    ``keys`` are the log's own, in case the reader brought none.
    """
    if not outside.pinned:
        verdict.not_checked["rollback"] = "nothing from outside says how long the log was; pin a checkpoint"
    origins = {head.origin, *earlier_origins}
    compared = 0
    for pinned in outside.pinned:
        kept = _open_pinned(verdict, outside, pinned, keys)
        if kept is None:
            continue
        if kept.origin not in origins:
            verdict.damage.append(Damage("wrong_ledger", None, f"the pinned checkpoint is of {kept.origin!r}"))
        elif kept.size > head.size:
            _ask_for(
                verdict, f"the pinned checkpoint has {kept.size} entries and this {head.size}: ask for a newer one"
            )
        elif kept.size not in known:
            _ask_for(verdict, f"no proof is carried from the pinned size {kept.size}; `verify --pinned` the log itself")
        elif known[kept.size].root != kept.root:
            detail = f"the pinned checkpoint of size {kept.size} has another root than this log at that size: keep both"
            verdict.damage.append(Damage("fork", None, detail))
            same_size = kept.size == head.size
            root, proof = known[kept.size].root, known[kept.size].proof
            verdict.fork = ForkEvidence(pinned, note, None if same_size else root, () if same_size else proof)
        else:
            compared += 1
    if compared:
        verdict.checked.append("pinned")


def _open_pinned(verdict: Verdict, outside: Outside, note: bytes, keys: Sequence[VerifierKey]) -> Checkpoint | None:
    try:
        kept = claimed(note)
        trusted = outside.keys_at(kept.origin, kept.size) or [key for key in keys if key.name == kept.origin]
        # A checkpoint of a log that the reader has no key of is told by its origin.
        return open_cosigned(note, trusted, (), kept.origin).checkpoint if trusted else kept
    except LedgerError as error:
        verdict.damage.append(Damage("unknown_key", None, f"the pinned checkpoint: {error}", unmet=True))
        return None


def _ask_for(verdict: Verdict, reason: str) -> None:
    verdict.not_checked["rollback"] = reason
    verdict.asked.add("rollback")


def _names(note: bytes, keys: Iterable[VerifierKey]) -> bool:
    """Whether a line of the note bears the name and ID of one of the keys."""
    try:
        signers = {(line.name, line.key_id) for line in parse_note(note).signatures}
    except Malformed:
        return False
    return any((key.name, key.key_id) in signers for key in keys)
