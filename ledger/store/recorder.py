"""Appending: one commit for all who wait, in crash-safe order, the same over every database.

``append`` is the one way in. The steps of a commit stand in ``_commit``, with the reason beside each; what a database
does of them in its own way is ``Writing``.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import ApplicationRecorder, StoredEvent

from ...domain.errors import Refused
from ..entries.chain import Batch, ChainedEntry, Head, LooseHashes, chain_batch
from ..entries.entry import format_at
from ..entries.mapper import PendingEntry
from ..entries.seal import NONCE_BYTES, make_box
from ..errors import Conflict, OutcomeUnknown, Unavailable
from ..events import LedgerMoved
from ..tlog.tiles import TILE_WIDTH
from ..watching import Watch, unwatched
from .folding import read_moved
from .reader import LedgerReader
from .scopes import ScopeKeys

Make = Callable[[LedgerReader, int], Sequence[PendingEntry]]
Box = tuple[int, str, bytes]
"""seq, field, sealed content."""
Note = tuple[int, bytes]
"""The size of a published checkpoint, and the signed note."""

_MOST_SHARED = 10_000
"""Entries of one commit, unless one caller brings more."""
_ASLEEP_SECONDS = 1.0
"""Who has waited so long looks whether there is a leader: one that was interrupted may have woken nobody."""


class Writing(Protocol):
    """A transaction that nobody else who appends is in at the same time."""

    @property
    def reader(self) -> LedgerReader:
        """Reads what the transaction sees."""

    def take_head(self, streams: Collection[str]) -> tuple[Head, dict[str, int], str | None]:
        """The head, kept from everybody else until the transaction ends, each stream's next position, and the type
        of the last entry.

        The first statement is a write: a read could not be made into one once another process has committed.
        """

    def store(self, batch: Batch, boxes: Sequence[Box]) -> None:
        """Write everything that belongs to the new head, then the head."""

    def keep_checkpoints(self, notes: Sequence[Note]) -> None:
        """Add published checkpoints; where one of the same size lies already, that one stays. ``store`` commits."""

    def settle(self) -> None:
        """Make what others have committed as durable as what is acknowledged."""


class Growth(Protocol):
    """Waits for the log to grow. One thread waits; any may stop it."""

    def wait_past(self, size: int) -> bool:
        """Wait until the log has more than ``size`` entries; False once stopped."""

    def stop(self) -> None:
        """End the waiting, for good."""


class _Appender:
    """One caller's pending entries in a commit that it may share with others, and how it went."""

    def __init__(self, pending: Sequence[PendingEntry]) -> None:
        self.pending = pending
        self.entries: list[ChainedEntry] = []
        self.error: Exception | None = None
        self.done = False
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def wait(self) -> None:
        """Until somebody wakes it, or for a while."""
        self._asleep.acquire(timeout=_ASLEEP_SECONDS)

    def wake(self) -> None:
        """End its wait, or the next one."""
        if self._asleep.locked():
            self._asleep.release()


