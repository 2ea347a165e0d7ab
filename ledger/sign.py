"""Signing: a step of its own, so that appends wait for no key and no signature covers what was not re-read.

Under the signing lock: re-read and re-hash every entry since the last signature, prove that the tree
extends the one last signed, write the new signing state beside the key, and only then publish the
checkpoint. A crash after the state is written publishes the same checkpoint at the next signing. A
database that is behind the state, or has another history, is never signed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .checkpoint import Checkpoint, sign_checkpoint
from .entry import NO_ENTRY, parse_entry
from .errors import Malformed, SigningRefused, Unavailable, UnsupportedFormat
from .hashing import leaf_hash
from .keys import KeyFolder
from .reader import LedgerReader, StoredEntry
from .sqlite import ChainingRecorder
from .tree import Frontier


def sign_head(recorder: ChainingRecorder, keys: KeyFolder, private_key: Ed25519PrivateKey) -> Checkpoint:
    """Sign and publish the present head; return its checkpoint. ``SigningRefused`` where that would be wrong."""
    with keys.signing_lock():
        signed = keys.signed()
        with recorder.reading() as reader:
            checkpoint = _extend(reader, signed)
            latest = reader.latest_checkpoint()
        if latest is not None and latest[0] == checkpoint.size == signed.size:
            return checkpoint
        if checkpoint.size > signed.size:
            keys.write_signed(checkpoint)
        recorder.publish_checkpoint(checkpoint.size, sign_checkpoint(checkpoint, private_key))
        return checkpoint


def _extend(reader: LedgerReader, signed: Checkpoint) -> Checkpoint:
    """The checkpoint of the present head, once it is shown to extend the signed one."""
    frontier = require_signed_history(reader, signed)
    head = reader.head()
    prev = reader.hashes(0, signed.size - 1, 1) if signed.size else NO_ENTRY
    for row in reader.entries(signed.size, head.size):
        if not _continues(row, frontier.size, prev):
            raise SigningRefused(
                "self_check_failed", f"entry {row.seq}: the stored bytes do not re-hash into the chain"
            )
        frontier.append(row.leaf)
        prev = row.leaf
    if (frontier.size, frontier.pack(), prev) != (head.size, head.frontier, head.leaf):
        raise SigningRefused(
            "self_check_failed", f"ledger {signed.origin}: re-read root differs from the head's at size {head.size}"
        )
    return Checkpoint(signed.origin, head.size, frontier.root())


def require_signed_history(reader: LedgerReader, signed: Checkpoint) -> Frontier:
    """Refuse a log that does not begin with what was signed; its frontier at that size, from O(log n) hashes."""
    head = reader.head()
    if head.size < signed.size:
        raise SigningRefused(
            "rollback",
            f"ledger {signed.origin}: size {head.size}, but size {signed.size} was signed; "
            "this is an older copy, and it is not signed again under this origin",
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
    try:
        entry = parse_entry(row.raw)
    except (Malformed, UnsupportedFormat):
        return False
    stored = (row.seq, row.stream, row.pos, row.type_name, prev.hex())
    return stored == (entry["seq"], entry["stream"], entry["pos"], entry["type"], entry["prev"]) and row.seq == seq


class BackgroundSigner:
    """Signs within ``delay`` seconds of an append, on a thread that starts with the first one.

    A refusal stops it; ``stop`` raises it, so that it is not lost. Where something does not serve just now,
    it tries again after the next append.
    """

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

    def stop(self) -> None:
        """End the thread; raises what made it stop, if something did."""
        self._stopping.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wanted.wait()
            self._stopping.wait(self._delay)
            self._wanted.clear()
            try:
                self._sign()
                self._error = None
            except Unavailable as error:
                self._error = error
            except Exception as error:
                logging.getLogger(__name__).exception("signing stopped; what is appended from here on is not signed")
                self._error = error
                return
