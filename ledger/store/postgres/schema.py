"""The tables of a ledger in PostgreSQL, who may do what with them, and the names of its schemas and roles.

Of a ledger ``acme``: the schema ``acme`` holds the evidence and belongs to the role ``acme_owner``, which nobody logs
in as. ``acme_writer`` reads, and inserts; the head is the one row that it moves. ``acme_reader`` reads, and writers are
members of it. The schema ``acme_keys`` holds wrapped keys and aliases, which are destroyed on purpose, and belongs to
``acme_keeper``, which writers are members of. ``acme_views`` holds read models, which may be thrown away, and belongs
to ``acme_viewer``, which writers are members of. Who only reads has read models in ``acme_reader_views``, which belongs
to ``acme_reader``: a trigger left in a schema acts with all rights of whoever writes there next.

The triggers are a guard against slips: whoever may alter the tables can drop them.
"""

from __future__ import annotations

import re
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from ....domain.errors import Refused
from ...entries.entry import NO_ENTRY

SCHEMA_VERSION = 1
"""Kept in the table ``ledger``."""

_NAME = re.compile(r"(?!pg_)[a-z][a-z0-9_]{0,39}", re.ASCII)

_EVIDENCE = """
CREATE TABLE ledger (one smallint PRIMARY KEY CHECK (one = 0), version integer NOT NULL, origin text NOT NULL);
CREATE TABLE head (one smallint PRIMARY KEY CHECK (one = 0), size bigint NOT NULL, leaf bytea NOT NULL,
    at text NOT NULL, frontier bytea NOT NULL, held integer NOT NULL)
    WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE head ALTER COLUMN frontier SET STORAGE PLAIN;
CREATE TABLE entries (seq bigint PRIMARY KEY, stream text COLLATE "C" NOT NULL, pos bigint NOT NULL,
    type text COLLATE "C" NOT NULL, entry bytea NOT NULL, leaf bytea NOT NULL, UNIQUE (stream, pos));
CREATE TABLE boxes (seq bigint NOT NULL, field text COLLATE "C" NOT NULL, box bytea NOT NULL, PRIMARY KEY (seq, field));
CREATE TABLE tiles (level integer NOT NULL, n bigint NOT NULL, root bytea NOT NULL, hashes bytea NOT NULL,
    PRIMARY KEY (level, n));
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
CREATE TABLE checkpoints (size bigint PRIMARY KEY, note bytea NOT NULL);
CREATE TABLE tokens (size bigint NOT NULL, n integer NOT NULL, token bytea NOT NULL, PRIMARY KEY (size, n));
CREATE FUNCTION only_grows() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END$$;
CREATE TRIGGER head_no_return BEFORE UPDATE ON head FOR EACH ROW WHEN (NEW.size < OLD.size)
    EXECUTE FUNCTION only_grows();
CREATE TRIGGER head_no_delete BEFORE DELETE OR TRUNCATE ON head FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
"""
_GROWING = ("ledger", "entries", "boxes", "tiles", "checkpoints", "tokens")
# No statistics of what is secret: the server would keep samples of it where no sweep looks.
_KEYS = """
CREATE TABLE scopes (scope text COLLATE "C" PRIMARY KEY, wrapped bytea NOT NULL);
CREATE TABLE aliases (added bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, alias text COLLATE "C" NOT NULL UNIQUE,
    scope text COLLATE "C" NOT NULL, lookup bytea NOT NULL, box bytea NOT NULL);
ALTER TABLE scopes ALTER COLUMN wrapped SET STATISTICS 0;
ALTER TABLE aliases ALTER COLUMN lookup SET STATISTICS 0, ALTER COLUMN box SET STATISTICS 0;
CREATE INDEX aliases_lookup ON aliases (lookup, scope);
CREATE INDEX aliases_scope ON aliases (scope);
CREATE TABLE destroyed (scope text COLLATE "C" PRIMARY KEY, fingerprint text NOT NULL, aliases bigint NOT NULL);
"""


