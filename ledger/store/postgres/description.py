"""What a ledger's schema in PostgreSQL is, written out, so that a verifier sees where another one differs.

Held apart from the statements that make it, which another version of the server may carry out in another way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from psycopg import Connection

Row = tuple[str, str, str]
"""Kind, name, definition."""

_TABLES = {
    "ledger": ("one smallint, version integer, origin text", "one"),
    "head": ("one smallint, size bigint, leaf bytea, at text, frontier bytea, held integer", "one"),
    "entries": ("seq bigint, stream text C, pos bigint, type text C, entry bytea, leaf bytea", "seq"),
    "boxes": ("seq bigint, field text C, box bytea", "seq, field"),
    "tiles": ("level integer, n bigint, root bytea, hashes bytea", "level, n"),
    "checkpoints": ("size bigint, note bytea", "size"),
    "tokens": ("size bigint, n integer, token bytea", "size, n"),
}
"""The columns of each table, none of them nullable, C for a collation, and its primary key."""
_GUARD = "EXECUTE FUNCTION only_grows()"
_FUNCTION = (
    "trigger plpgsql BEGIN RAISE EXCEPTION '% only grows', TG_TABLE_NAME "
    "USING ERRCODE = 'integrity_constraint_violation'; END"
)

_DESCRIBE = """
WITH relation AS (SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relkind NOT IN ('i', 'S', 't', 'c'))
SELECT 'table', relname, relkind::text || relpersistence::text
    || CASE WHEN relrowsecurity THEN ' row security' ELSE '' END || CASE WHEN relhasrules THEN ' rules' ELSE '' END
    || CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE inhparent = relation.oid) THEN ' inherited' ELSE '' END
FROM relation
UNION ALL SELECT 'column', relname || '.' || a.attname,
    format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
    || CASE WHEN a.atthasdef THEN ' default' ELSE '' END || coalesce(' collate ' || o.collname, '')
FROM pg_attribute a JOIN relation ON relation.oid = a.attrelid
LEFT JOIN pg_collation o ON o.oid = a.attcollation AND o.collname <> 'default'
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'constraint', r.conname, pg_get_constraintdef(r.oid)
FROM pg_constraint r JOIN relation ON relation.oid = r.conrelid WHERE r.contype NOT IN ('n', 't')
UNION ALL SELECT 'index', c.relname,
    pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid AND i.indisready THEN '' ELSE ' not valid' END
FROM pg_index i JOIN relation ON relation.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
UNION ALL SELECT 'trigger', t.tgname, pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN relation ON relation.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION ALL SELECT 'function', p.proname, pg_get_function_result(p.oid) || ' ' || l.lanname || ' ' || p.prosrc
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname = %(schema)s
"""


def described(db: Connection[Any], schema: str) -> set[Row]:
    """What a schema defines, as far as it decides what is read and what may be written.

    Names of schemas are left out of the definitions, so that those of two ledgers compare.
    """
    db.execute("SET quote_all_identifiers TO off")
    rows = db.execute(_DESCRIBE, {"schema": schema}).fetchall()
    own = re.compile(rf' "?{re.escape(schema)}"?\.')
    return {(str(kind), str(name), own.sub(" ", str(text))) for kind, name, text in rows}


def differences(found: set[Row]) -> list[str]:
    """What of a schema is not a ledger's, as ``kind name``, sorted. Guards that are gone are left out."""
    missing = {row for row in EXPECTED - found if row[0] not in ("trigger", "function")}
    return sorted({f"{kind} {name}" for kind, name, _ in (found - EXPECTED) | missing})


def _expected() -> Iterator[Row]:
    for table, (columns, key) in _TABLES.items():
        yield ("table", table, "rp")  # an ordinary, permanent one
        for column in columns.split(", "):
            name, kind, *collation = column.split(" ")
            yield ("column", f"{table}.{name}", f"{kind} not null{' collate C' if collation else ''}")
        yield ("constraint", f"{table}_pkey", f"PRIMARY KEY ({key})")
        yield _index(f"{table}_pkey", table, key)
        if table != "head":
            events = "BEFORE DELETE OR UPDATE OR TRUNCATE"
            yield _trigger(f"{table}_only_grows", f"{events} ON {table} FOR EACH STATEMENT {_GUARD}")
    for table in ("ledger", "head"):
        yield ("constraint", f"{table}_one_check", "CHECK ((one = 0))")
    yield ("constraint", "entries_stream_pos_key", "UNIQUE (stream, pos)")
    yield _index("entries_stream_pos_key", "entries", "stream, pos")
    yield _trigger("head_no_return", f"BEFORE UPDATE ON head FOR EACH ROW WHEN ((new.size < old.size)) {_GUARD}")
    yield _trigger("head_no_delete", f"BEFORE DELETE OR TRUNCATE ON head FOR EACH STATEMENT {_GUARD}")
    yield ("function", "only_grows", _FUNCTION)


def _index(name: str, table: str, columns: str) -> Row:
    return ("index", name, f"CREATE UNIQUE INDEX {name} ON {table} USING btree ({columns})")


def _trigger(name: str, rest: str) -> Row:
    return ("trigger", name, f"CREATE TRIGGER {name} {rest}")


EXPECTED = set(_expected())
