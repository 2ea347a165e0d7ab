"""What belongs to one ledger is not there for a key of another, whatever it is called and wherever it is asked for."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from starlette.testclient import TestClient

from affidavit.api.telemetry.telemetry import ACCESS_LOG
from affidavit.tests.api.http.conftest import LOCAL, a_request
from affidavit.tests.api.many.conftest import House, make_key
from affidavit.tests.stores import every_store

PAGES = ("/", "/runs", "/evaluation", "/ledger", "/ledger/verification", "/reviews")


def requests_of(client: TestClient) -> list[Any]:
    answer = client.post("/api/get_requests", json={})
    assert answer.status_code == 200, answer.text
    return [one["request_id"] for one in _all_requests(answer.json())]


def _all_requests(document: Any) -> list[dict[str, Any]]:
    if isinstance(document, dict):
        own = [document] if "request_id" in document else []
        return own + [one for value in document.values() for one in _all_requests(value)]
    return [one for value in document for one in _all_requests(value)] if isinstance(document, list) else []


@every_store
def test_the_key_says_which_ledger_answers_and_nothing_crosses(house: House) -> None:
    acme, birch = house.client(key=house.acme), house.client(key=house.birch)
    sent = [
        client.post("/api/publish_interaction", json=a_request("r1", user=f"user of {name}"))
        for name, client in (("acme", acme), ("birch", birch))
    ]
    # The same request_id with another payload: known in one ledger, it is new in the other.
    assert [one.status_code for one in sent] == [200, 200]
    assert acme.post("/api/publish_interaction", json=a_request("r1", user="another")).status_code == 409
    assert acme.post("/api/publish_interaction", json=a_request("only-acme")).status_code == 200

    labels = [client.get("/api/whoami").json() for client in (acme, birch)]
    assert [label["org_id"] for label in labels] == ["org acme", "org birch"]
    assert labels[0]["storage_label"] != labels[1]["storage_label"]
    assert "only-acme" in requests_of(acme)
    assert set(requests_of(birch)) == {"r1"}

    said = [client.get("/api/get_all_interactions").text for client in (acme, birch)]
    assert ["user of acme" in text for text in said] == [True, False]
    assert ["user of birch" in text for text in said] == [False, True]
    for path in (*PAGES, "/metrics", "/healthz/eval"):
        for client, foreign in ((acme, labels[1]), (birch, labels[0])):
            page = client.get(path)
            assert page.status_code in (200, 501), path
            assert foreign["storage_label"] not in page.text
            assert foreign["org_id"] not in page.text

    # Erasing what the other has under the same names leaves that as it is.
    for user in ("u1", "user of acme", "user of birch"):
        assert birch.post("/api/clear_user_data", json={"user_id": user}).status_code == 200
    assert "user of birch" not in birch.get("/api/get_all_interactions").text
    assert {"r1", "only-acme"} <= set(requests_of(acme))
    assert "user of acme" in acme.get("/api/get_all_interactions").text


def test_ids_of_one_ledger_are_unknown_in_the_other(house: House) -> None:
    acme, birch = house.client(key=house.acme), house.client(key=house.birch)
    acme.post("/api/publish_interaction", json=a_request("r1"))
    job = acme.post("/api/evaluations/regenerate", json={"from_ts": 0, "to_ts": 2**31})
    assert job.status_code == 200, job.text
    job_id = job.json()["job_id"]
    assert acme.get(f"/api/evaluations/regenerate/{job_id}").status_code == 200
    assert birch.get(f"/api/evaluations/regenerate/{job_id}").status_code == 404
    assert birch.delete(f"/api/evaluations/regenerate/{job_id}").status_code == 404
    assert acme.delete(f"/api/evaluations/regenerate/{job_id}").status_code == 200

    size = acme.get("/api/whoami").json()["size"]
    assert birch.get("/api/whoami").json()["size"] < size
    assert birch.get(f"/ledger/entries/{size - 1}").status_code == 404
    tiles = [client.get("/checkpoint").content for client in (acme, birch)]
    assert tiles[0] != tiles[1]
    entries = [client.get("/tile/entries/000.p/1").content for client in (acme, birch, acme)]
    assert entries[0] == entries[2] != entries[1]


def test_a_cookie_opens_its_own_ledger_and_signing_in_finds_it(house: House) -> None:
    for key, organisation in ((house.acme, "org acme"), (house.birch, "org birch")):
        browser = house.client("192.0.2.7")
        token = key["Authorization"].removeprefix("Bearer ")
        assert browser.get("/ledger").status_code == 401
        signed_in = browser.post(
            "/login",
            content=f"key={token}&next=/ledger",
            headers={"Origin": LOCAL, "Content-Type": "application/x-www-form-urlencoded"},
            follow_redirects=False,
        )
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/ledger")
        assert browser.get("/ledger").status_code == 200
        assert browser.get("/api/whoami").json()["org_id"] == organisation
    wrong = house.client().post(
        "/login",
        content="key=afk_" + "A" * 43,
        headers={"Origin": LOCAL, "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert wrong.status_code == 401


def test_a_line_for_a_request_says_of_which_ledger_it_is(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, ACCESS_LOG):
        for headers in (house.acme, house.birch, None):
            house.client(key=headers).get("/api/whoami")
    told = [record.__dict__["fields"] for record in caplog.records if record.name == ACCESS_LOG]
    assert [each.get("ledger") for each in told] == ["acme", "birch", None]


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.7"])
def test_without_a_key_nothing_is_served_but_the_door(house: House, host: str) -> None:
    known = house.client(key=house.acme)
    paths = {path for path in known.get("/openapi.json").json()["paths"] if "{" not in path}
    assert {"/checkpoint", "/metrics", "/api/whoami", "/health"} <= paths
    nobody = house.client(host)
    unknown = house.client(host, {"Authorization": "Bearer afk_" + "A" * 43})
    for path in sorted({*paths, *PAGES, "/openapi.json", "/logs/birch/checkpoint", "/logs/none/checkpoint", "/logs/"}):
        probe = path in ("/health/live", "/health/ready")
        for client in (nobody, unknown):
            for method in ("GET", "POST", "DELETE"):
                answer = client.request(method, path, json={} if method != "GET" else None)
                expected = (200,) if probe and method == "GET" else (401, 405, 415)
                assert answer.status_code in expected, (method, path, answer.text)
                for secret in ("acme", "birch", "org ", "storage"):
                    assert secret not in answer.text.replace(path, "")
    for path, status in (("/login", 200), ("/health/live", 200), ("/health/ready", 200), ("/assets/none.css", 404)):
        assert nobody.get(path).status_code == status


def test_a_public_log_lies_under_its_name_and_a_private_one_needs_its_key(house: House) -> None:
    acme, birch = house.client(key=house.acme), house.client(key=house.birch)
    public = acme.get("/checkpoint").content
    for client in (house.client("192.0.2.7"), acme, birch, house.client(key={"Authorization": "Bearer nonsense"})):
        found = client.get("/logs/acme/checkpoint")
        assert (found.status_code, found.content) == (200, public)
        assert found.headers["cache-control"].startswith("public")
        assert client.get("/logs/acme/tile/0/000.p/1").status_code == 200
        assert client.get("/logs/acme/tile/entries/000.p/1").status_code == 200
        assert client.get("/logs/acme/tile/0/009").status_code == 404
        assert client.get("/logs/acme/api/whoami").status_code in (401, 404)
        assert client.get("/logs/acme/../birch/checkpoint").status_code in (401, 404, 200)
    assert birch.get("/logs/birch/checkpoint").content == birch.get("/checkpoint").content
    for path in ("/logs/birch/checkpoint", "/logs/none/checkpoint"):
        assert acme.get(path).status_code == 404
        assert house.client("192.0.2.7").get(path).status_code == 401


def test_scopes_count_within_each_ledger(house: House) -> None:
    folder = house.working("acme").keyring.folder
    reader = house.client(key=make_key(folder, "read"))
    assert reader.get("/api/whoami").status_code == 200
    assert reader.post("/api/publish_interaction", json=a_request()).status_code == 403
    assert reader.get("/openapi.json").status_code == 200


def test_a_key_that_two_ledgers_have_opens_neither(house: House) -> None:
    folders = [house.working(name).keyring.folder for name in ("acme", "birch")]
    (folders[1] / "api-keys.json").write_bytes((folders[0] / "api-keys.json").read_bytes())
    assert house.client(key=house.acme).get("/api/whoami").status_code == 401
