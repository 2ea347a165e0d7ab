"""Moving a ledger to another store: the same log there, and closed here, so that two heads cannot grow.

All but the newest entries are carried while others go on appending, into a place beside the destination, and verified
there. Then, while nobody appends: the rest, and the entry that ends the log here. Whoever has it open is refused from
then on. That entry is signed and carried too, then the keys, of which none can be destroyed here any more; the place
gets its name, and an entry of the destination's own says that the log goes on there.

Whatever ends the program, either the log here is open as it was, or the same command goes on where it stopped. A copy
that ends with the same entry is as closed as the source, until it has arrived.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ...domain.errors import Refused
from ...domain.event import Event, Meta, NewEvent
from ...domain.registry import Registry
from ..application import Edge, Ledger, executed
from ..entries.entry import parse_entry
from ..entries.mapper import PendingEntry
from ..errors import QuorumNotMet, Unavailable
from ..events import LedgerArrived, LedgerMoved
from ..folds.erasures import ERASURE_STREAM
from ..folds.identity import LEDGER_STREAM
from ..folds.moves import Moved
from ..signing.keys import KeyFolder
from ..store.folding import read_identity, read_moved
from ..store.place import Place
from ..store.reader import LedgerReader
from ..tlog.witness import Cosigners
from .carrying import Carrier, OnProgress, require_sound

_LOCK = "copy"
_TAIL = 4096
"""Entries that may be left to carry while those who append wait."""


@dataclass(frozen=True, slots=True)
class Copied:
    """The log at the destination: its entries and root when it had arrived. ``again``: it had before."""

    origin: str
    size: int
    root: bytes
    again: bool


def copy_ledger(
    source: Place,
    destination: Place,
    keys_root: Path,
    registry: Registry,
    *,
    edge: Edge | None = None,
    cosigners: Cosigners | None = None,
    meta: Meta | None = None,
    jobs: int = 1,
    on_progress: OnProgress | None = None,
) -> Copied:
    """Move a ledger; called again, it goes on where it stopped. The key folder stays where it is.

    ``Refused`` (``ledger_moved``) where it has gone elsewhere. ``Unavailable`` where something lies at the destination,
    ``Malformed`` where the source is damaged: then it stays as it is.
    """
    if not source.exists():
        raise Unavailable(f"no ledger in {source}")
    with source.alone(_LOCK):
        moved = _moved_to(source, destination)
        again = moved is not None and _has_arrived(source, destination, moved)
        if not again:
            if moved is None:
                destination.require_nothing()
            with _Source(
                source, keys_root, registry, edge=edge, sign_in_background=False, cosigners=cosigners
            ) as ledger:
                ledger.move(destination, meta or Meta(), jobs, on_progress)
            _arrive(destination, keys_root, registry, edge, cosigners, meta or Meta())
    with destination.glance() as reader:
        origin, head = reader.origin(), reader.head()
        keys = KeyFolder(keys_root, origin, read_identity(reader).origin)
    if not again:
        with closing(destination.scope_keys_to_read(keys.master_key(), origin)) as scopes:
            require_sound(destination, registry, keys=keys, scopes=scopes, jobs=jobs, on_progress=on_progress)
    return Copied(origin, head.size, head.root(), again)


class _Source(Ledger):
    """The ledger that is moved, open as others may have it too."""

    def move(self, destination: Place, meta: Meta, jobs: int, on_progress: OnProgress | None) -> None:
        """Until the whole of it lies at ``destination``, closed there as it is here."""
        if destination.exists():
            return  # it came so far before, and lacks only its arrival
        part = destination.unfinished
        if not part.exists():
            with part.making(self._edge.random) as fresh:
                fresh.create(self.genesis, self.keys.master_key(), self._edge.random)
            part.sync()
        with Carrier(part, self.keys.master_key(), self.genesis, self._edge.random) as carrier:
            with self.recorder.reading() as reader:
                is_open = read_moved(reader) is None
            if is_open:
                self._carry_most(carrier, on_progress)
                require_sound(part, self._registry, jobs=jobs, on_progress=on_progress)
                self._carry_most(carrier, on_progress)
                with self.recorder.reading() as reader:
                    carrier.carry(reader)
                    carrier.carry_checkpoints(reader)
                    carrier.require_same(reader)
                self._close_here(carrier, destination, meta)
            self.recorder.settle()  # what says that it moved must be there after a failover, too
            with suppress(QuorumNotMet):  # it is published at the destination
                self.sign()
            self._carry_rest(carrier)
        part.rename(destination)

    def _carry_most(self, carrier: Carrier, on_progress: OnProgress | None) -> None:
        while True:
            with self.recorder.reading() as reader:
                carrier.carry(reader, on_progress)
            if self.recorder.max_notification_id() - carrier.size <= _TAIL:
                return

    def _close_here(self, carrier: Carrier, destination: Place, meta: Meta) -> None:
        """Append the last entry, while all that stands before it is at the destination."""

        def make(reader: LedgerReader, seq: int) -> list[PendingEntry]:
            entries = []
            unfinished = self._unfinished_erasure(reader)
            if unfinished is not None:  # nobody could finish it here after this
                scope = unfinished["data"]["scope"]
                destroyed = self.scopes.destroy(scope)
                if destroyed is not None:
                    self.scopes.sweep()  # before the log says so: who goes on after this sweeps no more
                    pos = reader.next_pos(ERASURE_STREAM)
                    entries.append(self._pending(ERASURE_STREAM, pos, *executed(unfinished, destroyed)))
            carrier.carry(reader)
            carrier.require_same_head(reader)
            event = LedgerMoved(store=destination.kind, destination=destination.digest(self.genesis))
            entries.append(self._pending(LEDGER_STREAM, reader.next_pos(LEDGER_STREAM), event, meta))
            return entries

        self.recorder.append_knowing(make)

    def _carry_rest(self, carrier: Carrier) -> None:
        """Nothing changes here any more: the last entry, its checkpoint, and what lies beside the log."""
        with self.recorder.reading() as reader:
            carrier.carry(reader)
            carrier.carry_checkpoints(reader)
            carrier.carry_tokens(self.place)
            carrier.carry_keys(self.scopes)
            carrier.require_same(reader)

    def _pending(self, stream: str, pos: int, event: Event, meta: Meta) -> PendingEntry:
        return self.mapper.to_stored_event(NewEvent(stream, pos, event, meta))


def _moved_to(source: Place, destination: Place) -> Moved | None:
    """Whether the log has moved to this destination; ``Refused`` where it has to another."""
    with source.glance() as reader:
        moved, origin = read_moved(reader), reader.origin()
    if moved is not None and moved.destination != destination.digest(origin):
        raise Refused(
            "ledger_moved",
            f"{source}: {moved}, and not to {destination}; the command that moved it, given the same names, goes on "
            "where it stopped",
        )
    return moved


def _has_arrived(source: Place, destination: Place, moved: Moved) -> bool:
    """Whether the log goes on there; ``Unavailable`` where what lies there does not begin with all that was here."""
    if not destination.exists():
        return False
    with source.glance() as reader:
        origin, root = reader.origin(), reader.head().root()
    with destination.glance() as reader:
        size = moved.seq + 1
        if reader.origin() != origin or reader.head().size < size or reader.frontier_at(size).root() != root:
            raise Unavailable(f"{destination}: what lies there is not the ledger that was moved")
        after = [parse_entry(row.raw) for row in reader.entries(size, size + 2)]
    # Before it may stand that the clock was found behind.
    return any(entry["type"] == LedgerArrived.type_name and entry["data"]["moved"] == moved.seq for entry in after)


def _arrive(
    destination: Place,
    keys_root: Path,
    registry: Registry,
    edge: Edge | None,
    cosigners: Cosigners | None,
    meta: Meta,
) -> None:
    with Ledger(destination, keys_root, registry, edge=edge, sign_in_background=False, cosigners=cosigners) as ledger:

        def make(reader: LedgerReader, seq: int) -> list[PendingEntry]:
            moved = read_moved(reader)
            if moved is None or moved.destination != destination.digest(ledger.genesis):
                raise Unavailable(f"{destination}: what lies there does not end with the entry that moved it there")
            event = LedgerArrived(moved=moved.seq)
            pos = reader.next_pos(LEDGER_STREAM)
            return [ledger.mapper.to_stored_event(NewEvent(LEDGER_STREAM, pos, event, meta))]

        ledger.recorder.append_knowing(make, after_move=True)
