"""Who may look, and how a browser on another machine signs in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.access import KEY_COOKIE
from affidavit.api.http.app import create_app
from affidavit.api.http.service import Service

HOST = "http://ledger.example:8128"
HERE = {"Origin": HOST, "Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def elsewhere(service: Service) -> TestClient:
    """A browser on another machine, without a key."""
    return TestClient(create_app(service), base_url=HOST, client=("198.51.100.7", 40_000), follow_redirects=False)


@pytest.fixture
def token(key: Callable[..., dict[str, str]]) -> Callable[..., str]:
    return lambda *scopes: key(*scopes)["Authorization"].removeprefix("Bearer ")


def sign_in(browser: TestClient, token: str, target: str = "/ledger") -> None:
    answered = browser.post("/login", data={"key": token, "next": target}, headers=HERE)
    assert answered.status_code == 303
    assert answered.headers["location"] == target


def test_a_page_asks_who_is_not_known_for_a_key_and_keeps_where_they_wanted_to_go(elsewhere: TestClient) -> None:
    answered = elsewhere.get("/ledger?type=run.started")
    assert answered.status_code == 401
    assert answered.headers["content-type"].startswith("text/html")
    assert 'value="/ledger?type=run.started"' in answered.text
    assert "www-authenticate" not in answered.headers


def test_the_api_still_answers_with_a_problem(elsewhere: TestClient) -> None:
    answered = elsewhere.get("/api/rules")
    assert answered.status_code == 401
    assert answered.json()["rule"] == "unauthenticated"


def test_style_and_scripts_are_open_to_who_signs_in(elsewhere: TestClient) -> None:
    assert elsewhere.get("/assets/style.css").status_code == 200
    assert elsewhere.get("/assets/../formats.py").status_code in (401, 404)


def test_signing_in_opens_the_pages_and_signing_out_closes_them(
    elsewhere: TestClient, token: Callable[..., str]
) -> None:
    sign_in(elsewhere, token("read"))
    assert elsewhere.get("/ledger").status_code == 200
    elsewhere.post("/logout", headers=HERE)
    assert elsewhere.get("/ledger").status_code == 401


def test_the_cookie_is_kept_from_scripts_and_from_other_sites(elsewhere: TestClient, token: Callable[..., str]) -> None:
    answered = elsewhere.post("/login", data={"key": token("read"), "next": "/"}, headers=HERE)
    cookie = answered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie


def test_a_cookie_given_over_tls_is_never_sent_without_although_a_proxy_ends_it(
    elsewhere: TestClient, token: Callable[..., str]
) -> None:
    tls = {**HERE, "Origin": HOST.replace("http:", "https:")}
    answered = elsewhere.post("/login", data={"key": token("read"), "next": "/"}, headers=tls)
    assert "secure" in answered.headers["set-cookie"].lower()


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "ftp://ledger.example:8128", f"{HOST}/", None])
def test_no_other_site_signs_anybody_in_or_out(
    elsewhere: TestClient, token: Callable[..., str], path: str, origin: str | None
) -> None:
    headers = {"Content-Type": HERE["Content-Type"]} | ({} if origin is None else {"Origin": origin})
    answered = elsewhere.post(path, data={"key": token("read"), "next": "/"}, headers=headers)
    assert answered.status_code == 403
    assert "set-cookie" not in answered.headers


def test_a_wrong_key_is_told(elsewhere: TestClient) -> None:
    answered = elsewhere.post("/login", data={"key": "wrong", "next": "/"}, headers=HERE)
    assert answered.status_code == 401
    assert "not known here" in answered.text
    assert "set-cookie" not in answered.headers


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "evil", "/\t/evil"])
def test_signing_in_leads_nowhere_else(elsewhere: TestClient, token: Callable[..., str], target: str) -> None:
    answered = elsewhere.post("/login", data={"key": token("read"), "next": target}, headers=HERE)
    assert answered.headers["location"] == "/"


def test_a_form_from_another_site_is_refused_although_the_browser_shows_its_key(
    elsewhere: TestClient, token: Callable[..., str]
) -> None:
    sign_in(elsewhere, token("review"))
    for origin in ("https://evil.example", "null", "http://ledger.example:9999", None):
        headers = {} if origin is None else {"Origin": origin}
        answered = elsewhere.post("/ledger/verification", data={}, headers=headers)
        assert answered.status_code == 403, origin


def test_a_form_needs_the_scope_review(elsewhere: TestClient, token: Callable[..., str]) -> None:
    sign_in(elsewhere, token("read"))
    answered = elsewhere.post("/ledger/verification", data={}, headers={"Origin": HOST})
    assert answered.status_code == 403
    assert "review" in answered.text


def test_a_revoked_key_closes_the_pages(service: Service, elsewhere: TestClient) -> None:
    token, made = service.keyring.create(("read",), "test", "2026-11-22T10:00:00+00:00")
    sign_in(elsewhere, token)
    service.keyring.revoke(made.id, "2026-11-22T11:00:00+00:00")
    assert elsewhere.get("/ledger").status_code == 401


def test_the_cookie_opens_nothing_that_its_key_does_not(elsewhere: TestClient, token: Callable[..., str]) -> None:
    sign_in(elsewhere, token("publish"))
    answered = elsewhere.get("/ledger")
    assert answered.status_code == 403
    assert KEY_COOKIE in elsewhere.cookies
