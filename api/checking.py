"""Checking what somebody handed over, with no ledger at hand: a file tells by its content what it is.

A pack (a page with evidence in it), evidence alone, a receipt, fork evidence, a reviewer's statement, a checkpoint, or
a folder with an exported log. Each gets the verdict that ``verify`` gives to a ledger, as far as it applies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..ledger.audit.fork import FORK_FORMAT, parse_fork, verify_fork
from ..ledger.audit.head import KnownRoot, Outside, check_witnesses, compare_pinned, open_head
from ..ledger.audit.stretches import Damage, Joiner, check_stretch
from ..ledger.audit.verdict import Verdict
from ..ledger.entries.entry import StoredEntry, parse_entry
from ..ledger.entries.review import FORMAT_LINE, verify_statement
from ..ledger.errors import LedgerError, Malformed, Unavailable, UnsupportedFormat, VerificationError
from ..ledger.evidence.check import EvidenceVerdict, verify_evidence
from ..ledger.evidence.evidence import Evidence, parse_evidence
from ..ledger.folds.identity import LEDGER_STREAM, Identity, fold_identity
from ..ledger.publishing.static_log import ExportedLog, check_export
from ..ledger.tlog.checkpoint import claimed_checkpoint
from ..ledger.tlog.cosignature import CosignedCheckpoint
from ..ledger.tlog.hashing import leaf_hash
from ..ledger.tlog.note import VerifierKey, named_keys
from ..ledger.tlog.proof import verify_inclusion
from ..ledger.tlog.receipt import Receipt, parse_receipt
from ..projections.registry import REGISTRY
from .settings import recorder_name

NOT_CHECKED = (
    *("key_pinned", "fork", "rollback", "time", "unanchored", "sealed"),
    *("gaps", "after", "page", "signatures", "reviews"),
)
"""Every name that ``not_checked`` uses here."""

MOST_BYTES = 2**29
STRETCH = 8192

KeysOf = Callable[[str], Sequence[VerifierKey]]
"""The keys of a log that are known on this machine, by its origin; none where it is not."""

_CARRIED = re.compile(r'<script type="application/json" id="evidence">(.*?)</script>', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u003c|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Checked:
    """``kind`` is what the file was taken for; ``told`` are lines about it for people."""

    kind: str
    verdict: Verdict
    told: tuple[str, ...] = ()


def check(path: Path, outside: Outside, entry: bytes | None, keys_of: KeysOf) -> Checked:
    """Check a file or a folder. ``entry`` is that of a receipt which does not carry it.

    ``Malformed`` where it is nothing that can be checked, ``Unavailable`` where it does not read.
    """
    if path.is_dir():
        if not (path / "checkpoint").exists() and not (path / "tile").exists():
            raise Malformed(f"{path}: expected an exported log, which holds `checkpoint` and `tile`")
        return Checked("export", _check_export(path, outside))
    data = _read(path)
    if data.startswith(b"c2sp.org/tlog-proof@"):
        return _check_receipt(data, outside, entry, keys_of)
    if FORK_FORMAT.encode() in data[:200]:
        return _check_fork(data, outside, keys_of)
    if data.startswith(b"{"):
        return _check_evidence(data, outside)
    if data.startswith(FORMAT_LINE.encode()):
        return _check_review(data, outside)
    if re.match(rb"\s*<", data):
        return _check_pack(data, outside)
    try:
        claimed_checkpoint(data)
    except LedgerError as error:
        expected = "a pack, evidence, a receipt, fork evidence, a statement, a checkpoint or an exported log"
        raise Malformed(f"{path}: expected {expected}") from error
    return _check_checkpoint(data, outside, keys_of)


def carried_evidence(page: str) -> bytes:
    """The evidence in a pack's page; ``Malformed`` where it does not stand there exactly once."""
    found = _CARRIED.findall(page)
    if len(found) != 1:
        raise Malformed(f"page: expected evidence in it once, found it {len(found)} times")
    text = _ESCAPE.sub(lambda escape: "<" if escape[0] == "\\u003c" else escape[0], found[0])
    return text.encode()


