"""``verify``: everything derived again from the stored bytes, and a verdict that says what was not checked.

The order, failing closed: the log's own bytes (grammar, fields, leaf hashes, chain, streams, tree,
tiles, head) → checkpoints under the key that entry 0 names, or the one that was pinned → a pinned
checkpoint and the signing state, which are all that can show a cut or a second history → sealed content
→ sealed projections. What needs a key or a file that is not here is not an error: it stands in
``not_checked``, with the reason.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256

from ..domain.errors import AffidavitError
from ..domain.registry import Registry
from .checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from .entry import parse_entry
from .erasure import read_erasures
from .errors import LedgerError, Malformed, VerificationError
from .events import LedgerOpened
from .note import VerifierKey, parse_note, parse_vkey
from .opening import EventReader
from .reader import LedgerReader, connect
from .schema import expected_schema
from .scopes import ScopeKeys
from .verify import Damage, Joiner, Stretch, check_stretch
from .verify_sealed import SealedCheck

STRETCH = 8192
PARALLEL_FROM = 100_000
NOT_CHECKED = ("key_pinned", "fork", "rollback", "time", "sealed", "unsigned_tail", "projections", "run_directories")
"""Every name that ``Verdict.not_checked`` uses."""
EXIT_CODES = {"ok": 0, "damaged": 1, "not_proven": 3, "rollback": 4, "fork": 4}

CheckProjections = Callable[[EventReader, int], tuple[list[Damage], list[str]]]
"""Replays sealed projections over the first N entries: the damage, and what it could not check."""


@dataclass(frozen=True, slots=True)
class Against:
    """What the ledger is checked against, from outside it; each may be missing.

    ``vkey`` is the log's key as the reviewer has it, ``pinned`` a signed checkpoint from an earlier visit,
    ``signed`` the signing state of the machine that signs, ``scopes`` the keys of the sealed content,
    ``check_projections`` how to replay what was sealed. ``why_not`` says why one of them is missing.
    """

    vkey: VerifierKey | None = None
    pinned: bytes | None = None
    signed: Checkpoint | None = None
    scopes: ScopeKeys | None = None
    check_projections: CheckProjections | None = None
    why_not: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Verdict:
    """``verdict`` is one of ``ok``, ``damaged``, ``not_proven``, ``rollback``, ``fork``."""

    origin: str = ""
    size: int = 0
    root: bytes = b""
    signed_size: int | None = None
    head_size: int = 0
    checked: list[str] = field(default_factory=list)
    not_checked: dict[str, str] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    erased: int = 0
    """How many sealed fields no longer open because the log says that their key was destroyed."""

    @property
    def verdict(self) -> str:
        kinds = {damage.kind for damage in self.damage}
        for kind in ("fork", "rollback"):
            if kind in kinds:
                return kind
        if kinds:
            return "damaged"
        return "ok" if self.signed_size is not None else "not_proven"

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def audit(
    reader: LedgerReader,
    registry: Registry,
    against: Against,
    *,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Verify a ledger. Nothing that lies in the database makes this raise; it becomes damage."""
    verdict = Verdict()
    try:
        checkpoints = reader.checkpoints()
        joiner = Joiner(_wanted_sizes(checkpoints, against))
        size = _check_extent(reader, verdict)
        for stretch in _stretches(reader, size, jobs):
            joiner.join(stretch)
            if on_progress is not None:
                on_progress(joiner.size, size)
        _check_derived(reader, verdict, joiner)
        _check_storage(reader, verdict)
        key = _log_key(reader, verdict, against)
        _check_checkpoints(verdict, joiner, checkpoints, key)
        _check_outside(verdict, joiner, against, key)
        _check_sealed(reader, registry, verdict, against)
        _check_projections(reader, registry, verdict, against)
    except Exception as error:  # whatever lies in the database, the answer is a verdict
        verdict.damage.append(Damage("storage_damaged", None, f"the database does not read: {error}"))
        for name in NOT_CHECKED[:-1]:
            verdict.not_checked.setdefault(name, "not reached: the database does not read")
    verdict.not_checked["time"] = "this version records no timestamp anchors"
    verdict.damage.sort(key=lambda damage: (damage.seq is None, damage.seq or 0))
    return verdict


