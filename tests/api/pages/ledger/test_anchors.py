"""Anchors: what was stamped, that it fits, and what it proves of the times of entries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from affidavit.api.anchoring import Anchoring, Authority, anchor_now
from affidavit.api.http.app import create_app, open_service
from affidavit.api.http.service import Service
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.events import ClockSteppedBack
from affidavit.ledger.folds.anchors import Anchor
from affidavit.ledger.store.folding import read_anchors
from affidavit.ledger.store.sqlite.tokens import anchor_path
from affidavit.tests.authority import Authority as Stamping
from affidavit.tests.authority import serving
from affidavit.tests.folders import folder_of


def _anchor(service: Service) -> Anchor:
    with service.ledger.recorder.reading() as reader:
        return read_anchors(reader)[0]


def test_an_anchor_is_shown_with_its_token(world: Service, visitor: TestClient) -> None:
    anchor = _anchor(world)
    text = visitor.get("/ledger/anchors").text
    assert f'href="/ledger/entries/{anchor.seq}"' in text
    assert anchor.token_sha256 in text
    assert "hash, checkpoint and time" in text
    assert "Whose signatures these are was not checked" in text
    token = visitor.get(f"/ledger/anchors/{anchor.size}/token")
    assert token.content == anchor_path(folder_of(world.ledger), anchor.size).read_bytes()
    assert visitor.get("/ledger/anchors/3/token").status_code == 404


def test_before_it_nothing_was_anchored(visitor: TestClient) -> None:
    assert "Nothing was ever anchored." in visitor.get("/ledger/anchors", params={"as_of": "5"}).text


def test_a_token_that_is_another_is_damage(own_world: Service, own_visitor: TestClient) -> None:
    anchor = _anchor(own_world)
    path = anchor_path(folder_of(own_world.ledger), anchor.size)
    path.write_bytes(path.read_bytes() + b"\0")
    assert "recorded is" in own_visitor.get("/ledger/anchors").text


@pytest.fixture
def anchored(ledger: Ledger, now: list[int]) -> Iterator[TestClient]:
    """A server that knows the roots of its authority; entry 1 was anchored, entry 2 records that."""
    stamping = Stamping(lambda: now[0])
    ledger.record(NewEvent("clock", 0, ClockSteppedBack(behind=1), Meta()))
    with serving(stamping.reply) as url:
        authority = Authority(url, (stamping.root_pem,))
        anchor_now(ledger, authority)
        with open_service(ledger, clock=lambda: now[0], anchoring=Anchoring(ledger, authority)) as service:
            yield TestClient(create_app(service), base_url="http://127.0.0.1:8128", client=("127.0.0.1", 40_000))


def test_with_the_authoritys_roots_the_times_are_proven(anchored: TestClient, tmp_path: Path) -> None:
    text = anchored.get("/ledger/anchors").text
    assert "and its signature verifies" in text
    assert "0 to 1</th>" in text
    assert "2 to 2</th>" in text
    assert "This server asks 127.0.0.1 every" in text
