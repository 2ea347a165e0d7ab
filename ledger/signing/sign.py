"""Signing: a step of its own, so that appends wait for no key and no signature covers what was not re-read.

Under the signing locks: re-read and re-hash every entry since the last signature, prove that the tree
extends the one last signed, write the new signing state beside the key, show the checkpoint to the witnesses,
and only then publish it. A crash after the state is written publishes the same checkpoint at the next signing. A
database that is behind the state, or has another history, is never signed.

One lock lies beside the keys, another with the ledger, since several machines may have copies of the keys. What
another of them has signed is known from what it published, and nobody signs behind that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial

from ...domain.errors import Refused
from ..entries.entry import NO_ENTRY, StoredEntry, parse_entry, parse_expected
from ..errors import Malformed, SigningRefused, Unavailable, UnsupportedFormat, VerificationError
from ..folds.identity import Identity
from ..store.folding import read_declared, read_identity, read_moved
from ..store.place import Lock
from ..store.reader import LedgerReader
from ..store.recorder import ChainingRecorder
from ..tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ..tlog.hashing import leaf_hash
from ..tlog.proof import verify_consistency
from ..tlog.tiles import tile_nodes
from ..tlog.tree import Frontier, prove_consistency
from ..tlog.witness import Cosigners
from .cosigning import require_asked, with_cosignatures
from .keys import KeyFolder

SIGNING = "signing"
"""The name of the ledger's lock that is held while signing."""


@contextmanager
def signing_alone(keys: KeyFolder, lock: Lock) -> Iterator[None]:
    """Hold both locks: of those who have the same key folder, and of those who have the same ledger."""
    with keys.signing_lock(), lock.held():
        yield


def sign_head(
    recorder: ChainingRecorder, keys: KeyFolder, lock: Lock, cosigners: Cosigners | None = None
) -> Checkpoint:
    """Sign and publish the present head; return its checkpoint. ``SigningRefused`` where that would be wrong.

    ``QuorumNotMet`` where too few of the witnesses that are required cosign it: it is signed, and not published.
    ``lock`` is the ledger's, ``SIGNING``; ``Unavailable`` where it is lost on the way.
    """
    with signing_alone(keys, lock):
        return sign_while_held(recorder, keys, lock, cosigners)


def sign_while_held(recorder: ChainingRecorder, keys: KeyFolder, lock: Lock, cosigners: Cosigners | None) -> Checkpoint:
    """As ``sign_head``, by whoever is ``signing_alone``."""
    signed = keys.signed()
    with recorder.reading() as reader:
        head = reader.head()
        if head.size == signed.size == 0:
            return signed  # nothing is recorded yet that could name who signs
        frontier = require_signed_history(reader, signed)
        identity = _identity(reader, signed)
        latest = reader.latest_checkpoint()
        if latest is not None and latest[0] > signed.size and identity.origin_at(latest[0]) == signed.origin:
            published = _signed_elsewhere(reader, identity, signed, latest)
            frontier = require_signed_history(reader, published)
            lock.require_held()
            keys.write_signed(published)
            signed = published
        sizes = [
            *_overlaps_to_sign(identity, signed.size, 0 if latest is None else latest[0], head.size),
            head.size,
        ]
        roots = _extend(reader, signed, frontier, sizes)
        if latest is None or not latest[0] == head.size == signed.size:
            require_asked(read_declared(reader), cosigners)
    for size in sizes:
        checkpoint = Checkpoint(signed.origin, size, roots[size])
        if latest is None or not latest[0] == size == signed.size:
            _publish(recorder, keys, lock, identity, checkpoint, signed.size, latest, cosigners)
    return checkpoint


def _identity(reader: LedgerReader, signed: Checkpoint) -> Identity:
    try:
        identity = read_identity(reader)
    except (Malformed, UnsupportedFormat) as error:
        raise SigningRefused("self_check_failed", f"ledger {signed.origin}: {error}") from error
    if identity.origin != signed.origin:
        raise Unavailable(f"ledger {signed.origin}: it goes on as {identity.origin!r} by now; open it again")
    return identity


