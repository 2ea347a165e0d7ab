"""What was kept out of the database's reach: checkpoints and receipts from earlier visits, the signing state.

Only these show that a log was cut, or that somebody was shown another history, when its signatures are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from ..errors import LedgerError, VerificationError
from ..store.reader import LedgerReader
from ..tlog.checkpoint import Checkpoint
from ..tlog.hashing import leaf_hash
from ..tlog.proof import verify_inclusion
from ..tlog.receipt import Receipt
from ..tlog.tiles import tile_nodes
from ..tlog.tree import prove_consistency
from .fork import ForkEvidence, verify_fork
from .signatures import Signatures
from .stretches import Damage, Joiner
from .verdict import Verdict

_CHANGES = ("entry_modified", "entry_missing", "entry_inserted", "order_broken", "non_canonical")


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint that is known from outside; ``note`` and ``receipt`` are where it stood, if it was signed."""

    what: str
    checkpoint: Checkpoint
    note: bytes | None = None
    receipt: Receipt | None = None


def open_known(found: Signatures, verdict: Verdict, kept: Sequence[Known]) -> list[Known]:
    """Those checkpoints that this log signed. Each other one that was given is not met."""
    origins = {signer.origin for signer in found.identity.ranges} if found.identity else {found.origin}
    known = []
    for each in kept:
        size, origin = each.checkpoint.size, each.checkpoint.origin
        if origin not in origins:
            verdict.damage.append(
                Damage("wrong_ledger", None, f"{each.what} is of {origin!r}", unmet=each.note is not None)
            )
            continue
        if each.note is not None:
            try:
                signers = found.open(each.note, origin).log_keys
            except LedgerError as error:
                verdict.damage.append(Damage("unknown_key", None, f"{each.what}: {error}", unmet=True))
                continue
            expected = {key for key in found.keys_at(size) if key.name == origin}
            if expected and expected.isdisjoint(signers):
                detail = f"{each.what} of size {size}: it is signed by a key that does not sign this size"
                verdict.damage.append(Damage("key_out_of_range", None, detail, unmet=True))
        known.append(each)
    return known


def compare_known(
    reader: LedgerReader, verdict: Verdict, joiner: Joiner, found: Signatures, known: Sequence[Known]
) -> None:
    """Each known checkpoint must be of a beginning of this log, and all of them of one history."""
    for each in known:
        _compare(reader, verdict, joiner, found, each)
        if each.receipt is not None:
            _check_receipt(reader, verdict, each.what, each.checkpoint, each.receipt)
    for one, other in combinations(known, 2):
        first, second = one.checkpoint, other.checkpoint
        if (first.origin, first.size) == (second.origin, second.size) and first.root != second.root:
            detail = f"{one.what} and {other.what} are both of size {first.size}, with two roots"
            verdict.damage.append(Damage("fork", None, detail))
            if one.note is not None and other.note is not None:
                _keep(verdict, found, ForkEvidence(one.note, other.note), first.origin)


def _compare(reader: LedgerReader, verdict: Verdict, joiner: Joiner, found: Signatures, known: Known) -> None:
    size, what = known.checkpoint.size, known.what
    lost = found.identity.lost_before(known.checkpoint.origin, size) if found.identity else None
    if lost is not None:
        detail = (
            f"{what} is of size {size}; entry {lost} goes on under another origin, and entries before that are lost"
        )
        verdict.damage.append(Damage("rollback", lost, detail))
    elif size > verdict.size:
        # Rows that are gone below a head which counts them are damage; a head that is older is a rollback.
        if verdict.head_size < size:
            detail = f"{what} is of size {size}, the log has {verdict.size}"
            verdict.damage.append(Damage("rollback", verdict.size, detail))
    elif joiner.roots.get(size) != known.checkpoint.root and (
        (verdict.signed_size or 0) >= size or not _is_explained(verdict, size)
    ):
        # Another history of at least this size is signed, or nothing else shows that this one was changed.
        detail = f"{what} of size {size} has another root than the log at that size"
        verdict.damage.append(Damage("fork", None, detail))
        if known.note is not None:
            _keep_fork(reader, verdict, joiner, found, known.checkpoint, known.note)
    elif known.note is not None and known.checkpoint.origin != found.origin and not _is_named(found):
        detail = (
            f"{what} is of {known.checkpoint.origin!r}, after which the ledger goes on as {found.origin!r} by its own "
            "word; --vkey or --policy says that this is right"
        )
        verdict.damage.append(Damage("wrong_ledger", None, detail, unmet=True))


