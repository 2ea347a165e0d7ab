"""``verify``: everything derived again from the stored bytes, and a verdict that says what was not checked.

What the reviewer brings comes first, what the ledger says of itself after it: policy and keys → signatures of the
published checkpoints → cosignatures → entries hashed again, and with them the roots of published checkpoints, of
those that were kept elsewhere, and of receipts → chain, tiles, storage → sealed content → sealed projections → time.
A check that fails is never made good by a later one. What needs a key or a file that is not here is not an error: it
stands in ``not_checked``, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...domain.errors import AffidavitError
from ...domain.registry import Registry
from ..entries.entry import parse_entry
from ..entries.mapper import scope_of
from ..errors import Unreachable
from ..folds.erasures import Erasures
from ..store.folding import read_erasures, read_moved
from ..store.opening import EventReader
from ..store.reader import LedgerReader
from ..store.scopes import ScopeKeys
from ..tlog.checkpoint import Checkpoint, claimed_checkpoint
from ..tlog.note import VerifierKey
from ..tlog.policy import Policy
from ..tlog.receipt import Receipt
from .log import check_derived, check_extent, check_storage
from .outside import Known, compare_ended, compare_known, open_known
from .signatures import Signatures, check_keys, read_signatures
from .stretches import Damage, Joiner
from .times import check_time
from .verdict import Verdict
from .witnesses import check_witnesses
from .workers import OpenScopes, Workers, working

PARALLEL_FROM = 100_000

CheckProjections = Callable[[EventReader, int], tuple[list[Damage], list[str]]]
"""Replays sealed projections over the first N entries: the damage, and what it could not check."""


@dataclass(frozen=True, slots=True)
class Against:
    """What the ledger is checked against, from outside it; each may be missing.

    ``vkey`` is the log's key as the reviewer has it, ``policy`` whose cosignatures count, ``pinned`` signed
    checkpoints from earlier visits, ``receipts`` what was promised to stand in the log, ``signed`` the signing state
    of the machine that signs, ``scopes`` the keys of the sealed content, ``open_scopes`` how another process opens
    them, ``erasures_now`` what has been erased by now, for keys are read as they are now, and the log as it was;
    ``check_projections`` how to replay what was sealed. ``ended`` are the signing states of the origins that the
    log went by before. ``why_not`` says why one of them is missing.

    ``tokens`` finds the timestamp token that lies beside the ledger by the size of its checkpoint, ``kept_tokens`` are
    the reviewer's own, ``tsa_roots`` the certificates (PEM) of the authorities that they trust. A quorum must have
    cosigned at most ``max_cosignature_age`` seconds before ``now``, in seconds since 1970; None asks for no age.
    """

    vkey: VerifierKey | None = None
    pinned: Sequence[bytes] = ()
    signed: Checkpoint | None = None
    ended: Sequence[Checkpoint] = ()
    scopes: ScopeKeys | None = None
    open_scopes: OpenScopes | None = None
    erasures_now: Callable[[], Erasures] | None = None
    check_projections: CheckProjections | None = None
    why_not: dict[str, str] = field(default_factory=dict)
    policy: Policy | None = None
    receipts: Sequence[Receipt] = ()
    tsa_roots: Sequence[bytes] = ()
    tokens: Callable[[int], bytes | None] = lambda size: None
    kept_tokens: Sequence[bytes] = ()
    now: int | None = None
    max_cosignature_age: int | None = None


def audit(
    reader: LedgerReader,
    registry: Registry,
    against: Against,
    *,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Verify a ledger. Nothing that lies in the database makes this raise; it becomes damage.

    ``Malformed`` where a pinned note or the one in a receipt is no checkpoint; ``Unreachable`` where the server of the
    database went away.
    """
    verdict = Verdict()
    kept = _kept(against)
    try:
        _audit(reader, registry, against, kept, verdict, jobs, on_progress)
    except Unreachable:
        raise
    except Exception as error:  # whatever lies in the database, the answer is a verdict
        verdict.damage.append(Damage("storage_damaged", None, f"the database does not read: {error}"))
        for name in ("key_pinned", "fork", "rollback", "time", "unsigned_tail", "sealed", "projections"):
            if name not in verdict.checked:
                verdict.not_checked.setdefault(name, "not reached: the database does not read")
    verdict.damage.sort(key=lambda damage: (damage.seq is None, damage.seq or 0))
    return verdict


