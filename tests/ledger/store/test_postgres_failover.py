"""A standby that loses nothing: the primary is killed under load, the standby takes over, and clients go on."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from affidavit.domain.event import NewEvent
from affidavit.ledger.application import Acknowledged, Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.errors import Conflict, OutcomeUnknown, SigningRefused, Unavailable
from affidavit.ledger.store.postgres.connecting import parse_address
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.tlog.tree import Frontier
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import check, noted
from affidavit.tests.servers import VERSIONS, Mode, NotHere, Pair

SEED = 20261122
ROUNDS: tuple[Mode, ...] = ("kill", "immediate")

WRITER = """
import json, pickle, sys, threading
from pathlib import Path
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.test_postgres_failover import Client

place, keys, stream = sys.argv[1:]
with Ledger(pickle.loads(bytes.fromhex(place)), Path(keys), REGISTRY, sign_in_background=False) as ledger:
    client, ended = Client(stream), threading.Event()
    appending = threading.Thread(target=client.append, args=(ledger, ended))
    appending.start()
    print("begun", flush=True)
    sys.stdin.read()
    ended.set()
    appending.join()
    print(json.dumps([client.next, [[seq, leaf.hex()] for seq, leaf in client.told.items()]]))
"""


@dataclass
class Client:
    """Appends to a stream of its own, and tries again with the same position whenever it is not told how it went."""

    stream: str
    next: int = 0
    told: dict[int, bytes] = field(default_factory=dict)
    refused: int = 0

    def append(self, ledger: Ledger, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                (place,) = ledger.record(noted(self.next, self.stream))
                self.told[place.seq] = place.leaf_hash
            except Conflict as conflict:  # an attempt before has recorded it
                if conflict.found != self.next + 1:
                    raise
            except Unavailable:
                self.refused += 1
                ended.wait(0.01)
                continue
            self.next += 1


@pytest.fixture(params=VERSIONS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    try:
        pair = Pair(request.param)
    except NotHere as error:
        pytest.skip(str(error))
    try:
        yield pair
    finally:
        pair.delete()


def place_in(pair: Pair, commit_timeout: int = 30) -> PostgresPlace:
    return PostgresPlace(parse_address(f"{pair.url}&commit_timeout={commit_timeout}"))


def make(pair: Pair, keys: Path, commit_timeout: int = 30) -> Ledger:
    """A new ledger; its primary has a standby from then on."""
    ledger = Ledger.create(place_in(pair, commit_timeout), keys, REGISTRY, sign_in_background=False)
    pair.attach()
    return ledger


def require_one_history(ledger: Ledger, signed: dict[int, bytes]) -> None:
    """All that was ever signed is a state of this one log, and it verifies."""
    with ledger.recorder.reading() as reader:
        frontier, roots = Frontier(), {0: Frontier().root()}
        for row in reader.entries():
            frontier.append(row.leaf)
            roots[frontier.size] = frontier.root()
        published = dict(reader.checkpoints())
        against = Against(pinned=[*published.values()], signed=ledger.keys.signed(), scopes=ledger.scopes)
        verdict = audit(reader, REGISTRY, against)
    assert {size: roots[size] for size in signed} == signed
    assert signed.keys() <= published.keys()
    assert (verdict.verdict, verdict.damage) == ("ok", [])
    assert {"signing_state", "sealed"} <= {*verdict.checked}


def test_a_primary_that_is_killed_under_load_loses_nothing_that_was_acknowledged(pair: Pair, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    signed: dict[int, bytes] = {}
    erased: list[str] = []
    clients = [Client(f"thread/{n}") for n in range(3)]
    ended = threading.Event()
    with make(pair, tmp_path / "keys") as ledger, _other_process(ledger, tmp_path / "keys") as other:
        threads = [threading.Thread(target=client.append, args=(ledger, ended)) for client in clients]
        threads.append(threading.Thread(target=sign_on, args=(ledger, signed, ended)))
        for thread in threads:
            thread.start()
        try:
            for mode in ROUNDS:
                erased.append(ledger.alias("user", f"Ada {mode}"))
                ledger.erase(f"user/{erased[-1]}", "asked_for")
                _await_more(clients, 60)
                time.sleep(chance.random() / 10)  # at any moment of a commit
                pair.fail_over(mode)
                _await_more(clients, 5)
                pair.attach()
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        output, _ = other.communicate(timeout=60)
        assert other.returncode == 0
        clients.append(_read(output))

        ledger.record(noted(0, "after/1"))
        newest = ledger.sign()
        events = check(ledger)
        with ledger.recorder.reading() as reader:
            leaves = {row.seq: row.leaf for row in reader.entries()}
        counts = Counter(event.stream for event in events)
        assert sum(client.refused for client in clients) > 0
        for client in clients:
            assert {seq: leaves.get(seq) for seq in client.told} == client.told
            assert 0 <= counts[client.stream] - client.next <= 1, "of its last attempt it may not have been told"
        assert counts["erasure"] == 2 * len(erased)
        for alias in erased:
            assert ledger.name_of(alias) is None
            assert ledger.scopes.destroyed(f"user/{alias}") is not None
        require_one_history(ledger, {**signed, newest.size: newest.root})


@contextmanager
def _other_process(ledger: Ledger, keys: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", WRITER, pickle.dumps(ledger.place).hex(), str(keys), "process/0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process


def _read(output: str) -> Client:
    following, told = json.loads(output)
    return Client("process/0", following, {seq: bytes.fromhex(leaf) for seq, leaf in told})


def sign_on(ledger: Ledger, signed: dict[int, bytes], ended: threading.Event) -> None:
    while not ended.wait(0.05):
        with suppress(Unavailable):
            checkpoint = ledger.sign()
            signed[checkpoint.size] = checkpoint.root


def _await_more(clients: list[Client], count: int) -> None:
    """Until each of them was told of so many entries more."""
    wanted = [len(client.told) + count for client in clients]
    deadline = time.monotonic() + 60
    while any(len(client.told) < most for client, most in zip(clients, wanted, strict=True)):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_standby_that_lags_holds_up_appends_for_a_bounded_time_and_doubles_nothing(
    pair: Pair, tmp_path: Path
) -> None:
    with make(pair, tmp_path / "keys", commit_timeout=1) as ledger:
        ledger.record(noted(0))
        signed = ledger.sign()
        with _paused(pair):
            with pytest.raises(OutcomeUnknown, match="whether they are recorded could not be found out"):
                ledger.record(noted(1))
            with pytest.raises(Unavailable, match="another commit has not ended for 1 seconds"):
                ledger.record(noted(1))
            with pytest.raises(Unavailable):
                ledger.alias("user", "Ada")
            with pytest.raises(Unavailable):
                ledger.record(noted(0, "other/1"))
            assert len(check(ledger)) == 2, "what the standby does not have is not shown"
            assert ledger.keys.signed() == ledger.sign() == signed
        with pytest.raises(Conflict):  # the attempt that was not acknowledged is there now, once
            _record_in_the_end(ledger, noted(1))
        assert ledger.record(noted(2))[0].seq == 3
        assert ledger.name_of(ledger.alias("user", "Ada")) == "Ada"
        require_one_history(ledger, {signed.size: signed.root, 4: ledger.sign().root})


def _record_in_the_end(ledger: Ledger, event: NewEvent) -> None:
    """The standby may take a moment to have what it missed."""
    deadline = time.monotonic() + 60
    while True:
        try:
            ledger.record(event)
        except Unavailable:
            assert time.monotonic() < deadline
        else:
            return


@contextmanager
def _paused(pair: Pair) -> Iterator[None]:
    """The standby takes nothing meanwhile, and is connected all the same."""
    with pair.standby.connect() as db:
        row = db.execute("SELECT pid FROM pg_stat_wal_receiver").fetchone()
    assert row is not None
    os.kill(row[0], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(row[0], signal.SIGCONT)


def test_a_primary_without_its_standby_gets_nothing_acknowledged_or_signed(pair: Pair, tmp_path: Path) -> None:
    """It shows a commit that no standby has once it was restarted; whoever believed that would be a liar later."""
    keys = tmp_path / "keys"
    with make(pair, keys, commit_timeout=1) as ledger:
        ledger.record(noted(0))
        signed = ledger.sign()
        pair.standby.stop("kill")
        with pytest.raises(OutcomeUnknown):
            ledger.record(noted(1))
        pair.primary.stop("kill")
        pair.primary.start()
        assert len(check(ledger)) == 3
        with pytest.raises(Unavailable):
            ledger.sign()
        with pytest.raises(Unavailable):  # and no conflict, from which one would learn that it is recorded
            ledger.record(noted(1))
        assert ledger.keys.signed() == signed
        pair.primary.stop("kill")

        pair.standby.start()
        pair.promote()  # fenced off in time: the other shall never come back
        assert len(check(ledger)) == 2
        assert ledger.record(noted(1, event=noted(5).event))[0].seq == 2
        newest = ledger.sign()
        require_one_history(ledger, {size.size: size.root for size in (signed, newest)})

        pair.standby.start()  # not fenced off, it has another history than the one that was signed
        old = PostgresPlace(parse_address(f"{pair.standby.url()}&commit_timeout=1"))
        with pytest.raises(SigningRefused) as refused:
            Ledger(old, keys, REGISTRY, sign_in_background=False)
        assert refused.value.kind in ("fork", "rollback")


def test_a_commit_that_is_under_way_when_its_primary_ends_is_found_out_at_the_other(pair: Pair, tmp_path: Path) -> None:
    """The standby has it already, or has not: the answer is what it has."""
    with make(pair, tmp_path / "keys") as ledger:
        ledger.record(noted(0))
        answers: list[Acknowledged | Exception] = []

        def append() -> None:
            try:
                answers.extend(ledger.record(noted(1)))
            except Unavailable as error:
                answers.append(error)

        with _paused(pair):
            appending = threading.Thread(target=append)
            appending.start()
            _await_commit(pair)
            pair.primary.stop("kill")
        pair.promote()
        appending.join(timeout=60)
        (answer,) = answers
        recorded = len(check(ledger)) == 3
        assert recorded == isinstance(answer, Acknowledged)
        assert recorded or "nothing was acknowledged" in str(answer)
        if not recorded:
            ledger.record(noted(1))
        assert len(check(ledger)) == 3


def _await_commit(pair: Pair) -> None:
    """Until a commit waits for the standby."""
    deadline = time.monotonic() + 60
    with pair.primary.connect() as db:
        while db.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'").rowcount < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
