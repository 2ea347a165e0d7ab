"""Which cached segments no longer say what the rows say: marked as rows are added, session by session.

A segment holds what was derived for one day. A new row changes what is derived for its session, wherever that
session has facts; those sessions are derived again when the day is read.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, Connection, Index, LargeBinary, MetaData, Table

from ..columns import TEXT, WHOLE, add_rows, tables_there
from ..view import Added

CACHE = MetaData()
SEGMENTS = Table(
    "segments",
    CACHE,
    Column("kind", TEXT, primary_key=True),
    Column("day", WHOLE, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
STALE = Table(
    "stale",
    CACHE,
    Column("kind", TEXT, primary_key=True),
    Column("day", WHOLE, primary_key=True, autoincrement=False),
    Column("session", TEXT, primary_key=True),
    sqlite_with_rowid=False,
)
SPANS = Table(
    "session_spans",
    CACHE,
    Column("session", TEXT, primary_key=True),
    Column("first", WHOLE, nullable=False),
    Column("last", WHOLE, nullable=False),
    sqlite_with_rowid=False,
)
"""The first and the last seq of each session's facts, of those that segments are derived from."""
Index("session_spans_by_last", SPANS.c.last, SPANS.c.first)
SPANNED = Table("session_spans_upto", CACHE, Column("size", WHOLE, primary_key=True, autoincrement=False))
"""How many entries the spans are of."""
SOURCE_TABLES = {"graded": "results", "judged": "verdicts", "begun": "requests"}
"""What a segment of a kind is derived from, first of all: its days are the days of these rows."""

_FORMAT = 2
"""A change of what segments hold takes another number, and those that were kept are derived anew."""

_SESSION_AT = {"requests": 3, "citations": 2, "results": 1, "verdicts": 2}
"""Where the session stands in a row of the tables that segments are derived from."""
_DAY_OF_VERDICT = -1


def make_caches(connection: Connection) -> None:
    """Make the tables of what is kept beside the view, where they are not there."""
    if not CACHE.tables.keys() <= tables_there(connection):
        CACHE.create_all(connection)


def mark_stale(connection: Connection, added: Added) -> None:
    """Mark, for each session that has new rows, the cached days on which it has facts."""
    sessions = {
        row[place]
        for table, rows in added.items()
        if (place := _SESSION_AT.get(table.name)) is not None
        for row in rows
        if row[place] is not None
    }
    make_caches(connection)
    if connection.exec_driver_sql("SELECT 1 FROM segments LIMIT 1").first() is None:
        return
    # A verdict on a session that is not known can be found by its day only.
    days = {
        row[_DAY_OF_VERDICT]
        for table, rows in added.items()
        if table.name == "verdicts"
        for row in rows
        if row[2] is None
    }
    if days:
        connection.exec_driver_sql(
            "DELETE FROM segments WHERE kind = ? AND day = ?", [(kept_as("judged"), day) for day in days]
        )
    if not sessions:
        return
    fill_sessions(connection, sessions)
    # CROSS JOIN keeps the order: the few sessions are looked up, never the whole table walked.
    for kind, table in SOURCE_TABLES.items():
        connection.exec_driver_sql(
            f"INSERT INTO stale SELECT DISTINCT ?, t.day, t.session FROM asked CROSS JOIN {table} t WHERE t.session = "
            "asked.session AND EXISTS (SELECT 1 FROM segments s WHERE s.kind = ? AND s.day = t.day) "
            "ON CONFLICT DO NOTHING",
            (kept_as(kind), kept_as(kind)),
        )


def split_sessions(connection: Connection, size: int, now: int) -> list[str]:
    """The sessions that have facts both among the first ``size`` entries and among those since, up to ``now``."""
    extend_spans(connection, now)
    found = connection.exec_driver_sql("SELECT session FROM session_spans WHERE last >= ? AND first < ?", (size, size))
    return [session for (session,) in found]


def extend_spans(connection: Connection, now: int) -> None:
    """Carry the spans on to ``now`` entries, or some of them, which the view has reached."""
    make_caches(connection)
    upto = connection.exec_driver_sql("SELECT coalesce(max(size), 0) FROM session_spans_upto").scalar_one()
    if upto >= now:
        return
    facts = " UNION ALL ".join(
        f"SELECT session, seq FROM {table} WHERE seq >= :upto AND seq < :now AND session IS NOT NULL"
        for table in _SESSION_AT
    )
    connection.exec_driver_sql(
        f"INSERT INTO session_spans SELECT session, min(seq), max(seq) FROM ({facts}) f WHERE true GROUP BY session "
        # Facts come in order of seq, so the first stays and the last is the new one.
        "ON CONFLICT (session) DO UPDATE SET last = excluded.last",
        {"upto": upto, "now": now},
    )
    connection.exec_driver_sql("DELETE FROM session_spans_upto")
    connection.exec_driver_sql("INSERT INTO session_spans_upto VALUES (?)", (now,))
    connection.commit()


def has_nameless_since(connection: Connection, size: int) -> bool:
    """Whether there is a verdict on a session that is not known among the entries from ``size`` on."""
    found = connection.exec_driver_sql("SELECT 1 FROM verdicts WHERE session IS NULL AND seq >= ? LIMIT 1", (size,))
    return found.first() is not None


def kept_as(kind: str) -> str:
    """The name under which segments of a kind are kept."""
    return f"{kind}.{_FORMAT}"


def fill_sessions(connection: Connection, sessions: Iterable[str]) -> None:
    """Put sessions into the temporary table ``asked``, to be joined with."""
    connection.exec_driver_sql("CREATE TEMP TABLE IF NOT EXISTS asked (session TEXT PRIMARY KEY)")
    connection.exec_driver_sql("DELETE FROM asked")
    add_rows(connection, "asked", [(session,) for session in sessions])
