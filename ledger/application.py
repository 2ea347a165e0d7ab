"""The ledger as an eventsourcing application: open or make one, record events, sign, give receipts."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from eventsourcing.application import Application
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    EventStore,
    InfrastructureFactory,
    Mapper,
    Notification,
    ProcessRecorder,
    Recording,
)
from eventsourcing.utils import Environment

from ..domain.errors import Refused
from ..domain.event import Meta, NewEvent
from ..domain.registry import Registry, invalid_is_refused
from .entries.chain import ChainedEntry
from .entries.entry import FORMAT, Entry, format_at, parse_entry
from .entries.mapper import EventMapper, PendingEntry
from .errors import Conflict, QuorumNotMet, Unavailable
from .events import ClockSteppedBack, ErasureExecuted, ErasureRequested, KeyRotated, LedgerOpened
from .folds.erasures import ERASURE_STREAM, Destroyed
from .folds.identity import LEDGER_STREAM, Identity
from .folds.witnesses import WITNESSES_STREAM
from .publishing.proving import Prover
from .signing.cosigning import declare
from .signing.keys import KeyFolder, make_origin
from .signing.sign import (
    SIGNING,
    BackgroundSigner,
    require_signed_history,
    sign_head,
    sign_while_held,
    signing_alone,
)
from .store.folding import read_declared, read_erasures, read_identity, read_moved
from .store.forking import Opened
from .store.opening import EventReader
from .store.place import Place, Store
from .store.reader import LedgerReader
from .store.recorder import ChainingRecorder
from .store.scopes import OWN_SCOPE
from .store.sqlite.place import FolderPlace
from .tlog.checkpoint import Checkpoint
from .tlog.note import VerifierKey, print_vkey
from .tlog.receipt import Receipt
from .tlog.witness import Cosigners
from .watching import Watch, unwatched


def system_clock() -> int:
    """Microseconds since 1970, from the machine's clock."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Edge:
    """What comes into the ledger from outside: the clock (microseconds since 1970) and random bytes.

    ``watch`` goes out: whoever it is, is told of what takes time.
    """

    clock: Callable[[], int] = system_clock
    random: Callable[[int], bytes] = os.urandom
    watch: Watch = unwatched


def executed(requested: Entry, destroyed: Destroyed) -> tuple[ErasureExecuted, Meta]:
    """What is recorded of an erasure once it was carried out, after the entry that requested it."""
    data, seq = requested["data"], requested["seq"]
    event = ErasureExecuted(
        scope=data["scope"],
        reason=data["reason"],
        requested=seq,
        key_fingerprint=destroyed.fingerprint,
        aliases=destroyed.aliases,
    )
    meta: Meta = {**requested["meta"], "cause": seq}
    meta.pop("scope", None)
    return event, meta


class Acknowledged(NamedTuple):
    """An event is durable and chained: its place and the hash of its bytes."""

    seq: int
    leaf_hash: bytes


def as_place(where: Path | Place) -> Place:
    """A place; of a path the folder there."""
    return where if isinstance(where, Place) else FolderPlace(where)


class _StoreFactory(InfrastructureFactory[Any]):
    """What the library closes. Recorders are the store's own, and no environment variable chooses them."""

    def __init__(self, env: Environment, store: Store) -> None:
        super().__init__(env)
        self._store = store

    def close(self) -> None:
        self._store.close()

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        raise NotImplementedError

    def application_recorder(self) -> ApplicationRecorder:
        raise NotImplementedError

    def tracking_recorder(self, tracking_recorder_class: Any = None) -> Any:
        raise NotImplementedError

    def process_recorder(self) -> ProcessRecorder:
        raise NotImplementedError


