"""A mirror served: any cache can hold it, and nothing but the log can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from affidavit.api.mirror.following import follow_log
from affidavit.api.mirror.server import MirrorApp

from .conftest import MadeUpLog

LOG = MadeUpLog(300)
FOR_EVER = "public, max-age=31536000, immutable"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    follow_log(LOG, tmp_path / "m", LOG.keys_of)
    return tmp_path / "m"


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with closing(MirrorApp(folder)) as app:
        yield TestClient(app)


def test_what_it_serves_can_be_mirrored(client: TestClient, tmp_path: Path) -> None:
    class Again:
        def get(self, name: str, most: int) -> bytes | None:
            answer = client.get(f"/{name}")
            assert answer.status_code in (200, 404)
            return answer.content if answer.status_code == 200 else None

    assert follow_log(Again(), tmp_path / "again", LOG.keys_of).checkpoint == LOG.checkpoint()


def test_tiles_are_held_for_ever_and_the_checkpoint_for_seconds(client: TestClient) -> None:
    for name in ("tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"):
        answer = client.get(f"/{name}")
        assert answer.content == LOG.get(name, 10**9)
        assert answer.headers["cache-control"] == FOR_EVER
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/checkpoint").headers["cache-control"] == "public, max-age=5"


def test_every_width_is_there_up_to_the_checkpoints(client: TestClient) -> None:
    for name in ("tile/0/000.p/7", "tile/0/001.p/7", "tile/entries/000.p/7", "tile/entries/001.p/7"):
        assert client.get(f"/{name}").content == LOG.get(name, 10**9)
    for name in ("tile/0/001", "tile/0/001.p/45", "tile/1/000.p/2", "tile/0/002.p/1", "tile/2/000.p/1"):
        missing = client.get(f"/{name}")
        assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")


def test_it_is_below_the_hash_of_its_origin_too(client: TestClient) -> None:
    prefix = sha256(LOG.name.encode()).hexdigest()
    for name in ("checkpoint", "tile/0/000", "tile/entries/001.p/7"):
        below, plain = client.get(f"/{prefix}/{name}"), client.get(f"/{name}")
        assert (below.status_code, below.content, below.headers) == (200, plain.content, plain.headers)
    for path in (f"/{prefix}", f"/{prefix}/", f"/{prefix}/{prefix}/checkpoint", f"/{prefix.upper()}/checkpoint"):
        assert client.get(path).status_code == 404


def test_what_was_cut_off_is_given_to_no_cache(client: TestClient, folder: Path) -> None:
    for name in ("tile/0/000", "tile/entries/000", "tile/entries/001.p/44"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-1])
        answer = client.get(f"/{name}")
        assert (answer.status_code, answer.headers["cache-control"]) == (503, "no-store")


def test_who_has_it_already_is_told_so(client: TestClient) -> None:
    etag = client.get("/checkpoint").headers["etag"]
    for known in (etag, f'"x", W/{etag}', "*"):
        answer = client.get("/checkpoint", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert client.get("/checkpoint", headers={"If-None-Match": '"x"'}).status_code == 200


def test_a_head_says_what_a_get_would(client: TestClient) -> None:
    head, got = client.head("/tile/0/000"), client.get("/tile/0/000")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == got.headers


def test_nothing_else_can_be_reached(client: TestClient, folder: Path) -> None:
    (folder / "contradictions").mkdir()
    (folder / "contradictions" / "x").write_bytes(b"secret")
    (folder.parent / "secret").write_bytes(b"secret")
    for path in (
        *("/", "/contradictions/x", "/.new", "/tile", "/tile/", "/tile/0/", "//checkpoint", "/checkpoint/"),
        *("/../secret", "/tile/%2e%2e/%2e%2e/secret", "/tile/0/..%2f..%2fsecret", "/tile/0/000/../../../../secret"),
        *("/tile/0/000%00", "/tile/0/000%0a", "/tile/00/000", "/tile/0/000.p/0", "/tile/0/000.p/256", "/tile/64/000"),
    ):
        assert client.get(path).status_code == 404, path
    refused = client.post("/checkpoint", content=b"x")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_a_folder_that_holds_nothing_yet_is_404_and_one_that_is_damaged_503(tmp_path: Path) -> None:
    with closing(MirrorApp(tmp_path)) as app:
        assert TestClient(app).get("/checkpoint").status_code == 404
        (tmp_path / "checkpoint").write_bytes(b"what")
        assert TestClient(app).get("/checkpoint").status_code == 503
