"""A proxy before a PostgreSQL server that cuts a connection at the moment that a test names."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        self.connections = 0
        self._upstream = str(server / ".s.PGSQL.5432")
        self._cut: Cut | None = None
        self._turns = 0
        self._silent = self._heard = False
        self._open: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.home / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next(self, cut: Cut, *, after: int = 0) -> None:
        """Cut the next turn of whoever speaks, or that ``after`` so many."""
        self._cut, self._turns = cut, after

    def cut_nothing(self) -> None:
        self._cut = None

    def fall_silent(self, *, heard: bool = False) -> None:
        """From now on whoever connects is let in, and nobody is answered; what is sent arrives, if it is ``heard``."""
        self._heard, self._silent = heard, True

    def speak(self) -> None:
        """Serve again whoever connects from now on; who has not been answered never is."""
        self._silent = False

    @contextmanager
    def hanging_up_after(self, seconds: float) -> Iterator[None]:
        """Fail, and hang up, where this is not over by then: nobody is to wait without end for who is silent."""
        late = threading.Event()

        def hang_up() -> None:
            late.set()
            for each in self._open:
                _close(each)

        timer = threading.Timer(seconds, hang_up)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        assert not late.is_set(), f"not over after {seconds:g} seconds"

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
            self.connections += 1
            server = socket.socket(socket.AF_UNIX)
            self._open += [client, server]
            if self._silent:
                continue
            try:
                server.connect(self._upstream)
            except OSError:
                _close(client)
                continue
            for pump in (self._requests, self._answers):
                threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(client):
            if self._cut is not None and self._turns:
                self._turns -= 1
            elif self._cut in ("before", "within"):
                if self._cut == "within":
                    _send(server, data[: len(data) // 2])
                self._end(client, server)
                return
            self.round_trips += data.count(_SYNC)
            if not self._silent or self._heard:
                _send(server, data)
        _close(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(server):
            if self._cut == "after" and not self._turns:
                self._end(client, server)
                return
            if not self._silent:
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