class LedgerEventStore(EventStore[str]):
    """The library's event store, answering with the entries as they were chained."""

    mapper: EventMapper
    recorder: ChainingRecorder

    def append(self, events: Iterable[NewEvent]) -> list[ChainedEntry]:
        """Map and append events, all or none; the entries in their places."""
        return self.recorder.append([self.mapper.to_stored_event(event) for event in events])

    def put(self, domain_events: Sequence[DomainEventProtocol[str]], **_: Any) -> list[Recording[str]]:
        """As ``append``, in the library's terms: a notification's id is seq + 1, its state the whole entry."""
        chained = self.append(cast("Sequence[NewEvent]", domain_events)) if domain_events else []
        return [
            Recording(
                event,
                Notification(
                    entry.pending.originator_id,
                    entry.pending.originator_version,
                    entry.pending.topic,
                    entry.raw,
                    id=entry.seq + 1,
                ),
            )
            for event, entry in zip(domain_events, chained, strict=True)
        ]


class Ledger(Application[str]):
    """One ledger, open for appending. Safe from threads; several processes may have it open at once.

    Close it, or use it as a context manager: closing signs what is not signed yet. ``origin`` is that of the
    checkpoints that are signed now, ``genesis`` the one that entry 0 names and content is sealed under.
    ``cosigners`` are shown every checkpoint before it is published; the log says who they are from then on.
    """

    name = "affidavit"
    log_section_size = 1000
    recorder: ChainingRecorder
    mapper: EventMapper
    events: LedgerEventStore

    def __init__(
        self,
        where: Path | Place,
        keys_root: Path,
        registry: Registry,
        *,
        edge: Edge | None = None,
        sign_in_background: bool = True,
        cosigners: Cosigners | None = None,
    ) -> None:
        self.place = as_place(where)
        self._opened = Opened()
        self._edge = edge or Edge()
        self.watch = self._edge.watch
        self._cosigners = cosigners
        self._registry = registry
        self._prover = Prover()
        self._signing = self.place.lock(SIGNING)
        self._store = self.place.open()
        self._signer: BackgroundSigner | None = None
        try:
            with self._store.reading() as reader:
                self.genesis = reader.origin()
                identity = read_identity(reader) if reader.head().size else None
            self.origin = self.genesis if identity is None else identity.origin
            self.keys = KeyFolder(keys_root, self.genesis, self.origin)
            self._require_signing_key(identity)
            self.scopes = self._store.scope_keys(self.keys.master_key(), self.genesis, self._edge.random)
            try:
                super().__init__()
                self._require_present_log()
                self._hold_erasures()
                self._declare_witnesses()
            except BaseException:
                self.scopes.close()
                raise
        except BaseException:
            self._signing.close()
            self._store.close()
            raise
        if sign_in_background:
            self._signer = BackgroundSigner(self.sign)

    @classmethod
    def create(
        cls,
        where: Path | Place,
        keys_root: Path,
        registry: Registry,
        *,
        name: str = "affidavit",
        edge: Edge | None = None,
        sign_in_background: bool = True,
        cosigners: Cosigners | None = None,
    ) -> Ledger:
        """Make a ledger with new keys and an origin ``name/<16 hex at random>``, signed from entry 0 on.

        It appears whole or not at all. ``Unavailable`` where something is in its place.
        """
        edge = edge or Edge()
        place = as_place(where)
        origin = make_origin(name, edge.random)
        keys = KeyFolder(keys_root, origin)
        try:
            with ExitStack() as undo:
                with place.making(edge.random) as fresh:
                    keys.create(edge.random)
                    undo.callback(shutil.rmtree, keys.path)  # keys of a ledger that never came to be
                    cls._fill(fresh, keys_root, registry, keys, origin, edge)
                undo.pop_all()
            place.sync()
        except OSError as error:
            raise Unavailable(f"{place}: {error.strerror}") from error
        return cls(place, keys_root, registry, edge=edge, sign_in_background=sign_in_background, cosigners=cosigners)

    @classmethod
    def _fill(cls, fresh: Place, keys_root: Path, registry: Registry, keys: KeyFolder, origin: str, edge: Edge) -> None:
        """Make the databases, and the first entry under the first signature."""
        fresh.create(origin, keys.master_key(), edge.random)
        with cls(fresh, keys_root, registry, edge=edge, sign_in_background=False) as ledger:
            vkey = print_vkey(keys.oldest_key())
            ledger.record(NewEvent(LEDGER_STREAM, 0, LedgerOpened(format=FORMAT, origin=origin, vkey=vkey), Meta()))

    def record(self, *events: NewEvent) -> list[Acknowledged]:
        """Append events, all or none. When this returns they are durable and chained.

        ``Conflict`` where a stream has moved on since the caller looked; ``Refused``, ``Malformed`` and
        ``Unavailable`` as the recorder says.
        """
        if not events:
            return []
        chained = self.events.append(events)
        if self._signer is not None:
            self._signer.wake()
        return [Acknowledged(entry.seq, entry.leaf) for entry in chained]

    def sign(self) -> Checkpoint:
        """Sign and publish a checkpoint of all that is durable now. Raises as ``sign_head`` does."""
        with self.watch("sign") as figures:
            checkpoint = sign_head(self.recorder, self.keys, self._signing, self._cosigners)
            figures["size"] = checkpoint.size
        return checkpoint

    @property
    def is_signing_stopped(self) -> bool:
        """Whether signing in the background was refused, and has ended for good."""
        return self._signer is not None and self._signer.is_stopped

    def rotate_key(self, overlap: int = 1000, meta: Meta | None = None) -> KeyRotated:
        """Sign with a new key from now on, and with the old one too for ``overlap`` entries more; then that is removed.

        What it returns is on record. A checkpoint under both keys is published before this returns, or, where it
        lacks its quorum, as soon as it has it.
        """
        if overlap < 0:
            raise Refused("overlap_from_0", f"overlap: expected a number of entries from 0, found {overlap}")
        rotated: list[KeyRotated] = []

        def make(reader: LedgerReader, seq: int) -> list[PendingEntry]:
            identity = read_identity(reader)
            if identity.origin != self.origin:
                raise Unavailable(f"ledger {self.origin}: it goes on as {identity.origin!r} by now; open it again")
            old = identity.key
            event = KeyRotated(old=print_vkey(old), new=print_vkey(new), first=seq + 1, last=seq + 1 + overlap)
            rotated.append(event)
            return [self.mapper.to_stored_event(NewEvent(LEDGER_STREAM, reader.next_pos(LEDGER_STREAM), event, told))]

        told = meta or Meta()
        # Nobody signs before the entry says with what, and the new key is durable before anybody needs it.
        with signing_alone(self.keys, self._signing):
            new = self.keys.add_key(self._edge.random)
            self.recorder.append_knowing(make)
            with suppress(QuorumNotMet):
                sign_while_held(self.recorder, self.keys, self._signing, self._cosigners)
        return rotated[0]

    def receipt(self, seq: int) -> Receipt:
        """Prove that entry ``seq`` is in the log, under the newest checkpoint, made now if none covers it."""
        receipt = self._receipt(seq)
        if receipt is None:
            self.sign()
            receipt = self._receipt(seq)
        if receipt is None:
            raise Unavailable(f"entry {seq}: the log has no such entry yet")
        return receipt

    def _receipt(self, seq: int) -> Receipt | None:
        with self.recorder.reading() as reader:
            return self._prover.prove(reader, seq)

    def identity(self) -> Identity:
        """The origins and keys of this log by now: another process may have rotated the key."""
        with self.recorder.reading() as reader:
            return read_identity(reader)

    def verifier_key(self) -> VerifierKey:
        """The public key that this ledger's newest checkpoint verifies under."""
        return self.identity().key

    def event_reader(self, reader: LedgerReader) -> EventReader:
        """Events read through ``reader``, sealed content opened."""
        return EventReader(reader, self._registry, self.scopes)

    def now(self) -> str:
        """The time by the ledger's clock, in the form of ``at``."""
        return format_at(self._edge.clock())

    def alias(self, kind: str, name: str, under: str | None = None) -> str:
        """The random alias under which a name stands in the log; it dies with the key of scope ``under``."""
        return self.scopes.alias(kind, name, under)

    def find_aliases(self, kind: str, name: str) -> list[tuple[str, str]]:
        """(alias, scope) of every living alias of a name, the oldest first; none is made."""
        return self.scopes.find(kind, name)

    def name_of(self, alias: str) -> str | None:
        """The name behind an alias, or None where it was erased."""
        return self.scopes.name_of(alias)

    def names_of(self, aliases: Iterable[str]) -> dict[str, str | None]:
        """The name behind each alias, None where it was erased; faster than one at a time."""
        return self.scopes.names_of(aliases)

    def naming(self) -> AbstractContextManager[None]:
        """Make all aliases inside in one transaction, before what names them is recorded."""
        return self.scopes.together()

    def erase(
        self, scope: str, reason: str, note: str | None = None, meta: Meta | None = None
    ) -> tuple[Acknowledged, Acknowledged]:
        """Destroy the key of ``scope``: what is sealed under it, and the names of its aliases, open no more.

        ``reason`` is a code and open; ``note`` is sealed under a scope of its own, unless ``meta`` names one.
        Returns the entries that say that it was requested and executed. ``Refused``: ``scope_unknown``,
        ``scope_erased``, ``scope_needed``, ``event_invalid``.
        """
        meta = {**(meta or {})}
        if note is not None:
            meta.setdefault("scope", f"{ERASURE_STREAM}/{self._edge.random(8).hex()}")
        with invalid_is_refused():
            event = ErasureRequested(scope=scope, reason=reason, note=note)
        while True:
            pos = self._finish_erasure()
            self._require_erasable(scope)
            with suppress(Conflict):  # somebody else erases: theirs first
                (requested,) = self.record(NewEvent(ERASURE_STREAM, pos, event, meta))
                break
        self._finish_erasure()
        with self.recorder.reading() as reader:
            executed = [Acknowledged(row.seq, row.leaf) for row in reader.stream(ERASURE_STREAM, start=pos + 1)]
        if not executed:
            raise Unavailable(f"key database of {self.place}: the key of scope {scope!r} has gone missing")
        return requested, executed[0]

    def _require_erasable(self, scope: str) -> None:
        if scope == OWN_SCOPE:
            raise Refused("scope_needed", f"scope {scope!r}: without its key this ledger does not open")
        if self.scopes.cipher(scope) is None:
            if self.scopes.destroyed(scope) is not None:
                raise Refused("scope_erased", f"scope {scope!r} was erased before")
            raise Refused("scope_unknown", f"scope {scope!r}: nothing is sealed under it")

    def _finish_erasure(self) -> int:
        """Carry out the newest request of the stream, if nobody has; the position that the next event takes."""
        with self.recorder.reading() as reader:
            pos = reader.next_pos(ERASURE_STREAM)
            requested = self._unfinished_erasure(reader)
        destroyed = None if requested is None else self._destroy(requested)
        if requested is None or destroyed is None:
            return pos
        with suppress(Conflict):  # another process or thread has finished the same
            self.record(NewEvent(ERASURE_STREAM, pos, *executed(requested, destroyed)))
        return pos + 1

    def _unfinished_erasure(self, reader: LedgerReader) -> Entry | None:
        """The request that nobody has carried out yet, if there is one: only the newest event can be that."""
        newest = list(reader.stream(ERASURE_STREAM, start=reader.next_pos(ERASURE_STREAM) - 1))
        entry = parse_entry(newest[0].raw) if newest else None
        return entry if entry is not None and entry["type"] == ErasureRequested.type_name else None

    def _destroy(self, requested: Entry) -> Destroyed | None:
        """Destroy the key that is to be erased, None where it was lost some other way: the request stays as it is.

        No byte of it is left before the log says so; a crash on the way repeats this.
        """
        # Inside the append lock: who seals under the key is either before this, or finds it destroyed.
        with self.recorder.holding_appends():
            destroyed = self.scopes.destroy(requested["data"]["scope"])
        if destroyed is not None:
            self.scopes.sweep()
        return destroyed

    def _hold_erasures(self) -> None:
        """Finish what a crash left half done, and destroy again what an older key database brought back."""
        executed = self._finish_erasure() // 2
        if self.scopes.count_destroyed() >= executed:
            return
        with self.recorder.reading() as reader:
            recorded = read_erasures(reader).executed
        returned = {scope: was for scope, (_, was) in recorded.items() if self.scopes.destroyed(scope) != was}
        if returned:
            with self.recorder.holding_appends(), self.scopes.together():
                for scope, destroyed in returned.items():
                    self.scopes.destroy_as(scope, destroyed)
            self.scopes.sweep()

    def close(self) -> None:
        if self.closing.is_set() or not self._opened.is_here:
            return
        self.closing.set()
        try:
            self.recorder.end()  # what is acknowledged is signed below
            if self._signer is not None:
                with suppress(Unavailable):  # what did not serve a moment ago may serve now
                    self._signer.stop()
            self.sign()
        except Refused as error:  # it moved while it was open, and has been signed further where it is now
            if error.rule != "ledger_moved":
                raise
            logging.getLogger(__name__).info("closed without a signature: %s", error)
        except QuorumNotMet as error:  # what is recorded is durable, and published when the ledger is open again
            logging.getLogger(__name__).warning("closed with entries that are not published: %s", error)
        finally:
            self._signing.close()
            self.scopes.close()
            super().close()

    def __del__(self) -> None:
        """Not the library's, which closes: closing signs and takes locks, on no garbage collector's thread."""

    # What the library asks for. Nothing here looks into the process's environment: a variable must not
    # decide which module is imported or where events are stored.

    def construct_env(self, name: str, env: Any = None) -> Environment:
        return Environment(name, {})

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        return _StoreFactory(env, self._store)

    def construct_mapper(self) -> Mapper[str]:
        return EventMapper(self._registry, self._edge.random)

    def construct_recorder(self) -> ApplicationRecorder:
        recorder = self._store.recorder(self.scopes, self._edge.clock, self._edge.random, self._clock_finding)
        recorder.watch = self.watch
        return recorder

    def construct_event_store(self) -> EventStore[str]:
        return LedgerEventStore(self.mapper, self.recorder)

    def _clock_finding(self, pos: int, microseconds: int) -> PendingEntry:
        event = ClockSteppedBack(behind=microseconds / 1_000_000)
        return self.mapper.to_stored_event(NewEvent("clock", pos, event, Meta()))

    def _require_signing_key(self, identity: Identity | None) -> None:
        """A key that the log does not name must never sign."""
        if identity is None:
            self.keys.signing_key()  # being made
        else:
            self.keys.private_key(identity.ranges[-1])

    def _require_present_log(self) -> None:
        """An older copy must never grow."""
        signed = self.keys.signed()
        with self.recorder.reading() as reader:
            require_signed_history(reader, signed)

    def _declare_witnesses(self) -> None:
        """Record who is asked from now on, where that is not what the log says, unless it goes on elsewhere."""
        if self._cosigners is None:
            return
        event = declare(self._cosigners)
        while True:
            with self.recorder.reading() as reader:
                declared, pos = read_declared(reader), reader.next_pos(WITNESSES_STREAM)
                moved = read_moved(reader)
            if declared == event or moved is not None:
                return
            with suppress(Conflict):  # another process may have said the same
                self.record(NewEvent(WITNESSES_STREAM, pos, event, Meta()))
