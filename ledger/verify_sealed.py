"""Checking sealed content: every digest in an entry has its box, and the box opens to what it binds.

Also asks each event, once it is open, whether its summary agrees with its detail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from ..domain.errors import Refused
from ..domain.registry import Registry
from .entry import parse_entry
from .errors import VerificationError
from .mapper import decode, scope_of
from .reader import StoredEntry
from .scopes import ScopeKeys
from .seal import open_box
from .verify import Damage


def check_sealed(
    rows: Iterable[StoredEntry],
    boxes: Iterable[tuple[int, str, bytes]],
    registry: Registry,
    scopes: ScopeKeys,
    origin: bytes,
) -> Iterator[Damage]:
    """Check entries that parse against their boxes; both come in order of seq and cover the same range."""
    grouped = groupby(boxes, key=lambda box: box[0])
    seq_of_boxes, group = next(grouped, (None, None))
    for row in rows:
        own: dict[str, bytes] = {}
        while seq_of_boxes is not None and group is not None and seq_of_boxes <= row.seq:
            if seq_of_boxes < row.seq:
                yield Damage("payload_mismatch", seq_of_boxes, "a box belongs to no entry")
            else:
                own = {name: bytes(box) for _, name, box in group}
            seq_of_boxes, group = next(grouped, (None, None))
        if own or row.raw[-12:] != b'"sealed":{}}':
            yield from _check_entry(row, own, registry, scopes, origin)
    if seq_of_boxes is not None:
        yield Damage("payload_mismatch", seq_of_boxes, "a box belongs to no entry")


def _check_entry(
    row: StoredEntry, boxes: dict[str, bytes], registry: Registry, scopes: ScopeKeys, origin: bytes
) -> Iterator[Damage]:
    entry = parse_entry(row.raw)
    scope = scope_of(entry["meta"], entry["stream"])
    opened: dict[str, Any] = {}
    for name in sorted(boxes.keys() - entry["sealed"].keys()):
        yield Damage("payload_mismatch", row.seq, f"a box for field {name!r}, which the entry does not seal")
    cipher = scopes.cipher(scope) if entry["sealed"] else None
    for name, digest in entry["sealed"].items():
        if cipher is None:
            yield Damage("missing_without_erasure", row.seq, f"the key of scope {scope!r} is gone")
            return
        if name not in boxes:
            yield Damage("missing_without_erasure", row.seq, f"sealed field {name!r} has no box")
            continue
        try:
            opened[name] = open_box(cipher, boxes[name], name, digest, origin)
        except VerificationError as error:
            yield Damage("payload_mismatch", row.seq, str(error))
    if len(opened) < len(entry["sealed"]):
        return
    try:
        disagreement = decode(entry, registry, opened).event.disagreement()
    except Refused as error:
        disagreement = str(error)
    if disagreement is not None:
        yield Damage("summary_mismatch", row.seq, disagreement)