def _wanted_sizes(checkpoints: list[tuple[int, bytes]], against: Against) -> list[int]:
    """The sizes at which a root will be compared."""
    sizes = [size for size, _ in checkpoints]
    if against.signed is not None:
        sizes.append(against.signed.size)
    if against.pinned is not None:
        sizes.append(claimed(against.pinned).size)
    return sizes


def claimed(note: bytes) -> Checkpoint:
    """What a signed note says, before any signature was checked; ``Malformed`` where it is no checkpoint."""
    return parse_checkpoint(parse_note(note).text)


def _check_extent(reader: LedgerReader, verdict: Verdict) -> int:
    """How many entries stand without a gap from 0; what is outside of that, or of the head, is damage."""
    low, high, count = reader.extent()
    size = high + 1
    if low < 0:
        verdict.damage.append(Damage("entry_inserted", low, f"an entry stands at {low}, before entry 0"))
    if low < 0 or count != size:
        size = reader.first_gap()
        verdict.damage.append(Damage("entry_missing", size, f"{count} entries are there, the last is {high}"))
        return size
    head = reader.head()
    if head.size > size:
        verdict.damage.append(Damage("entry_missing", size, f"the head says {head.size} entries, {size} are there"))
    elif head.size < size:
        verdict.damage.append(
            Damage("entry_inserted", head.size, f"the head says {head.size} entries, {size} are there")
        )
    return size


def _stretches(reader: LedgerReader, size: int, jobs: int) -> Iterator[Stretch]:
    """The stretches of the log in order, checked here or, where the log is long, by ``jobs`` processes."""
    starts = range(0, size, STRETCH)
    if jobs <= 1 or size < PARALLEL_FROM or reader.uri is None:
        for start in starts:
            yield check_stretch(reader.entries(start, min(start + STRETCH, size)), start)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_open_worker, initargs=(reader.uri,)) as pool:
        yield from pool.map(_check_in_worker, starts, [min(start + STRETCH, size) for start in starts])


_worker_reader: LedgerReader | None = None


def _open_worker(uri: str) -> None:
    global _worker_reader
    _worker_reader = LedgerReader(connect(uri), uri)


def _check_in_worker(start: int, stop: int) -> Stretch:
    assert _worker_reader is not None
    return check_stretch(_worker_reader.entries(start, stop), start)


def _check_derived(reader: LedgerReader, verdict: Verdict, joiner: Joiner) -> None:
    """Compare what the store keeps beside the entries with what the entries give: tiles and head."""
    frontier = joiner.finish()
    verdict.damage += joiner.damage
    verdict.size, verdict.root = frontier.size, frontier.root()
    verdict.checked += ["grammar", "chain", "tree"]
    expected = {
        (level, n): tile
        for level, roots in joiner.tile_roots.items()
        for n, tile in enumerate(zip(roots, joiner.tile_digests[level], strict=True))
    }
    for level, n, root, hashes in reader.tiles():
        # A digest of the tile's bytes says what folding them again would, in a hundredth of the time.
        found = expected.pop((level, n), None)
        if type(hashes) is not bytes or (root, sha256(hashes).digest()) != found:
            verdict.damage.append(
                Damage("tile_mismatch", _first_entry(level, n), f"tile {level!r}/{n!r} is not what the entries give")
            )
    for level, n in expected:
        verdict.damage.append(Damage("tile_mismatch", _first_entry(level, n), f"tile {level}/{n} is not there"))
    verdict.checked.append("tiles")
    head = reader.head()
    derived = (joiner.last_leaf, joiner.last_at, frontier.pack())
    verdict.head_size = head.size
    if head.held and reader.clock_finding_at() != head.at and not verdict.damage:
        verdict.damage.append(
            Damage("head_mismatch", max(verdict.size - 1, 0), "the head holds its time, and no finding says why")
        )
    if (head.leaf, head.at, head.frontier) != derived and not verdict.damage:
        verdict.damage.append(
            Damage(
                "head_mismatch",
                max(verdict.size - 1, 0),
                "the head's leaf, time or frontier is not what the entries give",
            )
        )


