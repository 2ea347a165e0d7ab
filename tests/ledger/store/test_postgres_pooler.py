"""A pooler between a ledger and its server: one that keeps sessions apart serves, another is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres import connecting
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import noted
from affidavit.tests.pooler import Pooler
from affidavit.tests.servers import Servers
from affidavit.tests.stores import every_postgresql, server_of

pytestmark = every_postgresql


@pytest.fixture(params=[False, True], ids=["shared", "each"])
def pooler(request: pytest.FixtureRequest, store: str, servers: Servers) -> Iterator[Pooler]:
    pooler = Pooler(server_of(servers, store).home, each=request.param)
    yield pooler
    pooler.close()


@pytest.fixture
def behind(place: Place, pooler: Pooler) -> PostgresPlace:
    assert isinstance(place, PostgresPlace)
    conninfo = make_conninfo(place.login.conninfo, host=str(pooler.home))
    return PostgresPlace(replace(place.login, conninfo=conninfo))


@pytest.mark.parametrize("pooler", [False], indirect=True)
def test_a_pooler_that_shares_sessions_is_refused_before_anything_is_asked(
    behind: PostgresPlace, tmp_path: Path
) -> None:
    for ask in (
        lambda: Ledger(behind, tmp_path / "keys", REGISTRY, sign_in_background=False),
        lambda: behind.lock("signing").held().__enter__(),
        lambda: behind.views.connect(),
        behind.exists,
    ):
        with pytest.raises(Unavailable, match="pool_mode = session"):
            ask()


@pytest.mark.parametrize("pooler", [True], indirect=True)
def test_a_pooler_that_keeps_sessions_apart_is_no_obstacle(
    behind: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(behind, tmp_path / "keys", REGISTRY, sign_in_background=False) as ledger:
        assert ledger.record(noted(0))[0].seq == 1
        assert ledger.sign().size == 2


@pytest.mark.parametrize("pooler", [False], indirect=True)
def test_a_session_that_is_taken_away_later_is_found_out_too(
    behind: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client may have come between the two that are compared: then the first one is asked again."""
    told = iter([(7,), (8,), (9,)])
    monkeypatch.setattr(connecting.Login, "_one", staticmethod(lambda *_: next(told)))
    with pytest.raises(Unavailable, match="pool_mode = session"):
        behind.login.connect()


def test_nobody_is_asked_twice_where_there_is_no_pooler(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(place, PostgresPlace)
    monkeypatch.delattr(connecting.Login, "_require_session")
    with closing(place.login.connect("writer")) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)
