"""Checking sealed content: every digest in an entry has its box, and the box opens to what it binds.

Also asks each event, once it is open, whether its summary agrees with its detail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from ..domain.errors import Refused
from ..domain.registry import Registry
from .entry import Entry, parse_entry
from .errors import Unavailable, VerificationError
from .mapper import decode, scope_of
from .reader import StoredEntry
from .scopes import ScopeKeys
from .seal import open_box
from .verify import Damage


def check_sealed(
    rows: Iterable[StoredEntry],
    boxes: Iterable[tuple[int, str, bytes]],
    registry: Registry,
    scopes: ScopeKeys | None,
    origin: bytes,
) -> Iterator[Damage]:
    """Check entries that parse against their boxes; both come in order of seq.

    Without ``scopes`` only that each digest has its box, and each box its digest.
    """
    groups = groupby(boxes, key=lambda box: box[0])
    seq, group = next(groups, (None, None))
    for row in rows:
        own: dict[str, bytes] = {}
        while group is not None and (type(seq) is not int or seq <= row.seq):
            if seq == row.seq:
                own = {name: box for _, name, box in group}
            else:
                yield _stray(seq)
            seq, group = next(groups, (None, None))
        if own or row.raw[-12:] != b'"sealed":{}}':
            entry = parse_entry(row.raw)
            damage = list(_check_presence(entry, own))
            yield from damage
            if not damage and scopes is not None:
                yield from _check_content(entry, own, registry, scopes, origin)
    if group is not None:
        yield _stray(seq)
    yield from (_stray(seq) for seq, _ in groups)


def _stray(seq: object) -> Damage:
    return Damage("payload_mismatch", seq if type(seq) is int else None, "a box belongs to no entry")


def _check_presence(entry: Entry, boxes: dict[str, bytes]) -> Iterator[Damage]:
    for name in boxes:
        if name not in entry["sealed"]:
            detail = f"a box for field {name!r}, which the entry does not seal"
            yield Damage("payload_mismatch", entry["seq"], detail)
    for name in entry["sealed"]:
        if name not in boxes:
            yield Damage("missing_without_erasure", entry["seq"], f"sealed field {name!r} has no box")


def _check_content(
    entry: Entry, boxes: dict[str, bytes], registry: Registry, scopes: ScopeKeys, origin: bytes
) -> Iterator[Damage]:
    seq, scope = entry["seq"], scope_of(entry["meta"], entry["stream"])
    try:
        cipher = scopes.cipher(scope)
    except Unavailable as error:
        yield Damage("missing_without_erasure", seq, str(error))
        return
    if cipher is None:
        yield Damage("missing_without_erasure", seq, f"the key of scope {scope!r} is gone")
        return
    opened: dict[str, Any] = {}
    for name, digest in entry["sealed"].items():
        try:
            opened[name] = open_box(cipher, boxes[name], name, digest, origin)
        except VerificationError as error:
            yield Damage("payload_mismatch", seq, str(error))
            return
    try:
        disagreement = decode(entry, registry, opened).event.disagreement()
    except (Refused, KeyError, TypeError, ValueError, AttributeError) as error:
        disagreement = f"{type(error).__name__}: {error}"
    if disagreement is not None:
        yield Damage("summary_mismatch", seq, disagreement)
