"""Checking sealed content: every digest in an entry has its box, and the box opens to what it binds.

Also asks each event, once it is open, whether its summary agrees with its detail. Content whose key is gone is
damage, unless the log says that it was erased.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...domain.errors import Refused
from ...domain.registry import Registry
from ..entries.entry import Entry, StoredEntry, parse_entry
from ..entries.mapper import decode, scope_of
from ..entries.seal import open_box
from ..errors import Unavailable, VerificationError
from ..folds.erasures import Erasures
from ..store.scopes import ScopeKeys
from .stretches import Damage


class SealedCheck:
    """Checks sealed content. Without ``scopes`` only that each digest has its box, and each box its digest.

    ``erased`` counts the fields whose key was destroyed as ``erasures``, from the log, say; ``returned`` holds
    the erased scopes whose keys are there all the same.
    """

    def __init__(self, registry: Registry, scopes: ScopeKeys | None, origin: bytes, erasures: Erasures) -> None:
        self._registry = registry
        self._scopes = scopes
        self._origin = origin
        self._erasures = erasures
        self.erased = 0
        self.returned: set[str] = set()

    def check(self, rows: Iterable[StoredEntry], boxes: Iterable[tuple[int, str, bytes]]) -> Iterator[Damage]:
        """Check entries that parse against their boxes; both come in order of seq."""
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
                if not damage:
                    yield from self._check_scope(entry, own)
        if group is not None:
            yield _stray(seq)
        yield from (_stray(seq) for seq, _ in groups)

    def _check_scope(self, entry: Entry, boxes: dict[str, bytes]) -> Iterator[Damage]:
        seq, scope = entry["seq"], scope_of(entry["meta"], entry["stream"])
        executed = self._erasures.executed_after(seq, scope)
        if self._scopes is None:
            self.erased += len(entry["sealed"]) if executed is not None else 0
            return
        try:
            cipher = self._scopes.cipher(scope)
        except Unavailable as error:
            yield Damage("missing_without_erasure", seq, str(error))
            return
        if cipher is not None:
            if executed is not None:
                self.returned.add(scope)
            yield from _check_content(entry, boxes, self._registry, cipher, self._origin)
            return
        remembered = self._scopes.destroyed(scope)
        if executed is not None and remembered is not None and remembered != executed:
            detail = f"the key of scope {scope!r} is gone, and is not the one that the log says was erased"
            yield Damage("missing_without_erasure", seq, detail)
        elif executed is not None or (remembered is not None and self._erasures.requested_after(seq, scope)):
            self.erased += len(entry["sealed"])
        else:
            yield Damage("missing_without_erasure", seq, f"the key of scope {scope!r} is gone")


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
    entry: Entry, boxes: dict[str, bytes], registry: Registry, cipher: AESGCM, origin: bytes
) -> Iterator[Damage]:
    seq = entry["seq"]
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
