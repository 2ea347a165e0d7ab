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
from affidavit.projections.registry import REGISTRY

settings.register_profile("untimed", deadline=None)  # a slow machine is no failure
settings.load_profile("untimed")


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
    edge = Edge(lambda: 1_795_341_600_000_000, random.Random(0).randbytes)
    Ledger.create(folder / "ledger", folder / "keys", REGISTRY, edge=edge, sign_in_background=False).close()
    return folder


@pytest.fixture(scope="session")
def made_world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder of the recorded world of tests/api/pages, to be copied, and where its clock stands; the workers of a
    session share it."""
    from affidavit.tests.api.pages.world import make_once  # it takes long to import, and few tests need it

    base = tmp_path_factory.getbasetemp()
    return make_once(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def ledger(tmp_path: Path, made_once: Path, edge: Edge) -> Iterator[Ledger]:
    """A new ledger in ``tmp_path/"ledger"``, its keys under ``tmp_path/"keys"``; it signs only when asked."""
    for name in ("ledger", "keys"):
        shutil.copytree(made_once / name, tmp_path / name)
    opened = Ledger(tmp_path / "ledger", tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False)
    with opened:
        yield opened
