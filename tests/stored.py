"""What somebody does to the tables of a ledger behind its back, in every store: change them, put older ones back."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.store.sqlite.place import FolderPlace

_TABLES = ("ledger", "head", "entries", "boxes", "tiles", "checkpoints")
_IN_POSTGRESQL = (
    (r"zeroblob\((\d+|length\(\w+\))\)", r"decode(repeat('00', \1), 'hex')"),
    (r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea"),
    (
        r"CAST\(replace\((?:CAST\(entry AS TEXT\)|entry), ('[^']*'), ('[^']*')\) AS BLOB\)",
        r"convert_to(replace(convert_from(entry, 'UTF8'), \1, \2), 'UTF8')",
    ),
)


def change_evidence(place: Place, *statements: str) -> None:
    """Carry out statements in SQLite's words, as whoever owns the database can. Each must change something."""
    if isinstance(place, PostgresPlace):
        with _unguarded(place) as db:
            for statement in statements:
                for words, others in _IN_POSTGRESQL:
                    statement = re.sub(words, others, statement)
                assert db.execute(statement.encode()).rowcount > 0
        return
    with closing(sqlite3.connect(_folder(place) / "ledger.db", isolation_level=None)) as file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
            file.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert file.execute(statement).rowcount > 0


def keep_evidence(place: Place, name: str) -> None:
    """A copy of the evidence as it is now; keys are never copied with it."""
    if isinstance(place, PostgresPlace):
        with place.login.connect() as db:
            db.execute(SQL("CREATE SCHEMA {}").format(Identifier(name)))
            for table in _TABLES:
                source, copy = Identifier(place.login.schema, table), Identifier(name, table)
                db.execute(SQL("CREATE TABLE {} AS SELECT * FROM {}").format(copy, source))
        return
    folder = _folder(place)
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        db.execute("VACUUM INTO ?", (str(folder.parent / f"{name}.db"),))


def put_evidence_back(place: Place, name: str) -> None:
    """Put a copy back in the place of what is there. The ledger is closed."""
    if isinstance(place, PostgresPlace):
        with _unguarded(place) as db:
            for table in _TABLES:
                target, copy = Identifier(place.login.schema, table), Identifier(name, table)
                db.execute(SQL("TRUNCATE {}").format(target))
                db.execute(SQL("INSERT INTO {} SELECT * FROM {}").format(target, copy))
        return
    folder = _folder(place)
    shutil.copyfile(folder.parent / f"{name}.db", folder / "ledger.db")


def _folder(place: Place) -> Path:
    assert isinstance(place, FolderPlace)
    return place.folder


@contextmanager
def _unguarded(place: PostgresPlace) -> Iterator[Connection[Any]]:
    """A transaction of a superuser, who looks into the evidence, with all guards off until it ends."""
    with place.login.connect() as db, db.transaction():
        db.execute(SQL("SET LOCAL search_path TO {}").format(Identifier(place.login.schema)))
        for table in _TABLES:
            db.execute(SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(Identifier(table)))
        yield db
        for table in _TABLES:
            db.execute(SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(Identifier(table)))
