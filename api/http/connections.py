"""Connections on which nothing happens do not last, and do not keep others out; uvicorn itself lets them wait.

A connection on which no request begins is closed after a while. Where as many are open as may be, whoever connects
takes the place of the one that has been idle for longest.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
"""How long a caller may take from its first byte, or from connecting, to the end of a request's head."""

MOST = 900
"""Connections at a time: fewer than the 1,024 files that a process may usually have open."""


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