class ChainingRecorder(ApplicationRecorder):
    """Records pending entries as a chain and a tree. ``clock`` gives microseconds since 1970.

    ``clock_finding`` makes the pending entry that says that the clock stands behind the log. Safe from threads and
    from processes. ``place`` names the ledger in errors.
    """

    place: str
    _scopes: ScopeKeys

    def _begin(
        self,
        place: str,
        scopes: ScopeKeys,
        clock: Callable[[], int],
        random: Callable[[int], bytes],
        clock_finding: Callable[[int, int], PendingEntry],
    ) -> None:
        """What a recorder needs beside its library's part."""
        self.place = place
        self.watch: Watch = unwatched
        self._scopes = scopes
        self._clock = clock
        self._random = random
        self._clock_finding = clock_finding
        self._commit_mutex = threading.Lock()
        self._waiting_mutex = threading.Lock()
        self._waiting: list[_Appender] = []
        self._leader: _Appender | None = None
        self._ended = False
        with self.reading() as reader:
            self._origin = reader.origin().encode()

    @abstractmethod
    def reading(self) -> AbstractContextManager[LedgerReader]:
        """Read one consistent state of the log."""

    @abstractmethod
    def growing(self) -> AbstractContextManager[Growth]:
        """What waits for the log to grow, by whichever process."""

    @abstractmethod
    def publish_checkpoint(self, size: int, note: bytes) -> None:
        """Add a signed checkpoint; the same one again changes nothing."""

    def end(self) -> None:
        """Append nothing more: what is being committed ends first, and what comes later is ``Unavailable``."""
        with self._commit_mutex:
            self._ended = True

    def settle(self) -> None:
        """Make all that can be read by now as durable as what was acknowledged, before one relies on it."""
        return  # where a standby takes over, more can be read than that

    @abstractmethod
    def holding_appends(self) -> AbstractContextManager[None]:
        """Nothing is appended meanwhile, in this process or another; appending inside would wait for itself."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Writing]:
        """A transaction to append in; it is durable when the block has ended."""

    @abstractmethod
    def _explained(self) -> AbstractContextManager[None]:
        """No error of the database or of the library leaves unexplained."""

    def _was_committed(self, batch: Batch) -> bool:
        """After an error while committing: whether the batch is in the log all the same."""
        return False

    def append(self, pending: Sequence[PendingEntry]) -> list[ChainedEntry]:
        """Make ``pending`` durable and chained, all or none, and return them in their places.

        ``Conflict`` where a stream has moved on, ``Malformed`` where an entry is too long,
        ``Refused`` where one would be sealed under a key that was destroyed (``scope_erased``), or where the ledger
        goes on elsewhere (``ledger_moved``),
        ``Unavailable`` where the disk or the database does not serve. Callers from several threads
        share a commit: one of them leads, commits for all who wait, and hands on to the first who came meanwhile.
        """
        self._scopes.require_outside()
        appender = _Appender(pending)
        try:
            with self._waiting_mutex:
                self._waiting.append(appender)
                if self._leader is None:
                    self._leader = appender
            if self._leader is not appender:
                appender.wait()
            if not appender.done:
                with self._commit_mutex:
                    if not appender.done:  # by another, if nobody had woken this one
                        self._commit_waiting(appender)
        finally:
            self._hand_on(appender)
        if not appender.done:
            raise self._interrupted()
        if appender.error is not None:
            raise appender.error
        return appender.entries

    def append_knowing(self, make: Make, *, after_move: bool = False) -> list[ChainedEntry]:
        """As ``append``, of what ``make`` gives once it knows the log as it is and the seq that its first entry takes.

        Nobody appends in between, so what it says of its own place is true, and its positions are free.
        ``after_move``: also where the log ends by saying that it goes on elsewhere, since this is there.
        """
        self._scopes.require_outside()
        appender = _Appender(())
        with self._commit_mutex, self._watched([appender]), self._explained():
            self._commit([appender], make, after_move=after_move)
        if appender.error is not None:
            raise appender.error
        return appender.entries

    def take_over(self, follow: Callable[[Head, LooseHashes], tuple[Batch, Sequence[Box], Sequence[Note]]]) -> None:
        """Store entries of this log as another store holds them: what ``follow`` gives, after this head."""
        with self._commit_mutex, self._explained(), self._writing() as writing:
            head, _, _ = writing.take_head(())
            batch, boxes, notes = follow(head, partial(_loose_hashes, writing.reader, head.size))
            writing.keep_checkpoints(notes)
            writing.store(batch, boxes)

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int]:
        pending = [event for event in stored_events if isinstance(event, PendingEntry)]
        if len(pending) != len(stored_events):
            raise TypeError("expected pending entries from the ledger's own mapper")
        return [entry.seq + 1 for entry in self.append(pending)]

    def max_notification_id(self) -> int:
        with self.reading() as reader:
            return reader.head().size

    def _hand_on(self, gone: _Appender) -> None:
        """Who led, or was interrupted, goes: let the first who waits lead; with nobody there, whoever comes next."""
        if gone.done and self._leader is not gone:
            return
        with self._waiting_mutex:
            if gone in self._waiting:  # interrupted: nobody is to wait for who has gone
                self._waiting.remove(gone)
            if self._leader is gone:
                self._leader = self._waiting[0] if self._waiting else None
                if self._leader is not None:
                    self._leader.wake()

    def _commit_waiting(self, leader: _Appender) -> None:
        appenders: list[_Appender] = []
        try:
            with self._waiting_mutex:
                self._leader = leader
                waiting = [each for each in self._waiting if not each.done]
                count = _shared(waiting)
                appenders, self._waiting = waiting[:count], waiting[count:]
            with self._watched(appenders), self._explained():
                self._commit(appenders)
        except BaseException as error:  # every appender of the shared commit learns that it failed
            told = error if isinstance(error, Exception) else self._interrupted()
            for appender in appenders:  # of a conflict nothing is sure either, where what conflicts may be lost
                appender.error = told if isinstance(told, Unavailable) else appender.error or told
            if told is not error:
                raise
        finally:
            for appender in appenders:
                appender.done = True
                if appender is not leader:
                    appender.wake()

    def _interrupted(self) -> OutcomeUnknown:
        return OutcomeUnknown(f"{self.place}: interrupted while committing; it may be recorded")

    @contextmanager
    def _watched(self, appenders: list[_Appender]) -> Iterator[None]:
        with self.watch("commit") as figures:
            yield
            figures["entries"] = sum(len(appender.entries) for appender in appenders)

    def _commit(self, appenders: list[_Appender], make: Make | None = None, *, after_move: bool = False) -> None:
        if self._ended:
            raise Unavailable(f"{self.place}: it is closed here, and nothing is appended any more")
        batch = None
        try:
            # 1. Queue behind other processes, and take the head with the transaction's first statement.
            with self._writing() as writing:
                head, free, last_type = writing.take_head(_streams(appenders))
                moved = last_type == LedgerMoved.type_name and not after_move
                if moved and make is not None:
                    raise self._moved(writing.reader)  # noqa: TRY301
                # 2. The time, taken once nobody else can, never earlier than the last.
                head, at, findings = self._stamp(writing.reader, head)
                if make is not None:
                    appenders[0].pending = make(writing.reader, head.size + len(findings))
                    free = writing.reader.next_positions(_streams(appenders))
                # 3. Each appender's expected positions, while nobody else can move them, and the keys to seal
                #    under, fetched now: a key destroyed a moment ago must not be used again, nor made anew. A new
                #    key is durable before the entry that needs it; a crash between leaves an unused key, no loss.
                refused = self._moved(writing.reader) if moved else None
                accepted, ciphers = self._accept(free, appenders, refused)
                if not accepted:
                    # The head's time is that of an entry, so nothing may move it alone. Who conflicts may take it
                    # that its own entry is there, from an attempt before.
                    writing.settle()
                    return
                pending = [*findings, *(waiting for appender in accepted for waiting in appender.pending)]
                batch = chain_batch(head, at, pending, partial(_loose_hashes, writing.reader, head.size))
                # 4. Seal.
                boxes = self._seal(batch, ciphers)
                # 5. Everything that belongs to the new head, then the head, then one commit: a crash before it
                #    leaves the old log, a crash after it the new one.
                writing.store(batch, boxes)
        except Exception:
            # An error may hide that the commit went through; then what was asked for has happened.
            if batch is None or not self._was_committed(batch):
                raise
        # 6. Only what is durable is acknowledged.
        start = len(findings)
        for appender in accepted:
            appender.entries = batch.entries[start : start + len(appender.pending)]
            start += len(appender.pending)

    def _moved(self, reader: LedgerReader) -> Refused:
        return Refused("ledger_moved", f"{self.place}: {read_moved(reader)}; nothing is appended here any more")

    def _accept(
        self, free: dict[str, int], appenders: list[_Appender], refused: Refused | None
    ) -> tuple[list[_Appender], dict[str, AESGCM]]:
        """The appenders whose positions are free, and the ciphers of their scopes; each other one fails alone.

        None is accepted where all are ``refused``; who finds its own event there already is told so first.
        """
        ciphers: dict[str, AESGCM] = {}
        accepted = []
        with self._scopes.together():
            for appender in appenders:
                moved: dict[str, int] = {}
                try:
                    for waiting in appender.pending:
                        stream = str(waiting.originator_id)
                        expected = moved.get(stream, free[stream])
                        if waiting.originator_version != expected:
                            raise Conflict(stream, waiting.originator_version, expected)  # noqa: TRY301
                        moved[stream] = expected + 1
                    if refused is not None:
                        raise refused
                    for waiting in appender.pending:
                        if waiting.disclosures and waiting.scope not in ciphers:
                            ciphers[waiting.scope] = self._scopes.cipher_for_sealing(waiting.scope)
                except (Conflict, Refused) as error:
                    appender.error = error
                else:
                    free.update(moved)
                    accepted.append(appender)
        return accepted, ciphers

    def _stamp(self, reader: LedgerReader, head: Head) -> tuple[Head, str, list[PendingEntry]]:
        """The batch's time, and a finding at the moment when the clock is first seen to stand behind."""
        at = format_at(self._clock())
        if at >= head.at:
            return replace(head, held=False), at, []
        findings = []
        if not head.held:
            behind = _microseconds(head.at) - _microseconds(at)
            findings.append(self._clock_finding(reader.next_pos("clock"), behind))
        return replace(head, held=True), head.at, findings

    def _seal(self, batch: Batch, ciphers: dict[str, AESGCM]) -> list[Box]:
        boxes = []
        for entry in batch.entries:
            for disclosure in entry.pending.disclosures:
                cipher = ciphers[entry.pending.scope]
                box = make_box(cipher, self._random(NONCE_BYTES), disclosure, self._origin)
                boxes.append((entry.seq, disclosure.name, box))
        return boxes


def _shared(waiting: list[_Appender]) -> int:
    """How many of those who wait share a commit: who comes with little must not wait for all who come with much."""
    entries = 0
    for n, appender in enumerate(waiting):
        entries += len(appender.pending)
        if n and entries > _MOST_SHARED:
            return n
    return len(waiting)


def _streams(appenders: list[_Appender]) -> set[str]:
    return {str(each.originator_id) for one in appenders for each in one.pending}


def _loose_hashes(reader: LedgerReader, size: int, level: int) -> bytes:
    """The hashes of a tile level that lie in no full tile yet."""
    width = TILE_WIDTH ** (level + 1)
    first = size // width * TILE_WIDTH
    count = size // TILE_WIDTH**level - first
    return reader.hashes(level, first, count) if count else b""


def _microseconds(at: str) -> int:
    return (datetime.fromisoformat(at) - datetime.fromtimestamp(0, tz=UTC)) // timedelta(microseconds=1)
