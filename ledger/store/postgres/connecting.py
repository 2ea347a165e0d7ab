"""Who connects to a ledger in PostgreSQL, and as what."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from ....domain.errors import Refused
from ...errors import Unavailable
from ..forking import Opened
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
_LEAST_CONNECT_SECONDS = 2
"""libpq gives each host as much at least."""
_POOLER_SECONDS = 5.0
_QUIET_SECONDS = 10.0
"""After so long without a word, who has no other bound looks whether the server answers anybody at all."""
_LOOK_SECONDS = 5
_HURRIED_SECONDS = 60
"""Who waits no longer than this does not look: that would take time from what is to be answered by then."""
_PID = "SELECT pg_backend_pid()"
# The server's own for whoever connects: by its defaults, a machine that lost its power would hold a lock for hours.
_SESSION = """
SELECT pg_backend_pid(), set_config('client_min_messages', 'warning', false),
set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
set_config('tcp_keepalives_count', '3', false)
"""


class NoAnswer(psycopg.OperationalError):
    """The server kept silent for longer than one is willing to wait. What was sent to it may be carried out yet."""


class _Patience(threading.local):
    """How many seconds this thread will wait yet for all that it asks of servers; None: each answer for itself."""

    left: float | None = None


_PATIENCE = _Patience()


@contextmanager
def waiting_at_most(seconds: float | None) -> Iterator[None]:
    """All that this thread asks of servers inside is waited for so long in all, and no longer than the block around.

    None: however long it takes, whatever the block around says. Only waiting counts, and not the work between.
    """
    before = _PATIENCE.left
    given = seconds if before is None or seconds is None else min(seconds, before)
    _PATIENCE.left = given
    try:
        yield
    finally:
        left = _PATIENCE.left
        _PATIENCE.left = before if before is None or given is None or left is None else before - (given - left)


class BoundedConnection(Connection[Any]):
    """A connection that is closed once the server has not answered for ``patience`` seconds, or for as long as this
    thread is ``waiting_at_most``; and, however long that is, once the server lets nobody else in either.

    A statement may take hours, and a lock be another's for as long: that the server still lets somebody in tells
    these from a server that hangs. Closed, and not cancelled: a commit that waits for a standby and is cancelled counts
    as done without it. No setting of the server bounds that wait.
    """

    patience: float | None = None
    conninfo = ""
    """How it was made, to reach the same server again; empty: nobody looks whether that answers."""
    stopped_waiting = False
    """Whether a commit ended without the standby that it was to wait for, since somebody said that this is not so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opened = Opened()

    def hear(self, notice: psycopg.errors.Diagnostic) -> None:
        """To such a commit belongs a warning, and no error."""
        self.stopped_waiting |= notice.sqlstate == _STOPPED_WAITING

    def close(self) -> None:
        """End the session, in the process that began it."""
        if self._opened.is_here:
            super().close()

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        self._opened.require_here("a connection to PostgreSQL")
        patience = min(seconds for seconds in (self.patience, _PATIENCE.left, math.inf) if seconds is not None)
        with _counted():
            try:
                return super().wait(self._until(gen, patience), *args, **kwargs)
            except NoAnswer:
                self.close()
                raise

    def _until(self, gen: Generator[Any, Any, T], patience: float) -> Generator[Any, Any, T]:
        """As ``gen``, which yields what it waits for and is sent what is ready, or 0 when nothing has been a moment."""
        begun = heard = time.monotonic()
        may_look = bool(self.conninfo) and patience > _HURRIED_SECONDS
        ready = None
        if patience <= 0:
            raise _out_of_patience()
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as end:
                value: T = end.value
                return value
            ready = yield wanted
            now = time.monotonic()
            if ready:
                heard = now
            elif now - begun > patience:
                raise NoAnswer(f"the server gave no answer for {patience:g} seconds")
            elif may_look and now - heard > _QUIET_SECONDS:
                if not self._lets_in():
                    ready = yield wanted  # it may have answered while it was looked
                    if not ready:
                        raise NoAnswer(f"the server gave no answer for {_QUIET_SECONDS:g} seconds, and lets nobody in")
                heard = time.monotonic()

    def _lets_in(self) -> bool:
        """Whether the server says anything to who connects. One that is gone ends this connection by itself."""
        info = self.info
        same: dict[str, str | int] = {"host": info.host, "hostaddr": info.hostaddr, "port": info.port}
        hurried = {**same, "target_session_attrs": "any", "connect_timeout": _LOOK_SECONDS}
        try:
            Connection.connect(make_conninfo(self.conninfo, **hurried)).close()
        except psycopg.errors.ConnectionTimeout:
            return False
        except psycopg.Error:  # refused, which is an answer
            return True
        return True


