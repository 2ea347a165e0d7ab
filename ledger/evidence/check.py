"""Checking evidence: bytes in, a verdict out, with no storage, clock or network (docs/format.md, "Evidence").

The order, failing closed: every entry parses and stands where it says → who signs this log, by its own entries → the
checkpoint's signatures → all entries in the tree it signs → the ends of the range, and earlier checkpoints → the keys,
policy and checkpoints that the reader brings → disclosures against the digests in the entries → times.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ...domain.errors import Refused
from ...domain.registry import Registry
from ..audit.anchors import check_anchors
from ..audit.head import KnownRoot, Outside, check_witnesses, compare_pinned, open_head
from ..audit.stretches import Damage
from ..audit.verdict import Verdict
from ..entries.entry import NO_ENTRY, Entry, parse_entry
from ..entries.mapper import decode, scope_of
from ..entries.review import verify_statement
from ..entries.seal import read_disclosure
from ..errors import LedgerError, Malformed, UnsupportedFormat, VerificationError
from ..events import ReviewSigned
from ..folds.anchors import fold_anchors
from ..folds.erasures import fold_erasures
from ..folds.identity import Identity, fold_identity
from ..folds.witnesses import fold_declared
from ..tlog.checkpoint import Checkpoint, claimed_checkpoint
from ..tlog.cosignature import Cosignature, CosignedCheckpoint
from ..tlog.multiproof import verify_leaves
from ..tlog.note import VerifierKey, parse_note, parse_vkey
from ..tlog.policy import Policy, parse_policy
from ..tlog.proof import verify_consistency
from .evidence import EarlierCheckpoint, Evidence, EvidenceEntry, decode_base64url, encode_base64url


@dataclass(slots=True)
class EvidenceVerdict(Verdict):
    """A verdict on evidence; nothing is said of entries that are not carried but where they are missing.

    ``shown`` is the range (first, stop), ``gaps`` the stretches (first, stop) of it without an entry. ``disclosed``
    counts the sealed fields that are shown; ``closed`` and ``erased_fields`` name the others by seq.
    """

    shown: tuple[int, int] = (0, 0)
    entries: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    disclosed: int = 0
    closed: dict[int, list[str]] = field(default_factory=dict)
    erased_fields: dict[int, list[str]] = field(default_factory=dict)
    cosignatures: tuple[Cosignature, ...] = ()


def verify_evidence(
    evidence: Evidence,
    log_keys: Sequence[VerifierKey] = (),
    policy: Policy | None = None,
    pinned: Sequence[bytes] = (),
    tsa_roots: Sequence[bytes] = (),
    registry: Registry | None = None,
    now: int | None = None,
) -> EvidenceVerdict:
    """Check evidence against what its reader brings. Nothing that it holds makes this raise; it becomes damage.

    With a ``registry``, summaries in the open are compared with sealed detail that is disclosed. Cosignatures later
    than ``now``, in seconds since 1970, are not counted.
    """
    return _Check(evidence, Outside(tuple(log_keys), policy, tuple(pinned), tuple(tsa_roots), now), registry).verdict


class _Check:
    """One check, in order; each step adds to the verdict."""

    def __init__(self, evidence: Evidence, outside: Outside, registry: Registry | None) -> None:
        self._evidence = evidence
        self._outside = outside
        self._registry = registry
        shown = (evidence.range.first, evidence.range.stop)
        self.verdict = EvidenceVerdict(shown=shown, entries=len(evidence.entries))
        self._entries: dict[int, Entry] = {}
        self._note = evidence.checkpoint.encode()
        try:
            head = claimed_checkpoint(self._note)
        except LedgerError as error:
            self._damage("checkpoint_invalid", None, f"the checkpoint: {error}")
            return
        self.verdict.origin, self.verdict.size, self.verdict.root = head.origin, head.size, head.root
        self._run(head)
        self.verdict.damage.sort(key=lambda damage: (damage.seq is None, damage.seq or 0))

    def _run(self, head: Checkpoint) -> None:
        self._read_entries()
        identity = self._read_identity()
        self._check_tree(head)
        known = self._check_range(head)
        if identity is None:
            return
        stated = self._stated_policy()
        opened = self._open_head(head, identity, stated)
        earlier = self._open_earlier(head, identity, known)
        if opened is not None:
            self._check_keys(identity, opened, [*earlier.values()])
            check_witnesses(self.verdict, self._outside, opened, stated)
            self.verdict.cosignatures = opened.cosignatures
        keys = [signer.key for signer in identity.ranges]
        compare_pinned(self.verdict, self._outside, self._note, head, known, keys, identity)
        self._check_sealed()
        self._check_reviews(identity, known)
        self._check_declared(opened)
        self._check_times(identity)

    def _damage(self, kind: str, seq: int | None, detail: str) -> None:
        self.verdict.damage.append(Damage(kind, seq, detail))

    def _read_entries(self) -> None:
        """Each entry by itself, and then beside its neighbours."""
        for item in self._evidence.entries:
            try:
                entry = parse_entry(item.raw)
            except (Malformed, UnsupportedFormat) as error:
                self._damage("non_canonical", item.seq, str(error))
                continue
            if entry["seq"] != item.seq:
                self._damage("order_broken", item.seq, f"it says that it is entry {entry['seq']}")
            if item.seq == 0 and entry["prev"] != NO_ENTRY.hex():
                self._damage("entry_modified", 0, f"it was chained onto {entry['prev']}, and is the first")
            self._entries[item.seq] = entry
        for before, after in pairwise(self._evidence.entries):
            if after.seq == before.seq + 1 and after.seq in self._entries:
                prev = self._entries[after.seq]["prev"]
                if prev != before.leaf.hex():
                    self._damage("entry_modified", before.seq, f"entry {after.seq} was chained onto {prev}")
        for first, second in pairwise(self._entries.values()):
            if second["at"] < first["at"]:
                self._damage(
                    "order_broken", second["seq"], f"{second['at']} is before {first['at']}, which stands earlier"
                )
        self._check_streams()
        self.verdict.checked += ["grammar", "chain"]

    def _check_streams(self) -> None:
        """Positions rise within each stream; where one is left out, that is said."""
        about = self._evidence.about
        positions = {f"run/{about['run']}": -1} if "run" in about else {}
        missing: list[str] = []
        for entry in self._entries.values():
            stream, pos = entry["stream"], entry["pos"]
            last = positions.get(stream)
            if last is not None and pos <= last:
                self._damage("order_broken", entry["seq"], f"position {pos} of stream {stream} stands after {last}")
            elif last is not None and pos > last + 1:
                missing.append(f"positions {last + 1} to {pos - 1} of stream {stream}")
            positions[stream] = pos
        self.verdict.gaps = list(self._gaps())
        missing += [f"entries {first} to {stop - 1}" for first, stop in self.verdict.gaps]
        if missing:
            more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
            self.verdict.not_checked["gaps"] = f"not in this file: {', '.join(missing[:20])}{more}"

    def _gaps(self) -> Iterator[tuple[int, int]]:
        """The stretches of the range that no entry fills."""
        at, stop = self.verdict.shown
        for item in self._evidence.entries:
            if at <= item.seq < stop:
                if at < item.seq:
                    yield at, item.seq
                at = item.seq + 1
        if at < stop:
            yield at, stop

    def _read_identity(self) -> Identity | None:
        try:
            return fold_identity(self._entries.values())
        except LedgerError as error:
            self._damage("wrong_ledger", 0, f"the entries do not say whose log it is: {error}")
            return None

    def _check_tree(self, head: Checkpoint) -> None:
        leaves = {item.seq: item.leaf for item in self._evidence.entries}
        try:
            verify_leaves(leaves, head.size, self._evidence.proof, head.root)
            self.verdict.checked.append("inclusion")
        except VerificationError as error:
            self._damage("entry_modified", None, f"the entries are not those that were signed: {error}")

    def _check_range(self, head: Checkpoint) -> dict[int, KnownRoot]:
        """The roots that are proven, by size."""
        known = {head.size: KnownRoot(head.root)}
        shown = self._evidence.range
        for size, root, proof in (
            (shown.first, shown.root_first, shown.proof_first),
            (shown.stop, shown.root_stop, shown.proof_stop),
        ):
            try:
                verify_consistency(size, head.size, proof, root, head.root)
                known.setdefault(size, KnownRoot(root, proof))
            except VerificationError as error:
                self._damage("proof_invalid", None, f"the end of the range at size {size}: {error}")
        self.verdict.checked.append("range")
        if shown.stop < head.size:
            self.verdict.not_checked["after"] = (
                f"entries {shown.stop} to {head.size - 1} of the log are past the range: what came later is not told"
            )
        return known

    def _stated_policy(self) -> Policy | None:
        """The policy that the maker states."""
        if self._evidence.policy is None:
            return None
        try:
            return parse_policy(self._evidence.policy)
        except LedgerError as error:
            self._damage("malformed", None, f"the policy that the file states: {error}")
            return None

    def _open_head(self, head: Checkpoint, identity: Identity, stated: Policy | None) -> CosignedCheckpoint | None:
        policy = self._outside.policy or stated
        witnesses = [] if policy is None else [witness.key for witness in policy.witnesses]
        opened = self._open(self._note, head, identity, witnesses, "the checkpoint")
        if opened is not None:
            self.verdict.signed_size = head.size
            self.verdict.checked.append("signatures")
        self._check_stated_key(identity, head.size)
        return opened

    def _open(
        self, note: bytes, said: Checkpoint, identity: Identity, witnesses: Sequence[VerifierKey], what: str
    ) -> CosignedCheckpoint | None:
        """A checkpoint that exactly the keys signed that sign at its size."""
        if said.origin != identity.origin_at(said.size):
            self._damage("wrong_ledger", None, f"{what} is of {said.origin!r}, the entries of {identity.genesis!r}")
            return None
        keys = [signer.key for signer in identity.ranges if signer.origin == said.origin]
        opened = open_head(self.verdict, note, keys, said.origin, witnesses, what)
        if opened is not None and set(opened.log_keys) != set(identity.keys_at(said.size)):
            self._damage("key_out_of_range", None, f"{what} of size {said.size} is not signed by the keys of that size")
            return None
        return opened

    def _check_stated_key(self, identity: Identity, size: int) -> None:
        try:
            if parse_vkey(self._evidence.vkey) in identity.keys_at(size):
                return
            detail = "the key that the file states is not the one that its entries name"
        except LedgerError as error:
            detail = f"the key that the file states: {error}"
        self._damage("unknown_key", None, detail)

    def _open_earlier(
        self, head: Checkpoint, identity: Identity, known: dict[int, KnownRoot]
    ) -> dict[int, CosignedCheckpoint]:
        """Earlier checkpoints, each signed and shown to be extended by the newest one; by size."""
        found: dict[int, CosignedCheckpoint] = {}
        for earlier in self._evidence.anchors:
            note = earlier.note.encode()
            try:
                said = claimed_checkpoint(note)
                what = f"the checkpoint of size {said.size}"
                verify_consistency(said.size, head.size, earlier.proof, said.root, head.root)
            except Malformed as error:
                self._damage("checkpoint_invalid", None, f"an earlier checkpoint: {error}")
                continue
            except VerificationError as error:
                self._damage("proof_invalid", None, f"{what}: {error}")
                continue
            opened = self._open(note, said, identity, (), what)
            if opened is not None:
                found[said.size] = opened
                known.setdefault(said.size, KnownRoot(said.root, earlier.proof))
        return found

    def _check_keys(
        self, identity: Identity, opened: CosignedCheckpoint, earlier: Sequence[CosignedCheckpoint]
    ) -> None:
        """Whether a key of the reader's signed this, or signed for the key that did."""
        outside, head = self._outside, opened.checkpoint
        if not outside.names_keys:
            self.verdict.not_checked["key_pinned"] = (
                "signatures were checked under the key that the file itself names; "
                "whoever made the file could have named their own"
            )
            return
        own = outside.all_keys()  # the reader says themselves for which sizes each counts
        trusted = set(outside.keys_at(head.origin, head.size))
        for before in sorted(earlier, key=lambda each: each.checkpoint.size):
            said = before.checkpoint
            if trusted.union(outside.keys_at(said.origin, said.size)) & set(before.log_keys):
                trusted |= {
                    signer.key
                    for signer in identity.ranges
                    if signer.origin == said.origin and signer.named_by < said.size and signer.key not in own
                }
        if trusted & set(opened.log_keys):
            self.verdict.checked.append("key_pinned")
            return
        self.verdict.not_checked["key_pinned"] = "the log's key is not the one that it was to have"
        kind, detail = "unknown_key", "no key of yours signed this, or signed for the key that did"
        if head.origin not in {key.name for key in own}:
            kind, detail = "wrong_ledger", f"origin is {head.origin!r}; your keys are of other logs"
        self.verdict.damage.append(Damage(kind, None, detail, unmet=True))

    def _check_sealed(self) -> None:
        """What is disclosed is what the entries bind; what is not is closed, or erased as an entry says."""
        erasures = fold_erasures(self._entries.values())
        for item in self._evidence.entries:
            entry = self._entries.get(item.seq)
            if entry is None:
                continue
            opened = self._open_disclosures(item, entry)
            withheld = [name for name in entry["sealed"] if name not in item.disclosures]
            if withheld:
                is_erased = erasures.executed_after(item.seq, scope_of(entry["meta"], entry["stream"])) is not None
                (self.verdict.erased_fields if is_erased else self.verdict.closed)[item.seq] = withheld
                self.verdict.erased += len(withheld) if is_erased else 0
            elif opened is not None:
                self._check_summary(entry, opened)
        self.verdict.checked.append("sealed")
        closed = sum(map(len, self.verdict.closed.values()))
        if closed:
            self.verdict.not_checked["sealed"] = f"{closed} sealed fields are not shown in this file"

    def _open_disclosures(self, item: EvidenceEntry, entry: Entry) -> dict[str, Any] | None:
        """Field to value, or None where one is not what the entry binds."""
        opened: dict[str, Any] = {}
        for name, text in item.disclosures.items():
            digest = encode_base64url(hashlib.sha256(text.encode()).digest())
            try:
                if entry["sealed"].get(name) != digest:
                    raise VerificationError(f"sealed field {name!r}: the entry does not bind this disclosure")
                opened[name] = read_disclosure(decode_base64url(text), name)
            except (LedgerError, TypeError, RecursionError) as error:
                self._damage("payload_mismatch", item.seq, str(error))
        self.verdict.disclosed += len(opened)
        return opened if len(opened) == len(item.disclosures) else None

    def _check_summary(self, entry: Entry, opened: dict[str, Any]) -> None:
        if self._registry is None:
            return
        try:
            disagreement = decode(entry, self._registry, opened).event.disagreement()
        except (Refused, KeyError, TypeError, ValueError, AttributeError) as error:
            disagreement = f"{type(error).__name__}: {error}"
        if disagreement is not None:
            self._damage("summary_mismatch", entry["seq"], disagreement)

    def _check_reviews(self, identity: Identity, known: dict[int, KnownRoot]) -> None:
        """A reviewer's statement is about this log, and about the history that is proven here."""
        unknown: list[int] = []
        for item in self._evidence.entries:
            entry = self._entries.get(item.seq)
            if entry is None or entry["type"] != ReviewSigned.type_name or len(item.disclosures) < len(entry["sealed"]):
                continue
            try:
                opened = item.opened()
                said = verify_statement(str(opened["statement"]).encode(), parse_vkey(str(opened["vkey"])))
                here = identity.origin_at(said.size)
            except (LedgerError, KeyError, StopIteration) as error:
                self._damage("summary_mismatch", item.seq, f"the reviewer's statement does not verify: {error}")
                continue
            root = known.get(said.size)
            if said.origin != here:
                self._damage("summary_mismatch", item.seq, f"the reviewer's statement is about {said.origin!r}")
            elif root is None:
                unknown.append(item.seq)
            elif root.root != said.root:
                self._damage("fork", item.seq, f"the reviewer had another root of {said.size} entries before them")
        if unknown:
            self.verdict.not_checked["reviews"] = (
                f"that the reviewers of entries {', '.join(map(str, unknown))} had this history before them: "
                "the file has no proof from the sizes that they name"
            )

    def _check_declared(self, opened: CosignedCheckpoint | None) -> None:
        """Where the log says that its witnesses are required, by the entries that are carried, their lines are here.

        Whether they verify is counted under the policy that the reader brings; this is the log's own word.
        """
        try:
            declared = fold_declared(self._entries.values())
            policy = None if declared is None else parse_policy(declared.policy)
        except LedgerError as error:
            self._damage("summary_mismatch", None, f"what the log declares of witnesses: {error}")
            return
        if opened is None or declared is None or policy is None or not declared.required:
            return
        lines = {(line.name, line.key_id) for line in parse_note(self._note).signatures}
        claimed_by = [each.key for each in policy.witnesses if (each.key.name, each.key.key_id) in lines]
        if not policy.is_met(claimed_by):
            lacking = policy.lacking(claimed_by)
            detail = f"the log says that its witnesses are required, yet the checkpoint lacks them: {lacking}"
            self.verdict.damage.append(Damage("quorum_not_met", None, detail, unmet=True))

    def _check_times(self, identity: Identity) -> None:
        """What the tokens that are carried prove, for those that an entry records."""
        if self._outside.tsa_roots:
            self.verdict.asked.add("time")
        carried = dict(self._tokens())
        anchors = [anchor for anchor in fold_anchors(self._entries.values()) if anchor.size in carried]
        if not anchors or not self._entries:
            self.verdict.not_checked["time"] = "no timestamp token is carried; times are the recorder's own"
            return
        seqs = list(self._entries)

        def at_of(seq: int) -> str:
            """The time of the nearest entry at or before, since times never run backwards."""
            return self._entries[seqs[max(bisect_right(seqs, seq) - 1, 0)]]["at"]

        report = check_anchors(
            anchors,
            lambda size: carried[size].token,
            lambda size: carried[size].note.encode(),
            identity.keys_at,
            self._outside.tsa_roots,
            at_of,
        )
        self.verdict.damage += report.damage
        self.verdict.bounds = report.bounds
        if report.unchecked or not report.anchored_to:
            self.verdict.not_checked["time"] = "; ".join(report.unchecked) or "no token was checked"
            return
        self.verdict.checked.append("time")
        if report.anchored_to < self.verdict.shown[1]:
            first = max(report.anchored_to, self.verdict.shown[0])
            self.verdict.not_checked["unanchored"] = f"no token covers entries {first} to {self.verdict.shown[1] - 1}"

    def _tokens(self) -> Iterator[tuple[int, EarlierCheckpoint]]:
        for earlier in self._evidence.anchors:
            if earlier.token is not None:
                try:
                    yield claimed_checkpoint(earlier.note.encode()).size, earlier
                except LedgerError:
                    continue  # it is damage already
