"""A ledger in a folder, copied into PostgreSQL byte by byte, so that answers can be held against each other."""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from affidavit.ledger.signing.keys import KeyFolder
from affidavit.ledger.store.postgres.place import PostgresPlace

_EVIDENCE = ("entries", "boxes", "tiles", "checkpoints")
_KEYS = ("scopes", "aliases", "destroyed")


def copy_into(place: PostgresPlace, folder: Path, keys: Path) -> None:
    """Make the ledger in ``folder``, which is closed, in ``place`` too. Its keys are in the folder ``keys``."""
    with (
        closing(sqlite3.connect(folder / "ledger.db")) as evidence,
        closing(sqlite3.connect(folder / "keys.db")) as private,
    ):
        (origin,) = evidence.execute("SELECT origin FROM ledger").fetchone()
        with place.making(secrets.token_bytes) as fresh:
            fresh.create(origin, KeyFolder(keys, origin).master_key(), secrets.token_bytes)
        names = place.login.names
        with closing(place.login.connect()) as db, db.transaction():
            _look_into(db, names.schema)
            for table in _EVIDENCE:
                _copy(db, table, evidence.execute(f"SELECT * FROM {table}"))
            head = evidence.execute("SELECT size, leaf, at, frontier, held FROM head").fetchone()
            db.execute("UPDATE head SET size=%s, leaf=%s, at=%s, frontier=%s, held=%s", head)
            for path in (folder / "anchors").glob("*.tsr"):
                db.execute("INSERT INTO tokens VALUES (%s, 1, %s)", (int(path.stem), path.read_bytes()))
            _look_into(db, names.keys)
            db.execute("TRUNCATE scopes")
            for table in _KEYS:
                _copy(db, table, private.execute(f"SELECT * FROM {table}"))


def _look_into(db: Connection[Any], schema: str) -> None:
    db.execute(SQL("SET LOCAL search_path TO {}").format(Identifier(schema)))


def _copy(db: Connection[Any], table: str, rows: sqlite3.Cursor) -> None:
    with db.cursor() as cursor, cursor.copy(SQL("COPY {} FROM STDIN").format(Identifier(table))) as copy:
        for row in rows:
            copy.write_row(row)