def _read(path: Path) -> bytes:
    try:
        if not path.is_file() and path.exists():
            raise Unavailable(f"{path}: expected a file or a folder")
        if path.stat().st_size > MOST_BYTES:
            raise Unavailable(f"{path}: more than {MOST_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error


def _check_pack(data: bytes, outside: Outside) -> Checked:
    try:
        page = data.decode()
        evidence = parse_evidence(carried_evidence(page))
    except (UnicodeDecodeError, Malformed) as error:
        return Checked("pack", Verdict(damage=[Damage("malformed", None, str(error))]))
    verdict = _verify(evidence, outside)
    _check_page(page, evidence, verdict)
    return Checked("pack", verdict, tuple(_tell(evidence, verdict)))


def _check_evidence(data: bytes, outside: Outside) -> Checked:
    try:
        evidence = parse_evidence(data)
    except Malformed as error:
        return Checked("evidence", Verdict(damage=[Damage("malformed", None, str(error))]))
    verdict = _verify(evidence, outside)
    return Checked("evidence", verdict, tuple(_tell(evidence, verdict)))


def _verify(evidence: Evidence, outside: Outside) -> EvidenceVerdict:
    return verify_evidence(
        evidence, outside.log_keys, outside.policy, outside.pinned, outside.tsa_roots, REGISTRY, outside.now
    )


def _check_page(page: str, evidence: Evidence, verdict: EvidenceVerdict) -> None:
    """Whether the page is the one that its evidence gives, byte for byte."""
    from .pack.page_digest import page_digest
    from .pack.render import render_page

    if verdict.is_damaged:
        verdict.not_checked["page"] = "the evidence that it shows is damaged"
        return
    try:
        if page_digest(page) != evidence.body:
            verdict.damage.append(Damage("page_changed", None, "the page is not as it was when it was made"))
        elif render_page(evidence) == page:
            verdict.checked.append("page")
        elif evidence.recorder == recorder_name():
            verdict.damage.append(Damage("page_changed", None, "the page is not the one that its evidence gives"))
        else:
            # Who changes a page can state its digest anew, and who made it besides.
            verdict.asked.add("page")
            verdict.not_checked["page"] = (
                f"it was made by {evidence.recorder}, and {recorder_name()} makes it otherwise: "
                "whether what it shows follows from its evidence is not known"
            )
    except Unavailable:
        raise
    except Exception as error:  # whatever the entries say, a reader gets a verdict
        detail = f"no page can be made from the evidence: {type(error).__name__}: {error}"
        verdict.damage.append(Damage("page_changed", None, detail))


def _tell(evidence: Evidence, verdict: EvidenceVerdict) -> Iterator[str]:
    about = evidence.about
    what = f"run {about['run']}" if "run" in about else f"{about['from']} to {about['to']}"
    yield f"about    {what}; made by {evidence.recorder} at {evidence.at}, as the maker states"
    first, stop = verdict.shown
    missing = sum(end - start for start, end in verdict.gaps)
    yield f"range    entries {first} to {stop - 1}, of which {missing} are not in this file"
    closed = sum(map(len, verdict.closed.values()))
    yield f"texts    {verdict.disclosed} sealed fields shown, {closed} not shown, {verdict.erased} erased"
    for cosignature in verdict.cosignatures:
        yield f"cosigned {cosignature.key.name} at {cosignature.time} (seconds since 1970)"


def _check_receipt(data: bytes, outside: Outside, entry: bytes | None, keys_of: KeysOf) -> Checked:
    verdict = Verdict()
    try:
        receipt = parse_receipt(data)
        head = claimed_checkpoint(receipt.checkpoint_note)
    except Malformed as error:
        verdict.damage.append(Damage("malformed", None, str(error)))
        return Checked("receipt", verdict)
    verdict.origin, verdict.size, verdict.root = head.origin, head.size, head.root
    raw = entry if entry is not None else receipt.extra
    if raw is None:
        raise Unavailable("receipt: it does not carry its entry; give it with --entry")
    try:
        verify_inclusion(receipt.index, head.size, leaf_hash(raw), receipt.path, head.root)
        verdict.checked.append("inclusion")
    except VerificationError as error:
        verdict.damage.append(Damage("entry_modified", receipt.index, str(error)))
    verdict.damage += _check_promised(receipt, raw)
    _check_note(verdict, receipt.checkpoint_note, outside, keys_of)
    return Checked("receipt", verdict, (f"entry    {receipt.index}",))


def _check_promised(receipt: Receipt, raw: bytes) -> Iterator[Damage]:
    try:
        seq = parse_entry(raw)["seq"]
    except (Malformed, UnsupportedFormat) as error:
        yield Damage("non_canonical", receipt.index, str(error))
        return
    if seq != receipt.index:
        yield Damage("order_broken", receipt.index, f"it says that it is entry {seq}")


def _check_checkpoint(data: bytes, outside: Outside, keys_of: KeysOf) -> Checked:
    verdict = Verdict()
    head = claimed_checkpoint(data)
    verdict.origin, verdict.size, verdict.root = head.origin, head.size, head.root
    _check_note(verdict, data, outside, keys_of)
    return Checked("checkpoint", verdict)


def _check_note(verdict: Verdict, note: bytes, outside: Outside, keys_of: KeysOf) -> None:
    """A signed checkpoint that stands alone: nothing with it says whose key signed it."""
    head = claimed_checkpoint(note)
    known = outside.keys_at(head.origin, head.size)
    here = [] if known else list(keys_of(head.origin))
    verdict.not_checked["time"] = "no timestamp token is carried"
    if outside.tsa_roots:
        verdict.asked.add("time")
    if not known:
        verdict.not_checked["key_pinned"] = (
            "signatures were checked under the key of the ledger that is here"
            if here
            else "it does not name its key; give the log's key with --vkey or --policy"
        )
    if outside.names_keys and not known:
        origins = ", ".join(sorted({key.name for key in outside.all_keys()}))
        detail = f"origin is {head.origin!r}, your keys are of {origins}"
        verdict.damage.append(Damage("wrong_ledger", None, detail, unmet=True))
        return
    if not known and not here:
        verdict.not_checked["signatures"] = "no key of this log is known here"
        return
    witnesses = () if outside.policy is None else [witness.key for witness in outside.policy.witnesses]
    opened = open_head(verdict, note, known or here, head.origin, witnesses, "the checkpoint")
    if opened is None:
        return
    _accept(verdict, opened, pinned=bool(known))
    check_witnesses(verdict, outside, opened, None)
    compare_pinned(verdict, outside, note, head, {head.size: KnownRoot(head.root)}, known or here)


def _accept(verdict: Verdict, opened: CosignedCheckpoint, *, pinned: bool) -> None:
    verdict.signed_size = opened.checkpoint.size
    verdict.checked += ["signatures", "key_pinned"] if pinned else ["signatures"]


def _check_fork(data: bytes, outside: Outside, keys_of: KeysOf) -> Checked:
    verdict = Verdict()
    try:
        evidence = parse_fork(data)
        older, newer = claimed_checkpoint(evidence.older), claimed_checkpoint(evidence.newer)
        verdict.origin, verdict.size, verdict.root = newer.origin, newer.size, newer.root
        own = {size: outside.keys_at(newer.origin, size) for size in (older.size, newer.size)}
        known = all(own.values())  # each note under the keys of its own size: a retired key convicts nobody
        keys = own if known else dict.fromkeys(own, keys_of(newer.origin))
        if not all(keys.values()):
            verdict.not_checked["signatures"] = "no key of this log is known here; give it with --vkey or --policy"
            return Checked("fork", verdict)
        older, newer = verify_fork(evidence, keys.__getitem__)
    except VerificationError as error:
        verdict.damage.append(Damage("proof_invalid", None, f"it proves no fork: {error}"))
        return Checked("fork", verdict)
    except LedgerError as error:
        verdict.damage.append(Damage("malformed", None, str(error)))
        return Checked("fork", verdict)
    detail = f"this log signed size {older.size} and size {newer.size}, and they cannot both be of one history"
    verdict.damage.append(Damage("fork", None, detail))
    verdict.signed_size, verdict.fork = newer.size, evidence
    verdict.checked += ["signatures", "key_pinned"] if known else ["signatures"]
    return Checked("fork", verdict)


def _check_review(data: bytes, outside: Outside) -> Checked:
    verdict = Verdict()
    try:
        keys = named_keys(data, outside.log_keys)
        if not keys:
            verdict.not_checked["signatures"] = "no key of its reviewer was given; give it with --vkey"
            return Checked("review", verdict)
        statement = verify_statement(data, keys[0])
    except LedgerError as error:
        verdict.damage.append(Damage("malformed", None, str(error)))
        return Checked("review", verdict)
    verdict.origin, verdict.size, verdict.root = statement.origin, statement.size, statement.root
    verdict.signed_size = statement.size
    verdict.checked += ["signatures", "key_pinned"]
    verdict.not_checked["time"] = "its time is the reviewer's own"
    told = (
        f"reviewer {keys[0].name}, at {statement.at} by their own clock",
        f"subject  {statement.subject}",
        f"says     {statement.verdict}: {statement.words}",
    )
    return Checked("review", verdict, told)


def _check_export(folder: Path, outside: Outside) -> Verdict:
    """Every entry in its place, who signs them, the signature, and every tile."""
    verdict = Verdict()
    try:
        log = ExportedLog(folder)
        head = log.checkpoint
        verdict.origin, verdict.size, verdict.root = head.origin, head.size, head.root
        joiner = Joiner([claimed_checkpoint(note).size for note in outside.pinned])
        named = _join_entries(log, joiner)
        root = joiner.finish().root()
        verdict.damage += joiner.damage
        verdict.checked += ["grammar", "chain", "tree"]
        if root != head.root and not verdict.damage:
            verdict.damage.append(Damage("entry_modified", None, "the entries are not those that were signed"))
        identity = fold_identity(map(parse_entry, named))
        known = {size: KnownRoot(found) for size, found in joiner.roots.items()} | {head.size: KnownRoot(root)}
        _check_export_head(verdict, log, outside, identity, known)
        if not verdict.is_damaged:
            check_export(folder, identity.keys_at(head.size))
            verdict.checked.append("tiles")
    except Unavailable:
        raise
    except VerificationError as error:
        verdict.damage.append(Damage("tile_mismatch", None, str(error)))
    except LedgerError as error:
        verdict.damage.append(Damage("malformed", None, str(error)))
    return verdict


def _join_entries(log: ExportedLog, joiner: Joiner) -> list[bytes]:
    """Join all entries; return those of the stream that says whose log it is."""
    named: list[bytes] = []

    def rows(start: int) -> Iterable[StoredEntry]:
        for seq, raw in enumerate(log.entries(start, start + STRETCH), start):
            try:
                entry = parse_entry(raw)
            except (Malformed, UnsupportedFormat):
                yield StoredEntry(seq, "", 0, "", raw, leaf_hash(raw))
                continue
            if entry["stream"] == LEDGER_STREAM:
                named.append(raw)
            yield StoredEntry(seq, entry["stream"], entry["pos"], entry["type"], raw, leaf_hash(raw))

    for start in range(0, log.checkpoint.size, STRETCH):
        joiner.join(check_stretch(rows(start), start))
    return named


def _check_export_head(
    verdict: Verdict, log: ExportedLog, outside: Outside, identity: Identity, known: dict[int, KnownRoot]
) -> None:
    head = log.checkpoint
    if outside.tsa_roots:
        verdict.asked.add("time")
    if identity.origin_at(head.size) != head.origin:
        verdict.damage.append(Damage("wrong_ledger", None, f"the checkpoint is of {head.origin!r}"))
        return
    witnesses = () if outside.policy is None else [witness.key for witness in outside.policy.witnesses]
    signers = [signer.key for signer in identity.ranges if signer.origin == head.origin]
    opened = open_head(verdict, log.note, signers, head.origin, witnesses, "the checkpoint")
    if opened is None:
        return
    if set(opened.log_keys) != set(identity.keys_at(head.size)):
        detail = f"the checkpoint of size {head.size} is not signed by the keys of that size"
        verdict.damage.append(Damage("key_out_of_range", None, detail))
        return
    mine = set(outside.keys_at(head.origin, head.size)) & set(opened.log_keys)
    _accept(verdict, opened, pinned=bool(mine))
    if outside.names_keys and not mine:
        verdict.damage.append(Damage("unknown_key", None, "no key of yours signed this", unmet=True))
    if not outside.names_keys:
        verdict.not_checked["key_pinned"] = (
            "signatures were checked under the key that the log itself names; whoever rewrote it could name their own"
        )
    verdict.not_checked["sealed"] = "an exported log has no sealed content"
    verdict.not_checked["time"] = "timestamp tokens are not part of an exported log"
    check_witnesses(verdict, outside, opened, None)
    compare_pinned(verdict, outside, log.note, head, known, [signer.key for signer in identity.ranges], identity)
    if not mine:
        verdict.damage += _check_handed_over(outside, opened, identity)


def _check_handed_over(outside: Outside, opened: CosignedCheckpoint, identity: Identity) -> Iterator[Damage]:
    """Whether a key that the reader knows by a pinned checkpoint has signed on, after the log named another.

    An export holds one checkpoint. Where the old key did not sign that, nothing shows that it vouched for the new one.
    """
    for kept in map(claimed_checkpoint, outside.pinned):
        before = [signer.key for signer in identity.ranges if signer.holds(kept.size) and signer.origin == kept.origin]
        if kept.origin == opened.checkpoint.origin and before and not set(before) & set(opened.log_keys):
            detail = (
                f"another key signs than signed the pinned checkpoint of size {kept.size}, and nothing here shows that "
                "the old one vouched for it; --vkey or --policy names the new one"
            )
            yield Damage("unknown_key", None, detail, unmet=True)
