"""Who signed: the log's keys as it names them and as the reviewer has them, and its published checkpoints.

Roots are not compared here: that is done once the entries have been hashed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import LedgerError, VerificationError
from ..folds.identity import Identity
from ..store.folding import read_identity
from ..store.reader import LedgerReader
from ..tlog.cosignature import CosignedCheckpoint, open_cosigned
from ..tlog.note import VerifierKey, named_keys
from ..tlog.policy import Policy
from .stretches import Damage
from .verdict import Verdict
from .witnesses import Declared, check_declared, read_declarations


@dataclass(slots=True)
class Signatures:
    """What is signed, and by whom. ``opened`` are the published checkpoints that a known key signed, by size."""

    origin: str
    identity: Identity | None = None
    declared: list[Declared] = field(default_factory=list)
    notes: dict[int, bytes] = field(default_factory=dict)
    opened: dict[int, CosignedCheckpoint] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    own_keys: list[VerifierKey] = field(default_factory=list)
    """The log's keys as the reviewer has them."""
    witnesses: list[VerifierKey] = field(default_factory=list)

    @property
    def newest(self) -> CosignedCheckpoint | None:
        return self.opened[max(self.opened)] if self.opened else None

    def keys(self, origin: str) -> list[VerifierKey]:
        """Every key that may have signed under ``origin``, whether the log names it or the reviewer has it."""
        named = [signer.key for signer in self.identity.ranges] if self.identity else []
        return [key for key in dict.fromkeys([*named, *self.own_keys]) if key.name == origin]

    def keys_at(self, size: int) -> list[VerifierKey]:
        """The keys that sign a checkpoint of ``size`` entries, as the log says."""
        return self.identity.keys_at(size) if self.identity else []

    def open(self, note: bytes, origin: str) -> CosignedCheckpoint:
        """Open a note of this log under every key that is known; raises as ``open_cosigned``."""
        return open_cosigned(note, self.keys(origin), self.witnesses, origin)


def read_signatures(
    reader: LedgerReader, checkpoints: Sequence[tuple[int, bytes]], vkey: VerifierKey | None, policy: Policy | None
) -> Signatures:
    """Open every published checkpoint, and ask of each whether it is signed by the keys of its size and no others."""
    found = Signatures(reader.origin())
    _read_identity(reader, found)
    found.declared, unread = read_declarations(reader)
    found.damage += unread
    found.own_keys = [*([vkey] if vkey else []), *([log.key for log in policy.logs] if policy else [])]
    policies = [*([policy] if policy else []), *(each.policy for each in found.declared)]
    found.witnesses = list(dict.fromkeys(each.key for policy in policies for each in policy.witnesses))
    found.notes = dict(checkpoints)
    for size, note in checkpoints:
        origin = found.identity.origin_at(size) if found.identity else found.origin
        try:
            opened = found.open(note, origin)
        except LedgerError as error:
            kind = "checkpoint_invalid"
            if isinstance(error, VerificationError) and not named_keys(note, found.keys(origin)):
                kind = "unknown_key"
            found.damage.append(Damage(kind, None, f"checkpoint of size {size}: {error}"))
            continue
        if opened.checkpoint.size != size:
            detail = f"checkpoint of size {size}: it says size {opened.checkpoint.size}"
            found.damage.append(Damage("checkpoint_invalid", None, detail))
            continue
        found.opened[size] = opened
        found.damage += _check_signers(size, opened.log_keys, found)
    found.damage += _check_rotations(found)
    found.damage += check_declared(found.opened, found.declared)
    return found


def check_keys(found: Signatures, verdict: Verdict, vkey: VerifierKey | None, policy: Policy | None) -> None:
    """Hold the log's keys against the one that is pinned, and against the policy."""
    unmet: list[Damage] = []
    if vkey is not None:
        unmet += _check_pinned_key(found, vkey)
    if policy is not None:
        unmet += _check_policy_keys(found, policy)
    verdict.damage += unmet
    if vkey is None and policy is None:
        verdict.not_checked["key_pinned"] = (
            "signatures were checked under the key that the ledger itself names; "
            "whoever rewrote the ledger could have named their own"
        )
    elif unmet:
        verdict.not_checked["key_pinned"] = "the log's key is not the one that it was to have"
    else:
        verdict.checked.append("key_pinned")


