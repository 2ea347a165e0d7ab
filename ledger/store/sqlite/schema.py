"""The tables of ``ledger.db``, and the names of a ledger's files.

The triggers are a guard against slips: whoever can write to the file can drop them, which verify then
says, since a ledger's schema is exactly this text.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

SCHEMA_VERSION = 1
"""Kept as SQLite's ``user_version``."""

LEDGER_FILE = "ledger.db"
KEYS_FILE = "keys.db"
VIEWS_FILE = "views.db"
LOCK_FILE = "append.lock"
VIEWS_LOCK_FILE = "views.lock"

_TABLES = """
CREATE TABLE ledger (one INTEGER PRIMARY KEY CHECK (one = 0), origin TEXT NOT NULL);
CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 0), size INTEGER NOT NULL, leaf BLOB NOT NULL,
    at TEXT NOT NULL, frontier BLOB NOT NULL, held INTEGER NOT NULL);
CREATE TABLE entries (seq INTEGER PRIMARY KEY, stream TEXT NOT NULL, pos INTEGER NOT NULL, type TEXT NOT NULL,
    entry BLOB NOT NULL, leaf BLOB NOT NULL, UNIQUE (stream, pos));
CREATE TABLE boxes (seq INTEGER NOT NULL, field TEXT NOT NULL, box BLOB NOT NULL, PRIMARY KEY (seq, field))
    WITHOUT ROWID;
CREATE TABLE tiles (level INTEGER NOT NULL, n INTEGER NOT NULL, root BLOB NOT NULL, hashes BLOB NOT NULL,
    PRIMARY KEY (level, n)) WITHOUT ROWID;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note BLOB NOT NULL);
"""
_TRIGGERS = "".join(
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} only grows'); END;"
    for table in ("ledger", "entries", "boxes", "tiles", "checkpoints")
    for verb in ("UPDATE", "DELETE")
)
SCHEMA = _TABLES + _TRIGGERS

SchemaRow = tuple[object, ...]


def schema_rows(db: sqlite3.Connection) -> set[SchemaRow]:
    """(type, name, table, text) of everything that a database defines."""
    return set(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def expected_schema() -> set[SchemaRow]:
    """What ``schema_rows`` gives for a ledger as it was made."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        return schema_rows(db)
