"""Who connects to a ledger in PostgreSQL, and as what."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from ....domain.errors import Refused
from ...errors import Unavailable
from .schema import Names

Role = Literal["writer", "reader"]
T = TypeVar("T")

DEFAULT_NAME = "affidavit"
_OURS = ("ledger", "commit_timeout")
_MOST_SECONDS = 3600
_SCHEMES = ("postgresql://", "postgres://")
_PARAMETERS: dict[str, str | int] = {
    "application_name": "affidavit",
    "client_encoding": "utf8",
    "connect_timeout": 10,  # seconds, as are those of keepalives
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds; else a cut cable is noticed after a quarter of an hour
}
"""What libpq is given, unless the address says otherwise."""
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting(%s) IN ('off', 'local')"
_STOPPED_WAITING = "01000"
_COMMIT_SECONDS = 30.0
_GRACE_SECONDS = 1.0


class NoAnswer(psycopg.OperationalError):
    """The server kept silent for longer than one is willing to wait. What was sent to it may be carried out yet."""


class BoundedConnection(Connection[Any]):
    """A connection that is closed once the server has not answered for ``patience`` seconds; None: it is waited for.

    Closed, and not cancelled: a commit that waits for a standby and is cancelled counts as done without it. No
    setting of the server bounds that wait.
    """

    patience: float | None = None
    stopped_waiting = False
    """Whether a commit ended without the standby that it was to wait for, since somebody said that this is not so."""

    def hear(self, notice: psycopg.errors.Diagnostic) -> None:
        """To such a commit belongs a warning, and no error."""
        self.stopped_waiting |= notice.sqlstate == _STOPPED_WAITING

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        if self.patience is None:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_until(gen, self.patience), *args, **kwargs)
        except NoAnswer:
            self.close()
            raise


def _until(gen: Generator[Any, Any, T], patience: float) -> Generator[Any, Any, T]:
    """As ``gen``, which yields what it waits for and is sent what is ready, or 0 when nothing has been for a moment."""
    deadline = time.monotonic() + patience
    ready = None
    while True:
        try:
            wanted = gen.send(ready)
        except StopIteration as end:
            value: T = end.value
            return value
        ready = yield wanted
        if not ready and time.monotonic() > deadline:
            raise NoAnswer(f"the server gave no answer for {patience:g} seconds")


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach a ledger: libpq's connection string, and the ledger's name in that database.

    Who writes waits no longer than ``commit_timeout`` seconds for the server, be it for a standby or for somebody
    else's commit. ``str`` of it has no password.
    """

    conninfo: str = field(repr=False)
    name: str
    schema: str
    commit_timeout: float = _COMMIT_SECONDS

    @property
    def names(self) -> Names:
        return Names(self.name, self.schema)

    def __str__(self) -> str:
        known = conninfo_to_dict(self.conninfo)
        where = f"{known.get('host', '')}{':' if known.get('port') else ''}{known.get('port', '')}"
        return f"postgresql://{where}/{known.get('dbname', '')}?ledger={self.name}"

    @property
    def patience(self) -> float:
        """How long who writes listens, in seconds: the server is to say first that a lock was not to be had."""
        return self.commit_timeout + _GRACE_SECONDS

    @property
    def parameters(self) -> dict[str, str | int]:
        """What libpq is given beside ``conninfo``."""
        given = conninfo_to_dict(self.conninfo)
        return {name: value for name, value in _PARAMETERS.items() if name not in given}

    def connect(self, role: Role | None = None) -> BoundedConnection:
        """A connection that may do what ``role`` may, or what the user who logs in may; each statement commits itself.

        ``Unavailable`` where the server does not answer, or the user is not a member of the role.
        """
        try:
            db = BoundedConnection.connect(make_conninfo(self.conninfo, **self.parameters), autocommit=True)
        except psycopg.Error as error:
            raise Unavailable(f"{self}: {_first_line(error)}") from error
        if role == "writer":
            db.patience = self.patience
            db.add_notice_handler(db.hear)
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
                # Who has stopped to listen must not wait in the server for ever, and take up a connection of it.
                db.execute("SELECT set_config('lock_timeout', %s, false)", (f"{int(self.commit_timeout * 1000)}ms",))


def is_address(given: str) -> bool:
    """Whether this names a database, and no folder."""
    return given.startswith(_SCHEMES)


def parse_address(given: str) -> Login:
    """``postgresql://user@host:port/database?ledger=NAME&commit_timeout=SECONDS``, with whatever else libpq takes.

    NAME is `affidavit` where it is not said. ``Refused`` (``ledger_address``) where it does not read.
    """
    parts = urlsplit(given)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    ours: dict[str, str] = {}
    for name, value in pairs:
        if name in ours:
            raise Refused("ledger_address", f"{parts.hostname or ''}{parts.path}: `{name}` is said more than once")
        if name in _OURS:
            ours[name] = value
    rest = urlencode([(name, value) for name, value in pairs if name not in _OURS])
    name = ours.get("ledger", DEFAULT_NAME)
    seconds = ours.get("commit_timeout", f"{_COMMIT_SECONDS:g}")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 5 and 1 <= int(seconds) <= _MOST_SECONDS):
        raise Refused("ledger_address", f"commit_timeout={seconds}: expected whole seconds from 1 to {_MOST_SECONDS}")
    conninfo = parts._replace(query=rest).geturl()
    try:
        conninfo_to_dict(conninfo)
    except psycopg.Error:  # what it says may hold a password
        where = f"{parts.hostname or ''}{parts.path}"
        raise Refused("ledger_address", f"{where}: expected postgresql://USER@HOST:PORT/DATABASE?ledger=NAME") from None
    Names(name)
    return Login(conninfo, name, name, float(seconds))


def is_lost(db: Connection[Any], error: psycopg.Error) -> bool:
    """Whether the server went away, or is one by now that only reads."""
    state = error.sqlstate
    return db.closed or state is None or state[:3] == "57P" or state[:2] == "08" or state == "25006"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
