"""Who connects to a ledger in PostgreSQL, and as what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from ....domain.errors import Refused
from ...errors import Unavailable
from .schema import Names

Role = Literal["writer", "reader"]

DEFAULT_NAME = "affidavit"
_SCHEMES = ("postgresql://", "postgres://")
_PARAMETERS: dict[str, str | int] = {
    "application_name": "affidavit",
    "connect_timeout": 10,  # seconds, as are those of keepalives
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds; else a cut cable is noticed after a quarter of an hour
}
"""What libpq is given, unless the address says otherwise."""
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting(%s) IN ('off', 'local')"


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach a ledger: libpq's connection string, and the ledger's name in that database.

    ``str`` of it has no password.
    """

    conninfo: str = field(repr=False)
    name: str
    schema: str

    @property
    def names(self) -> Names:
        return Names(self.name, self.schema)

    def __str__(self) -> str:
        known = conninfo_to_dict(self.conninfo)
        where = f"{known.get('host', '')}{':' if known.get('port') else ''}{known.get('port', '')}"
        return f"postgresql://{where}/{known.get('dbname', '')}?ledger={self.name}"

    @property
    def parameters(self) -> dict[str, str | int]:
        """What libpq is given beside ``conninfo``."""
        given = conninfo_to_dict(self.conninfo)
        return {name: value for name, value in _PARAMETERS.items() if name not in given}

    def connect(self, role: Role | None = None) -> Connection[Any]:
        """A connection that may do what ``role`` may, or what the user who logs in may; each statement commits itself.

        ``Unavailable`` where the server does not answer, or the user is not a member of the role.
        """
        try:
            db = psycopg.connect(make_conninfo(self.conninfo, **self.parameters), autocommit=True)
        except psycopg.Error as error:
            raise Unavailable(f"{self}: {_first_line(error)}") from error
        try:
            self.settle(db, role)
        except psycopg.Error as error:
            db.close()
            raise Unavailable(f"{self}: {_first_line(error)}") from error
        except BaseException:
            db.close()
            raise
        return db

    def settle(self, db: Connection[Any], role: Role | None) -> None:
        """Make of a new connection what ``connect`` gives."""
        db.execute("SET client_min_messages TO warning")
        if role is not None:
            name = self.names.writer if role == "writer" else self.names.reader
            found = db.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
            if found is None:
                raise Unavailable(f"no ledger in {self}; `affidavit init` makes one")
            try:
                db.execute(SQL("SET ROLE {}").format(Identifier(name)))
            except psycopg.errors.InsufficientPrivilege as error:
                raise Unavailable(
                    f"{self}: user {db.info.user} may not act as {name}; who may says GRANT {name} TO {db.info.user}"
                ) from error
            db.execute(SQL("SET search_path TO {}").format(Identifier(self.schema)))
            if role == "writer":
                db.execute(_DURABLE, ("synchronous_commit",))


def is_address(given: str) -> bool:
    """Whether this names a database, and no folder."""
    return given.startswith(_SCHEMES)


def parse_address(given: str) -> Login:
    """``postgresql://user@host:port/database?ledger=NAME``, with whatever else libpq takes.

    NAME is `affidavit` where it is not said. ``Refused`` (``ledger_address``) where it does not read.
    """
    parts = urlsplit(given)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    names = [value for name, value in pairs if name == "ledger"]
    if len(names) > 1:
        raise Refused("ledger_address", f"{parts.hostname or ''}{parts.path}: `ledger` is said {len(names)} times")
    rest = urlencode([(name, value) for name, value in pairs if name != "ledger"])
    name = names[0] if names else DEFAULT_NAME
    conninfo = parts._replace(query=rest).geturl()
    try:
        conninfo_to_dict(conninfo)
    except psycopg.Error:  # what it says may hold a password
        where = f"{parts.hostname or ''}{parts.path}"
        raise Refused("ledger_address", f"{where}: expected postgresql://USER@HOST:PORT/DATABASE?ledger=NAME") from None
    Names(name)
    return Login(conninfo, name, name)


def is_lost(db: Connection[Any], error: psycopg.Error) -> bool:
    """Whether the server went away, or is one by now that only reads."""
    state = error.sqlstate
    return db.closed or state is None or state[:3] == "57P" or state[:2] == "08" or state == "25006"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
