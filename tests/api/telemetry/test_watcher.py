"""What a server does when it is full or stopping, what it counts, and what it says of requests."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from affidavit.api.http.app import create_app
from affidavit.api.http.limits import Limits
from affidavit.api.http.service import Service, Settings
from affidavit.api.moment import LiveLedger, Moment
from affidavit.api.telemetry.telemetry import ACCESS_LOG, Telemetry
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import OutcomeUnknown, SigningRefused, Unavailable
from affidavit.ledger.signing.sign import BackgroundSigner
from affidavit.tests.api.http.conftest import LOCAL, a_request


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(requests_at_once=2)


@pytest.fixture
def client(service: Service, telemetry: Telemetry) -> TestClient:
    """A caller on this machine without a key, of a server that answers two requests at once."""
    return TestClient(create_app(service, telemetry=telemetry), base_url=LOCAL, client=("127.0.0.1", 40_000))


@pytest.fixture
def far(client: TestClient) -> TestClient:
    """A caller on another machine without a key."""
    return TestClient(client.app, base_url="http://ledger.example", client=("192.0.2.7", 1))


def figures(client: TestClient, **headers: str) -> dict[tuple[str, ...], float]:
    """The samples of /metrics by name and labels' values, these in the order of their names."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_who_comes_when_the_server_is_full_is_told_when_to_come_again(
    client: TestClient, telemetry: Telemetry, far: TestClient
) -> None:
    assert telemetry.in_progress.enter()
    assert telemetry.in_progress.enter()

    refused = client.post("/api/publish_interaction", json=a_request())

    assert (refused.status_code, refused.json()["rule"], refused.headers["retry-after"]) == (503, "busy", "1")
    assert refused.headers["connection"] == "close"
    assert far.get("/health/live").status_code == far.get("/health/ready").status_code == 200
    assert figures(client)["affidavit_http_refused_total", "busy", "503"] == 1
    telemetry.in_progress.leave()
    assert client.post("/api/publish_interaction", json=a_request()).status_code == 200


def test_every_request_ends_what_it_began(client: TestClient, telemetry: Telemetry) -> None:
    for path in ("/api/whoami", "/nope", "/api/get_config", "/api/rules"):
        client.get(path)
        client.post(path, content=b"{")

    assert telemetry.in_progress.now == 0


class TestWithALowRate:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(Limits(requests_per_minute=1))

    def test_whoever_watches_the_server_is_answered_however_often(self, far: TestClient, client: TestClient) -> None:
        client.get("/api/whoami")
        assert client.get("/api/whoami").status_code == 429

        assert [far.get(path).status_code for path in ("/health/live", "/health/ready") * 3] == [200] * 6
        assert far.get("/health/ready").json() == {"status": "ready"}, (
            "a stranger is not told how much is in the ledger"
        )


class TestWithLittleMemory:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(Limits(bodies_bytes=1000))

    def test_more_than_is_held_at_once_is_told_to_come_again(self, client: TestClient) -> None:
        for _ in range(3):  # what was refused and what was answered is held no longer
            large = client.post("/api/publish_interaction", json=a_request(extra="x" * 1000))
            assert (large.status_code, large.json()["rule"], large.headers["retry-after"]) == (503, "busy", "1")
            assert client.post("/api/publish_interaction", json=a_request()).status_code == 200


def test_a_server_that_was_told_to_stop_is_alive_and_not_ready_and_closes_connections(
    client: TestClient, telemetry: Telemetry
) -> None:
    assert "connection" not in client.get("/api/whoami").headers
    telemetry.stopping.set()

    ready = client.get("/health/ready")

    assert (ready.status_code, ready.json()["rule"], ready.json()["detail"]) == (
        503,
        "not_ready",
        "the server is stopping",
    )
    assert client.get("/health/live").status_code == 200
    assert client.get("/api/whoami").headers["connection"] == "close"


