"""Connections on which nothing happens give way to those who ask for something."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import uvicorn
from starlette.responses import PlainTextResponse

from affidavit.api.http.connections import ImpatientProtocol

WHOLE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Few(ImpatientProtocol):
    most = 20


@contextmanager
def serving() -> Iterator[int]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    config = uvicorn.Config(PlainTextResponse("hello"), log_level="critical", ws="none", lifespan="off", http=Few)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def answer_on(caller: socket.socket) -> bytes:
    caller.sendall(WHOLE)
    answered = b""
    while b"hello" not in answered:
        part = caller.recv(65536)
        if not part:
            break
        answered += part
    return answered


def is_closed(caller: socket.socket) -> bool:
    try:
        return caller.recv(1) == b""
    except ConnectionResetError:
        return True


def test_many_who_say_nothing_keep_nobody_out() -> None:
    with serving() as port, ExitStack() as opened:

        def connect() -> socket.socket:
            return opened.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=30)))

        silent = [connect() for _ in range(15)]
        for each in silent[:5]:
            assert answer_on(each).startswith(b"HTTP/1.1 200")  # kept alive, and idle from then on
        half = [connect() for _ in range(60)]
        for each in half:
            each.sendall(WHOLE[:20])

        late = connect()
        assert answer_on(late).startswith(b"HTTP/1.1 200")

        assert all(is_closed(each) for each in (*silent, *half[:35]))
        assert answer_on(late).startswith(b"HTTP/1.1 200"), "who asks stays"
