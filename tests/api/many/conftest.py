"""Two ledgers that one server serves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from affidavit.api.cli.serve_commands import _close, _opened
from affidavit.api.http.limits import Limits
from affidavit.api.keyring import Keyring
from affidavit.api.many.front import Front
from affidavit.api.many.listed import Listed
from affidavit.api.many.tenant import Tenant
from affidavit.api.many.working import Working
from affidavit.api.workers.settings import WorkerSettings
from affidavit.ledger.application import Ledger
from affidavit.ledger.store.place import Place
from affidavit.projections.registry import REGISTRY
from affidavit.tests.api.http.conftest import LOCAL

AT = "2026-11-22T10:00:00+00:00"
Headers = dict[str, str]


@dataclass(frozen=True)
class House:
    """``acme``, whose log is public, and ``birch``, whose is not. A key of each with every scope."""

    front: Front
    tenants: list[Tenant]
    acme: Headers
    birch: Headers

    def client(self, host: str = "127.0.0.1", key: Headers | None = None) -> TestClient:
        return TestClient(self.front, base_url=LOCAL, headers=key or {}, client=(host, 1))

    def working(self, name: str) -> Working:
        found = next(tenant.working for tenant in self.tenants if tenant.listed.name == name)
        assert found is not None
        return found


def list_ledger(name: str, place: Place, keys: Path, *, public: bool = False, at_once: int = 32) -> Listed:
    limits = Limits(requests_at_once=at_once, body_seconds=5)
    return Listed(name, place, keys, f"org {name}", public, limits, None, None)


def make_key(folder: Path, *scopes: str) -> Headers:
    token, _ = Keyring(folder).create(scopes or ("admin",), "test", AT)
    return {"Authorization": f"Bearer {token}"}


def only_folder(keys: Path) -> Path:
    (folder,) = (path for path in keys.iterdir() if path.is_dir())
    return folder


@pytest.fixture
def at_once() -> int:
    """How many requests each ledger may have at a time."""
    return 32


@pytest.fixture
def house(place: Place, nowhere: Place, tmp_path: Path, at_once: int) -> Iterator[House]:
    if str(nowhere) == str(place):  # both are the folder of the test
        from affidavit.ledger.store.sqlite.place import FolderPlace

        nowhere = FolderPlace(tmp_path / "another")
    Ledger.create(nowhere, tmp_path / "others", REGISTRY, sign_in_background=False).close()
    stopping = threading.Event()
    listed = [
        list_ledger("acme", place, tmp_path / "keys", public=True, at_once=at_once),
        list_ledger("birch", nowhere, tmp_path / "others", at_once=at_once),
    ]
    tenants = [Tenant(each, partial(_opened, WorkerSettings(), None, stopping)) for each in listed]
    acme, birch = (make_key(only_folder(tmp_path / name)) for name in ("keys", "others"))
    for tenant in tenants:
        tenant.start()
    for tenant in tenants:
        tenant.tried.wait()
    yield House(Front(tenants, stopping), tenants, acme, birch)
    _close(tenants)
