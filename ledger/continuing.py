"""Going on with an older copy: a new origin, under a new key, that names what the old one had signed.

A restored or copied database that is behind the signing state is never signed again under its origin: others may
hold receipts for the entries that it lost. It may go on as another log. The first of its entries says so, and says
what was signed of the log before, so that nobody takes the two for one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..domain.errors import Refused
from ..domain.event import Event, Meta, NewEvent
from ..domain.registry import Registry, invalid_is_refused
from .application import Edge, Ledger, executed
from .entries.mapper import PendingEntry
from .errors import SigningRefused
from .events import ErasureExecuted, ErasureRequested, LedgerContinued
from .folds.erasures import ERASURE_STREAM
from .folds.identity import LEDGER_STREAM
from .signing.keys import KeyFolder, make_origin, make_signing_key
from .signing.sign import require_signed_history, signing_alone
from .store.folding import read_erasures, read_identity
from .store.place import VIEWS, Place
from .store.reader import LedgerReader
from .tlog.checkpoint import Checkpoint
from .tlog.note import print_vkey
from .tlog.witness import Cosigners

ERASED_IN_LOST_ENTRIES = "erased_in_lost_entries"


def continue_ledger(
    where: Path | Place,
    keys_root: Path,
    registry: Registry,
    *,
    name: str,
    reason: str,
    meta: Meta | None = None,
    edge: Edge | None = None,
    cosigners: Cosigners | None = None,
) -> LedgerContinued:
    """Let an older copy go on under ``name/<16 hex at random>``, and sign it; what is on record of that.

    ``reason`` is a code. What the key database remembers as erased, and the copy does not, is recorded as erased with
    it. ``Refused`` (``not_behind``) where the ledger is not behind its signing state; ``SigningRefused`` (``fork``,
    ``self_check_failed``) where it is something else than an older copy.
    """
    with _Continued(where, keys_root, registry, name, reason, meta or Meta(), edge, cosigners) as ledger:
        return ledger.continued


class _Continued(Ledger):
    """A ledger that is opened by going on under another origin."""

    continued: LedgerContinued

    def __init__(
        self,
        where: Path | Place,
        keys_root: Path,
        registry: Registry,
        name: str,
        reason: str,
        meta: Meta,
        edge: Edge | None,
        cosigners: Cosigners | None,
    ) -> None:
        self._keys_root = keys_root
        self._name = name
        self._reason = reason
        self._meta = meta
        super().__init__(where, keys_root, registry, edge=edge, sign_in_background=False, cosigners=cosigners)

    def _require_present_log(self) -> None:
        with signing_alone(self.keys, self._signing):  # of two that do this at once, the second finds another origin
            signed = self.keys.signed()
            with self.recorder.reading() as reader:
                _require_behind(reader, signed)
                unfinished = self._unfinished_erasure(reader)
            if unfinished is not None:
                self._destroy(unfinished)  # nothing is appended here: it would lengthen the log of the old origin
            keys = KeyFolder(self._keys_root, self.genesis, make_origin(self._name, self._edge.random))
            private = make_signing_key(self._edge.random)
            with invalid_is_refused():  # before the key is kept
                self.continued = LedgerContinued(
                    origin=keys.origin,
                    vkey=print_vkey(keys.verifier_key(private)),
                    continues=signed.origin,
                    signed_size=signed.size,
                    signed_root=signed.root.hex(),
                    reason=self._reason,
                )
            with self.place.alone(VIEWS):  # they may know of lost entries; they are made anew
                self.place.views.forget()
            keys.create_continued(private)
            self.recorder.append_knowing(partial(self._make_entries, signed), after_move=True)
        self.keys, self.origin = keys, keys.origin

    def _make_entries(self, signed: Checkpoint, reader: LedgerReader, seq: int) -> list[PendingEntry]:
        """The entry that names the new origin, and the erasures that were half done or that the lost entries told of.

        All in one commit: a key that is gone for no reason on record would be damage, now and ever after.
        """
        _require_origin(reader, signed)
        pos = reader.next_pos(LEDGER_STREAM)
        entries = [self._pending(LEDGER_STREAM, pos, self.continued, self._meta)]
        recorded = {*read_erasures(reader).executed}
        pos = reader.next_pos(ERASURE_STREAM)
        all_destroyed = self.scopes.all_destroyed()
        unfinished = self._unfinished_erasure(reader)
        if unfinished is not None and unfinished["data"]["scope"] in all_destroyed:
            scope = unfinished["data"]["scope"]
            entries.append(self._pending(ERASURE_STREAM, pos, *executed(unfinished, all_destroyed[scope])))
            recorded.add(scope)
            pos += 1
        for scope, destroyed in all_destroyed.items():
            if scope in recorded:
                continue
            requested = seq + len(entries)
            caused: Meta = {**self._meta, "cause": requested}
            asked = ErasureRequested(scope=scope, reason=ERASED_IN_LOST_ENTRIES)
            done = ErasureExecuted(
                scope=scope,
                reason=ERASED_IN_LOST_ENTRIES,
                requested=requested,
                key_fingerprint=destroyed.fingerprint,
                aliases=destroyed.aliases,
            )
            entries.append(self._pending(ERASURE_STREAM, pos, asked, self._meta))
            entries.append(self._pending(ERASURE_STREAM, pos + 1, done, caused))
            pos += 2
        return entries

    def _pending(self, stream: str, pos: int, event: Event, meta: Meta) -> PendingEntry:
        return self.mapper.to_stored_event(NewEvent(stream, pos, event, meta))


def _require_behind(reader: LedgerReader, signed: Checkpoint) -> None:
    _require_origin(reader, signed)
    try:
        require_signed_history(reader, signed)
    except SigningRefused as refused:
        if refused.kind != "rollback":
            raise
        return
    except Refused:  # it moved: what was signed since is lost with where it went, or it would go on there
        return
    raise Refused(
        "not_behind",
        f"ledger {signed.origin}: it holds all {signed.size} entries that were signed, so it opens as it is",
    )


def _require_origin(reader: LedgerReader, signed: Checkpoint) -> None:
    """Of two that go on with one log at once, the second finds it gone on."""
    origin = read_identity(reader).origin
    if origin != signed.origin:
        raise Refused("not_behind", f"ledger {signed.origin}: it goes on as {origin!r} by now; open it again")
