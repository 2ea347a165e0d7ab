"""Which runs have new rows since their line in the run list was made: marked as rows are added.

Lines are derived from the runs' rows and kept beside them, so that a page of the list need not derive ten thousand to
find its fifty.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Connection, Float, Index, Integer, MetaData, Table, Text

from .view import Added

CACHE = MetaData()
LINES = Table(
    "run_lines_3",  # another number where lines hold something else, so that those that are kept are made anew
    CACHE,
    Column("run", Text, primary_key=True),
    Column("last", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("directory", Text),
    Column("timestamp", Text),
    Column("status", Text),
    Column("strategy", Text),
    Column("models", Text),
    Column("reasoning_model", Text),
    Column("iterations", Integer),
    Column("max_iterations", Integer),
    Column("baseline_score", Float),
    Column("best_train_score", Float),
    Column("final_score", Float),
    Column("best_score", Float),
    Column("best_from", Text),
    Column("best_is_batch", Boolean),
    Column("improvement", Float),
    Column("eval_tokens", Integer),
    Column("reasoning_tokens", Integer),
    Column("tokens", Integer),
    Column("tokens_are_whole", Boolean),
    Column("duration_seconds", Float),
    Column("held_out", Boolean),
    Column("is_simulated", Boolean),
    Column("parent_run", Text),
    Column("parent_iteration", Integer),
    Column("imported_from", Text),
    Column("findings", Integer),
    sqlite_with_rowid=False,
)
"""What a line says but for its ancestors, of which any may be recorded later; ``last`` is the seq of the run's newest
row. It holds for every size of the log beyond that."""
Index("run_lines_3_by_seq", LINES.c.seq)
Index("run_lines_3_by_last", LINES.c.last, LINES.c.seq)
Index("run_lines_3_by_choice", LINES.c.status, LINES.c.strategy, LINES.c.models, LINES.c.is_simulated, LINES.c.last)
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
