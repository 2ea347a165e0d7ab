"""A proxy before a PostgreSQL server that cuts a connection at the moment that a test names."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

Cut = Literal["before", "within", "after"]
"""Whether what the client sends next is lost, arrives in part, or arrives, and the answer is lost."""

_SYNC = b"S\0\0\0\4"
"""The message that ends each of a client's turns."""


class Proxy:
    """Passes on what it is sent, until ``cut_next``; then the connection that speaks next is cut, and only that one."""

    def __init__(self, server: Path) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="affidavit-proxy-", dir="/tmp"))
        self.cuts = 0
        self.round_trips = 0
        self._upstream = str(server / ".s.PGSQL.5432")
        self._cut: Cut | None = None
        self._open: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.home / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next(self, cut: Cut) -> None:
        self._cut = cut

    def close(self) -> None:
        for each in (self._listening, *self._open):
            _close(each)
        shutil.rmtree(self.home)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            self._open += [client, server]
            try:
                server.connect(self._upstream)
            except OSError:
                _close(client)
                continue
            for pump in (self._requests, self._answers):
                threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(client):
            if self._cut in ("before", "within"):
                if self._cut == "within":
                    _send(server, data[: len(data) // 2])
                self._end(client, server)
                return
            self.round_trips += data.count(_SYNC)
            _send(server, data)
        _close(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(server):
            if self._cut == "after":
                self._end(client, server)
                return
            _send(client, data)
        _close(client)

    def _end(self, client: socket.socket, server: socket.socket) -> None:
        self._cut = None
        self.cuts += 1
        _close(client)
        _close(server)


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 20)
    except OSError:
        return b""


def _send(target: socket.socket, data: bytes) -> None:
    try:
        target.sendall(data)
    except OSError:
        _close(target)


def _close(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
