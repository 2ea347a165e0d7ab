"""The frame of every page: links, time travel, errors, the policy."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from affidavit.api.pages.frame import POLICY, address


def test_an_address_quotes_what_a_path_cannot_hold() -> None:
    assert address("/runs/a b?c#d", {}) == "/runs/a%20b%3Fc%23d"
    assert address("/ledger/streams/run/1", {"x": None, "y": "", "z": ["1", "a&b"]}) == (
        "/ledger/streams/run/1?z=1&z=a%26b"
    )


def test_every_page_has_the_strict_policy_and_the_badge(client: TestClient) -> None:
    answered = client.get("/ledger")
    assert answered.headers["content-security-policy"] == POLICY
    assert answered.headers["referrer-policy"] == "same-origin"
    assert answered.headers["cache-control"] == "no-store"
    assert 'id="badge"' in answered.text
    assert 'data-size="1"' in answered.text


def test_answers_that_are_no_pages_allow_nothing_at_all(client: TestClient) -> None:
    assert client.get("/api/rules").headers["content-security-policy"].startswith("default-src 'none'")


def test_an_unknown_page_is_told_as_a_page(client: TestClient) -> None:
    answered = client.get("/runs/404/none/such")
    assert answered.status_code == 404
    assert answered.headers["content-type"].startswith("text/html")
    assert "<h1>Not Found</h1>" in answered.text


@pytest.mark.parametrize(("moment", "status"), [("999", 404), ("yesterday", 422), ("1970-01-01", 404)])
def test_a_moment_that_is_none_is_told_and_leads_back_to_now(client: TestClient, moment: str, status: int) -> None:
    answered = client.get("/ledger", params={"as_of": moment})
    assert answered.status_code == status
    assert 'href="/ledger"' in answered.text


def test_an_earlier_moment_says_so_and_travels_with_every_link(client: TestClient) -> None:
    client.post("/api/rules", json={"rules": [{"rule": "r", "kind": "playbook", "title": "T", "text": "x"}]})
    text = client.get("/ledger", params={"as_of": "0"}).text
    assert "You see the past" in text
    assert 'href="/runs?as_of=0"' in text
    assert 'data-size="1"' in text
    assert 'href="/ledger/changes?since=0"' in text


@pytest.mark.parametrize("digits", [25, 5000])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        *((path, "as_of") for path in ("/runs", "/ledger", "/evaluation", "/reviews")),
        ("/runs", "page"),
        ("/reviews/pack", "from"),
        ("/reviews", "before"),
        ("/runs/001/calls", "from"),
        ("/runs/001/calls", "iteration"),
        ("/runs/001/iterations/1", "against"),
        ("/ledger", "before"),
        ("/ledger/streams/ledger", "before"),
        ("/ledger/entries/0", "under"),
        ("/ledger/changes", "since"),
        ("/ledger/checkpoints", "below"),
        ("/ledger/anchors", "before"),
        ("/ledger/erasures", "before"),
        ("/ledger/imports/0", "start"),
        ("/evaluation", "days"),
        ("/evaluation/jobs", "before"),
        ("/evaluation/judges", "changes"),
        ("/evaluation/sessions/x", "first"),
    ],
)
def test_a_number_that_no_ledger_reaches_is_told(client: TestClient, path: str, name: str, digits: int) -> None:
    answered = client.get(path, params={name: "9" * digits})
    assert answered.status_code in ((404,) if name == "as_of" else (422,)), answered.text


@pytest.mark.parametrize(
    "path",
    ["/runs/001/iterations/", "/runs/001/calls/", "/ledger/entries/", "/ledger/checkpoints/", "/ledger/imports/"],
)
def test_so_is_one_in_a_path(client: TestClient, path: str) -> None:
    assert client.get(path + "9" * 25).status_code == 422


def test_an_empty_moment_is_now(client: TestClient) -> None:
    assert "You see the past" not in client.get("/ledger", params={"as_of": ""}).text


def test_a_date_alone_is_told_to_be_the_end_of_the_day_before(visitor: TestClient) -> None:
    text = visitor.get("/ledger", params={"as_of": "2026-11-18"}).text
    assert "the end of 2026-11-17 (2026-11-18 begins at 00:00 UTC), at entry" in text
    assert "the end of" not in visitor.get("/ledger", params={"as_of": "900"}).text.split("</aside>")[0]
