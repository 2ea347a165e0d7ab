"""Anchors: checkpoints that a timestamp authority has stamped, and what they say of the time of every entry.

A token of the checkpoint of size N bounds from above: entries below N existed when it was made. The entry that records
the anchor bounds from below: it, and all after it, were written once the token was there. Between two anchors every
entry is bounded from both sides; one whose own ``at`` lies outside, by more than the clocks may differ, is damage.

Each token is named by its hash in the entry. Nothing here reads a clock: a token is checked at the time that it states.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from ..entries.entry import format_at
from ..errors import LedgerError, UnsupportedFormat, UntrustedAuthority
from ..folds.anchors import Anchor
from ..tlog.checkpoint import claimed_checkpoint
from ..tlog.note import VerifierKey
from ..tlog.timestamp import Timestamp, imprint, read_token, verify_token
from .stretches import Damage

ALLOWED_SKEW_US = 300_000_000
"""How far the clock of the ledger and that of an authority may differ, in microseconds."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Entries ``first <= seq < stop`` (``stop`` None: to the end) were written between two times, as far as known.

    In microseconds since 1970, by the authorities' clocks with the accuracy that they state.
    """

    first: int
    stop: int | None
    not_before: int | None
    not_after: int | None


class PrintedBound(NamedTuple):
    """A bound in the form of ``at``; ``stop`` is where it ends in the log as it is."""

    first: int
    stop: int
    not_before: str | None
    not_after: str | None


@dataclass(frozen=True, slots=True)
class AnchorReport:
    """What the anchors of a log prove. ``bounds`` come from verified tokens only, in order of entries, without gaps.

    Entries below ``anchored_to`` existed at a proven time; entries from ``anchored_from`` on (None: none) were written
    after one. ``unchecked`` says in words which anchors prove nothing here, and why.
    """

    damage: tuple[Damage, ...] = ()
    bounds: tuple[Bound, ...] = (Bound(0, None, None, None),)
    anchored_from: int | None = None
    anchored_to: int = 0
    unchecked: tuple[str, ...] = ()


def print_bounds(bounds: Iterable[Bound], size: int) -> list[PrintedBound]:
    """The bounds of a log of ``size`` entries, in order; those of no entries are left out."""
    return [
        PrintedBound(
            bound.first,
            size if bound.stop is None else bound.stop,
            print_time(bound.not_before),
            print_time(bound.not_after),
        )
        for bound in bounds
        if bound.first < size
    ]


def print_time(microseconds: int | None) -> str | None:
    """Microseconds since 1970 in the form of ``at``, or in seconds where that has none: others may sign any number."""
    if microseconds is None:
        return None
    try:
        return format_at(microseconds)
    except (ValueError, OverflowError, OSError):
        return f"{microseconds // 1_000_000} seconds after 1970"


def check_anchors(
    anchors: Sequence[Anchor],
    token_of: Callable[[int], bytes | None],
    note_of: Callable[[int], bytes | None],
    keys_of: Callable[[int], Sequence[VerifierKey]],
    roots: Sequence[bytes],
    at_of: Callable[[int], str],
) -> AnchorReport:
    """Check anchors under the authorities' ``roots`` (PEM), which the reader has from elsewhere.

    By the size of a checkpoint: ``token_of`` the authority's answer, ``note_of`` the published note, ``keys_of`` the
    log's keys at that size; ``at_of`` the ``at`` of an entry, by seq. Whether the notes are signed and are of the log's
    own entries is not asked here. Without roots nothing is bounded; that tokens are those recorded, and of the
    checkpoints that are there, is checked all the same.
    """
    damage: list[Damage] = []
    stamped: list[tuple[Anchor, Timestamp]] = []
    unchecked: dict[str, list[int]] = {}
    for anchor in anchors:
        token, note = token_of(anchor.size), note_of(anchor.size)
        wrong = _compare_note(anchor, note)
        if wrong is not None or note is None:
            damage.append(Damage("anchor_mismatch", anchor.seq, f"checkpoint of size {anchor.size}: {wrong}"))
            continue
        if token is None:
            unchecked.setdefault("it is not there", []).append(anchor.size)
            continue
        found = _check_token(anchor, token, note, keys_of(anchor.size), roots)
        if isinstance(found, Damage):
            damage.append(found)
        elif isinstance(found, str):
            unchecked.setdefault(found, []).append(anchor.size)
        else:
            stamped.append((anchor, found))
            damage += check_times(anchor, found, at_of)
    return AnchorReport(
        tuple(damage),
        _bounds(stamped),
        min((anchor.seq for anchor, _ in stamped), default=None),
        max((anchor.size for anchor, _ in stamped), default=0),
        tuple(f"{_tokens_of(sizes)}: {reason}" for reason, sizes in unchecked.items()),
    )


def _tokens_of(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"the token of the checkpoint of size {sizes[0]}"
    return f"{len(sizes)} tokens of checkpoints of sizes {min(sizes)} to {max(sizes)}"


def _compare_note(anchor: Anchor, note: bytes | None) -> str | None:
    """In what the published checkpoint of an anchor's size is not what the entry says of it."""
    if anchor.size > anchor.seq:
        return f"entry {anchor.seq} says it was stamped, but it could not have been there yet"
    if note is None:
        return "it was stamped, but it is not there any more"
    try:
        checkpoint = claimed_checkpoint(note)
    except LedgerError as error:
        return f"it was stamped, but what is there does not read: {error}"
    if (checkpoint.size, checkpoint.root) != (anchor.size, anchor.root):
        return (
            f"size {anchor.size} with root {anchor.root.hex()} was stamped, "
            f"size {checkpoint.size} with root {checkpoint.root.hex()} is there"
        )
    return None