def test_a_server_whose_database_is_gone_is_alive_and_not_ready(
    client: TestClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def gone() -> Iterator[Any]:
        raise Unavailable("postgresql://user@10.0.0.7/ledger: no route")
        yield

    assert figures(client)[("affidavit_store_up",)] == 1
    monkeypatch.setattr(ledger.recorder, "reading", gone)

    ready = client.get("/health/ready")

    assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
    for asked in (ready, client.get("/healthz/eval"), client.get("/api/get_all_interactions")):
        assert asked.status_code == 503
        assert "10.0.0.7" not in asked.text
    assert client.get("/health/live").json() == {"status": "ok"}
    found = figures(client)
    assert found[("affidavit_store_up",)] == 0
    assert ("affidavit_entries",) not in found


def test_a_server_that_no_longer_signs_is_not_ready(
    client: TestClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise SigningRefused("fork", "another root was signed")

    signer = BackgroundSigner(refuse, delay=0)
    signer.wake()
    with pytest.raises(SigningRefused):
        signer.stop()
    monkeypatch.setattr(ledger, "_signer", signer)

    ready = client.get("/health/ready")

    assert (ready.status_code, "signing" in ready.json()["detail"]) == (503, True)
    assert figures(client)[("affidavit_signing_stopped",)] == 1
    monkeypatch.undo()


def test_pages_that_hang_let_publishing_and_probes_through(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than there are threads to answer on."""
    go_on, hanging = threading.Event(), threading.Semaphore(0)

    @contextmanager
    def hang(self: LiveLedger, as_of: str | None = None) -> Iterator[Moment]:
        hanging.release()
        go_on.wait()
        raise Unavailable("it hung")
        yield

    monkeypatch.setattr(LiveLedger, "moment", hang)
    client = TestClient(create_app(service), base_url=LOCAL, client=("127.0.0.1", 40_000))
    with client:
        pages = [threading.Thread(target=client.get, args=("/api/get_all_interactions",)) for _ in range(45)]
        for page in pages:
            page.start()
        for _ in range(40):
            hanging.acquire()

        published = client.post("/api/publish_interaction", json=a_request())
        answers = [client.get(path).status_code for path in ("/health/live", "/health/ready", "/metrics")]
        go_on.set()
        for page in pages:
            page.join()

    assert published.status_code == 200
    assert answers == [200, 200, 200]


def test_metrics_count_requests_commits_and_how_the_ledger_stands(client: TestClient, ledger: Ledger) -> None:
    for n in range(3):
        assert client.post("/api/publish_interaction", json=a_request(f"r{n}")).status_code == 200
    assert figures(client)[("affidavit_projection_lag_entries",)] == 10, "nobody has looked yet"
    client.get("/runs/secret-run-name")
    client.get("/no/such/secret")

    found = figures(client)

    publishing = ("POST", "/api/publish_interaction")
    assert found["affidavit_http_requests_total", *publishing, "200"] == 3
    assert found["affidavit_http_request_seconds_count", *publishing] == 3
    assert found["affidavit_http_requests_total", "GET", "(none)", "404"] == 1
    assert found[("affidavit_entries",)] == found[("affidavit_unsigned_entries",)] + 1 == 10
    client.get("/api/get_all_interactions")
    ledger.sign()
    found = figures(client)
    assert found[("affidavit_projection_lag_entries",)] == found[("affidavit_unsigned_entries",)] == 0
    assert found[("affidavit_projection_lag_seconds",)] == found[("affidavit_unsigned_seconds",)] == 0
    assert found[("affidavit_erasure_unfinished",)] == 0
    assert "secret" not in client.get("/metrics").text


def test_a_route_is_counted_under_its_template_however_it_is_answered(client: TestClient) -> None:
    """From memory, too, and where a head stands for it."""
    for _ in range(2):
        assert client.get("/tile/0/000.p/1").status_code == 200
        assert client.head("/tile/0/000.p/1").status_code == 200

    found = figures(client)

    assert found["affidavit_http_requests_total", "GET", "/tile/{name:path}", "200"] == 2
    assert found["affidavit_http_requests_total", "HEAD", "/tile/{name:path}", "200"] == 2


def test_labels_name_nobody_and_stay_few(client: TestClient, key: Callable[..., dict[str, str]]) -> None:
    """However many runs, keys, paths and methods are asked with."""
    for n in range(30):
        client.get(f"/runs/run{n}", headers=key("read"))
        client.get(f"/a{n}")
        client.request(f"M{n}", "/api/whoami")
        client.get("/api/whoami", headers={"Authorization": f"Bearer t{n}"})

    counted = [labels for labels in figures(client) if labels[0] == "affidavit_http_requests_total"]

    assert len(counted) < 12


def test_metrics_need_a_key_from_elsewhere(far: TestClient, key: Callable[..., dict[str, str]]) -> None:
    assert far.get("/metrics").status_code == 401
    assert far.get("/metrics", headers=key("publish")).status_code == 403
    assert figures(far, **key("read"))[("affidavit_store_up",)] == 1


def test_without_the_extra_metrics_say_what_to_install(client: TestClient, telemetry: Telemetry) -> None:
    telemetry.metrics = None

    answer = client.get("/metrics")

    assert (answer.status_code, "affidavit[metrics]" in answer.json()["detail"]) == (501, True)


@pytest.mark.parametrize("given", ["a-1:b.c_D", "x" * 64])
def test_a_caller_s_request_id_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/api/whoami", headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"', "ä", "<script>"])
def test_one_that_a_log_cannot_hold_is_replaced(client: TestClient, given: str) -> None:
    told = client.get("/api/whoami", headers=[(b"X-Request-Id", given.encode())]).headers["x-request-id"]

    assert len(told) == 32
    assert told.isalnum()


def test_a_line_for_each_request_has_no_path_and_no_content(
    client: TestClient, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    token, made = service.keyring.create(["publish", "read"], "", "2026-11-22T10:00:00+00:00")
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "abc"}
    with caplog.at_level(logging.INFO, ACCESS_LOG):
        client.post("/api/publish_interaction", json=a_request("r-secret", user="u-secret"), headers=headers)
        client.get("/runs/r-secret?token=t-secret", headers=headers)
        client.get("/api/get_config", headers={"Authorization": "Bearer afk_secret"})

    told = [record.__dict__["fields"] for record in caplog.records if record.name == ACCESS_LOG]
    published, run, refused = told
    assert {
        "request": "abc",
        "route": "/api/publish_interaction",
        "status": 200,
        "key": made.id,
    }.items() <= published.items()
    assert published["seq"] == "3"
    assert run["route"].startswith("/runs/{")
    assert (refused["status"], refused["rule"], "key" in refused) == (401, "unauthenticated", False)
    assert "secret" not in json.dumps(told)


def test_an_unknown_outcome_says_what_to_ask_again_with(
    client: TestClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to who left the request's id out. The commit went through, as it turns out."""
    real = ledger.record

    def cut(*events: Any) -> Any:
        real(*events)
        monkeypatch.undo()
        raise OutcomeUnknown("the connection was lost while committing")

    asked = a_request(None)
    monkeypatch.setattr(ledger, "record", cut)
    unknown = client.post("/api/publish_interaction", json=asked)

    problem = unknown.json()
    assert (unknown.status_code, problem["rule"], unknown.headers["retry-after"]) == (503, "outcome_unknown", "1")
    assert "ask again with the same request_id" in problem["detail"]
    with ledger.recorder.reading() as reader:
        size = reader.head().size
    again = client.post("/api/publish_interaction", json=asked | {"request_id": problem["request_id"]}).json()
    assert (again["repeated"], again["size"]) == (True, size)
