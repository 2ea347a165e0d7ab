"""Connections that are cut, servers that end: what was acknowledged is there, and how a commit ended is found out."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.errors import Conflict, OutcomeUnknown, Unavailable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres import recorder as postgres_recorder
from affidavit.ledger.store.postgres.connecting import parse_address
from affidavit.ledger.store.postgres.following import Follower
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.store.postgres.recorder import PostgresRecorder
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import check, noted
from affidavit.tests.proxy import Cut, Proxy
from affidavit.tests.servers import VERSIONS, Server, server_or_skip
from affidavit.tests.stores import every_postgresql


@pytest.fixture
def through(place: Place, proxy: Proxy, tmp_path: Path, edge: Edge) -> Iterator[Ledger]:
    """A new ledger, reached through the proxy."""
    assert isinstance(place, PostgresPlace)
    conninfo = make_conninfo(place.login.conninfo, host=str(proxy.home))
    behind = PostgresPlace(replace(place.login, conninfo=conninfo))
    with Ledger(behind, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as opened:
        yield opened


def recorder_of(ledger: Ledger) -> PostgresRecorder:
    assert isinstance(ledger.recorder, PostgresRecorder)
    return ledger.recorder


def before_commit(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Let ``work`` be done once in the middle of the next commit, between its two round trips."""
    real = ledger.recorder._seal

    def seal(*arguments: Any) -> Any:
        monkeypatch.setattr(ledger.recorder, "_seal", real)
        work()
        return real(*arguments)

    monkeypatch.setattr(ledger.recorder, "_seal", seal)


def writer_of(ledger: Ledger) -> Connection[Any]:
    db = recorder_of(ledger)._db
    assert db is not None
    return db


@every_postgresql
@pytest.mark.parametrize("cut", ["before", "within"])
def test_a_commit_that_was_cut_off_before_it_arrived_is_no_acknowledgement(
    through: Ledger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, cut: Cut
) -> None:
    through.record(noted(0))
    before_commit(through, monkeypatch, lambda: proxy.cut_next(cut))
    with pytest.raises(Unavailable, match="nothing was acknowledged"):
        through.record(noted(1))
    assert proxy.cuts == 1
    assert len(check(through)) == 2
    assert through.record(noted(1))[0].seq == 2