@contextmanager
def _counted() -> Iterator[None]:
    """What this takes is no longer left to wait."""
    begun = time.monotonic()
    try:
        yield
    finally:
        if _PATIENCE.left is not None:
            _PATIENCE.left -= time.monotonic() - begun


def _out_of_patience() -> NoAnswer:
    return NoAnswer("the server has given no answer for as long as one waits for it")


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach a ledger: libpq's connection string, and the ledger's name in that database.

    Who writes waits no longer than ``commit_timeout`` seconds for the server, be it for a standby or for somebody
    else's commit, and a moment to find out how its own ended. ``str`` of it has no password.
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
            with _counted():
                db = BoundedConnection.connect(make_conninfo(self.conninfo, **self._hurried()), autocommit=True)
        except psycopg.Error as error:
            raise Unavailable(f"{self}: {_first_line(error)}") from error
        db.conninfo = make_conninfo(self.conninfo, **self.parameters)
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

    def _hurried(self) -> dict[str, str | int]:
        """As ``parameters``, with no more time to connect than this thread is willing to wait."""
        left, given = _PATIENCE.left, conninfo_to_dict(self.conninfo)
        usual = str(given.get("connect_timeout", _PARAMETERS["connect_timeout"]))
        if left is None or not usual.isdigit():
            return self.parameters
        if left <= 0:
            raise _out_of_patience()
        hosts = max(str(given.get(name, "")).count(",") + 1 for name in ("host", "hostaddr"))
        most = max(int(left / hosts), _LEAST_CONNECT_SECONDS)
        return {**self.parameters, "connect_timeout": min(int(usual) or most, most)}

    def settle(self, db: Connection[Any], role: Role | None) -> None:
        """Make of a new connection what ``connect`` gives."""
        (pid, *_) = self._one(db, _SESSION)
        if pid != db.info.backend_pid:
            self._require_session(db, pid)
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

    def _require_session(self, db: Connection[Any], pid: int) -> None:
        """Something between us and the server hands out its own sessions: refuse it where it takes this one away.

        It does so when another connection is served by the same session, or this one by another while that waits.
        """
        refused = Unavailable(
            f"{self}: a pooler between here and the server gives each transaction another session; roles, locks and "
            "notifications need one that stays: pool_mode = session in PgBouncer, or the server's own address"
        )
        hurried = {**self.parameters, "connect_timeout": _LEAST_CONNECT_SECONDS}
        with waiting_at_most(_POOLER_SECONDS):
            try:
                with BoundedConnection.connect(make_conninfo(self.conninfo, **hurried)) as other:
                    if self._one(other, _PID) == (pid,) or self._one(db, _PID) != (pid,):
                        raise refused
            except NoAnswer:
                return  # it has no other session to give, so this one is ours

    @staticmethod
    def _one(db: Connection[Any], statement: str) -> Any:
        return db.execute(statement.encode()).fetchone()


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
    # As it was given: libpq reads a plus sign as one, and not as a space.
    rest = "&".join(said for said in parts.query.split("&") if unquote(said.partition("=")[0]) not in _OURS)
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
