"""Who gets in: keys and their scopes, and callers without one only from this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from starlette.types import Message

from affidavit.api.http.access import SCOPES, is_page
from affidavit.api.http.app import ROUTERS, create_app
from affidavit.api.http.limits import Limits, RateLimiter
from affidavit.api.http.service import Service, Settings
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.tests.folders import folder_of

from .conftest import LOCAL, a_request

READS = [
    ("POST", "/api/get_evaluation_overview", {"from_ts": 0, "to_ts": 1}),
    ("POST", "/api/get_requests", {}),
    ("GET", "/api/get_all_interactions", None),
    ("GET", "/api/whoami", None),
    ("GET", "/health", None),
    ("GET", "/openapi.json", None),
    ("GET", "/nothing/here", None),
]


def test_every_route_says_what_it_needs() -> None:
    routes = {
        (method, route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and not is_page(route.path)
        for method in route.methods or ()
    }

    assert routes == SCOPES.keys() - {("GET", "/openapi.json")}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://localhost@evil.example"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8128"},
        {"Host": ""},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"X-Forwarded-Port": "8128"},
        {"X-Forwarded-Server": "proxy"},
        {"X-Forwarded-Prefix": "/a"},
        {"X-Forwarded-Ssl": "on"},
        {"X-Original-Host": "localhost"},
        {"X-Client-IP": "127.0.0.1"},
        {"CF-Connecting-IP": "127.0.0.1"},
        {"True-Client-IP": "127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_from_elsewhere_or_a_proxy_gets_nothing(client: TestClient, headers: dict[str, str]) -> None:
    for method, path, body in READS:
        refused = client.request(method, path, json=body, headers=headers)

        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert "access-control-allow-origin" not in refused.headers
        assert refused.json()["rule"] == "unauthenticated"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://[::1]:8128", "Host": "[::1]:8128"},
        {"Host": "localhost"},
        {"Host": "127.3.2.1:8128"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"User-Agent": "curl/8"},
    ],
)
def test_a_caller_on_this_machine_needs_no_key(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/whoami", headers=headers).status_code == 200
    assert client.post("/api/publish_interaction", json=a_request(None), headers=headers).status_code == 200


def test_a_caller_from_another_machine_needs_a_key(service: Service, key: Callable[..., dict[str, str]]) -> None:
    far = TestClient(create_app(service), base_url=LOCAL, client=("192.0.2.7", 1))

    assert far.get("/api/whoami").status_code == 401
    assert far.get("/api/whoami", headers=key("read")).status_code == 200


def test_probes_are_answered_whatever_key_they_show(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    far = TestClient(create_app(service), base_url=LOCAL, client=("192.0.2.7", 1))
    shown = [{"Authorization": "Bearer afk_unknown"}, {"Authorization": "Basic eA=="}, {"Cookie": "affidavit_key=x"}]

    for headers in shown:
        assert far.get("/health/live", headers=headers).status_code == 200
        assert far.get("/health/ready", headers=headers).status_code == 200
    assert far.get("/api/whoami", headers=shown[0]).status_code == 401

    def unreadable(token: str) -> None:
        raise Unavailable("/var/lib/keys/api-keys.jsonl: permission denied")

    monkeypatch.setattr(service.keyring, "find", unreadable)
    assert far.get("/health/live", headers=shown[0]).status_code == 200
    refused = far.get("/api/whoami", headers=shown[0])
    assert (refused.status_code, refused.json()["rule"]) == (503, "unavailable")
    assert "/var/lib" not in refused.text


def test_a_preflight_is_answered_with_no_permission(client: TestClient) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}

    refused = client.options("/api/publish_interaction", headers=headers)

    assert refused.status_code == 401
    assert not any(name.startswith("access-control") for name in refused.headers)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=latin1"]
)
def test_a_write_that_a_form_could_make_is_refused(client: TestClient, ledger: Ledger, content_type: str) -> None:
    refused = client.post("/api/publish_interaction", content=b"{}", headers={"Content-Type": content_type})

    assert refused.status_code == 415


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    assert client.post("/api/get_requests", content=b"\x1f\x8b", headers=headers).status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/set_config", {}),
        ("POST", "/api/update_config", {}),
        ("POST", "/api/clear_user_data", {"user_id": "u1"}),
    ],
)
def test_erasing_and_configuring_always_need_an_admin_s_key(
    client: TestClient, key: Callable[..., dict[str, str]], method: str, path: str, body: object
) -> None:
    assert client.request(method, path, json=body).status_code == 401
    assert client.request(method, path, json=body, headers=key("publish", "read", "review")).status_code == 403
    assert client.request(method, path, json=body, headers=key("admin")).status_code in (200, 501)


def test_a_control_character_at_the_end_of_a_path_goes_round_no_scope(service: Service) -> None:
    far = TestClient(create_app(service), base_url=LOCAL, client=("127.0.0.1", 40_000))

    for method, path in SCOPES:
        for end in ("%0A", "%0D", "%00", "%7F"):
            answer = far.request(method, path + end, headers={"Content-Type": "application/json"}, content=b"{}")

            assert (answer.status_code, answer.json()["rule"]) == (400, "path_readable"), path


@pytest.mark.parametrize("path", ["*", "", "?a"])
def test_a_path_that_is_none_is_told(service: Service, path: str) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "OPTIONS",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8128),
        "scheme": "http",
    }
    asyncio.run(create_app(service)(scope, receive, send))
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("held", ["publish", "read", "review"])
def test_a_key_opens_what_its_scope_says(client: TestClient, key: Callable[..., dict[str, str]], held: str) -> None:
    opens = {"publish": {"publish"}, "read": {"read"}, "review": {"review", "read"}}[held] | {"any"}
    headers = key(held) | {"Content-Type": "application/json"}

    for (method, path), needed in SCOPES.items():
        answer = client.request(method, path, headers=headers)

        assert (answer.status_code != 403) == (needed in opens), path


def test_a_token_that_is_wrong_or_revoked_is_no_way_in_even_here(
    client: TestClient, service: Service, key: Callable[..., dict[str, str]]
) -> None:
    headers = key("admin")
    assert client.get("/api/whoami", headers=headers).status_code == 200

    service.keyring.revoke(service.keyring.every()[0].id, "2026-11-22T10:00:00+00:00")

    for wrong in (headers, {"Authorization": "Bearer afk_x"}, {"Authorization": "Basic YTpi"}, {"Authorization": ""}):
        assert client.get("/api/whoami", headers=wrong).status_code == 401


def test_tokens_are_kept_as_digests_outside_the_ledger(service: Service, ledger: Ledger) -> None:
    token, _ = service.keyring.create(["read"], "n", "2026-11-22T10:00:00+00:00")

    (kept,) = list(ledger.keys.path.glob("api-keys.json"))
    assert token not in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    assert not list(folder_of(ledger).glob("*api-keys*"))


class TestWithALowRate:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(Limits(requests_per_minute=30))

    def test_the_fourth_request_at_once_is_told_when_to_come_again(
        self, service: Service, key: Callable[..., dict[str, str]]
    ) -> None:
        seconds = [0.0]
        client = TestClient(
            create_app(service, seconds=lambda: seconds[0]), base_url=LOCAL, client=("127.0.0.1", 40_000)
        )

        assert [client.get("/health").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = client.get("/health")
        assert (refused.json()["rule"], refused.headers["retry-after"]) == ("rate_limited", "2")
        assert client.get("/health", headers=key("read")).status_code == 200
        seconds[0] = 2.0
        assert client.get("/health").status_code == 200

    def test_who_guesses_tokens_is_told_to_come_later_and_hinders_nobody(self, service: Service) -> None:
        client = TestClient(create_app(service, seconds=lambda: 0.0), base_url=LOCAL, client=("127.0.0.1", 40_000))

        guesses = [client.get("/health", headers={"Authorization": f"Bearer {n}"}) for n in range(4)]

        assert [guess.status_code for guess in guesses] == [401, 401, 401, 429]
        assert client.get("/health").status_code == 200


def test_a_bucket_fills_evenly_and_idle_callers_are_forgotten() -> None:
    seconds = [0.0]
    limiter = RateLimiter(60, lambda: seconds[0], most_callers=2)

    assert [limiter.take("a") for _ in range(7)] == [0.0] * 6 + [1.0]
    seconds[0] = 1.5
    assert (limiter.take("a"), limiter.take("a")) == (0.0, 0.5)
    assert [limiter.take(name) for name in "bc"] == [0.0, 0.0]
    assert limiter.take("a") == 0.0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/", 404), ("GET", "/api/publish_interaction", 405), ("GET", "/api/get_config/", 404)],
)
def test_what_is_no_endpoint_needs_no_key_to_be_told_so(
    client: TestClient, method: str, path: str, status: int
) -> None:
    assert client.request(method, path).status_code == status


def test_what_can_be_got_can_be_asked_about(client: TestClient) -> None:
    for path in ("/api/whoami", "/api/get_config"):
        head = client.head(path)

        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["affidavit-root"]


def test_an_endpoint_without_a_scope_is_not_served(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SCOPES, ("GET", "/health"))
    with pytest.raises(RuntimeError, match="GET /health"):
        create_app(service)
