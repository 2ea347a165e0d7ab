"""Who may do more with a ledger in PostgreSQL than its role is meant to, and who may do less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from .schema import Names

_TABLES = """
WITH tables AS (SELECT c.oid, c.relname, c.relowner, c.relacl
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s AND c.relkind = 'r'),
key_tables AS (SELECT c.oid, c.relname, c.relowner, c.relacl
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %(keys)s AND c.relkind = 'r'),
roles AS (SELECT oid, rolname FROM pg_roles WHERE rolname IN (%(writer)s, %(reader)s)),
own AS (SELECT oid, rolname FROM pg_roles
    WHERE rolname IN (%(owner)s, %(writer)s, %(reader)s, %(keeper)s, %(viewer)s)),
schemas (name, role) AS (VALUES (%(schema)s, %(owner)s), (%(keys)s, %(keeper)s), (%(views)s, %(viewer)s),
    (%(reader_views)s, %(reader)s))
"""
_GRANTEE = "CASE a.grantee WHEN 0 THEN 'everybody' ELSE 'role ' || pg_get_userbyid(a.grantee) END"
_CHANGES = "('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')"
_EXCESS = f"""{_TABLES}
SELECT format('role %%s may %%s table %%s', r.rolname, p.privilege, t.relname)
FROM tables t, roles r, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) p(privilege)
WHERE has_table_privilege(r.oid, t.oid, p.privilege)
    AND NOT (r.rolname = %(writer)s AND p.privilege = 'INSERT' AND t.relname NOT IN ('ledger', 'head'))
UNION SELECT format('%%s may %%s columns of table %%s', {_GRANTEE}, a.privilege_type, t.relname)
FROM (TABLE tables UNION ALL TABLE key_tables) t JOIN pg_attribute c ON c.attrelid = t.oid, aclexplode(c.attacl) a
WHERE a.grantee <> t.relowner AND a.privilege_type IN {_CHANGES} AND NOT (a.privilege_type = 'UPDATE'
    AND t.relname = 'head' AND a.grantee IN (SELECT oid FROM roles WHERE rolname = %(writer)s))
UNION SELECT format('%%s may %%s table %%s', {_GRANTEE}, a.privilege_type, t.relname)
FROM tables t, aclexplode(t.relacl) a WHERE a.grantee <> t.relowner AND a.grantee NOT IN (SELECT oid FROM roles)
    AND a.privilege_type IN {_CHANGES}
UNION SELECT format('%%s may %%s table %%s of keys', {_GRANTEE}, a.privilege_type, t.relname)
FROM key_tables t, aclexplode(t.relacl) a WHERE a.grantee <> t.relowner AND a.privilege_type IN {_CHANGES}
UNION SELECT format('%%s may make something in schema %%s', {_GRANTEE}, n.nspname)
FROM schemas s JOIN pg_namespace n ON n.nspname = s.name, aclexplode(n.nspacl) a
WHERE a.grantee <> n.nspowner AND a.privilege_type = 'CREATE'
UNION SELECT format('role %%s may act as %%s', r.rolname, g.rolname) FROM own r, own g
WHERE r.oid <> g.oid AND pg_has_role(r.oid, g.oid, 'MEMBER')
    AND NOT (r.rolname = %(writer)s AND g.rolname IN (%(reader)s, %(keeper)s, %(viewer)s))
