"""Who signs this log: its origins and keys in order, read from the log itself.

Entry 0 names the first origin and key. ``key.rotated`` brings another key under the same origin,
``ledger.continued`` another origin with its own key. Together they say for every size under which name a
checkpoint of that size stands, and which keys sign it. Content stays sealed under the first origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydantic import ValidationError

from ..entries.entry import FORMAT, Entry
from ..errors import Malformed
from ..events import KeyRotated, LedgerContinued, LedgerOpened
from ..tlog.note import ED25519, VerifierKey, parse_vkey, print_vkey

LEDGER_STREAM = "ledger"

_ORIGIN = re.compile(r"[A-Za-z0-9._-]{1,64}(/[A-Za-z0-9._-]{1,64}){0,3}/[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyRange:
    """``key`` signs every checkpoint of ``origin`` of ``first`` to ``last`` entries (None: no end), and no other.

    ``named_by`` is the seq of the entry that names the key.
    """

    origin: str
    key: VerifierKey
    first: int
    last: int | None
    named_by: int

    def holds(self, size: int) -> bool:
        return self.first <= size and (self.last is None or size <= self.last)


@dataclass(frozen=True, slots=True)
class Continuation:
    """Entry ``seq`` goes on under ``origin`` with a copy of the log ``continues`` that was behind what was signed.

    ``signed_size`` and ``signed_root`` are what had been signed of that log, as far as was known.
    """

    seq: int
    origin: str
    continues: str
    signed_size: int
    signed_root: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """The origins and keys of one log. ``ranges`` and ``continuations`` stand in the order of the log.

    ``genesis`` is the origin that entry 0 names: what content is sealed under.
    """

    genesis: str
    ranges: tuple[KeyRange, ...]
    continuations: tuple[Continuation, ...] = ()

    @property
    def origin(self) -> str:
        """The origin of the checkpoints that are signed now."""
        return self.ranges[-1].origin

    @property
    def key(self) -> VerifierKey:
        """The newest key: the one that goes on signing."""
        return self.ranges[-1].key

    def keys_at(self, size: int) -> list[VerifierKey]:
        """The keys that sign a checkpoint of ``size`` entries, the oldest first: all of them, and no other."""
        return [signer.key for signer in self.ranges if signer.holds(size)]

    def lost_before(self, origin: str, size: int) -> int | None:
        """The entry that goes on under another origin before the log of ``origin`` had ``size`` entries, or None."""
        for continuation in self.continuations:
            if continuation.continues == origin and size > continuation.seq:
                return continuation.seq
        return None

    def origin_at(self, size: int) -> str:
        """The origin of a checkpoint of ``size`` entries."""
        return next(signer.origin for signer in self.ranges if signer.holds(size))


def fold_identity(entries: Iterable[Entry]) -> Identity:
    """The identity that parsed entries, in order of ``seq``, give; those of other streams are passed over.

    ``Malformed`` where they contradict each other, or do not begin with ``ledger.opened``.
    """
    identity: Identity | None = None
    pos = 0
    for entry in entries:
        if entry["stream"] != LEDGER_STREAM:
            continue
        if entry["pos"] != pos:
            raise _bad(entry, f"expected position {pos} of stream {LEDGER_STREAM!r}, found {entry['pos']}")
        pos += 1
        try:
            identity = _fold(identity, entry)
        except ValidationError as error:
            raise _bad(entry, f"{entry['type']} does not have its fields: {error.error_count()} are wrong") from error
    if identity is None:
        raise Malformed("log: no entry names its origin and key")
    return identity


def _fold(identity: Identity | None, entry: Entry) -> Identity:
    if identity is None:
        if (entry["type"], entry["seq"]) != (LedgerOpened.type_name, 0):
            raise _bad(entry, f"expected {LedgerOpened.type_name} as entry 0, found {entry['type']}")
        return _opened(entry, LedgerOpened.model_validate(entry["data"]))
    match entry["type"]:
        case KeyRotated.type_name:
            return _rotated(identity, entry, KeyRotated.model_validate(entry["data"]))
        case LedgerContinued.type_name:
            return _continued(identity, entry, LedgerContinued.model_validate(entry["data"]))
        case LedgerOpened.type_name:
            raise _bad(entry, "the log was opened before")
        case _:
            return identity


def _opened(entry: Entry, event: LedgerOpened) -> Identity:
    if event.format != FORMAT:
        raise _bad(entry, f"format is {event.format}, expected {FORMAT}")
    return Identity(event.origin, (KeyRange(event.origin, _key(entry, event.vkey, event.origin), 0, None, 0),))


def _rotated(identity: Identity, entry: Entry, event: KeyRotated) -> Identity:
    *before, present = identity.ranges
    if event.old != print_vkey(present.key):
        raise _bad(entry, "the key that it replaces is not the one that signs")
    key = _new_key(identity, entry, event.new, identity.origin)
    # A checkpoint that covers the entry is signed by both, so that whoever trusts the old key may trust the new one.
    if not present.first < event.first <= entry["seq"] + 1 <= event.last:
        raise _bad(
            entry,
            f"sizes {event.first} to {event.last} are signed by both keys; expected them to begin after "
            f"{present.first} and to hold {entry['seq'] + 1}",
        )
    return replace(
        identity,
        ranges=(
            *before,
            replace(present, last=event.last),
            KeyRange(identity.origin, key, event.first, None, entry["seq"]),
        ),
    )


def _continued(identity: Identity, entry: Entry, event: LedgerContinued) -> Identity:
    seq = entry["seq"]
    if event.continues != identity.origin:
        raise _bad(entry, f"it continues {event.continues!r}, the log is {identity.origin!r}")
    if event.origin in {signer.origin for signer in identity.ranges}:
        raise _bad(entry, f"the origin {event.origin!r} was this log's before")
    key = _new_key(identity, entry, event.vkey, event.origin)
    ended = (replace(signer, last=seq if signer.last is None else min(signer.last, seq)) for signer in identity.ranges)
    root = bytes.fromhex(event.signed_root)
    return Identity(
        identity.genesis,
        (*ended, KeyRange(event.origin, key, seq + 1, None, seq)),
        (*identity.continuations, Continuation(seq, event.origin, event.continues, event.signed_size, root)),
    )


def _new_key(identity: Identity, entry: Entry, vkey: str, origin: str) -> VerifierKey:
    key = _key(entry, vkey, origin)
    if key.public_key in {signer.key.public_key for signer in identity.ranges}:
        raise _bad(entry, "the new key has signed this log before")
    return key


def _key(entry: Entry, vkey: str, origin: str) -> VerifierKey:
    if not _ORIGIN.fullmatch(origin):
        form = "words of [A-Za-z0-9._-] and 16 hex digits, parted by '/'"
        raise _bad(entry, f"origin is {origin!r:.100}, expected {form}")
    key = parse_vkey(vkey)
    if (key.name, key.algorithm) != (origin, ED25519):
        raise _bad(
            entry, f"expected a key of type 0x01 under {origin!r}, found {key.algorithm:#04x} under {key.name!r}"
        )
    return key


def _bad(entry: Entry, message: str) -> Malformed:
    return Malformed(f"entry {entry['seq']}: {message}")
