"""Running an ASGI application until interrupted, for the commands that serve one."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn

from ...ledger.errors import Unavailable
from ..http.connections import ImpatientProtocol, connections_that_fit
from ..telemetry import logs
from .output import say

_STOP_SECONDS = 20


def run_server(
    app: Callable[..., Any],
    host: str,
    port: int,
    what: str,
    *,
    stopping: threading.Event | None = None,
    drain_seconds: int = 0,
    ledgers: int = 1,
) -> None:
    """Serve ``app``, which has so many ``ledgers`` open; once it does, a line says ``what`` is served where. Requests
    that are being answered are finished.

    Told to stop, it sets ``stopping``, takes connections for ``drain_seconds`` more, and then no longer; told again, it
    takes none from then on. Port 0 takes a free one. ``Unavailable`` where the port is taken, or the host is not of
    this machine.
    """
    logs.ensure()
    # uvicorn sends itself again what stopped it; by default SIGTERM would end the process there and then, before
    # what the caller opened is closed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    class Fitting(ImpatientProtocol):
        most = connections_that_fit(ledgers)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Fitting,
        ws="none",
        lifespan="off",
        proxy_headers=False,  # a header must not say where a caller is
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    try:
        with suppress(KeyboardInterrupt):
            _Server(config, what, stopping or threading.Event(), drain_seconds).run()
    except SystemExit as error:  # uvicorn's, whose exit code has another meaning here
        raise Unavailable(f"{host} port {port}: nothing can be served there") from error


class _Server(uvicorn.Server):
    """Says where it serves once it does, and that it is stopping before it does."""

    def __init__(self, config: uvicorn.Config, what: str, stopping: threading.Event, drain_seconds: int) -> None:
        super().__init__(config)
        self._what = what
        self._stopping = stopping
        self._drain_seconds = drain_seconds
        self._stop_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            say(f"{self._what:<8} http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._stopping.set()
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self._drain_seconds
            self.should_exit = self._drain_seconds == 0

    async def on_tick(self, counter: int) -> bool:
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)
