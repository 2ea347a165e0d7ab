"""Connections on which nothing happens give way to those who ask for something."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from affidavit.api.http.connections import MOST, ImpatientProtocol, connections_that_fit

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


@pytest.mark.parametrize(
    ("files", "hard", "ledgers", "most", "raised"),
    [
        (1024, 4096, 1, MOST, 1024),
        (256, 4096, 1, MOST, 1024),
        (1024, 524_288, 10, MOST, 1600),
        (1024, 1024, 10, 324, 1024),
        (256, resource.RLIM_INFINITY, 1, MOST, 1024),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1, MOST, None),
        (64, 64, 1, 16, 64),
    ],
)
def test_there_are_as_many_as_a_process_may_have_files_open(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    files: int,
    hard: int,
    ledgers: int,
    most: int,
    raised: int | None,
) -> None:
    limits = [(files, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.append(given))

    assert connections_that_fit(ledgers) == most

    assert limits[-1] == (files if raised is None else raised, hard)
    assert ("LimitNOFILE" in caplog.text) is (most < MOST)


def test_a_system_that_allows_less_than_it_says_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert connections_that_fit(1) == 132
