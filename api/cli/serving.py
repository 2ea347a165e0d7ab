"""Running an ASGI application until interrupted, for the commands that serve one."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn

from ...ledger.errors import Unavailable
from ..http.connections import ImpatientProtocol
from .output import say

_STOP_SECONDS = 20
_MOST_CONNECTIONS = 900
"""Fewer than the 1,024 files that a process may usually have open; who connects beyond is told 503."""


def run_server(app: Callable[..., Any], host: str, port: int, what: str) -> None:
    """Serve ``app``; once it does, a line says ``what`` is served where. Requests that are being answered are finished.

    Port 0 takes a free one. ``Unavailable`` where the port is taken, or the host is not of this machine.
    """
    # uvicorn sends itself again what stopped it; by default SIGTERM would end the process there and then, before
    # what the caller opened is closed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        limit_concurrency=_MOST_CONNECTIONS,
        proxy_headers=False,  # a header must not say where a caller is
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    try:
        with suppress(KeyboardInterrupt):
            _Server(config, what).run()
    except SystemExit as error:  # uvicorn's, whose exit code has another meaning here
        raise Unavailable(f"{host} port {port}: nothing can be served there") from error


class _Server(uvicorn.Server):
    """Says where it serves once it does."""

    def __init__(self, config: uvicorn.Config, what: str) -> None:
        super().__init__(config)
        self._what = what

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            say(f"{self._what:<8} http://{f'[{host}]' if ':' in host else host}:{port}")
