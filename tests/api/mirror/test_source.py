"""Fetching from a server that does as it likes: bounded in bytes, time and tries, and told."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from affidavit.api.mirror.source import HttpSource
from affidavit.domain.errors import Refused
from affidavit.ledger.errors import LedgerError, Unavailable, VerificationError


class Hostile(ThreadingHTTPServer):
    """Answers by the path; ``done`` lets go of those who are made to wait."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.done = threading.Event()
        self.seen: list[tuple[str, dict[str, str]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Hostile

    def do_GET(self) -> None:
        name = self.path.removeprefix("/log/")
        self.server.seen.append((name, {key.lower(): value for key, value in self.headers.items()}))
        again = sum(seen == name for seen, _ in self.server.seen) > 1
        if name == "moved":
            self._answer(302, b"", Location="/log/checkpoint")
        elif name == "busy" and not again:
            self._answer(503, b"later", **{"Retry-After": "7"})
        elif name == "for-ever-busy":
            self._answer(429, b"", **{"Retry-After": "999999"})
        elif name == "refused":
            self._answer(401, b"no")
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            while not self.server.done.is_set():
                try:
                    self.wfile.write(bytes(65536))
                except OSError:
                    return
        elif name == "silent":
            self.server.done.wait(60)
        elif name == "dripping":
            self.send_response(200)
            self.end_headers()
            while not self.server.done.wait(0.01):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
        elif name == "packed":
            self._answer(200, gzip.compress(b"what is there"), **{"Content-Encoding": "gzip"})
        elif name == "bomb":
            self._answer(200, gzip.compress(bytes(10_000_000)), **{"Content-Encoding": "GZIP"})
        elif name == "garbage":
            self._answer(200, b"what is there", **{"Content-Encoding": "gzip"})
        elif name == "otherwise":
            self._answer(200, b"what is there", **{"Content-Encoding": "br"})
        elif name in ("checkpoint", "busy", "tile/0/000"):
            self._answer(200, b"what is there")
        else:
            self._answer(404, b"not here")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Hostile]:
    with Hostile() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.done.set()
        running.shutdown()
        thread.join()


@contextmanager
def source_of(server: Hostile, seconds: float = 30, key: str | None = None) -> Iterator[tuple[HttpSource, list[float]]]:
    waited: list[float] = []
    url = f"http://127.0.0.1:{server.server_port}/log/"
    with closing(HttpSource(url, key, seconds=seconds, wait=waited.append)) as source:
        yield source, waited


def test_it_asks_below_the_prefix_and_past_caches_for_the_checkpoint(server: Hostile) -> None:
    with source_of(server, key="afk_1") as (source, _):
        assert source.get("checkpoint", 100) == b"what is there"
        assert source.get("tile/0/000", 13) == b"what is there"
        assert source.get("tile/0/001", 100) is None
    (_, first), (_, second), _ = server.seen
    assert first["cache-control"] == "no-cache"
    assert "cache-control" not in second
    assert {seen["authorization"] for _, seen in server.seen} == {"Bearer afk_1"}


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("moved", Unavailable, "found 302; redirects are not followed"),
        ("refused", Unavailable, "expected status 200, found 401; a log that is not public wants a key"),
        ("endless", VerificationError, "expected at most 100 bytes, found more"),
        ("bomb", VerificationError, "expected at most 100 bytes, found more"),
        ("garbage", VerificationError, "its gzip does not read"),
        ("otherwise", Unavailable, "expected no encoding, or gzip, found 'br'"),
    ],
)
def test_what_cannot_be_taken_is_told_at_once(server: Hostile, name: str, error: type[LedgerError], told: str) -> None:
    with source_of(server) as (source, waited), pytest.raises(error, match=told):
        source.get(name, 100)
    assert waited == []
    assert len(server.seen) == 1


def test_what_is_packed_unasked_is_unpacked(server: Hostile) -> None:
    with source_of(server) as (source, _):
        assert source.get("packed", 13) == b"what is there"
        with pytest.raises(VerificationError, match="expected at most 12 bytes"):
            source.get("packed", 12)


def test_whoever_sends_a_byte_at_a_time_does_not_make_it_last(server: Hostile) -> None:
    with source_of(server, seconds=0.1) as (source, _), pytest.raises(Unavailable, match=r"no answer within 0.1 s"):
        source.get("dripping", 1_000_000)


def test_who_is_told_to_stop_asks_no_more(server: Hostile) -> None:
    url = f"http://127.0.0.1:{server.server_port}/log"
    with closing(HttpSource(url, wait=lambda seconds: True)) as source, pytest.raises(Unavailable, match="given up"):
        source.get("for-ever-busy", 100)
    assert len(server.seen) == 1


def test_who_is_busy_is_asked_when_they_say(server: Hostile) -> None:
    with source_of(server) as (source, waited):
        assert source.get("busy", 100) == b"what is there"
    assert waited == [7.0]


def test_nobody_is_waited_for_for_ever(server: Hostile) -> None:
    with source_of(server) as (source, waited), pytest.raises(Unavailable, match="status 429, 5 times"):
        source.get("for-ever-busy", 100)
    assert waited == [60.0] * 4
    assert len(server.seen) == 5


def test_a_server_that_says_nothing_is_given_up(server: Hostile) -> None:
    with source_of(server, seconds=0.05) as (source, _), pytest.raises(Unavailable, match=r"no answer within 0.05 s"):
        source.get("silent", 100)


def test_an_address_that_nobody_listens_at() -> None:
    with (
        closing(HttpSource("http://127.0.0.1:1", wait=lambda seconds: None)) as source,
        pytest.raises(Unavailable, match=r"not reached: .*Connection refused, 5 times"),
    ):
        source.get("checkpoint", 100)


@pytest.mark.parametrize(
    "url", ["log.example", "ftp://log.example", "https://u:p@log.example", "https://log.example?a"]
)
def test_an_address_is_one(url: str) -> None:
    with pytest.raises(Refused, match="expected http"):
        HttpSource(url)
