"""Fixtures for all tests."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.proxy import Proxy
from affidavit.tests.scratch import prefer_memory
from affidavit.tests.servers import Servers
from affidavit.tests.stores import STORES, Databases, make_ledger, server_of

settings.register_profile("untimed", deadline=None)  # a slow machine is no failure
settings.load_profile("untimed")
prefer_memory()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stores(*names): run it once for each of these stores, where it has one")
    config.addinivalue_line("markers", "long: it takes half a minute or more, and comes first")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first: at the end one worker would be busy with it, and the others would wait."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    stores = metafunc.definition.get_closest_marker("stores")
    if stores is not None and "store" in metafunc.fixturenames:
        metafunc.parametrize("store", stores.args, indirect=True)


@pytest.fixture
def vectors() -> Path:
    """The vectors of other projects, beside the checkout; a test that needs them skips without them."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "vectors"
    if not folder.is_dir():
        pytest.skip(f"../shared/vectors is not here: {folder}")
    return folder


@pytest.fixture
def now() -> list[int]:
    """The time in microseconds since 1970: 2026-11-22T10:00:00Z, one more at each look, settable as ``now[0]``."""
    return [1_795_341_600_000_000]


@pytest.fixture
def edge(now: list[int]) -> Edge:
    """A clock that the test sets and random bytes that are the same each time."""
    stream = random.Random(1)

    def clock() -> int:
        now[0] += 1
        return now[0]

    return Edge(clock, stream.randbytes)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new ledger and its keys, to be copied: making one waits for the disk many times."""
    folder = tmp_path_factory.mktemp("made")
    make_ledger(folder / "ledger", folder / "keys")
    return folder


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Real PostgreSQL servers; a test that needs a version that is not here is skipped."""
    running = Servers()
    yield running
    running.close()


@pytest.fixture(scope="session")
def databases(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    return Databases(servers, tmp_path_factory.mktemp("made-in-databases"))


@pytest.fixture(scope="session")
def made_world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder of the recorded world of tests/api/pages, to be copied, and where its clock stands; the workers of a
    session share it."""
    from affidavit.tests.api.pages.world import make_once  # it takes long to import, and few tests need it

    base = tmp_path_factory.getbasetemp()
    return make_once(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """What keeps the ledger: SQLite, unless the test is one of ``stores.every_store``."""
    return str(getattr(request, "param", STORES[0]))


@pytest.fixture
def nowhere(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place where no ledger lies."""
    if store == STORES[0]:
        yield FolderPlace(tmp_path / "ledger")
        return
    databases: Databases = request.getfixturevalue("databases")
    place = databases.empty(store)
    yield place
    databases.drop(store, place)


@pytest.fixture
def place(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place with a new ledger, closed. Its keys are under ``tmp_path/"keys"``; a folder is ``tmp_path/"ledger"``."""
    if store == STORES[0]:
        made_once: Path = request.getfixturevalue("made_once")
        for name in ("ledger", "keys"):
            shutil.copytree(made_once / name, tmp_path / name)
        yield FolderPlace(tmp_path / "ledger")
        return
    databases: Databases = request.getfixturevalue("databases")
    place = databases.with_ledger(store, tmp_path / "keys")
    yield place
    databases.drop(store, place)


@pytest.fixture
def proxy(store: str, servers: Servers) -> Iterator[Proxy]:
    """Stands before the server of ``store``, which is one of ``stores.POSTGRESQL``."""
    proxy = Proxy(server_of(servers, store).home)
    yield proxy
    proxy.close()


@pytest.fixture
def ledger(place: Place, tmp_path: Path, edge: Edge) -> Iterator[Ledger]:
    """A new ledger in ``place``, open; it signs only when asked."""
    with Ledger(place, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as opened:
        yield opened
