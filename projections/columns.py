"""The types of columns, and adding rows: the same in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, Float, Integer, Text

WHOLE = Integer().with_variant(BigInteger(), "postgresql")
"""Integers of 64 bits."""
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Text, ordered by its code points."""
NUMBER = Float()


_NAMES = {
    "sqlite": "SELECT name, type = 'table' FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'",
    "postgresql": "SELECT c.relname::text, c.relkind = 'r' FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema()",
}


def names_there(connection: Connection) -> set[str]:
    """The names of the tables and indexes that are there."""
    return {name for name, _ in connection.exec_driver_sql(_NAMES[connection.dialect.name])}


def tables_there(connection: Connection) -> set[str]:
    """The names of the tables that are there."""
    return {name for name, is_table in connection.exec_driver_sql(_NAMES[connection.dialect.name]) if is_table}


def equals(column: str, value: str | None) -> tuple[str, tuple[str, ...]]:
    """A condition that a column is a text, or none, and the values that it takes: ``IS ?`` is SQLite's alone."""
    return (f"{column} IS NULL", ()) if value is None else (f"{column} = ?", (value,))


def unindexed(connection: Connection, column: str) -> str:
    """A column, of which SQLite uses no index; PostgreSQL knows by itself when one is of no use."""
    return f"+{column}" if connection.dialect.name == "sqlite" else column


def add_rows(connection: Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    """Add rows to a table, each value in the order of its columns."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(rows[0]))
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({places})", [tuple(row) for row in rows])
        return
    database: Any = connection.connection.driver_connection
    with database.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
