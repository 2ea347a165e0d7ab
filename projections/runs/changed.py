"""Which runs have new rows since their line in the run list was made: marked as rows are added.

Lines are derived from the runs' rows and kept beside them, so that a page of the list need not derive ten thousand to
find its fifty.
"""

from __future__ import annotations

from sqlalchemy import Column, Connection, Index, MetaData, Table

from ..columns import NUMBER, TEXT, WHOLE
from ..view import Added

CACHE = MetaData()
LINES = Table(
    "run_lines_3",  # another number where lines hold something else, so that those that are kept are made anew
    CACHE,
    Column("run", TEXT, primary_key=True),
    Column("last", WHOLE, nullable=False),
    Column("seq", WHOLE, nullable=False),
    Column("directory", TEXT),
    Column("timestamp", TEXT),
    Column("status", TEXT),
    Column("strategy", TEXT),
    Column("models", TEXT),
    Column("reasoning_model", TEXT),
    Column("iterations", WHOLE),
    Column("max_iterations", WHOLE),
    Column("baseline_score", NUMBER),
    Column("best_train_score", NUMBER),
    Column("final_score", NUMBER),
    Column("best_score", NUMBER),
    Column("best_from", TEXT),
    Column("best_is_batch", WHOLE),
    Column("improvement", NUMBER),
    Column("eval_tokens", WHOLE),
    Column("reasoning_tokens", WHOLE),
    Column("tokens", WHOLE),
    Column("tokens_are_whole", WHOLE),
    Column("duration_seconds", NUMBER),
    Column("held_out", WHOLE),
    Column("is_simulated", WHOLE),
    Column("parent_run", TEXT),
    Column("parent_iteration", WHOLE),
    Column("imported_from", TEXT),
    Column("findings", WHOLE),
    sqlite_with_rowid=False,
)
"""What a line says but for its ancestors, of which any may be recorded later; ``last`` is the seq of the run's newest
row. It holds for every size of the log beyond that."""
Index("run_lines_3_by_seq", LINES.c.seq)
Index("run_lines_3_by_last", LINES.c.last, LINES.c.seq)
Index("run_lines_3_by_choice", LINES.c.status, LINES.c.strategy, LINES.c.models, LINES.c.is_simulated, LINES.c.last)
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
