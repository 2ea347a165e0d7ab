"""A server that takes connections and answers nothing: who appends is told in the end, and asks no more than once."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy.exc import OperationalError

from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.errors import Conflict, OutcomeUnknown, Unavailable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres import connecting, recorder
from affidavit.ledger.store.postgres.connecting import (
    BoundedConnection,
    Login,
    NoAnswer,
    Role,
    parse_address,
    waiting_at_most,
)
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.store.postgres.reader import check_version
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runner import views_engine
from affidavit.tests.ledger.store.noting import check, noted
from affidavit.tests.proxy import Proxy
from affidavit.tests.servers import VERSIONS, Servers, server_or_skip
from affidavit.tests.stores import every_postgresql, server_of

from .test_postgres_faults import before_commit


@pytest.fixture
def through(
    place: Place, proxy: Proxy, tmp_path: Path, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    """A ledger with an entry, reached through the proxy; who appends has not much patience."""
    monkeypatch.setattr(connecting, "_GRACE_SECONDS", 0.3)
    monkeypatch.setattr(recorder, "_LAST_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(recorder, "_READ_SECONDS", 0.4)
    assert isinstance(place, PostgresPlace)
    conninfo = make_conninfo(place.login.conninfo, host=str(proxy.home))
    behind = PostgresPlace(replace(place.login, conninfo=conninfo, commit_timeout=0.2))
    with Ledger(behind, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as opened:
        opened.record(noted(0))
        opened.alias("user", "Ada")
        yield opened
        proxy.speak()


@every_postgresql
def test_a_server_that_hangs_before_a_commit_costs_one_wait_and_no_second(through: Ledger, proxy: Proxy) -> None:
    before = proxy.connections
    proxy.fall_silent()
    with pytest.raises(Unavailable, match=r"gave no answer for .* nothing was acknowledged"):
        through.record(noted(1))
    with pytest.raises(Unavailable, match="gave no answer for"):
        through.alias("user", "Bob")
    assert proxy.connections == before, "nobody is asked again once as long was waited as one waits"
    proxy.speak()
    assert through.record(noted(1))[0].seq == 2
    assert through.name_of(through.alias("user", "Bob")) == "Bob"


@every_postgresql
@pytest.mark.parametrize("heard", [False, True])
def test_a_server_that_hangs_while_it_commits_is_asked_once_more_how_that_ended(
    through: Ledger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, heard: bool
) -> None:
    before = proxy.connections
    before_commit(through, monkeypatch, lambda: proxy.fall_silent(heard=heard))
    with pytest.raises(OutcomeUnknown, match="whether they are recorded could not be found out"):
        through.record(noted(1))
    assert proxy.connections == before + 1
    proxy.speak()
    if heard:
        with pytest.raises(Conflict):
            through.record(noted(1))
    else:
        assert through.record(noted(1))[0].seq == 2
    assert len(check(through)) == 3


@every_postgresql
def test_who_reads_is_told_in_the_end_that_a_server_hangs(through: Ledger, proxy: Proxy) -> None:
    proxy.fall_silent()
    with pytest.raises(Unavailable, match="gave no answer for"):
        through.recorder.max_notification_id()
    proxy.speak()
    assert through.recorder.max_notification_id() == 2


@pytest.fixture
def behind(place: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresPlace]:
    """A ledger behind the proxy, for whoever wonders early whether the server hangs."""
    monkeypatch.setattr(connecting, "_QUIET_SECONDS", 0.2)
    monkeypatch.setattr(connecting, "_LOOK_SECONDS", 2)
    assert isinstance(place, PostgresPlace)
    conninfo = make_conninfo(place.login.conninfo, host=str(proxy.home), connect_timeout=2)
    with proxy.hanging_up_after(120):
        yield PostgresPlace(replace(place.login, conninfo=conninfo))


@every_postgresql
def test_whoever_waits_without_another_bound_is_told_that_the_server_hangs(
    behind: PostgresPlace, proxy: Proxy, tmp_path: Path, edge: Edge
) -> None:
    with (
        Ledger(behind, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as ledger,
        closing(views_engine(behind.views).connect()) as views,
        behind.snapshot() as reader,
        closing(behind.lock("signing")) as signing,
        closing(behind.lock("views")) as idle,
        closing(behind.locks("judging")) as judging,
        closing(behind.scope_keys_to_read(ledger.keys.master_key(), ledger.genesis)) as keys,
    ):
        with idle.held():
            pass
        with signing.held():
            proxy.fall_silent()
            asked: list[Callable[[], object]] = [
                lambda: views.exec_driver_sql("SELECT 1"),
                lambda: list(reader.entries()),
                signing.require_held,
                idle.held().__enter__,
                lambda: judging.take(1),
                lambda: keys.names_of(["a"]),
                lambda: check_version(behind.login.connect("reader"), behind.login),
            ]
            with ThreadPoolExecutor(len(asked)) as at_once:
                for answer in [at_once.submit(each) for each in asked]:
                    with pytest.raises((Unavailable, OperationalError), match=r"lets nobody in|timeout expired"):
                        answer.result()
        proxy.speak()
        with signing.held():
            signing.require_held()
        assert judging.take(1)


@every_postgresql
def test_a_follower_that_hears_nothing_can_be_stopped_and_goes_on_once_the_server_does(
    behind: PostgresPlace, proxy: Proxy, tmp_path: Path, edge: Edge
) -> None:
    with Ledger(behind, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as ledger:
        with ledger.recorder.growing() as growth:
            assert growth.wait_past(0)
            proxy.fall_silent()
            passed: list[bool] = []
            waiting = threading.Thread(target=lambda: passed.append(growth.wait_past(0)))
            waiting.start()
            before = proxy.connections
            while proxy.connections < before + 2:  # it looked, gave the session up, and tries to make another
                threading.Event().wait(0.01)
            proxy.speak()
            waiting.join()
            assert passed == [True]
            proxy.fall_silent()
            waiting = threading.Thread(target=lambda: passed.append(growth.wait_past(1)))
            waiting.start()
            growth.stop()
            waiting.join(60)
            assert passed == [True, False]
        proxy.speak()


@every_postgresql
def test_a_statement_that_takes_its_time_and_a_lock_of_another_are_waited_for(
    behind: PostgresPlace, proxy: Proxy
) -> None:
    with closing(behind.login.connect("reader")) as db, closing(behind.lock("signing")) as lock:
        before = proxy.connections
        assert db.execute("SELECT 1 FROM pg_sleep(1)").fetchone() == (1,)
        assert proxy.connections >= before + 2, "it was looked more than once"
        with closing(behind.lock("signing")) as other, other.held():
            taken = threading.Event()

            def take() -> None:
                with lock.held():
                    taken.set()

            waiting = threading.Thread(target=take)
            waiting.start()
            before = proxy.connections
            while proxy.connections < before + 3:
                threading.Event().wait(0.01)
            assert not taken.is_set()
        waiting.join(60)
        assert taken.is_set()


@every_postgresql
@pytest.mark.parametrize("refused", ["user=nobody", "port=1"])
def test_a_server_that_refuses_who_looks_does_not_hang(behind: PostgresPlace, refused: str) -> None:
    with closing(behind.login.connect("reader")) as db:
        db.conninfo = f"{refused} dbname=postgres"
        assert db.execute("SELECT 1 FROM pg_sleep(0.5)").fetchone() == (1,)


@every_postgresql
def test_it_is_asked_whether_that_host_answers_which_the_session_is_on(
    behind: PostgresPlace, proxy: Proxy, servers: Servers, store: str
) -> None:
    hosts = f"{proxy.home},{server_of(servers, store).home}"
    login = replace(behind.login, conninfo=make_conninfo(behind.login.conninfo, host=hosts))
    with closing(login.connect("reader")) as db:
        proxy.fall_silent()
        with pytest.raises(NoAnswer, match="lets nobody in"):
            db.execute("SELECT 1")
        assert db.closed


@every_postgresql
def test_an_answer_that_comes_while_it_is_looked_is_heard(
    behind: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lets_in(db: BoundedConnection) -> bool:
        select.select([db], [], [])
        return False

    monkeypatch.setattr(BoundedConnection, "_lets_in", lets_in)
    with closing(behind.login.connect("reader")) as db:
        assert db.execute("SELECT 1 FROM pg_sleep(0.5)").fetchone() == (1,)


@every_postgresql
def test_who_waits_a_minute_or_less_does_not_look(behind: PostgresPlace, proxy: Proxy) -> None:
    with closing(behind.login.connect("reader")) as db:
        before = proxy.connections
        with waiting_at_most(60):
            db.execute("SELECT pg_sleep(0.5)")
        assert proxy.connections == before


def test_what_one_waits_for_shares_what_one_is_willing_to_wait() -> None:
    with waiting_at_most(10):
        with waiting_at_most(3):
            connecting._PATIENCE.left = 1.0  # two seconds were waited
        assert connecting._PATIENCE.left == 8
        with waiting_at_most(None):
            assert connecting._PATIENCE.left is None
        assert connecting._PATIENCE.left == 8
        with waiting_at_most(20):
            assert connecting._PATIENCE.left == 8, "no block waits longer than the one around it"
            other: list[float | None] = []
            thread = threading.Thread(target=lambda: other.append(connecting._PATIENCE.left))
            thread.start()
            thread.join()
            assert other == [None], "each thread has its own"
    assert connecting._PATIENCE.left is None


@pytest.mark.parametrize(
    ("hosts", "left", "expected"), [("a", 30, 10), ("a", 7.5, 7), ("a,b", 9, 4), ("a,b,c", 1, 2), ("a", 0.1, 2)]
)
def test_connecting_takes_no_longer_than_one_is_willing_to_wait(hosts: str, left: float, expected: int) -> None:
    login = parse_address(f"postgresql://u@/db?host={hosts}")
    with waiting_at_most(left):
        assert login._hurried()["connect_timeout"] == expected
    assert login._hurried() == login.parameters


def test_nobody_is_connected_to_once_nothing_is_left_to_wait() -> None:
    with waiting_at_most(0), pytest.raises(Unavailable, match="as long as one waits"):
        parse_address("postgresql://u@/db?host=/nowhere").connect("writer")


@pytest.fixture
def tcp_place() -> Iterator[PostgresPlace]:
    """On a server that is reached by TCP, at an address of this process: the system keeps no other connection alive."""
    host = "127.{}.{}.{}".format(*os.getpid().to_bytes(3, "big"))
    server = server_or_skip(VERSIONS[-1], listen_addresses=host, fsync="off")
    try:
        server.start()
        login = parse_address(server.url())
        yield PostgresPlace(replace(login, conninfo=make_conninfo(login.conninfo, host=host)))
    finally:
        server.delete()


def test_either_side_notices_that_the_other_has_lost_its_power(
    tcp_place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes, reads, looks at keys, views or holds a lock."""
    made: list[BoundedConnection] = []
    connect = Login.connect

    def connected(login: Login, role: Role | None = None) -> BoundedConnection:
        made.append(connect(login, role))
        return made[-1]

    with Ledger.create(tcp_place, tmp_path / "keys", REGISTRY, sign_in_background=False) as ledger:
        monkeypatch.setattr(Login, "connect", connected)
        lock = tcp_place.lock("signing")
        with lock.held(), closing(tcp_place.locks("judging")), closing(tcp_place.views.connect()):
            ledger.record(noted(0))
            for db in [db for db in made if not db.closed]:
                assert _shown(db, "idle", "interval", "count") == [10, 5, 3]
                with socket.socket(fileno=os.dup(db.fileno())) as here:
                    assert here.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                    assert here.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            assert len({id(db) for db in made if not db.closed}) >= 3
        lock.close()


def _shown(db: BoundedConnection, *settings: str) -> list[int]:
    rows = [db.execute(f"SHOW tcp_keepalives_{name}".encode()).fetchone() for name in settings]
    return [int(row[0]) for row in rows if row]