def _first_entry(level: object, n: object) -> int | None:
    """The first entry that a tile covers, if there can be such a tile."""
    if type(level) is int and type(n) is int and 0 <= level < 8 and 0 <= n < 2**62 >> 8 * (level + 1):
        return n << 8 * (level + 1)
    return None


def _check_storage(reader: LedgerReader, verdict: Verdict) -> None:
    """The schema is a ledger's, and SQLite finds every index to be its table's: readers go by both.

    Guard triggers that are gone change nothing that is read, so they alone are no damage.
    """
    found, expected = reader.schema(), expected_schema()
    missing = {row for row in expected - found if row[0] != "trigger"}
    for kind, name, *_ in sorted((found - expected) | missing, key=str):
        verdict.damage.append(Damage("storage_damaged", None, f"the schema differs from a ledger's at {kind} {name}"))
    for problem in reader.inconsistencies():
        verdict.damage.append(Damage("storage_damaged", None, f"SQLite finds: {problem}"))
    verdict.checked.append("storage")


def _log_key(reader: LedgerReader, verdict: Verdict, against: Against) -> VerifierKey | None:
    """The key to check signatures under: the pinned one, else the one that entry 0 names."""
    verdict.origin = reader.origin()
    named = key_in_entry_0(reader)
    if named is None or named.name != verdict.origin:
        verdict.damage.append(Damage("wrong_ledger", 0, f"entry 0 does not open a ledger of origin {verdict.origin!r}"))
    if against.vkey is None:
        verdict.not_checked["key_pinned"] = (
            "signatures were checked under the key that the ledger itself names; "
            "whoever rewrote the ledger could have named their own"
        )
        return named
    if against.vkey.name != verdict.origin:
        verdict.damage.append(
            Damage(
                "wrong_ledger",
                None,
                f"origin is {verdict.origin!r}, the pinned key's is {against.vkey.name!r}",
            )
        )
    elif named != against.vkey:
        verdict.damage.append(Damage("unknown_key", 0, "entry 0 names another key than the pinned one"))
    verdict.checked.append("key_pinned")
    return against.vkey


def key_in_entry_0(reader: LedgerReader) -> VerifierKey | None:
    """The key that the ledger itself names in its first entry, or None where that is no opening of a ledger."""
    for row in reader.entries(0, 1):
        try:
            entry = parse_entry(row.raw)
            if (entry["type"], entry["stream"], entry["pos"]) == (LedgerOpened.type_name, "ledger", 0):
                opened = LedgerOpened.model_validate(entry["data"])
                return parse_vkey(opened.vkey) if parse_vkey(opened.vkey).name == opened.origin else None
        except (LedgerError, ValueError):
            return None
    return None


def _check_checkpoints(
    verdict: Verdict, joiner: Joiner, checkpoints: list[tuple[int, bytes]], key: VerifierKey | None
) -> None:
    """Every published checkpoint verifies, and its root is the one that the entries give."""
    proven = 0
    for size, note in checkpoints:
        try:
            checkpoint = open_checkpoint(note, [key] if key else [], verdict.origin)
        except VerificationError as error:
            kind = "unknown_key" if _signed_by_another(note, key) else "checkpoint_invalid"
            verdict.damage.append(Damage(kind, None, f"checkpoint of size {size}: {error}"))
            continue
        except LedgerError as error:
            verdict.damage.append(Damage("checkpoint_invalid", None, f"checkpoint of size {size}: {error}"))
            continue
        if checkpoint.size != size:
            verdict.damage.append(
                Damage("checkpoint_invalid", None, f"checkpoint of size {size}: it says size {checkpoint.size}")
            )
        elif size > verdict.size:
            if not verdict.damage:
                verdict.damage.append(
                    Damage(
                        "entry_missing",
                        verdict.size,
                        f"size {size} was signed, {verdict.size} entries are there",
                    )
                )
        elif joiner.roots.get(size) != checkpoint.root:
            if not any(damage.seq is not None and damage.seq < size for damage in verdict.damage):
                verdict.damage.append(
                    Damage(
                        "entry_modified",
                        proven,
                        f"entries {proven} to {size - 1} are not those signed at size {size}; "
                        "they were changed and chained anew",
                    )
                )
        else:
            proven = verdict.signed_size = size
    if checkpoints:
        verdict.checked.append("signatures")
    if proven < verdict.size:
        verdict.not_checked["unsigned_tail"] = f"no signature covers entries {proven} to {verdict.size - 1}"


