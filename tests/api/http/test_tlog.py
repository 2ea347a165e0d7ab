"""The static log over HTTP: whole for any tlog client, cached as what it is, and no more than was published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from affidavit.api.http import tile_memory
from affidavit.api.http.app import create_app
from affidavit.api.http.service import Service, Settings
from affidavit.api.http.tile_memory import TileMemory
from affidavit.ledger.application import Ledger
from affidavit.ledger.publishing.static_log import ExportedLog, check_export
from affidavit.ledger.publishing.tlog_directory import export_log
from affidavit.ledger.tlog.checkpoint import open_checkpoint

from .conftest import LOCAL, a_request

FAR = ("192.0.2.7", 1)


def publish(client: TestClient, count: int) -> None:
    for n in range(count):
        assert client.post("/api/publish_interaction", json=a_request(f"r{n}")).status_code == 200


def export(ledger: Ledger, folder: Path) -> dict[str, bytes]:
    with ledger.recorder.reading() as reader:
        export_log(reader, folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_mirror_by_http_is_an_export(client: TestClient, ledger: Ledger, tmp_path: Path) -> None:
    publish(client, 5)
    checkpoint = ledger.sign()
    files = export(ledger, tmp_path / "log")

    for name, content in files.items():
        answer = client.get(f"/{name}")
        assert (answer.status_code, answer.content) == (200, content)
        (tmp_path / "mirror" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror" / name).write_bytes(answer.content)
    assert check_export(tmp_path / "mirror", [ledger.verifier_key()]) == checkpoint
    assert list(ExportedLog(tmp_path / "mirror").entries()) == list(ExportedLog(tmp_path / "log").entries())


def test_only_what_is_published_is_there(client: TestClient, ledger: Ledger) -> None:
    size = ledger.sign().size
    publish(client, 1)

    assert client.get(f"/tile/entries/000.p/{size}").status_code == 200
    for missing in (f"tile/entries/000.p/{size + 1}", f"tile/0/000.p/{size + 1}", "tile/0/000", "tile/0/0", "tile/"):
        answer = client.get(f"/{missing}")
        assert (answer.status_code, answer.json()["rule"]) == (404, "resource_known")
        assert answer.headers["cache-control"] == "no-store"
    newer = ledger.sign().size
    assert client.get(f"/tile/entries/000.p/{newer}").status_code == 200
    assert client.get(f"/tile/entries/000.p/{size}").status_code == 200


def test_tiles_are_cached_for_ever_and_the_checkpoint_for_seconds(client: TestClient, ledger: Ledger) -> None:
    size = ledger.sign().size
    tile, note = client.get(f"/tile/0/000.p/{size}"), client.get("/checkpoint")

    assert tile.headers.get_list("cache-control") == ["private, max-age=31536000, immutable"]
    assert tile.headers["content-type"] == "application/octet-stream"
    assert note.headers.get_list("cache-control") == ["private, max-age=5"]
    assert note.headers["content-type"] == "text/plain; charset=utf-8"
    assert note.headers["x-content-type-options"] == "nosniff"


def test_who_has_it_already_is_told_so(client: TestClient, ledger: Ledger) -> None:
    etag = client.get("/checkpoint").headers["etag"]

    for known in (etag, f'"x", W/{etag}', "*"):
        unchanged = client.get("/checkpoint", headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    assert client.get("/checkpoint", headers={"If-None-Match": '"x"'}).status_code == 200
    publish(client, 1)
    ledger.sign()
    assert client.get("/checkpoint", headers={"If-None-Match": etag}).status_code == 200


def test_a_head_says_what_a_get_would(client: TestClient) -> None:
    head, got = client.head("/checkpoint"), client.get("/checkpoint")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"]


def test_a_tile_that_was_asked_for_before_is_answered_as_the_first_time(client: TestClient, ledger: Ledger) -> None:
    size = ledger.sign().size
    path = f"/tile/entries/000.p/{size}"
    first = client.get(path)
    publish(client, 3)
    again, head = client.get(path), client.head(path)

    assert (again.content, head.content) == (first.content, b"")
    for name in ("cache-control", "etag", "content-type", "content-length", "x-content-type-options"):
        assert again.headers[name] == head.headers[name] == first.headers[name]
    unchanged = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["cache-control"] == first.headers["cache-control"]
    assert client.post(path, json={}).status_code == 405
    missing = f"/tile/0/000.p/{size + 1}"
    assert client.get(missing).status_code == 404
    assert ledger.sign().size > size
    assert client.get(missing).status_code == 200


@pytest.mark.parametrize(("most", "each"), [(32 * 2**20, 2**20 - 2048), (32 * (2048 + 32), 32)])
def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch, most: int, each: int) -> None:
    """By large tiles as by those of one hash, which take more room beside it."""
    asked = []
    monkeypatch.setattr(tile_memory, "_MOST_BYTES", most)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await Response(bytes(each), headers={"ETag": '"x"'})(scope, receive, send)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        pass

    memory = TileMemory(app)
    for path in [*(f"/tile/0/{n:03}" for n in range(33)), "/tile/0/032", "/tile/0/001", "/tile/0/000"]:
        asyncio.run(memory({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send))
    assert asked[33:] == ["/tile/0/000"]


def test_the_log_needs_the_scope_to_read(service: Service, key: Callable[..., dict[str, str]]) -> None:
    far = TestClient(create_app(service), base_url=LOCAL, client=FAR)

    for path in ("/checkpoint", "/tile/0/000.p/1"):
        assert far.get(path).status_code == 401
        assert far.get(path, headers=key("publish")).status_code == 403
        assert far.get(path, headers=key("read")).status_code == 200


class TestAPublicLog:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(public_log=True)

    def test_everybody_reads_the_log_and_nothing_else(
        self, service: Service, key: Callable[..., dict[str, str]]
    ) -> None:
        far = TestClient(create_app(service), base_url="https://log.example", client=FAR)
        proxied = {"Origin": "https://mirror.example", "X-Forwarded-For": "203.0.113.9", "Sec-Fetch-Site": "cross-site"}

        for headers in ({}, proxied, key("publish")):
            note = far.get("/checkpoint", headers=headers)
            assert open_checkpoint(note.content, [service.ledger.verifier_key()], service.ledger.origin).size == 1
            assert note.headers["cache-control"] == "public, max-age=5"
            tile = far.get("/tile/entries/000.p/1", headers=headers)
            assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert far.head("/checkpoint", headers=headers).status_code == 200
        for method, path in (
            ("GET", "/api/whoami"),
            ("POST", "/checkpoint"),
            ("GET", "/checkpoint/"),
            ("GET", "/tile"),
        ):
            assert far.request(method, path).status_code == 401