@every_postgresql
def test_a_commit_whose_answer_was_cut_off_is_found_out_and_acknowledged(
    through: Ledger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    through.record(noted(0))
    before_commit(through, monkeypatch, lambda: proxy.cut_next("after"))
    (found,) = through.record(noted(1))
    assert (proxy.cuts, found.seq) == (1, 2)
    assert len(check(through)) == 3
    with pytest.raises(Conflict):
        through.record(noted(1))


@every_postgresql
def test_a_commit_whose_connection_is_terminated_is_found_out(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.record(noted(0))

    def terminate() -> None:
        assert isinstance(ledger.place, PostgresPlace)
        with ledger.place.login.connect() as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (writer_of(ledger).info.backend_pid,))

    before_commit(ledger, monkeypatch, terminate)
    with pytest.raises(Unavailable, match="nothing was acknowledged"):
        ledger.record(noted(1))
    terminate()  # between two appends nobody notices
    assert ledger.record(noted(1))[0].seq == 2
    ledger.alias("user", "Ada")


@every_postgresql
def test_an_outcome_that_cannot_be_found_out_is_said_to_be_unknown(
    through: Ledger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    through.record(noted(0))
    recorder = recorder_of(through)
    monkeypatch.setattr(postgres_recorder, "_LAST_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(recorder, "_login", replace(recorder._login, commit_timeout=0.0))
    connected = recorder._connected

    def cut_and_gone() -> None:
        proxy.cut_next("after")
        monkeypatch.setattr(recorder, "_connected", lambda: _raise(Unavailable("gone")))

    before_commit(through, monkeypatch, cut_and_gone)
    with pytest.raises(OutcomeUnknown, match="whether they are recorded could not be found out"):
        through.record(noted(1))
    monkeypatch.setattr(recorder, "_connected", connected)
    with pytest.raises(Conflict):  # it was; who tries again with the same position is told
        through.record(noted(1))
    assert len(check(through)) == 3


def _raise(error: Exception) -> Any:
    raise error


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of the test's own, which waits for the disk."""
    server = server_or_skip(request.param)
    try:
        yield server.start()
    finally:
        server.delete()


@pytest.fixture
def alone(server: Server, tmp_path: Path, edge: Edge) -> Iterator[Ledger]:
    """A new ledger on it."""
    place = PostgresPlace(parse_address(server.url()))
    with Ledger.create(place, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as ledger:
        yield ledger


def test_a_server_that_was_restarted_between_two_appends_is_used_again(alone: Ledger, server: Server) -> None:
    alone.record(noted(0))
    alias = alone.alias("user", "Ada")
    server.stop()
    server.start()
    assert alone.record(noted(1))[0].seq == 2
    assert alone.name_of(alias) == "Ada"
    assert alone.sign().size == 3
    assert len(check(alone)) == 3


def test_a_server_that_is_gone_is_said_and_nothing_is_acknowledged(alone: Ledger, server: Server) -> None:
    alone.record(noted(0))
    server.stop()
    with pytest.raises(Unavailable, match=r"No such file|refused"):
        alone.record(noted(1))
    with pytest.raises(Unavailable, match=r"No such file|refused"):
        alone.alias("user", "Ada")
    with pytest.raises(Unavailable):
        alone.sign()
    server.start()
    assert alone.record(noted(1))[0].seq == 2


def test_everything_acknowledged_is_there_after_a_server_was_killed(alone: Ledger, server: Server) -> None:
    acknowledged: dict[int, bytes] = {}
    many, ended = threading.Event(), threading.Event()

    def append(n: int) -> None:
        pos = 0
        while not ended.is_set():
            with suppress(Unavailable):
                (place,) = alone.record(noted(pos, f"test/{n}"))
                acknowledged[place.seq] = place.leaf_hash
                pos += 1
            if len(acknowledged) > 200:
                many.set()

    threads = [threading.Thread(target=append, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    assert many.wait(timeout=60)
    server.stop("kill")
    server.start()
    before = len(acknowledged)
    alone.record(noted(0, "after/1"))
    ended.set()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    with alone.recorder.reading() as reader:
        leaves = {row.seq: row.leaf for row in reader.entries()}
    assert {seq: leaves[seq] for seq in acknowledged} == acknowledged
    assert len(acknowledged) >= before > 200
    check(alone)
    assert alone.sign().size == len(leaves)


def test_a_commit_that_was_told_not_to_wait_for_its_standby_is_not_acknowledged_before_it_has_it(
    alone: Ledger, server: Server
) -> None:
    """The server calls such a commit done; only a warning says that no standby has it."""
    alone.record(noted(0))
    server.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    server.execute("SELECT pg_reload_conf()")
    _await_setting(server, "synchronous_standby_names", "nobody")
    writer_of(alone).close()  # its session may not have heard yet; a new one has
    answers: list[object] = []
    appending = threading.Thread(target=lambda: answers.extend(alone.record(noted(1))))
    appending.start()
    for _ in range(2):  # the commit, then the look-up, which waits as well
        pid = _waiting_for_standby(server)
        with server.connect() as db:
            db.execute("SELECT pg_cancel_backend(%s)", (pid,))
    _waiting_for_standby(server)
    assert answers == []
    server.execute("ALTER SYSTEM RESET synchronous_standby_names")
    server.execute("SELECT pg_reload_conf()")
    appending.join(timeout=60)
    assert len(answers) == 1
    assert len(check(alone)) == 3


def _await_setting(server: Server, name: str, value: str) -> None:
    """Until who connects finds a setting as it was changed."""
    deadline = time.monotonic() + 60
    while True:
        with server.connect() as db:
            if db.execute(f"SHOW {name}".encode()).fetchone() == (value,):
                return
        assert time.monotonic() < deadline


def _waiting_for_standby(server: Server) -> int:
    """Whoever waits for a standby, as soon as somebody does."""
    deadline = time.monotonic() + 60
    with server.connect() as db:
        while time.monotonic() < deadline:
            row = db.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' LIMIT 1").fetchone()
            if row is not None:
                return int(row[0])
            time.sleep(0.01)
    raise AssertionError("nobody waits for a standby")


WRITER = """
import pickle, sys
from pathlib import Path
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import noted

with Ledger(pickle.loads(bytes.fromhex(sys.argv[1])), Path(sys.argv[2]), REGISTRY, sign_in_background=False) as ledger:
    for pos in range(3):
        ledger.record(noted(pos, "other/1"))
"""


@every_postgresql
def test_a_follower_is_woken_by_another_process(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Follower, "look_seconds", 600)  # it is woken, and does not look by itself
    with ledger.recorder.subscribe(gt=1) as follower:
        assert isinstance(follower, Follower)
        follower._listening()
        arguments = [sys.executable, "-c", WRITER, pickle.dumps(ledger.place).hex(), str(tmp_path / "keys")]
        with subprocess.Popen(arguments) as writer:
            assert [next(follower).id for _ in range(3)] == [2, 3, 4]
            assert writer.wait(timeout=60) == 0


@every_postgresql
def test_a_follower_whose_connection_is_lost_misses_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follower, "look_seconds", 0.01)
    with ledger.recorder.subscribe(gt=1) as follower:
        assert isinstance(follower, Follower)
        pid = follower._listening().info.backend_pid
        assert isinstance(ledger.place, PostgresPlace)
        with ledger.place.login.connect() as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        ledger.record(noted(0), noted(1))
        assert [next(follower).id, next(follower).id] == [2, 3]


@every_postgresql
@pytest.mark.parametrize("value", ["off", "local"])
def test_who_writes_waits_for_the_disk_whatever_the_database_is_set_to(
    place: Place, tmp_path: Path, value: str
) -> None:
    assert isinstance(place, PostgresPlace)
    with place.login.connect() as db:
        db.execute(f"ALTER DATABASE {db.info.dbname} SET synchronous_commit = {value}".encode())
    with Ledger(place, tmp_path / "keys", REGISTRY, sign_in_background=False) as ledger:
        ledger.record(noted(0))
        assert writer_of(ledger).execute("SHOW synchronous_commit").fetchone() == ("on",)


@every_postgresql
def test_an_append_takes_two_round_trips(through: Ledger, proxy: Proxy) -> None:
    through.record(noted(0))
    before = proxy.round_trips
    through.record(*(noted(pos) for pos in range(1, 50)))
    assert proxy.round_trips == before + 2
