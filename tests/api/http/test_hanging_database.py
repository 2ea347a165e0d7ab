"""Serving a ledger whose database takes connections and answers nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from starlette.testclient import TestClient

from affidavit.api.http.limits import Limits
from affidavit.api.http.service import Settings
from affidavit.api.many.working import at_work
from affidavit.api.telemetry.telemetry import Telemetry
from affidavit.api.workers.settings import WorkerSettings
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres import connecting
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.proxy import Proxy
from affidavit.tests.stores import POSTGRESQL

from .conftest import LOCAL, a_request

pytestmark = pytest.mark.stores(POSTGRESQL[-1])

READ = ("/healthz/eval", "/api/whoami", "/checkpoint", "/runs", "/")


@pytest.fixture
def behind(place: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresPlace]:
    """A ledger reached through the proxy, by whoever has not much patience."""
    monkeypatch.setattr(connecting, "_QUIET_SECONDS", 0.5)
    monkeypatch.setattr(connecting, "_LOOK_SECONDS", 2)
    assert isinstance(place, PostgresPlace)
    conninfo = make_conninfo(place.login.conninfo, host=str(proxy.home), connect_timeout=2)
    with proxy.hanging_up_after(120):
        yield PostgresPlace(replace(place.login, conninfo=conninfo, commit_timeout=2))


@pytest.fixture
def open_here(behind: PostgresPlace, tmp_path: Path, edge: Edge) -> Iterator[tuple[ExitStack, TestClient]]:
    """A ledger at work, which ends what the stack has, and a client of it."""
    opened = ExitStack()
    ledger = opened.enter_context(Ledger(behind, tmp_path / "keys", REGISTRY, edge=edge))
    telemetry = Telemetry(requests_at_once=256)
    working = opened.enter_context(at_work(ledger, Settings(Limits()), telemetry, WorkerSettings(), None))
    yield opened, TestClient(working.app, base_url=LOCAL, client=("127.0.0.1", 40_000))
    with suppress(Unavailable):
        opened.close()


def test_whoever_reads_is_told_to_come_again_and_is_answered_once_the_database_is(
    open_here: tuple[ExitStack, TestClient], proxy: Proxy
) -> None:
    _, client = open_here
    assert client.post("/api/publish_interaction", json=a_request()).status_code == 200
    proxy.fall_silent()
    with ThreadPoolExecutor(20) as at_once:
        read = [at_once.submit(client.get, path) for path in READ * 4]
        assert client.get("/health/live").status_code == 200
        ready = client.get("/health/ready")
        answers = [each.result() for each in read]
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
    assert {(answer.status_code, answer.headers.get("retry-after")) for answer in answers} == {(503, "1")}
    proxy.speak()
    while client.get(READ[0]).status_code != 200:  # whoever connected meanwhile is still waiting
        pass
    assert [client.get(path).status_code for path in (*READ, "/health/ready")] == [200] * (len(READ) + 1)


def test_who_serves_can_stop(open_here: tuple[ExitStack, TestClient], proxy: Proxy) -> None:
    opened, client = open_here
    assert client.post("/api/publish_interaction", json=a_request()).status_code == 200
    assert client.get("/healthz/eval").status_code == 200
    proxy.fall_silent()
    told: list[str] = []

    def close() -> None:
        try:
            opened.close()
        except Unavailable as error:
            told.append(str(error))

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
    assert all("lets nobody in" in each or "timeout expired" in each or "no answer" in each for each in told)
