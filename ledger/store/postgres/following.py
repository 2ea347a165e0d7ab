"""Following a log in PostgreSQL: woken by LISTEN, and looking by itself, since what is notified may be lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from eventsourcing.persistence import Notification, Subscription
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from ...errors import Unavailable
from .connecting import Login

if TYPE_CHECKING:
    from .recorder import PostgresRecorder


class Follower(Subscription[PostgresApplicationRecorder]):
    """Iterates over notifications as they are committed, by whichever process or machine.

    Who appends notifies after the commit, and may be killed between the two; a connection may be lost. So the log is
    looked at every ``look_seconds`` besides, and a lost connection is made anew.
    """

    look_seconds = 1.0
    _slice_seconds = 0.1
    _section = 512

    def __init__(
        self, recorder: PostgresRecorder, login: Login, channel: str, gt: int | None, topics: Sequence[str]
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._login = login
        self._channel = channel
        self._last = gt or 0
        self._ready: list[Notification] = []
        self._stop = threading.Event()
        self._db: Connection[Any] | None = None

    def stop(self) -> None:
        super().stop()
        self._stop.set()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)
        if self._db is not None:
            self._db.close()

    def __next__(self) -> Notification:
        while not self._ready:
            if self._stop.is_set():
                raise StopIteration
            try:
                db = self._listening()
                found = self._recorder.select_notifications(
                    self._last, self._section, topics=self._topics, inclusive_of_start=False
                )
                if not found:
                    self._wait(db)
            except (psycopg.OperationalError, Unavailable):
                self._stop.wait(self.look_seconds)
                continue
            if found:
                self._ready = list(reversed(found))
                self._last = found[-1].id
        return self._ready.pop()

    def wait_past(self, size: int) -> bool:
        """Wait until the log has more than ``size`` entries; False once stopped. None of them is read."""
        while not self._stop.is_set():
            try:
                db = self._listening()
                row = db.execute("SELECT size FROM head").fetchone()
                if row is not None and row[0] > size:
                    return True
                self._wait(db)
            except (psycopg.OperationalError, Unavailable):
                self._stop.wait(self.look_seconds)
        return False

    def _wait(self, db: Connection[Any]) -> None:
        """Until something is notified, it is time to look again, or somebody stops it."""
        until = time.monotonic() + self.look_seconds
        while not self._stop.is_set() and time.monotonic() < until:
            for _ in db.notifies(timeout=self._slice_seconds, stop_after=1):
                return

    def _listening(self) -> Connection[Any]:
        """The connection that is notified; listens before the log is looked at, so that nothing falls between."""
        db = self._db
        if db is None or db.closed:
            db = self._login.connect("reader")
            try:
                db.execute(SQL("LISTEN {}").format(Identifier(self._channel)))
            except BaseException:
                db.close()
                raise
            self._db = db
        return db
