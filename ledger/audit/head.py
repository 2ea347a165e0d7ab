"""Checking the signed head of something that was handed over, against what its reader brings from elsewhere.

A file names its own log, key and witnesses, and whoever made the file chose those names. So a verdict says which of
them the reader brought: keys, a policy, checkpoints kept from earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import LedgerError, VerificationError
from ..folds.identity import Identity
from ..tlog.checkpoint import Checkpoint, claimed_checkpoint
from ..tlog.cosignature import CosignedCheckpoint, open_cosigned
from ..tlog.note import VerifierKey, named_keys
from ..tlog.policy import NO_QUORUM, Policy
from .fork import ForkEvidence
from .quorum import counted, meets_quorum, tell_unwitnessed
from .stretches import Damage
from .verdict import Verdict


@dataclass(frozen=True, slots=True)
class Outside:
    """What a reader has from elsewhere than the file: keys of logs, a policy, signed checkpoints kept from earlier
    visits, the certificates (PEM) of timestamp authorities, and the time ``now``, in seconds since 1970. Each may be
    missing.
    """

    log_keys: tuple[VerifierKey, ...] = ()
    policy: Policy | None = None
    pinned: tuple[bytes, ...] = ()
    tsa_roots: tuple[bytes, ...] = ()
    now: int | None = None

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


def open_head(
    verdict: Verdict, note: bytes, keys: Sequence[VerifierKey], origin: str, witnesses: Iterable[VerifierKey], what: str
) -> CosignedCheckpoint | None:
    """The checkpoint of ``origin`` in a note that one of ``keys`` signed, or None and the damage."""
    try:
        return open_cosigned(note, keys, witnesses, origin)
    except VerificationError as error:
        kind = "checkpoint_invalid" if named_keys(note, keys) else "unknown_key"
        verdict.damage.append(Damage(kind, None, f"{what}: {error}"))
    except LedgerError as error:
        verdict.damage.append(Damage("checkpoint_invalid", None, f"{what}: {error}"))
    return None


def check_witnesses(verdict: Verdict, outside: Outside, opened: CosignedCheckpoint, stated: Policy | None) -> None:
    """Whether the cosignatures are those that the reader's policy asks for; else who cosigned, as the file names them.

    A policy that the maker states is the maker's own word.
    """
    policy, opened = outside.policy, counted(opened, outside.now)
    if policy is None and stated is not None and opened.cosignatures:
        verdict.not_checked["fork"] = (
            f"{len(opened.cosignatures)} of {len(stated.witnesses)} witnesses that the file names have seen this; "
            "whether they are yours, and enough, your own policy tells"
        )
    elif policy is None or policy.quorum == NO_QUORUM:
        verdict.not_checked["fork"] = tell_unwitnessed(policy)
    else:
        meets_quorum(verdict, policy, opened)


def compare_pinned(
    verdict: Verdict,
    outside: Outside,
    note: bytes,
    head: Checkpoint,
    known: Mapping[int, KnownRoot],
    keys: Sequence[VerifierKey],
    identity: Identity | None = None,
) -> None:
    """Compare the checkpoints that the reader kept with the head, and with what is proven of smaller sizes.

    ``keys`` are the log's own, in case the reader brought none; ``identity`` is what it says of its origins, if it is
    known: a checkpoint of an earlier one is compared, too, and vouches for the present one only if the reader does.
    """
    if not outside.pinned:
        verdict.not_checked["rollback"] = "nothing from outside says how long the log was; pin a checkpoint"
    origins = {head.origin} | ({signer.origin for signer in identity.ranges} if identity else set())
    is_named = any(key.name == head.origin for key in outside.all_keys())
    compared = 0
    for pinned in outside.pinned:
        kept = _open_pinned(verdict, outside, pinned, keys)
        if kept is None:
            continue
        lost = None if identity is None else identity.lost_before(kept.origin, kept.size)
        if kept.origin not in origins:
            verdict.damage.append(
                Damage("wrong_ledger", None, f"the pinned checkpoint is of {kept.origin!r}", unmet=True)
            )
        elif lost is not None:
            detail = (
                f"the pinned checkpoint is of size {kept.size}; entry {lost} goes on under another origin before that"
            )
            verdict.damage.append(Damage("rollback", lost, detail))
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
            if kept.origin != head.origin and not is_named:
                detail = (
                    f"the pinned checkpoint is of {kept.origin!r}, and the log goes on as {head.origin!r} by its "
                    "own word; --vkey or --policy says that this is right"
                )
                verdict.damage.append(Damage("wrong_ledger", None, detail, unmet=True))
    if compared:
        verdict.checked.append("pinned")


def _open_pinned(verdict: Verdict, outside: Outside, note: bytes, keys: Sequence[VerifierKey]) -> Checkpoint | None:
    try:
        kept = claimed_checkpoint(note)
        # The key of the reader may be newer than the one that signed what they kept.
        named = [key for key in keys if key.name == kept.origin]
        trusted = list(dict.fromkeys([*outside.keys_at(kept.origin, kept.size), *named]))
        # A checkpoint of a log that the reader has no key of is told by its origin.
        return open_cosigned(note, trusted, (), kept.origin).checkpoint if trusted else kept
    except LedgerError as error:
        verdict.damage.append(Damage("unknown_key", None, f"the pinned checkpoint: {error}", unmet=True))
        return None


def _ask_for(verdict: Verdict, reason: str) -> None:
    verdict.not_checked["rollback"] = reason
    verdict.asked.add("rollback")
