"""Which runs have new rows since their line in the run list was made: marked as rows are added.

What lines are filtered and sorted by is derived from the runs' rows and kept beside them, so that a page of the list
need not derive ten thousand lines to find its fifty.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, Index, MetaData, Table

from .columns import NUMBER, TEXT, WHOLE
from .view import Added

CACHE = MetaData()
LINES = Table(
    "run_lines_2",  # another number where lines hold something else, so that those that are kept are made anew
    CACHE,
    Column("run", TEXT, primary_key=True),
    Column("seq", WHOLE, nullable=False),
    Column("last", WHOLE, nullable=False),
    Column("directory", TEXT),
    Column("status", TEXT),
    Column("strategy", TEXT),
    Column("models", TEXT),
    Column("simulated", WHOLE),
    Column("iterations", WHOLE),
    Column("baseline", NUMBER),
    Column("best", NUMBER),
    Column("improvement", NUMBER),
    Column("tokens", WHOLE),
    Column("duration", NUMBER),
    sqlite_with_rowid=False,
)
"""What lines are filtered by and sorted by; ``last`` is the seq of the run's newest row."""
Index("run_lines_by_seq", LINES.c.seq)
CHANGED = Table("changed_runs", CACHE, Column("run", TEXT, primary_key=True), sqlite_with_rowid=False)


def mark_changed(connection: Connection, added: Added) -> None:
    """Mark the runs that rows were added of. In every table of the view the run follows the seq."""
    prepare_lines(connection)
    runs = {row[1] for rows in added.values() for row in rows}
    if runs:
        connection.exec_driver_sql(
            "INSERT INTO changed_runs VALUES (?) ON CONFLICT DO NOTHING", [(run,) for run in runs]
        )


def prepare_lines(connection: Connection) -> None:
    """Make the tables where there are none, and mark every run that the view holds."""
    if not connection.dialect.has_table(connection, LINES.name):
        CACHE.create_all(connection)
        connection.exec_driver_sql("INSERT INTO changed_runs SELECT run FROM runs WHERE true ON CONFLICT DO NOTHING")
