"""The read model of reviews: where each stands, so that lists need not look through the log.

Whether a review verifies is not stored: it is asked of the entry, each time that it is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, ColumnElement, Connection, Index, MetaData, Table, func, select

from ..domain.event import Recorded
from ..ledger.events import ReviewSigned
from .columns import TEXT, WHOLE
from .view import Row, View

METADATA = MetaData()
REVIEWS = Table(
    "reviews",
    METADATA,
    Column("seq", WHOLE, primary_key=True, nullable=False, autoincrement=False),
    Column("run", TEXT),
    Column("verdict", TEXT, nullable=False),
    sqlite_with_rowid=False,
)
Index("reviews_by_run", REVIEWS.c.run, REVIEWS.c.seq)
Index("reviews_by_verdict", REVIEWS.c.verdict, REVIEWS.c.seq)


def rows(recorded: Recorded) -> Sequence[Row]:
    """The row that a review adds; a review of entries has no run."""
    event = recorded.event
    return [(REVIEWS, (recorded.seq, event.run, event.verdict))] if isinstance(event, ReviewSigned) else []


REVIEWS_VIEW = View("reviews", 1, METADATA, rows, frozenset({ReviewSigned.type_name}))


def newest_reviews(
    views: Connection, before: int, count: int, *, run: str | None = None, verdict: str | None = None
) -> list[int]:
    """The seqs of at most ``count`` reviews below seq ``before``, newest first."""
    asked = select(REVIEWS.c.seq).where(REVIEWS.c.seq < before, *_filters(run, verdict))
    return list(views.scalars(asked.order_by(REVIEWS.c.seq.desc()).limit(count)))


def count_reviews(
    views: Connection, before: int, *, start: int = 0, run: str | None = None, verdict: str | None = None
) -> int:
    """How many reviews stand at ``start <= seq < before``."""
    asked = select(func.count()).where(REVIEWS.c.seq >= start, REVIEWS.c.seq < before, *_filters(run, verdict))
    return int(views.scalar(asked) or 0)


def verdict_counts(views: Connection, before: int) -> dict[str, int]:
    """How many reviews below seq ``before`` have each verdict."""
    asked = select(REVIEWS.c.verdict, func.count()).where(REVIEWS.c.seq < before).group_by(REVIEWS.c.verdict)
    return {row[0]: row[1] for row in views.execute(asked)}


def _filters(run: str | None, verdict: str | None) -> list[ColumnElement[bool]]:
    given = ((REVIEWS.c.run, run), (REVIEWS.c.verdict, verdict))
    return [column == value for column, value in given if value is not None]
