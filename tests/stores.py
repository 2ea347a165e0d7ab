"""Where the tests of every store put their ledgers: a folder, or a database of its own on a server of each version."""

from __future__ import annotations

import random
import shutil
from itertools import count
from pathlib import Path

import pytest

from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.store.postgres.connecting import parse_address
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.servers import VERSIONS, Server, Servers

STORES = ("sqlite", *(f"postgresql{version}" for version in VERSIONS))
POSTGRESQL = STORES[1:]

every_store = pytest.mark.stores(*STORES)
"""Run a test, or all of a module that have a ledger, once for every store."""
every_postgresql = pytest.mark.stores(*POSTGRESQL)
only_sqlite = pytest.mark.stores(STORES[0])
"""For a test of SQLite alone in a module of every store."""

_MADE = "made"


def make_ledger(place: Path | PostgresPlace, keys: Path) -> None:
    """A new ledger, the same each time."""
    edge = Edge(lambda: 1_795_341_600_000_000, random.Random(0).randbytes)
    Ledger.create(place, keys, REGISTRY, edge=edge, sign_in_background=False).close()


def server_of(servers: Servers, store: str) -> Server:
    return servers.of(int(store.removeprefix("postgresql")))


class Databases:
    """Databases on the servers, each dropped by who asked for it. A new ledger is made once for each server."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._names = (f"test{n}" for n in count())
        self._keys: dict[str, Path] = {}

    def empty(self, store: str) -> PostgresPlace:
        """A place in a database that has no ledger."""
        name = next(self._names)
        server_of(self._servers, store).execute(f"CREATE DATABASE {name} STRATEGY FILE_COPY")
        return self._place(store, name)

    def with_ledger(self, store: str, keys: Path) -> PostgresPlace:
        """A place with a new ledger, its keys in the folder ``keys``."""
        server = server_of(self._servers, store)
        if store not in self._keys:
            self._keys[store] = self._folder / store
            server.execute(f"CREATE DATABASE {_MADE}")
            make_ledger(self._place(store, _MADE), self._keys[store])
        shutil.copytree(self._keys[store], keys)
        name = next(self._names)
        server.execute(f"CREATE DATABASE {name} TEMPLATE {_MADE} STRATEGY FILE_COPY")  # nothing waits for the disk
        return self._place(store, name)

    def drop(self, store: str, place: PostgresPlace) -> None:
        name = place.login.conninfo.partition("?")[0].rpartition("/")[2]
        server_of(self._servers, store).execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _place(self, store: str, name: str) -> PostgresPlace:
        return PostgresPlace(parse_address(server_of(self._servers, store).url(name)))