def _signed_elsewhere(
    reader: LedgerReader, identity: Identity, signed: Checkpoint, latest: tuple[int, bytes]
) -> Checkpoint:
    """The newest published checkpoint, once it is shown to be this log's own and to extend what was signed here."""
    size, note = latest
    try:
        published = open_checkpoint(note, identity.keys_at(size), signed.origin)
        path = prove_consistency(signed.size, size, tile_nodes(size, reader.hashes)) if signed.size else []
        verify_consistency(signed.size, published.size, path, signed.root, published.root)
    except (Malformed, VerificationError, ValueError) as error:
        raise SigningRefused(
            "self_check_failed",
            f"ledger {signed.origin}: a checkpoint of size {size} is published that does not follow the one of size "
            f"{signed.size} that was signed here: {error}",
        ) from error
    return published


def _overlaps_to_sign(identity: Identity, signed: int, published: int, size: int) -> list[int]:
    """The sizes below ``size`` at which a rotation must still be signed by both keys.

    The entry that names the new key is to be covered by a checkpoint of the old one: where the log has outgrown the
    overlap before that was published, it is signed at the overlap's end.
    """
    return [
        old.last
        for old, new in zip(identity.ranges, identity.ranges[1:], strict=False)
        if old.origin == new.origin == identity.origin
        and old.last is not None
        and published <= new.named_by
        and signed <= old.last < size
    ]


def _publish(
    recorder: ChainingRecorder,
    keys: KeyFolder,
    lock: Lock,
    identity: Identity,
    checkpoint: Checkpoint,
    signed_size: int,
    latest: tuple[int, bytes] | None,
    cosigners: Cosigners | None,
) -> None:
    signers = [signer for signer in identity.ranges if signer.holds(checkpoint.size)]
    notes = [sign_checkpoint(checkpoint, keys.private_key(signer)) for signer in signers]
    note = notes[0] + b"".join(more.rpartition(b"\n\n")[2] for more in notes[1:])
    # What is signed is remembered before anybody else sees it.
    if checkpoint.size > signed_size:
        recorder.settle()  # what is signed must be there after a failover, too
        lock.require_held()
        keys.write_signed(checkpoint)
    if latest is not None and latest[0] == checkpoint.size:
        if not latest[1].startswith(note):
            raise SigningRefused(
                "self_check_failed", f"ledger {checkpoint.origin}: another checkpoint of size {latest[0]} lies there"
            )
        return  # published before this state was known: what its readers have seen is never changed
    if cosigners is not None:
        prove = partial(_prove, recorder, checkpoint.size)
        note = with_cosignatures(note, checkpoint, [signer.key for signer in signers], cosigners, prove)
    lock.require_held()  # the witnesses may have taken their time
    try:
        recorder.publish_checkpoint(checkpoint.size, note)
    except SigningRefused:
        lock.require_held()  # else another has published this size, with other cosignatures
        raise
    keys.retire(identity, checkpoint.size)


def _prove(recorder: ChainingRecorder, size: int, old: int) -> list[bytes]:
    """The proof that the log of ``size`` entries extends that of ``old``; nothing is held open between two."""
    with recorder.reading() as reader:
        return prove_consistency(old, size, tile_nodes(size, reader.hashes))


def _extend(reader: LedgerReader, signed: Checkpoint, frontier: Frontier, sizes: Collection[int]) -> dict[int, bytes]:
    """The root at each of ``sizes``, none below the signed one, once the present head is shown to extend that."""
    head = reader.head()
    prev = reader.hashes(0, signed.size - 1, 1) if signed.size else NO_ENTRY
    roots = {signed.size: signed.root}
    for row in reader.entries(signed.size, head.size):
        if not _continues(row, frontier.size, prev):
            raise SigningRefused(
                "self_check_failed", f"entry {row.seq}: the stored bytes do not re-hash into the chain"
            )
        frontier.append(row.leaf)
        prev = row.leaf
        if frontier.size in sizes:
            roots[frontier.size] = frontier.root()
    if (frontier.size, frontier.pack(), prev) != (head.size, head.frontier, head.leaf):
        raise SigningRefused(
            "self_check_failed", f"ledger {signed.origin}: re-read root differs from the head's at size {head.size}"
        )
    return roots


