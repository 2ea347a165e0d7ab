"""Many idle callers and some that flood: the others are served, whoever is refused is told when to come again, and what
was acknowledged is recorded."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.types import Message

from affidavit.api.http.access import BATCH
from affidavit.api.http.app import create_app
from affidavit.api.http.connections import ImpatientProtocol
from affidavit.api.http.limits import Limits, Shares
from affidavit.api.http.service import Service, Settings
from affidavit.api.publishing import Published
from affidavit.domain.evaluation.publication import Publication
from affidavit.ledger.application import Ledger
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.tests.stores import every_store

from .conftest import a_request

PUBLISH = "/api/publish_interaction"
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture
def settings() -> Settings:
    return Settings(Limits(requests_at_once=16))


class Few(ImpatientProtocol):
    most = 100


@contextmanager
def serving(service: Service) -> Iterator[int]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(256)
    config = uvicorn.Config(create_app(service), log_level="critical", ws="none", lifespan="off", http=Few)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def asking(method: str, path: str, token: str, content: bytes = b"") -> bytes:
    """A request's bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def publishing(request_id: str, token: str) -> bytes:
    return asking("POST", PUBLISH, token, json.dumps(a_request(request_id)).encode())


def answer_on(caller: socket.socket) -> Answer:
    with caller.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = {}
        while (line := stream.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return status, headers, stream.read(int(headers["content-length"]))


@every_store
def test_who_floods_takes_no_more_than_is_left_for_others(service: Service, ledger: Ledger) -> None:
    tokens = [service.keyring.create(["publish", "read"], "", "2026-11-22T10:00:00+00:00")[0] for _ in range(4)]
    with serving(service) as port, ExitStack() as opened:

        def connect() -> socket.socket:
            return opened.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=60)))

        def ask(content: bytes) -> Answer:
            caller = connect()
            caller.sendall(content)
            return answer_on(caller)

        for _ in range(150):
            connect()
        held: dict[socket.socket, bytes] = {}
        for token, most in zip(tokens, (8, 4, 2), strict=False):  # half, half of the rest, and so on
            flooding: dict[socket.socket, bytes] = {}
            for n in range(20):
                caller, content = connect(), publishing(f"{token[-8:]}-{n}", token)
                caller.sendall(content[:-1])
                flooding[caller] = content[-1:]
            while len(flooding) > most:
                told = select.select([*flooding], [], [], 60)[0]
                assert told, "they hold more than is left free"
                for caller in told:
                    status, headers, content = answer_on(caller)
                    assert (status, headers["retry-after"]) == (429, "1")
                    assert json.loads(content)["rule"] == "share_taken"
                    del flooding[caller]
            held |= flooding

        answers = [ask(publishing(f"calm-{n}", tokens[-1])) for n in range(5)]
        assert ask(asking("GET", "/health/ready", tokens[0]))[0] == 200
        page = ask(asking("GET", "/metrics", tokens[-1]))[2].decode()
        for caller, rest in held.items():
            caller.sendall(rest)
            answers.append(answer_on(caller))

    assert "affidavit_http_requests_in_progress 14.0" in page
    assert [status for status, _, _ in answers] == [200] * 19
    recorded: list[Any] = [json.loads(content) for _, _, content in answers]
    assert len({each["leaf_hash"] for each in recorded}) == 19
    with ledger.recorder.reading() as reader:
        assert reader.head().size == 1 + 3 * 19
        for each in recorded:
            (row,) = reader.entries(each["seq"], each["seq"] + 1)
            assert leaf_hash(row.raw).hex() == each["leaf_hash"]


def test_shares_leave_as_much_free_as_anybody_has() -> None:
    shares = Shares(100)

    assert [sum(shares.take(name) for _ in range(100)) for name in "abc"] == [50, 25, 13]
    assert not shares.take("d", 13)
    assert shares.take("d", 12)
    for name, count in (("a", 50), ("b", 25), ("c", 13), ("d", 12)):
        shares.give_back(name, count)
    assert shares.take("e", 100), "what was given back is free"


def test_a_batch_is_read_no_further_than_its_lines_fit_in_memory(
    service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    unanswered: list[int] = []
    futures: list[Future[Published]] = []
    submit = service.publisher.submit

    def submitted(publication: Publication, *, new_id: bool = False) -> Future[Published]:
        futures.append(submit(publication, new_id=new_id))
        unanswered.append(sum(not each.done() for each in futures))
        return futures[-1]

    monkeypatch.setattr(service.publisher, "submit", submitted)
    lines = [json.dumps(a_request(f"r{n}")).encode() for n in range(12)]
    monkeypatch.setattr("affidavit.api.http.publish.IN_FLIGHT_BYTES", 2 * len(lines[-1]))

    answer = client.post(BATCH, content=b"\n".join(lines), headers={"Content-Type": "application/x-ndjson"})

    assert json.loads(answer.content.splitlines()[-1])["published"] == 12
    assert max(unanswered) <= 3


async def _batch(app: FastAPI, parts: list[bytes]) -> list[dict[str, Any]]:
    """What is answered to a batch that comes in these parts."""
    coming, told = list(parts), b""

    async def receive() -> Message:
        if not coming:  # nor does the caller go away before it is answered
            await asyncio.Event().wait()
        return {"type": "http.request", "body": coming.pop(0), "more_body": bool(coming)}

    async def send(message: Message) -> None:
        nonlocal told
        told += message.get("body", b"")

    headers = [(b"content-type", b"application/x-ndjson"), (b"host", b"127.0.0.1"), (b"transfer-encoding", b"chunked")]
    asked = {"type": "http", "method": "POST", "path": BATCH, "query_string": b"", "headers": headers}
    await app({**asked, "client": ("127.0.0.1", 4), "raw_path": BATCH.encode(), "scheme": "http"}, receive, send)
    return [json.loads(line) for line in told.splitlines()]


class TestWithLittleMemory:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(Limits(bodies_bytes=1000))

    def test_batches_hold_no_more_than_there_is_for_all_and_give_it_back(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One caller has about half of it, in which two of these lines fit."""
        app = create_app(service)
        held: list[int] = []
        take = Shares.take

        def taking(shares: Shares, caller: str, count: int = 1) -> bool:
            taken = take(shares, caller, count)
            held.append(sum(shares._held.values()))
            return taken

        monkeypatch.setattr(Shares, "take", taking)
        for n in range(3):
            lines = [json.dumps(a_request(f"r{n}-{i}")).encode() + b"\n" for i in range(5)]
            told = asyncio.run(_batch(app, [*lines, b"\n" * 300, b"\n"]))
            assert told[-1]["published"] == 5
        assert max(held) < 3 * len(lines[0])

        first, refused, summary = asyncio.run(_batch(app, [lines[0], *[b"x" * 100] * 6]))

        assert first["success"]
        assert (refused["line"], refused["status"], refused["rule"]) == (2, 503, "busy")
        assert summary["failed"] == 1
        assert asyncio.run(_batch(app, [lines[1]]))[-1]["published"] == 1
