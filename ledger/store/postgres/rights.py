"""Who may do more with a ledger in PostgreSQL than its role is meant to."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from .schema import Names

_EXCESS_OF_ROLES = """
SELECT format('role %%s may %%s table %%s', r.rolname, p.privilege, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
    pg_roles r, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) p(privilege)
WHERE n.nspname = %(schema)s AND c.relkind = 'r' AND r.rolname IN (%(writer)s, %(reader)s)
    AND has_table_privilege(r.oid, c.oid, p.privilege)
    AND NOT (r.rolname = %(writer)s AND p.privilege = 'INSERT' AND c.relname NOT IN ('ledger', 'head'))
UNION ALL SELECT format('role %%s may log in', rolname) FROM pg_roles
WHERE rolname IN (%(owner)s, %(keeper)s) AND rolcanlogin
UNION ALL SELECT format('table %%s belongs to %%s', c.relname, pg_get_userbyid(c.relowner))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind = 'r' AND pg_get_userbyid(c.relowner) <> %(owner)s
ORDER BY 1
"""
_EXCESS_OF_LOGIN = """
SELECT format('user %%s is a superuser', rolname) FROM pg_roles WHERE rolname = session_user AND rolsuper
UNION ALL SELECT format('user %%s may act as %%s', session_user, rolname) FROM pg_roles
WHERE rolname = %(owner)s AND pg_has_role(session_user, oid, 'MEMBER')
    AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)
"""


def excess_of_roles(db: Connection[Any], names: Names) -> list[str]:
    """What the roles of a ledger may do that they should not, sorted; nothing, as it was made."""
    return _asked(db, _EXCESS_OF_ROLES, names)


def excess_of_login(db: Connection[Any], names: Names) -> list[str]:
    """Why grants and triggers do not bind the user who logged in: whoever runs a service should be bound by them."""
    return _asked(db, _EXCESS_OF_LOGIN, names)


def _asked(db: Connection[Any], statement: str, names: Names) -> list[str]:
    values = {
        "schema": names.schema,
        "owner": names.owner,
        "writer": names.writer,
        "reader": names.reader,
        "keeper": names.keeper,
    }
    return [str(row[0]) for row in db.execute(statement.encode(), values).fetchall()]