def require_signed_history(reader: LedgerReader, signed: Checkpoint) -> Frontier:
    """Refuse a log that does not begin with what was signed; its frontier at that size, from O(log n) hashes.

    ``Refused`` (``ledger_moved``) where the rest of it lies where it goes on.
    """
    head = reader.head()
    if head.size < signed.size:
        moved = read_moved(reader)
        if moved is not None:
            raise Refused("ledger_moved", f"ledger {signed.origin}: {moved}, and goes on there; only read it here")
        raise SigningRefused(
            "rollback",
            f"ledger {signed.origin}: size {head.size}, but size {signed.size} was signed; "
            "this is an older copy, and it is not signed again under this origin; "
            "`affidavit reopen` lets it go on under another",
        )
    try:
        frontier = reader.frontier_at(signed.size)
    except (Malformed, ValueError) as error:
        raise SigningRefused("self_check_failed", f"ledger {signed.origin}: {error}") from error
    if frontier.root() != signed.root:
        if _rehashed(reader, signed.size).root() == signed.root:
            raise SigningRefused(
                "self_check_failed", f"ledger {signed.origin}: the stored hashes differ from the entries beside them"
            )
        raise SigningRefused(
            "fork", f"ledger {signed.origin}: the first {signed.size} entries have another root than was signed"
        )
    return frontier


def _rehashed(reader: LedgerReader, size: int) -> Frontier:
    frontier = Frontier()
    for row in reader.entries(0, size):
        frontier.append(leaf_hash(row.raw))
    return frontier


def _continues(row: StoredEntry, seq: int, prev: bytes) -> bool:
    if type(row.raw) is not bytes or leaf_hash(row.raw) != row.leaf:
        return False  # what was stored as a blob may come back as another type
    if row.seq == seq and parse_expected(row.raw, seq, prev.hex(), row.stream, row.pos, row.type_name):
        return True
    try:
        entry = parse_entry(row.raw)
    except (Malformed, UnsupportedFormat):
        return False
    stored = (row.seq, row.stream, row.pos, row.type_name, prev.hex())
    return stored == (entry["seq"], entry["stream"], entry["pos"], entry["type"], entry["prev"]) and row.seq == seq


class BackgroundSigner:
    """Signs within ``delay`` seconds of an append, on a thread that starts with the first one.

    A refusal stops it; ``stop`` raises it, so that it is not lost. Where something does not serve just now, a disk or
    a quorum of witnesses, it tries again by itself, after pauses that double up to a minute.
    """

    longest_pause = 60.0

    def __init__(self, sign: Callable[[], object], delay: float = 0.5) -> None:
        self._sign = sign
        self._delay = delay
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._start_mutex = threading.Lock()
        self._error: Exception | None = None

    def wake(self) -> None:
        """Say that something was appended."""
        if self._thread is None:
            with self._start_mutex:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="affidavit-signer", daemon=True)
                    self._thread.start()
        self._wanted.set()

    @property
    def is_stopped(self) -> bool:
        """Whether it refused to sign, and signs no more."""
        return self._error is not None and not isinstance(self._error, Unavailable)

    def stop(self) -> None:
        """End the thread; raises what made it stop, or what did not serve when it last tried."""
        self._stopping.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            if pause:
                if self._stopping.wait(pause):
                    return
            else:
                self._wanted.wait()
                self._stopping.wait(self._delay)
            self._wanted.clear()
            try:
                self._sign()
                self._error, pause = None, 0.0
            except Unavailable as error:
                self._error, pause = error, min(max(2 * pause, self._delay), self.longest_pause)
                logging.getLogger(__name__).warning("not signed, and tried again in %.1f seconds: %s", pause, error)
            except Exception as error:
                logging.getLogger(__name__).exception("signing stopped; what is appended from here on is not signed")
                self._error = error
                return