def _audit(
    reader: LedgerReader,
    registry: Registry,
    against: Against,
    kept: Sequence[Known],
    verdict: Verdict,
    jobs: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    found = read_signatures(reader, reader.checkpoints(), against.vkey, against.policy)
    verdict.origin = found.origin
    check_keys(found, verdict, against.vkey, against.policy)
    is_fresh = check_witnesses(
        found.opened, found.declared, verdict, against.policy, against.now, against.max_cosignature_age
    )
    known = open_known(found, verdict, kept)
    compare_ended(found, verdict, against.ended, knows_present=against.signed is not None)

    joiner = Joiner([*found.notes, *(each.checkpoint.size for each in known)])
    size = check_extent(reader, verdict)
    with working(reader, registry, jobs if size >= PARALLEL_FROM else 1, against.open_scopes) as workers:
        problems = workers.problems()
        for stretch in workers.stretches(size):
            joiner.join(stretch)
            if on_progress is not None:
                on_progress(joiner.size, size)
        check_derived(reader, verdict, joiner)
        check_storage(problems, verdict)
        verdict.damage += found.damage
        _check_roots(verdict, joiner, found)
        compare_known(reader, verdict, joiner, found, known)
        _say_what_was_known(verdict, against, is_fresh=is_fresh)
        if not verdict.is_damaged:
            verdict.moved = read_moved(reader)
        _check_sealed(reader, verdict, against, workers)
    _check_projections(reader, registry, verdict, against)
    check_time(reader, verdict, found, against.tokens, against.tsa_roots, against.kept_tokens)


def _kept(against: Against) -> list[Known]:
    """The checkpoints from outside, as they say of themselves."""
    kept = [Known("the pinned checkpoint", claimed_checkpoint(note), note) for note in against.pinned]
    kept += [
        Known(
            f"the receipt of entry {each.index}", claimed_checkpoint(each.checkpoint_note), each.checkpoint_note, each
        )
        for each in against.receipts
    ]
    if against.signed is not None:
        kept.append(Known("the signing state beside the key", against.signed))
    return kept


def _check_roots(verdict: Verdict, joiner: Joiner, found: Signatures) -> None:
    """The root of every published checkpoint is the one that the entries give."""
    proven = 0
    for size, opened in found.opened.items():
        if size > verdict.size:
            if not verdict.is_damaged:
                detail = f"size {size} was signed, {verdict.size} entries are there"
                verdict.damage.append(Damage("entry_missing", verdict.size, detail))
        elif joiner.roots.get(size) != opened.checkpoint.root:
            if not any(damage.seq is not None and damage.seq < size for damage in verdict.damage if not damage.unmet):
                detail = (
                    f"entries {proven} to {size - 1} are not those signed at size {size}; "
                    "they were changed and chained anew"
                )
                verdict.damage.append(Damage("entry_modified", proven, detail))
        else:
            proven = verdict.signed_size = size
    if found.notes:
        verdict.checked.append("signatures")
    if proven < verdict.size:
        verdict.not_checked["unsigned_tail"] = f"no signature covers entries {proven} to {verdict.size - 1}"


def _say_what_was_known(verdict: Verdict, against: Against, *, is_fresh: bool) -> None:
    for name, given in (("pinned", against.pinned), ("receipts", against.receipts), ("signing_state", against.signed)):
        if given:
            verdict.checked.append(name)
    if not (against.pinned or against.signed or is_fresh):
        reason = "nothing from outside says how long the log was"
        verdict.not_checked["rollback"] = against.why_not.get("rollback", reason)


def _erased_meanwhile(reader: LedgerReader, missing: Sequence[Damage], against: Against) -> dict[int, int]:
    """The entries whose key was destroyed while the log was verified, to how many fields are erased with it.

    An erasure is on the log before its key is destroyed: so it is there by now, if the state that is verified has none.
    """
    erased: dict[int, int] = {}
    if against.erasures_now is None or against.scopes is None:
        return erased
    now = against.erasures_now()
    for damage in missing:
        if damage.seq is None:
            continue
        entry = parse_entry(next(iter(reader.entries(damage.seq, damage.seq + 1))).raw)
        scope = scope_of(entry["meta"], entry["stream"])
        whole = reader.boxes_of([damage.seq]).get(damage.seq, {}).keys() == entry["sealed"].keys()
        destroyed = against.scopes.destroyed(scope)
        executed = now.executed_after(damage.seq, scope)
        said = destroyed == executed if executed is not None else now.requested_after(damage.seq, scope)
        if whole and destroyed is not None and said:
            erased[damage.seq] = len(entry["sealed"])
    return erased


def _check_sealed(reader: LedgerReader, verdict: Verdict, against: Against, workers: Workers) -> None:
    if verdict.is_damaged:
        verdict.not_checked["sealed"] = "the log that it is bound to is damaged"
        return
    erasures = read_erasures(reader, verdict.size)
    shared = against.scopes is None or against.open_scopes is not None
    found = workers.sealed(verdict.size, against.scopes, erasures, shared=shared)
    missing = [damage for damage in found.damage if damage.kind == "missing_without_erasure"]
    meanwhile = _erased_meanwhile(reader, missing, against) if missing else {}
    verdict.damage += [damage for damage in found.damage if damage.seq not in meanwhile]
    verdict.erased = found.erased + sum(meanwhile.values())
    unsettled = [
        f"the erasure of scope {scope!r} that entry {seq} requests is not finished"
        for seq, scope in erasures.unfinished.items()
    ]
    unsettled += [f"scope {scope!r} was erased, and its key is here again" for scope in sorted(found.returned)]
    if against.scopes is None:
        reason = against.why_not.get("sealed", "the keys are not here")
        unsettled.insert(0, f"only that each digest has its box: {reason}")
    if unsettled:
        verdict.not_checked["sealed"] = "; ".join(unsettled)
    else:
        verdict.checked.append("sealed")


def _check_projections(reader: LedgerReader, registry: Registry, verdict: Verdict, against: Against) -> None:
    if against.check_projections is None or verdict.is_damaged:
        reason = "the log is damaged" if verdict.is_damaged else "this verifier has no projections"
        verdict.not_checked["projections"] = reason
        return
    try:
        damage, unknown = against.check_projections(EventReader(reader, registry, against.scopes), verdict.size)
    except AffidavitError as error:
        damage, unknown = [Damage("projection_mismatch", None, f"the projections do not replay: {error}")], []
    verdict.damage += damage
    if unknown:
        verdict.not_checked["projections"] = "; ".join(unknown)
    else:
        verdict.checked.append("projections")
