"""Connections on which nothing happens do not last, and do not keep others out; uvicorn itself lets them wait.

A connection on which no request begins is closed after a while. Where as many are open as may be, whoever connects
takes the place of the one that has been idle for longest.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from contextlib import suppress

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
"""How long a caller may take from its first byte, or from connecting, to the end of a request's head."""

MOST = 900
"""Connections at a time, where the process may have so many files open (see ``connections_that_fit``)."""

_FILES = 60
"""What a process has open beside its connections and ledgers."""

_FILES_OF_LEDGER = 64
"""Connections to its database, or its files as often as it is read at a time, with some to spare."""

_FEWEST = 16
_LOG = logging.getLogger("affidavit.http")


def connections_that_fit(ledgers: int) -> int:
    """How many connections there may be beside so many ledgers, by the files that this process may have open.

    It is let have more, where it may; where that is not enough, the log says so.
    """
    beside = _FILES + ledgers * _FILES_OF_LEDGER
    files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + beside
    if 0 <= files < wanted:
        raised = min(wanted, hard) if hard >= 0 else wanted
        with suppress(OSError, ValueError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            files = raised
    if not 0 <= files < wanted:
        return MOST
    most = max(files - beside, _FEWEST)
    _LOG.warning(
        "this process may have %d files open, which is enough for %d connections: expected %d for %d; raise "
        "LimitNOFILE, or `ulimit -n`", files, most, wanted, MOST,
    )  # fmt: skip
    return most


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1, for callers who say what they want in time."""

    head_seconds = HEAD_SECONDS
    most = MOST
    _head_timer: asyncio.TimerHandle | None = None
    _idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._wait_for_head()
        if len(self.connections) > self.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_idle:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        """Close what has been idle for longest; where nothing is, this one, that has not asked for anything yet."""
        others = [each for each in self.connections if isinstance(each, ImpatientProtocol) and each._is_idle]
        longest = min(others, key=lambda each: each._idle_since, default=self)
        self.connections.discard(longest)  # it is lost only when the loop comes to it
        longest.transport.abort()

    def _wait_for_head(self) -> None:
        """From the first time on: bytes that trickle in must not buy more."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