UNION SELECT format('role %%s may log in', rolname) FROM pg_roles
WHERE rolname IN (%(owner)s, %(keeper)s) AND rolcanlogin
UNION SELECT format('table %%s belongs to %%s', relname, pg_get_userbyid(relowner)) FROM tables
WHERE pg_get_userbyid(relowner) <> %(owner)s
UNION SELECT format('table %%s of keys belongs to %%s', relname, pg_get_userbyid(relowner)) FROM key_tables
WHERE pg_get_userbyid(relowner) <> %(keeper)s
UNION SELECT format('schema %%s belongs to %%s', n.nspname, pg_get_userbyid(n.nspowner))
FROM schemas s JOIN pg_namespace n ON n.nspname = s.name WHERE pg_get_userbyid(n.nspowner) <> s.role
ORDER BY 1
"""
_LACKING = f"""{_TABLES}
SELECT format('there is no role %%s', name)
FROM unnest(ARRAY[%(owner)s, %(writer)s, %(reader)s, %(keeper)s, %(viewer)s]) name
WHERE name NOT IN (SELECT rolname FROM pg_roles)
UNION ALL SELECT format('there is no schema %%s', name) FROM schemas
WHERE name NOT IN (SELECT nspname FROM pg_namespace)
UNION ALL SELECT format('role %%s may not %%s table %%s', r.rolname, p.privilege, t.relname)
FROM tables t, roles r, unnest(ARRAY['SELECT', 'INSERT']) p(privilege)
WHERE NOT has_table_privilege(r.oid, t.oid, p.privilege)
    AND (p.privilege = 'SELECT' OR r.rolname = %(writer)s AND t.relname NOT IN ('ledger', 'head'))
UNION ALL SELECT format('role %%s may not UPDATE column %%s of table head', r.rolname, a.attname)
FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid, roles r
WHERE t.relname = 'head' AND r.rolname = %(writer)s AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'one'
    AND NOT has_column_privilege(r.oid, t.oid, a.attnum, 'UPDATE')
UNION ALL SELECT format('role %%s may not use schema %%s', r.rolname, n.nspname) FROM roles r, pg_namespace n
WHERE n.nspname IN (%(schema)s, %(keys)s) AND NOT has_schema_privilege(r.oid, n.oid, 'USAGE')
UNION ALL SELECT format('role %%s is not a member of %%s', r.rolname, g.rolname) FROM roles r, pg_roles g
WHERE NOT pg_has_role(r.oid, g.oid, 'MEMBER')
    AND r.rolname = %(writer)s AND g.rolname IN (%(reader)s, %(keeper)s, %(viewer)s)
ORDER BY 1
"""
_UNBOUND = """
SELECT format('user %%s is a superuser', rolname) FROM pg_roles WHERE rolname = session_user AND rolsuper
UNION ALL SELECT format('user %%s may act as %%s', session_user, rolname) FROM pg_roles
WHERE rolname = %(owner)s AND pg_has_role(session_user, oid, 'MEMBER')
    AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)
"""
_ACTS_AS = """
SELECT rolname::text FROM pg_roles
WHERE rolname IN (%(writer)s, %(reader)s) AND pg_has_role(session_user, oid, 'MEMBER') ORDER BY 1
"""


def excess_of_rights(db: Connection[Any], names: Names) -> tuple[str, ...]:
    """Who may change evidence, or own it, that should not, in words and sorted; nothing, as it was made."""
    return _asked(db, _EXCESS, names)


def lack_of_rights(db: Connection[Any], names: Names) -> tuple[str, ...]:
    """What the roles of a ledger may not do that they should, in words and sorted; nothing, as it was made."""
    return _asked(db, _LACKING, names)


def why_unbound(db: Connection[Any], names: Names) -> tuple[str, ...]:
    """Why grants and triggers do not bind the user who logged in: whoever runs a service should be bound by them."""
    return _asked(db, _UNBOUND, names)


def acts_as(db: Connection[Any], names: Names) -> tuple[str, ...]:
    """Which of the ledger's roles that write or read the user who logged in may take."""
    return _asked(db, _ACTS_AS, names)


def _asked(db: Connection[Any], statement: str, names: Names) -> tuple[str, ...]:
    values = {
        "schema": names.schema,
        "keys": names.keys,
        "views": names.views,
        "reader_views": names.reader_views,
        "owner": names.owner,
        "writer": names.writer,
        "reader": names.reader,
        "keeper": names.keeper,
        "viewer": names.viewer,
    }
    rows: Sequence[Any] = db.execute(statement.encode(), values).fetchall()
    return tuple(str(row[0]) for row in rows)
