"""Which runs have new rows since their line in the run list was made: marked as rows are added.

What lines are filtered and sorted by is derived from the runs' rows and kept beside them, so that a page of the list
need not derive ten thousand lines to find its fifty.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, Float, Index, Integer, MetaData, Table, Text

from .view import Added

CACHE = MetaData()
LINES = Table(
    "run_lines_2",  # another number where lines hold something else, so that those that are kept are made anew
    CACHE,
    Column("run", Text, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("directory", Text),
    Column("status", Text),
    Column("strategy", Text),
    Column("models", Text),
    Column("simulated", Integer),
    Column("iterations", Integer),
    Column("baseline", Float),
    Column("best", Float),
    Column("improvement", Float),
    Column("tokens", Integer),
    Column("duration", Float),
    sqlite_with_rowid=False,
)
"""What lines are filtered by and sorted by; ``last`` is the seq of the run's newest row."""
Index("run_lines_by_seq", LINES.c.seq)
CHANGED = Table("changed_runs", CACHE, Column("run", Text, primary_key=True), sqlite_with_rowid=False)


def mark_changed(connection: Connection, added: Added) -> None:
    """Mark the runs that rows were added of. In every table of the view the run follows the seq."""
    prepare_lines(connection)
    runs = {row[1] for rows in added.values() for row in rows}
    if runs:
        connection.exec_driver_sql("INSERT OR IGNORE INTO changed_runs VALUES (?)", [(run,) for run in runs])


def prepare_lines(connection: Connection) -> None:
    """Make the tables where there are none, and mark every run that the view holds."""
    if not connection.dialect.has_table(connection, LINES.name):
        CACHE.create_all(connection)
        connection.exec_driver_sql("INSERT OR IGNORE INTO changed_runs SELECT run FROM runs")
