"""A server in memory over a new ledger, a caller on this machine, and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.app import create_app, open_service
from affidavit.api.http.service import Service, Settings
from affidavit.ledger.application import Ledger

LOCAL = "http://127.0.0.1:8128"


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def service(ledger: Ledger, now: list[int], settings: Settings) -> Iterator[Service]:
    """What the server works with; its clock is the test's."""
    with open_service(ledger, settings, clock=lambda: now[0]) as opened:
        yield opened


@pytest.fixture
def client(service: Service) -> TestClient:
    """A caller on this machine without a key."""
    return TestClient(create_app(service), base_url=LOCAL, client=("127.0.0.1", 40_000))


@pytest.fixture
def key(service: Service) -> Callable[..., dict[str, str]]:
    """Makes a key with scopes: the header that shows it."""

    def make(*scopes: str) -> dict[str, str]:
        token, _ = service.keyring.create(scopes, "test", "2026-11-22T10:00:00+00:00")
        return {"Authorization": f"Bearer {token}"}

    return make