def _is_named(found: Signatures) -> bool:
    """Whether the reviewer has a key of the present origin: whoever holds a database can name one."""
    return any(key.name == found.origin for key in found.own_keys)


def compare_ended(found: Signatures, verdict: Verdict, ended: Sequence[Checkpoint], *, knows_present: bool) -> None:
    """What was signed under each earlier origin must be what the log says that it goes on without.

    Whoever holds the database alone can make it go on under an origin of their own, but cannot make the machine that
    signs remember that: ``knows_present`` says whether it has a signing state of the present origin.
    """
    if found.identity is None or not ended:
        return
    for state in ended:
        for continuation in found.identity.continuations:
            named = (continuation.signed_size, continuation.signed_root)
            if continuation.continues == state.origin and named != (state.size, state.root):
                detail = (
                    f"it goes on as {continuation.origin!r}, says that size {continuation.signed_size} was signed as "
                    f"{state.origin!r}; the signing state beside the key is of size {state.size}"
                )
                if continuation.signed_size == state.size:
                    detail += ", with another root"
                verdict.damage.append(Damage("rollback", continuation.seq, detail))
    if not knows_present:
        detail = (
            f"the ledger goes on as {found.origin!r}; the keys here are of {ended[-1].origin!r} and never signed that"
        )
        verdict.damage.append(Damage("wrong_ledger", None, detail, unmet=True))


def _is_explained(verdict: Verdict, size: int) -> bool:
    """Whether damage to the first ``size`` entries is known already, so that their root cannot be right."""
    return any(each.kind in _CHANGES and each.seq is not None and each.seq < size for each in verdict.damage)


def _check_receipt(reader: LedgerReader, verdict: Verdict, what: str, checkpoint: Checkpoint, receipt: Receipt) -> None:
    """What a receipt promised must stand in the log. Where that is not so, one that proves itself convicts the log."""
    row = next(reader.entries(receipt.index, receipt.index + 1), None)
    if row is not None and _proves(receipt, checkpoint, row.raw):
        return
    proves_itself = receipt.extra is not None and _proves(receipt, checkpoint, receipt.extra)
    if row is None and receipt.index < checkpoint.size:
        detail, unmet = f"{what} promised an entry, and none is there", False
    elif proves_itself:
        detail, unmet = f"{what} promised another entry than is there", False
    else:
        detail, unmet = f"{what}: its proof does not lead from the entry that is there to that checkpoint", True
    verdict.damage.append(Damage("receipt_unfulfilled", receipt.index, detail, unmet=unmet))


def _proves(receipt: Receipt, checkpoint: Checkpoint, entry: object) -> bool:
    if type(entry) is not bytes:
        return False
    try:
        verify_inclusion(receipt.index, checkpoint.size, leaf_hash(entry), receipt.path, checkpoint.root)
    except VerificationError:
        return False
    return True


def _keep_fork(
    reader: LedgerReader, verdict: Verdict, joiner: Joiner, found: Signatures, known: Checkpoint, note: bytes
) -> None:
    """Prove the fork by the smallest checkpoint of this log, published and right, that is as large as the known one."""
    proven = (
        size
        for size, opened in found.opened.items()
        if size >= known.size
        and opened.checkpoint.origin == known.origin
        and joiner.roots.get(size) == opened.checkpoint.root
    )
    size = min(proven, default=None)
    if size is None:
        return
    evidence = ForkEvidence(note, found.notes[size])
    if size > known.size:
        try:
            proof = tuple(prove_consistency(known.size, size, tile_nodes(size, reader.hashes)))
        except (LedgerError, ValueError):
            return  # stored tiles are damaged, and said to be
        evidence = ForkEvidence(note, found.notes[size], joiner.roots[known.size], proof)
    _keep(verdict, found, evidence, known.origin)


def _keep(verdict: Verdict, found: Signatures, evidence: ForkEvidence, origin: str) -> None:
    """Keep what convinces whoever has the log's keys; what does not, because tiles are damaged too, is no evidence."""
    keys = found.keys(origin)
    own = [key for key in found.own_keys if key.name == origin]
    named = {signer.key for signer in found.identity.ranges} if found.identity else set()
    if own and named.isdisjoint(own):  # the log names a stranger's key: what that signed convicts nobody
        keys = own
    try:
        verify_fork(evidence, lambda _: keys)
    except LedgerError:
        return
    verdict.fork = verdict.fork or evidence
