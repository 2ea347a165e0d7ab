"""The timestamp tokens of a ledger in PostgreSQL: rows that are only added, of which the last of a size counts."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

_PUT_ASIDE = b""
"""What stands after a token that does not hold."""
_NEXT = (
    "INSERT INTO tokens SELECT %(size)s, coalesce(max(n), 0) + 1, %(token)s FROM tokens WHERE size = %(size)s "
    "HAVING coalesce((SELECT length(token) FROM tokens WHERE size = %(size)s ORDER BY n DESC LIMIT 1), 0) {} 0 "
    "ON CONFLICT DO NOTHING"
)


def token_sizes(db: Connection[Any]) -> list[int]:
    return [row[0] for row in db.execute("SELECT DISTINCT size FROM tokens ORDER BY size").fetchall()]


def stored_token(db: Connection[Any], size: int) -> bytes | None:
    row = db.execute("SELECT token FROM tokens WHERE size = %s ORDER BY n DESC LIMIT 1", (size,)).fetchone()
    return None if row is None or row[0] == _PUT_ASIDE else bytes(row[0])


def keep_token(db: Connection[Any], size: int, token: bytes) -> bool:
    return db.execute(_NEXT.format("=").encode(), {"size": size, "token": token}).rowcount == 1


def put_aside(db: Connection[Any], size: int) -> None:
    db.execute(_NEXT.format(">").encode(), {"size": size, "token": _PUT_ASIDE})