def _signed_by_another(note: bytes, key: VerifierKey | None) -> bool:
    try:
        signers = {(line.name, line.key_id) for line in parse_note(note).signatures}
    except Malformed:
        return False
    return key is None or (key.name, key.key_id) not in signers


def _check_outside(verdict: Verdict, joiner: Joiner, against: Against, key: VerifierKey | None) -> None:
    """Compare with what was kept out of the database's reach: a pinned checkpoint, the signing state."""
    if against.pinned is not None:
        _compare_pinned(verdict, joiner, against.pinned, key)
        verdict.checked.append("pinned")
    if against.signed is not None:
        _compare_outside(verdict, joiner, against.signed, "the signing state beside the key")
        verdict.checked.append("signing_state")
    if against.pinned is None and against.signed is None:
        verdict.not_checked["rollback"] = against.why_not.get(
            "rollback", "nothing from outside says how long the log was"
        )
    verdict.not_checked["fork"] = "no witness has seen this log; its operator could show others another history"


def _compare_pinned(verdict: Verdict, joiner: Joiner, note: bytes, key: VerifierKey | None) -> None:
    known = claimed(note)
    if known.origin == verdict.origin:
        try:
            known = open_checkpoint(note, [key] if key else [], verdict.origin)
        except LedgerError as error:
            verdict.damage.append(Damage("unknown_key", None, f"the pinned checkpoint: {error}"))
            return
    _compare_outside(verdict, joiner, known, "the pinned checkpoint")


def _compare_outside(verdict: Verdict, joiner: Joiner, known: Checkpoint, what: str) -> None:
    if known.origin != verdict.origin:
        verdict.damage.append(Damage("wrong_ledger", None, f"{what} is of {known.origin!r}"))
    elif known.size > verdict.size:
        # Rows that are gone below a head which counts them are damage; a head that is older is a rollback.
        if verdict.head_size < known.size:
            verdict.damage.append(
                Damage("rollback", verdict.size, f"{what} is of size {known.size}, the log has {verdict.size}")
            )
    elif joiner.roots.get(known.size) != known.root and (
        (verdict.signed_size or 0) >= known.size or not _is_explained(verdict, known.size)
    ):
        # Another history of at least this size is signed, or nothing else shows that this one was changed.
        verdict.damage.append(
            Damage("fork", None, f"{what} of size {known.size} has another root than the log at that size")
        )


def _is_explained(verdict: Verdict, size: int) -> bool:
    """Whether damage to the first ``size`` entries is known already, so that their root cannot be right."""
    kinds = ("entry_modified", "entry_missing", "entry_inserted", "order_broken", "non_canonical")
    return any(found.kind in kinds and found.seq is not None and found.seq < size for found in verdict.damage)


def _check_sealed(reader: LedgerReader, registry: Registry, verdict: Verdict, against: Against) -> None:
    if verdict.damage:
        verdict.not_checked["sealed"] = "the log that it is bound to is damaged"
        return
    erasures = read_erasures(reader, verdict.size)
    check = SealedCheck(registry, against.scopes, verdict.origin.encode(), erasures)
    verdict.damage += check.check(reader.entries(0, verdict.size), reader.boxes())
    verdict.erased = check.erased
    unsettled = [
        f"the erasure of scope {scope!r} that entry {seq} requests is not finished"
        for seq, scope in erasures.unfinished.items()
    ]
    unsettled += [f"scope {scope!r} was erased, and its key is here again" for scope in sorted(check.returned)]
    if against.scopes is None:
        reason = against.why_not.get("sealed", "the keys are not here")
        unsettled.insert(0, f"only that each digest has its box: {reason}")
    if unsettled:
        verdict.not_checked["sealed"] = "; ".join(unsettled)
    else:
        verdict.checked.append("sealed")


def _check_projections(reader: LedgerReader, registry: Registry, verdict: Verdict, against: Against) -> None:
    if against.check_projections is None or verdict.damage:
        reason = "the log is damaged" if verdict.damage else "this verifier has no projections"
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