class Names:
    """What the schemas and roles of a ledger are called. ``schema`` differs from ``name`` while it is being made."""

    def __init__(self, name: str, schema: str | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise Refused(
                "ledger_name",
                f"ledger {name[:60]!r}: expected up to 40 of a-z, 0-9 and _, with a letter first, but not pg_",
            )
        self.name = name
        self.schema = schema or name
        self.keys = f"{self.schema}_keys"
        self.views = f"{self.schema}_views"
        self.reader_views = f"{self.schema}_reader_views"
        self.owner, self.writer, self.reader, self.keeper, self.viewer = (
            f"{name}_{role}" for role in ("owner", "writer", "reader", "keeper", "viewer")
        )

    @property
    def schemas(self) -> tuple[str, ...]:
        return self.schema, self.keys, self.views, self.reader_views


def create_roles(db: Connection[Any], names: Names) -> None:
    """Make the roles that are not there. Who is logged in becomes a member of each."""
    for role in (names.owner, names.writer, names.reader, names.keeper, names.viewer):
        if db.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
            db.execute(_named("CREATE ROLE {role} NOLOGIN", role=role))
        db.execute(_named("GRANT {role} TO CURRENT_USER", role=role))
    for role in (names.reader, names.keeper, names.viewer):
        db.execute(_named("GRANT {role} TO {writer}", role=role, writer=names.writer))


def create_schemas(db: Connection[Any], names: Names, origin: str) -> None:
    """Make the empty tables. Those of evidence refuse UPDATE and DELETE from then on."""
    for schema, role in zip(names.schemas, (names.owner, names.keeper, names.viewer, names.reader), strict=True):
        db.execute(_named("CREATE SCHEMA {schema} AUTHORIZATION {role}", schema=schema, role=role))
    db.execute(_named("SET LOCAL ROLE {owner}", owner=names.owner))
    db.execute(_named("SET LOCAL search_path TO {schema}", schema=names.schema))
    db.execute(SQL(_EVIDENCE))
    for table in _GROWING:
        db.execute(
            _named(
                "CREATE TRIGGER {trigger} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION only_grows()",
                trigger=f"{table}_only_grows",
                table=table,
            )
        )
    for table, trigger in db.execute(
        "SELECT c.relname::text, t.tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND NOT t.tgisinternal",
        (names.schema,),
    ).fetchall():
        db.execute(_named("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}", table=table, trigger=trigger))
    db.execute("INSERT INTO ledger VALUES (0, %s, %s)", (SCHEMA_VERSION, origin))
    db.execute("INSERT INTO head VALUES (0, 0, %s, '', '', 0)", (NO_ENTRY,))
    for role in (names.writer, names.reader):
        db.execute(_named("GRANT USAGE ON SCHEMA {schema} TO {role}", schema=names.schema, role=role))
        db.execute(_named("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}", schema=names.schema, role=role))
    db.execute(_named("GRANT INSERT ON entries, boxes, tiles, checkpoints, tokens TO {writer}", writer=names.writer))
    db.execute(_named("GRANT UPDATE (size, leaf, at, frontier, held) ON head TO {writer}", writer=names.writer))
    db.execute("RESET ROLE")
    db.execute(_named("SET LOCAL ROLE {keeper}", keeper=names.keeper))
    db.execute(_named("SET LOCAL search_path TO {keys}", keys=names.keys))
    db.execute(SQL(_KEYS))
    db.execute(_named("GRANT USAGE ON SCHEMA {keys} TO {reader}", keys=names.keys, reader=names.reader))
    db.execute(_named("GRANT SELECT ON ALL TABLES IN SCHEMA {keys} TO {reader}", keys=names.keys, reader=names.reader))
    db.execute("RESET ROLE")


def rename_schemas(db: Connection[Any], names: Names, to: Names) -> None:
    """Give the schemas their names, all at once."""
    for old, new in zip(names.schemas, to.schemas, strict=True):
        db.execute(_named("ALTER SCHEMA {old} RENAME TO {new}", old=old, new=new))


def drop_schemas(db: Connection[Any], names: Names) -> None:
    for schema in names.schemas:
        db.execute(_named("DROP SCHEMA IF EXISTS {schema} CASCADE", schema=schema))


def _named(statement: str, **names: str) -> Composed:
    return SQL(statement).format(**{name: Identifier(value) for name, value in names.items()})