def _read_identity(reader: LedgerReader, found: Signatures) -> None:
    try:
        found.identity = read_identity(reader, 1)
        found.identity = read_identity(reader)
    except (LedgerError, ValueError, TypeError, AttributeError) as error:
        if found.identity is not None:
            found.damage.append(Damage("unknown_key", None, f"the log contradicts itself on its keys: {error}"))
    if found.identity is None or found.identity.genesis != found.origin:
        detail = f"entry 0 does not open a ledger of origin {found.origin!r}"
        found.damage.append(Damage("wrong_ledger", 0, detail))
    if found.identity is not None:
        found.origin = found.identity.origin


def _check_signers(size: int, signers: Iterable[VerifierKey], found: Signatures) -> list[Damage]:
    expected, signed = found.keys_at(size), set(signers)
    named = {signer.key for signer in found.identity.ranges} if found.identity else set()
    damage = []
    if not signed & named:
        damage.append(Damage("unknown_key", None, f"checkpoint of size {size}: no key that the log names signed it"))
    elif missing := [key for key in expected if key not in signed]:
        ids = ", ".join(key.key_id.hex() for key in missing)
        kind = "checkpoint_invalid" if signed & set(expected) else "key_out_of_range"
        damage.append(Damage(kind, None, f"checkpoint of size {size}: key {ids} signs this size, and did not"))
    elif strangers := (signed & named) - set(expected):
        ids = ", ".join(sorted(key.key_id.hex() for key in strangers))
        damage.append(
            Damage("key_out_of_range", None, f"checkpoint of size {size}: key {ids} signed it, out of its range")
        )
    return damage


def _check_rotations(found: Signatures) -> list[Damage]:
    """Each new key must be vouched for by the one before it: both signed a checkpoint that covers its entry."""
    damage = []
    ranges = found.identity.ranges if found.identity else ()
    for before, after in pairwise(ranges):
        covering = [opened for size, opened in found.opened.items() if size > after.named_by]
        if before.origin == after.origin and covering and not any(before.key in each.log_keys for each in covering):
            detail = f"key {after.key.key_id.hex()} is vouched for by no checkpoint that the key before it signed"
            damage.append(Damage("unknown_key", after.named_by, detail))
    return damage


def _check_pinned_key(found: Signatures, vkey: VerifierKey) -> list[Damage]:
    ranges = found.identity.ranges if found.identity else ()
    named = [signer for signer in ranges if signer.key == vkey]
    if vkey.name != found.origin:
        detail = f"origin is {found.origin!r}, the pinned key's is {vkey.name!r}"
        if named:
            detail += f"; that vouches for the first {named[0].last} entries, after which the log goes on by another"
        return [Damage("wrong_ledger", None, detail, unmet=True)]
    if not named:
        return [Damage("unknown_key", 0, "the log names other keys than the pinned one", unmet=True)]
    if found.opened and not any(vkey in opened.log_keys for opened in found.opened.values()):
        return [Damage("unknown_key", None, "the pinned key has signed no checkpoint that is here", unmet=True)]
    return []


def _check_policy_keys(found: Signatures, policy: Policy) -> list[Damage]:
    known = [log.key for log in policy.logs if log.key.name == found.origin]
    if not known:
        origins = ", ".join(sorted({repr(log.key.name) for log in policy.logs})) or "none"
        detail = f"origin is {found.origin!r}, the policy is for {origins}"
        return [Damage("wrong_ledger", None, detail, unmet=True)]
    unmet = []
    for size, opened in found.opened.items():
        allowed = policy.log_keys(opened.checkpoint.origin, size)
        outside = [key for key in opened.log_keys if key in known and key not in allowed]
        if outside:
            ids = ", ".join(key.key_id.hex() for key in outside)
            detail = f"checkpoint of size {size}: key {ids} signed it, out of its range in the policy"
            unmet.append(Damage("key_out_of_range", None, detail, unmet=True))
    newest = found.newest
    if newest is not None and not unmet and not set(known) & set(newest.log_keys):
        detail = f"checkpoint of size {newest.checkpoint.size}: no log key of the policy signed it"
        unmet.append(Damage("unknown_key", None, detail, unmet=True))
    return unmet
