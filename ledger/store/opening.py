"""Reading events back: entries decoded, their sealed content opened where the key is at hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...domain.event import Recorded, Withheld
from ...domain.registry import Registry
from ..entries.entry import Entry, parse_entry, read_entry
from ..entries.mapper import decode, scope_of
from ..entries.seal import open_box
from ..errors import VerificationError
from .reader import LedgerReader
from .scopes import ScopeKeys

_CHUNK = 256
"""How many entries of a stream are read, and opened under keys fetched once, at a time."""


class EventReader:
    """Events of a ledger. Without ``scopes`` every sealed field is ``Withheld``, as closed even if it was erased."""

    def __init__(self, reader: LedgerReader, registry: Registry, scopes: ScopeKeys | None = None) -> None:
        self.reader = reader
        self._registry = registry
        self._scopes = scopes
        self._origin = reader.origin().encode()

    def over(self, reader: LedgerReader) -> EventReader:
        """The events of another state of the same ledger."""
        return EventReader(reader, self._registry, self._scopes)

    def again(self) -> Callable[[], EventReader] | None:
        """What opens the same state in another process, every sealed field closed; None where that cannot be had."""
        opened = self.reader.again
        return None if opened is None else partial(_read_again, opened, self._registry)

    def events(
        self, start: int = 0, stop: int | None = None, types: Container[str] | None = None
    ) -> Iterator[Recorded]:
        """Events ``start <= seq < stop`` in order, streamed, sealed content closed; of these ``types`` only, if given.

        For read models, which are derived again by whoever verifies: that an entry keeps to the grammar is not asked.
        """
        for row in self.reader.entries(start, stop):
            if types is None or row.type_name in types:
                yield decode(read_entry(row.raw), self._registry, {})

    def stream(
        self, stream: str, before: int | None = None, start: int = 0, *, without: Collection[str] = ()
    ) -> Iterator[Recorded]:
        """The events of one stream from position ``start`` on, below seq ``before``, sealed content opened.

        Events of the types ``without`` are left out.
        ``VerificationError`` where a box does not hold what its entry says.
        """
        rows = self.reader.stream(stream, before, start, without=without)
        while chunk := list(islice(rows, _CHUNK)):
            boxes = self.reader.boxes_of([row.seq for row in chunk])
            ciphers: dict[str, AESGCM | None] = {}  # for the chunk only: a key may be destroyed meanwhile
            for row in chunk:
                entry = parse_entry(row.raw)
                if (entry["seq"], entry["stream"], entry["pos"]) != (row.seq, stream, row.pos):
                    raise VerificationError(f"stream {stream} position {row.pos}: the entry says it is another; verify")
                yield decode(entry, self._registry, self._opened(entry, boxes.get(row.seq, {}), ciphers))

    def event(self, seq: int) -> Recorded | None:
        """One event, sealed content opened, or None past the end."""
        for row in self.reader.entries(seq, seq + 1):
            entry = parse_entry(row.raw)
            return decode(entry, self._registry, self._opened(entry, self.reader.boxes_of([seq]).get(seq, {}), {}))
        return None

    def opens(self, scope: str) -> bool:
        """Whether what is sealed under a scope can be opened here, now."""
        return self._scopes is not None and self._scopes.cipher(scope) is not None

    def _opened(self, entry: Entry, boxes: Mapping[str, bytes], ciphers: dict[str, AESGCM | None]) -> Mapping[str, Any]:
        if self._scopes is None or not entry["sealed"]:
            return {}
        scope = scope_of(entry["meta"], entry["stream"])
        if scope not in ciphers:
            ciphers[scope] = self._scopes.cipher(scope)
        cipher = ciphers[scope]
        if cipher is None and self._scopes.destroyed(scope) is not None:
            return {name: Withheld(digest, "erased") for name, digest in entry["sealed"].items()}
        return {
            name: open_box(cipher, boxes[name], name, digest, self._origin)
            if cipher is not None and name in boxes
            else Withheld(digest)
            for name, digest in entry["sealed"].items()
        }


def _read_again(again: Callable[[], LedgerReader], registry: Registry) -> EventReader:
    return EventReader(again(), registry)
