"""What a read model is: tables, and a pure function from an event to the rows that it adds.

Rows are only ever added, and each carries the seq of the event that made it, so a read as of an earlier
size is a filter on ``seq``. They hold facts, aliases, numbers as text, and never sealed text.

The digest of a view over the first N entries is a chain over its rows: ``h = SHA-256(h || rows)`` for each
event that makes rows, from 32 zero bytes on. A row is printed in the entry's own JSON grammar as
``[table, column, …]``, and the rows of an event stand in order of their bytes, each ended by a line feed. The
digest grows with the view, and a replay needs no database to check it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, MetaData, Table

from ..domain.event import Recorded
from ..ledger.entries.grammar import dump

Row = tuple[Table, tuple[Any, ...]]
Added = Mapping[Table, Sequence[tuple[Any, ...]]]
NO_ROWS = bytes(32)


@dataclass(frozen=True)
class View:
    """A read model. A change of ``rows`` or of the tables takes a new ``version``.

    ``types`` are the stored names that ``rows`` makes rows of; other events need not be shown to it. ``added`` is
    told, in the same transaction, which rows a batch added, so that what is cached of them can be marked; it is no
    part of the view, and neither is what it writes.
    """

    name: str
    version: int
    metadata: MetaData
    rows: Callable[[Recorded], Sequence[Row]]
    types: frozenset[str]
    added: Callable[[Connection, Added], None] | None = None


def extend_digest(digest: bytes, rows: Sequence[Row]) -> bytes:
    """The view's digest after one more event; the same where the event made no rows."""
    return extend_printed(digest, print_rows(rows)) if rows else digest


def print_rows(rows: Sequence[Row]) -> bytes:
    """The rows of one event as the digest takes them."""
    return b"".join(sorted(dump([f"{table.name}", *values]) + b"\n" for table, values in rows))


def extend_printed(digest: bytes, printed: bytes) -> bytes:
    """The view's digest after an event whose rows are ``printed``."""
    return sha256(digest + printed).digest()


def digest_of(view: View, events: Iterable[Recorded], digest: bytes = NO_ROWS) -> bytes:
    """The view's digest over ``events``: from the first on, or onwards from the digest over those before."""
    for event in events:
        digest = extend_digest(digest, view.rows(event))
    return digest
