"""Handing in and reading reviews over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from affidavit.api.cli import review_commands
from affidavit.api.cli.review_commands import Asked
from affidavit.api.client import AffidavitClient
from affidavit.api.http.service import Service
from affidavit.api.record import RecordingLedger
from affidavit.ledger.entries.review import Statement, Subject, sign_statement
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.tlog.note import ED25519, print_vkey
from affidavit.ledger.tlog.private_key import NotePrivateKey, print_private_key, write_private_key

ADA = NotePrivateKey("ada@example.org", ED25519, bytes(range(32)))
VKEY = print_vkey(ADA.verifier_key)

Key = Callable[..., dict[str, str]]


@pytest.fixture
def note(service: Service) -> str:
    """Ada's statement about run 001."""
    RecordingLedger(service.ledger).start_run(strategy="iterative", prompt="Answer.", config={})
    size, root = service.head()
    statement = Statement(
        service.ledger.origin, Subject(run="001"), size, root, "reject", "2026-11-22T10:00:00Z", "Too few samples."
    )
    return sign_statement(statement, ADA).decode()


def test_a_signed_statement_is_taken_in_and_read(client: TestClient, key: Key, note: str) -> None:
    told = client.post("/api/reviews", json={"statement": note, "vkey": VKEY}, headers=key("review"))
    again = client.post("/api/reviews", json={"statement": note, "vkey": VKEY}, headers=key("review"))
    read = client.get("/api/reviews", params={"run": "001"}).json()
    assert told.status_code == again.status_code == 200
    assert told.json()["seq"] == again.json()["seq"] == 2
    (review,) = read["reviews"]
    assert (review["verdict"], review["reviewer"], review["vkey"]) == ("reject", ADA.name, VKEY)
    assert (review["statement"], review["problem"]) == (note, None)
    assert client.get("/api/reviews", params={"run": "001", "as_of": "1"}).json()["reviews"] == []
    assert client.get("/api/reviews").json()["reviews"] == []


def test_who_hands_it_in_is_the_actor(client: TestClient, service: Service, key: Key, note: str) -> None:
    seq = client.post("/api/reviews", json={"statement": note, "vkey": VKEY}, headers=key("review")).json()["seq"]
    with service.ledger.recorder.reading() as reader:
        found = service.ledger.event_reader(reader).event(seq)
    assert found is not None
    assert str(service.ledger.name_of(found.meta["actor"])).startswith("api-key ")
    assert [scope for _, scope in service.ledger.find_aliases("reviewer", ADA.name)] == [found.meta["scope"]]


@pytest.mark.parametrize(
    ("old", "new", "status", "rule"),
    [
        ("reject", "approve", 422, "review_invalid"),
        ("Too few", "Too many", 422, "review_invalid"),
        ("subject run 001", "subject run 009", 422, "review_invalid"),
    ],
)
def test_what_was_changed_on_the_way_is_refused(
    client: TestClient, key: Key, note: str, old: str, new: str, status: int, rule: str
) -> None:
    body = {"statement": note.replace(old, new), "vkey": VKEY}
    refused = client.post("/api/reviews", json=body, headers=key("review"))
    assert (refused.status_code, refused.json()["rule"]) == (status, rule)


def test_a_run_that_is_not_there_is_404_and_a_body_without_a_key_422(
    client: TestClient, service: Service, key: Key, note: str
) -> None:
    size, root = service.head()
    about = Statement(service.ledger.origin, Subject(run="9"), size, root, "reject", "2026-11-22T10:00:00Z", "?")
    body = {"statement": sign_statement(about, ADA).decode(), "vkey": VKEY}
    assert client.post("/api/reviews", json=body, headers=key("review")).status_code == 404
    assert client.post("/api/reviews", json={"statement": note}, headers=key("review")).status_code == 422
    assert client.post("/api/reviews", json={"statement": note, "vkey": ""}, headers=key("review")).status_code == 422


def test_reading_does_not_open_handing_in(client: TestClient, key: Key, note: str) -> None:
    refused = client.post("/api/reviews", json={"statement": note, "vkey": VKEY}, headers=key("read"))
    assert refused.status_code == 403


def test_a_review_can_be_erased_with_its_run_and_with_its_reviewer(
    client: TestClient, service: Service, key: Key, note: str, tmp_path: Path
) -> None:
    client.post("/api/reviews", json={"statement": note, "vkey": VKEY}, headers=key("review"))
    ((_, scope),) = service.ledger.find_aliases("reviewer", ADA.name)
    service.ledger.erase(scope, "user_request")
    (review,) = client.get("/api/reviews", params={"run": "001"}).json()["reviews"]
    assert (review["withheld"], review["words"], review["reviewer"]) == ("erased", None, None)
    assert (review["verdict"], review["problem"]) == ("reject", None)


def test_the_python_client_hands_in_and_lists(client: TestClient, service: Service, key: Key, note: str) -> None:
    token = key("review")["Authorization"].removeprefix("Bearer ")
    with AffidavitClient("http://127.0.0.1:8128", token, transport=client._transport) as python:
        assert python.submit_review(note, VKEY)["seq"] == 2
        assert [found["words"] for found in python.list_reviews("001")["reviews"]] == ["Too few samples."]


def test_the_command_signs_here_and_hands_in_there(
    client: TestClient,
    service: Service,
    key: Key,
    note: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = key("review")["Authorization"].removeprefix("Bearer ")
    bodies: list[bytes] = []

    class Watched(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            bodies.append(request.read())
            return client._transport.handle_request(request)

    monkeypatch.setattr(
        review_commands, "AffidavitClient", lambda url: AffidavitClient(url, token, transport=Watched())
    )
    key_file = tmp_path / "ada.key"
    write_private_key(key_file, ADA)
    asked = Asked("approve", "I read it.", "001", None, None, None)
    review_commands.sign_review(None, asked, key_file, "http://127.0.0.1:8128", None, as_json=False)
    (review,) = client.get("/api/reviews", params={"run": "001"}).json()["reviews"]
    assert (review["verdict"], review["reviewer"], review["size"]) == ("approve", ADA.name, 2)
    secret = print_private_key(ADA).split("+", 4)[4].encode()
    assert len(bodies) == 2
    assert not any(secret in body for body in bodies)
    with pytest.raises(Unavailable, match="review_known"):
        review_commands.sign_review(
            None, replace(asked, run="9"), key_file, "http://127.0.0.1:8128", None, as_json=False
        )
