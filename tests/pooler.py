"""A pooler before a PostgreSQL server, as small as one can be: one session of the server serves all who connect."""

from __future__ import annotations

import shutil
import socket
import struct
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

_READY = (b"Z\0\0\0\5I", b"Z\0\0\0\5T", b"Z\0\0\0\5E")
_KEY_DATA = b"K\0\0\0\14"


class Pooler:
    """Each turn of a client goes to the server's one session. ``each``: every client has a session of its own.

    Either way it tells clients of a session that the server knows nothing of, as poolers do.
    """

    def __init__(self, server: Path, *, each: bool = False) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="affidavit-pooler-", dir="/tmp"))
        self._upstream = str(server / ".s.PGSQL.5432")
        self._each = each
        self._shared: tuple[socket.socket, bytes] | None = None
        self._turn = threading.Lock()
        self._open: list[socket.socket] = []
        self._serving: list[threading.Thread] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.home / ".s.PGSQL.5432"))
        self._listening.listen()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        _end(self._listening)
        self._accepting.join()
        for each in self._open:
            _end(each)
        for thread in self._serving:
            thread.join()
        for each in (self._listening, *self._open):
            each.close()
        shutil.rmtree(self.home)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(client)
            self._serving.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._serving[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            greeting = client.recv(1 << 16)
            with self._turn:
                server, welcome = self._shared or self._begun(greeting)
                if not self._each:
                    self._shared = (server, welcome)
            client.sendall(welcome)
            if self._each:
                answering = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
                answering.start()
                _pass_on(client, server)
                answering.join()
                return
            while (data := client.recv(1 << 20)) and not data.startswith(b"X"):
                with self._turn:
                    client.sendall(_asked(server, data))

    def _begun(self, greeting: bytes) -> tuple[socket.socket, bytes]:
        """A session of the server, and what it says at its beginning, of another session's number."""
        server = socket.socket(socket.AF_UNIX)
        self._open.append(server)
        server.connect(self._upstream)
        welcome = _asked(server, greeting)
        at = welcome.index(_KEY_DATA) + len(_KEY_DATA)
        return server, welcome[:at] + struct.pack("!i", 1) + welcome[at + 4 :]


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """What one says to the other; once one is gone, the other is told."""
    with suppress(OSError):
        while data := source.recv(1 << 20):
            target.sendall(data)
    _end(target)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


def _asked(server: socket.socket, data: bytes) -> bytes:
    server.sendall(data)
    answer = b""
    while not answer.endswith(_READY):
        more = server.recv(1 << 20)
        if not more:
            break
        answer += more
    return answer
