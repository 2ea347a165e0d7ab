"""What a stored log says of itself: its entries, read stream by stream and folded. They must parse."""

from __future__ import annotations

from collections.abc import Iterator

from ..entries.entry import Entry, parse_entry
from ..events import LedgerMoved, WitnessesDeclared
from ..folds.anchors import ANCHOR_STREAM, Anchor, fold_anchors
from ..folds.erasures import ERASURE_STREAM, Erasures, fold_erasures
from ..folds.identity import LEDGER_STREAM, Identity, fold_identity
from ..folds.moves import Moved, fold_moved
from ..folds.witnesses import WITNESSES_STREAM, fold_declared
from .reader import LedgerReader


def read_moved(reader: LedgerReader) -> Moved | None:
    """Whether the log goes on elsewhere: then its last entry here says so, and nothing is appended to it."""
    size = reader.head().size
    last = [row.raw for row in reader.entries(max(0, size - 1), size) if row.type_name == LedgerMoved.type_name]
    return fold_moved(parse_entry(last[0])) if last else None


def read_identity(reader: LedgerReader, before: int | None = None) -> Identity:
    """The identity of the log as its first ``before`` entries say it; raises as ``fold_identity`` does."""
    return fold_identity(_entries(reader, LEDGER_STREAM, before))


def read_erasures(reader: LedgerReader, before: int | None = None) -> Erasures:
    """The erasures among the first ``before`` entries."""
    return fold_erasures(_entries(reader, ERASURE_STREAM, before))


def read_anchors(reader: LedgerReader, before: int | None = None, start: int = 0) -> list[Anchor]:
    """The anchors that the first ``before`` entries record, from position ``start`` of their stream on, in order."""
    return list(fold_anchors(_entries(reader, ANCHOR_STREAM, before, start)))


def read_declared(reader: LedgerReader) -> WitnessesDeclared | None:
    """Whom the log asks, as it said last; None where it never asked anybody. Raises as ``fold_declared`` does."""
    return fold_declared(_entries(reader, WITNESSES_STREAM))


def _entries(reader: LedgerReader, stream: str, before: int | None = None, start: int = 0) -> Iterator[Entry]:
    return (parse_entry(row.raw) for row in reader.stream(stream, before, start))
