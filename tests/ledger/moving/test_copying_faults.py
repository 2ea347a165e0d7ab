"""A copy whose connections are cut, whose primary is lost, or whose witnesses are silent, is finished in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from affidavit.domain.event import Meta
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.moving import copying
from affidavit.ledger.moving.copying import Copied, _Source, copy_ledger
from affidavit.ledger.store.folding import read_moved
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.connecting import parse_address
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.ledger.tlog.cosignature import open_cosigned
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.moving.worlds import contents, empty_place, fill, require_moved
from affidavit.tests.ledger.signing.test_cosigning import KEYS, Witnesses
from affidavit.tests.proxy import Cut, Proxy
from affidavit.tests.servers import VERSIONS, NotHere, Pair, Servers
from affidavit.tests.stores import POSTGRESQL, Databases, server_of

POSTGRES = POSTGRESQL[-1]
CUTS: tuple[Cut, ...] = ("before", "after", "within")


@pytest.fixture
def proxy(servers: Servers) -> Iterator[Proxy]:
    proxy = Proxy(server_of(servers, POSTGRES).home)
    yield proxy
    proxy.close()


def behind(place: Place, proxy: Proxy) -> PostgresPlace:
    """The same place, reached through the proxy."""
    assert isinstance(place, PostgresPlace)
    return PostgresPlace(replace(place.login, conninfo=make_conninfo(place.login.conninfo, host=str(proxy.home))))


def copied(ledger: Ledger, source: Place, destination: Place, **more: Any) -> Copied:
    return copy_ledger(source, destination, ledger.keys.path.parent, REGISTRY, edge=ledger._edge, **more)


def copy_in_the_end(ledger: Ledger, source: Place, destination: Place, proxy: Proxy) -> int:
    """Cut it at one turn after another, and call it again each time; how many attempts that took."""
    for attempt, cut in enumerate(cycle(CUTS)):
        proxy.cut_next(cut, after=attempt * 4)
        with suppress(Unavailable):
            copied(ledger, source, destination)
            if not proxy.cuts > attempt:
                proxy.cut_nothing()
                return attempt
        proxy.cut_nothing()
        require_one_head(source, destination)
    raise AssertionError


def require_one_head(*places: Place) -> None:
    heads = 0
    for place in places:
        if place.exists():
            with place.glance() as reader:
                heads += read_moved(reader) is None
    assert heads <= 1


@pytest.mark.stores(POSTGRES)
def test_a_source_whose_connections_are_cut_is_copied_in_the_end(ledger: Ledger, proxy: Proxy, tmp_path: Path) -> None:
    fill(ledger, bulk=20)
    ledger.close()
    elsewhere = FolderPlace(tmp_path / "elsewhere")
    assert copy_in_the_end(ledger, behind(ledger.place, proxy), elsewhere, proxy) > 8
    require_moved(ledger, elsewhere)
    assert not elsewhere.unfinished.exists()


def test_a_destination_whose_connections_are_cut_has_it_all_in_the_end(
    ledger: Ledger, databases: Databases, proxy: Proxy, tmp_path: Path
) -> None:
    fill(ledger, bulk=20)
    ledger.close()
    with empty_place(databases, POSTGRES, tmp_path) as empty:
        elsewhere = behind(empty, proxy)
        assert copy_in_the_end(ledger, ledger.place, elsewhere, proxy) > 8
        require_moved(ledger, elsewhere)
        assert not elsewhere.unfinished.exists()


@pytest.fixture
def pair() -> Iterator[Pair]:
    try:
        pair = Pair(VERSIONS[-1])
    except NotHere as error:
        pytest.skip(str(error))
    try:
        yield pair
    finally:
        pair.delete()


@contextmanager
def lost_after(pair: Pair, owner: Any, name: str) -> Iterator[None]:
    """The primary is lost as soon as this has been done once."""
    original = getattr(owner, name)
    lost: list[bool] = []

    def done(*given: Any, **more: Any) -> Any:
        answer = original(*given, **more)
        if not lost:
            lost.append(True)
            pair.fail_over()
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, done)
        try:
            yield
        finally:
            assert lost


def test_it_goes_on_at_the_standby_where_the_primary_of_both_ends_is_lost_on_the_way(
    pair: Pair, tmp_path: Path
) -> None:
    login = parse_address(pair.url)

    def named(name: str) -> PostgresPlace:
        return PostgresPlace(replace(login, name=name, schema=name))

    steps: tuple[tuple[Any, str], ...] = ((_Source, "_close_here"), (copying, "_arrive"))
    ledgers = []
    for n in range(len(steps)):
        with Ledger.create(named(f"here{n}"), tmp_path / "keys", REGISTRY, sign_in_background=False) as ledger:
            fill(ledger, bulk=20)
            ledgers.append(ledger)
    for n, (ledger, (owner, name)) in enumerate(zip(ledgers, steps, strict=True)):
        pair.attach()
        source, destination = named(f"here{n}"), named(f"there{n}")
        with suppress(Unavailable), lost_after(pair, owner, name):
            copied(ledger, source, destination)
        require_one_head(source, destination)
        copied(ledger, source, destination)
        require_moved(ledger, destination)
        with destination.glance() as reader:
            assert audit(reader, REGISTRY, Against(signed=ledger.keys.signed())).damage == []


@pytest.mark.parametrize("answering", [(), tuple(KEYS)], ids=["silent", "cosigning"])
def test_witnesses_that_are_required_are_asked_at_either_end_and_hold_up_publishing_alone(
    ledger: Ledger, tmp_path: Path, answering: tuple[str, ...]
) -> None:
    fill(ledger, bulk=5)
    ledger.close()
    witnesses = Witnesses(required=True, answering=answering)
    elsewhere = FolderPlace(tmp_path / "elsewhere")
    size = copied(ledger, ledger.place, elsewhere, cosigners=witnesses, meta=Meta()).size
    assert contents(ledger.place)["entries"] == contents(elsewhere)["entries"]
    assert ledger.keys.signed().size == size
    assert largest_published(elsewhere) == (size if answering else min(largest_published(ledger.place), size))
    assert copied(ledger, ledger.place, elsewhere, cosigners=witnesses).again

    witnesses.answering = tuple(KEYS)
    keys = ledger.keys.path.parent
    with Ledger(elsewhere, keys, REGISTRY, edge=ledger._edge, sign_in_background=False, cosigners=witnesses) as opened:
        assert opened.sign().size == size
        with opened.recorder.reading() as reader:
            notes = dict(reader.checkpoints())
            signers = [signer.key for signer in opened.identity().ranges]
            known = [key.verifier_key for key in KEYS.values()]
            cosigned = open_cosigned(notes[size], signers, known, opened.origin)
            verdict = audit(reader, REGISTRY, Against(signed=opened.keys.signed()))
    assert {each.key for each in cosigned.cosignatures} == {*known}
    assert verdict.damage == []


def largest_published(place: Place) -> int:
    with place.glance() as reader:
        return max(size for size, _ in reader.checkpoints())
