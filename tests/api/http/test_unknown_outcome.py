"""Publishing where the answer to the commit is lost, and nobody can say at once how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from starlette.testclient import TestClient

from affidavit.api.http.app import create_app, open_service
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres import recorder as postgres_recorder
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.store.postgres.recorder import PostgresRecorder
from affidavit.projections.registry import REGISTRY
from affidavit.tests.proxy import Cut, Proxy
from affidavit.tests.stores import every_postgresql

from .conftest import LOCAL, a_request

pytestmark = every_postgresql


@pytest.fixture
def through(place: Place, proxy: Proxy, tmp_path: Path, edge: Edge) -> Iterator[Ledger]:
    """A new ledger, reached through the proxy."""
    assert isinstance(place, PostgresPlace)
    behind = PostgresPlace(replace(place.login, conninfo=make_conninfo(place.login.conninfo, host=str(proxy.home))))
    with Ledger(behind, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as opened:
        yield opened


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("request_id", ["r1", None])
def test_whoever_asks_again_with_the_id_is_answered_once(
    through: Ledger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, cut: Cut, request_id: str | None
) -> None:
    recorder = through.recorder
    assert isinstance(recorder, PostgresRecorder)
    monkeypatch.setattr(postgres_recorder, "_LAST_LOOK_SECONDS", 0.0)
    seal, connected, login = recorder._seal, recorder._connected, recorder._login

    def cut_and_gone(*given: Any) -> Any:
        monkeypatch.setattr(recorder, "_seal", seal)
        proxy.cut_next(cut)
        monkeypatch.setattr(recorder, "_connected", lambda: _raise(Unavailable("gone")))
        return seal(*given)

    with open_service(through) as service:
        client = TestClient(create_app(service), base_url=LOCAL, client=("127.0.0.1", 40_000))
        assert client.post("/api/publish_interaction", json=a_request("r0")).status_code == 200
        monkeypatch.setattr(recorder, "_login", replace(login, commit_timeout=0.0))
        monkeypatch.setattr(recorder, "_seal", cut_and_gone)
        unknown = client.post("/api/publish_interaction", json=a_request(request_id))
        monkeypatch.setattr(recorder, "_connected", connected)
        monkeypatch.setattr(recorder, "_login", login)
        problem = unknown.json()
        again = client.post("/api/publish_interaction", json=a_request(problem["request_id"]))

    assert (unknown.status_code, problem["rule"], unknown.headers["retry-after"]) == (503, "outcome_unknown", "1")
    assert again.status_code == 200
    assert again.json()["repeated"] is (cut == "after")
    with through.recorder.reading() as reader:
        assert reader.head().size == 1 + 3 + 3, "it is there once"


def _raise(error: Exception) -> Any:
    raise error