def _check_token(
    anchor: Anchor, token: bytes, note: bytes, keys: Sequence[VerifierKey], roots: Sequence[bytes]
) -> Timestamp | Damage | str:
    """What the token proves, what is wrong with it, or in words why it cannot be checked here."""
    where = f"token of the checkpoint of size {anchor.size}"
    digest = sha256(token).hexdigest()
    if digest != anchor.token_sha256:
        return Damage("tsa_invalid", anchor.seq, f"{where}: SHA-256 is {digest}, recorded is {anchor.token_sha256}")
    try:
        claimed = read_token(token)
        if claimed.imprint not in _imprints(note, keys):
            return Damage("anchor_mismatch", anchor.seq, f"{where}: it is of another checkpoint, or another signature")
        recorded = format_at(claimed.timestamp.time_us)
        if recorded != anchor.time:
            return Damage("anchor_mismatch", anchor.seq, f"{where}: its time is {recorded}, recorded is {anchor.time}")
        if not roots:
            return "no root of an authority is pinned"
        return verify_token(token, claimed.imprint, roots)
    except (UnsupportedFormat, UntrustedAuthority) as error:
        return str(error)
    except LedgerError as error:
        return Damage("tsa_invalid", anchor.seq, f"{where}: {error}")


def _imprints(note: bytes, keys: Sequence[VerifierKey]) -> list[bytes]:
    """What may have been stamped: while two keys overlap, the checkpoint under either."""
    found = []
    for key in keys:
        with suppress(LedgerError):  # it did not sign this one, or not rightly
            found.append(imprint(note, key))
    return found


def check_times(anchor: Anchor, stamp: Timestamp, at_of: Callable[[int], str]) -> list[Damage]:
    """Entries that say they are later than a token that covers them, or earlier than one that was there before them.

    Times never run backwards in a log, so that the entries at the edges tell of all others.
    """
    damage = []
    last, first = format_at(stamp.latest + ALLOWED_SKEW_US), format_at(stamp.earliest - ALLOWED_SKEW_US)
    if at_of(anchor.size - 1) > last:
        seq = bisect_right(range(anchor.size), last, key=at_of)
        damage.append(
            Damage(
                "time_outside_anchor",
                seq,
                f"entries {seq} to {anchor.size - 1} say they are of {at_of(seq)} or later, "
                f"but were stamped at {format_at(stamp.time_us)} by {stamp.authority}",
            )
        )
    if anchor.at < first:
        damage.append(
            Damage(
                "time_outside_anchor",
                anchor.seq,
                f"it says it is of {anchor.at}, but it follows what was stamped at {format_at(stamp.time_us)} "
                f"by {stamp.authority}",
            )
        )
    return damage


def _bounds(stamped: Sequence[tuple[Anchor, Timestamp]]) -> tuple[Bound, ...]:
    """The tightest bounds of every stretch of entries."""
    edges = sorted({0} | {anchor.size for anchor, _ in stamped} | {anchor.seq for anchor, _ in stamped})
    lower: dict[int, int] = {}
    upper: dict[int, int] = {}
    for anchor, stamp in stamped:
        lower[anchor.seq] = max(stamp.earliest, lower.get(anchor.seq, stamp.earliest))
        upper[anchor.size] = min(stamp.latest, upper.get(anchor.size, stamp.latest))
    not_before: list[int | None] = []
    for edge in edges:
        known = [time for time in (lower.get(edge), not_before[-1] if not_before else None) if time is not None]
        not_before.append(max(known, default=None))
    not_after: list[int | None] = [None]
    for edge in reversed(edges[1:]):
        known = [time for time in (upper.get(edge), not_after[-1]) if time is not None]
        not_after.append(min(known, default=None))
    stops: list[int | None] = [*edges[1:], None]
    return tuple(map(Bound, edges, stops, not_before, reversed(not_after)))
