"""The schemas of read models: one that writers fill, and one for those who may only read the ledger."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
from psycopg import ClientCursor, Connection
from psycopg.adapt import Buffer, Loader
from psycopg.sql import SQL, Identifier
from psycopg.types.string import StrDumper

from ...errors import Unavailable
from .connecting import Login

# PostgreSQL holds no text with NUL, and facts may have one. Order and equality stay those of the texts.
_ESCAPES = (("\1", "\1\2"), ("\0", "\1\1"))


class _TextDumper(StrDumper):
    def dump(self, obj: str) -> Buffer | None:
        # Every text of every row comes by here, and next to none has one of these. All connections are of UTF-8.
        return (escape_nul(obj) if "\0" in obj or "\1" in obj else obj).encode()


class _TextLoader(Loader):
    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        return unescape_nul(text) if "\1" in text else text


class _NumberLoader(Loader):
    """What sums and means of whole numbers are in SQLite."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data)
        return float(text) if b"." in text or b"N" in text else int(text)


def escape_nul(text: str) -> str:
    """A text as it lies in the database."""
    for plain, escaped in _ESCAPES:
        text = text.replace(plain, escaped)
    return text


def unescape_nul(text: str) -> str:
    """The text that lies there as ``escape_nul`` gives it."""
    for plain, escaped in reversed(_ESCAPES):
        text = text.replace(escaped, plain)
    return text


def connect_views(login: Login) -> Connection[Any]:
    """A connection that looks into the schema of who logs in, in transactions.

    Values are bound by the client, without types.
    """
    db = login.connect("reader")
    try:
        names = login.names
        schema = names.reader_views
        if db.execute("SELECT 1 WHERE pg_has_role(session_user, %s, 'MEMBER')", (names.viewer,)).fetchone():
            db.execute(SQL("SET ROLE {}").format(Identifier(names.viewer)))
            schema = names.views
        db.execute(SQL("SET search_path TO {}").format(Identifier(schema)))
        db.execute("SET synchronous_commit TO off")  # what is lost is derived again
    except psycopg.Error as error:
        db.close()
        raise Unavailable(f"{login}: {str(error).strip()}") from error
    db.autocommit = False
    db.cursor_factory = ClientCursor
    db.adapters.register_dumper(str, _TextDumper)
    db.adapters.register_loader("text", _TextLoader)
    db.adapters.register_loader("numeric", _NumberLoader)
    return db


def forget_views(login: Login) -> None:
    """Drop every table."""
    with closing(connect_views(login)) as db:
        try:
            for (table,) in db.execute(
                "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()"
            ).fetchall():
                db.execute(SQL("DROP TABLE {} CASCADE").format(Identifier(table)))
            db.commit()
        except psycopg.Error as error:
            raise Unavailable(f"{login}: {str(error).strip()}") from error
