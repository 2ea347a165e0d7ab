"""The recorded world of ``world.py``, and visitors of its pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.app import create_app
from affidavit.api.http.service import Service

from .world import copied_world

LOCAL = "http://127.0.0.1:8128"


@pytest.fixture(scope="session")
def world(made_world: tuple[Path, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The world's service, for tests that only read."""
    with copied_world(*made_world, tmp_path_factory.mktemp("world")) as service:
        yield service


@pytest.fixture(scope="session")
def visitor(world: Service) -> TestClient:
    """Somebody on this machine without a key, who reads the pages of ``world``. Redirects are not followed."""
    return visiting(world)


@pytest.fixture
def own_world(made_world: tuple[Path, int], tmp_path: Path) -> Iterator[Service]:
    """A copy of the world for a test that records something."""
    with copied_world(*made_world, tmp_path) as service:
        yield service


@pytest.fixture
def own_visitor(own_world: Service) -> TestClient:
    """As ``visitor``, of ``own_world``."""
    return visiting(own_world)


def visiting(service: Service) -> TestClient:
    """A client of a service, on this machine."""
    return TestClient(create_app(service), base_url=LOCAL, client=("127.0.0.1", 40_000), follow_redirects=False)
