"""Several hosts sign one log, each with its own copy of the keys: one at a time, and nobody behind another."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.errors import SigningRefused, Unavailable
from affidavit.ledger.events import ClockSteppedBack
from affidavit.ledger.signing.sign import SIGNING
from affidavit.ledger.store.place import Place
from affidavit.ledger.tlog.checkpoint import Checkpoint, claimed_checkpoint, sign_checkpoint
from affidavit.ledger.tlog.policy import Policy, parse_policy
from affidavit.ledger.tlog.witness import Collected
from affidavit.projections.registry import REGISTRY
from affidavit.tests.stores import every_postgresql, every_store

_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
EVENT = ClockSteppedBack(behind=1.0)


@pytest.fixture
def other(ledger: Ledger, tmp_path: Path) -> Iterator[Ledger]:
    """The same ledger, from a host with its own copy of the keys."""
    shutil.copytree(tmp_path / "keys", tmp_path / "copied")
    with Ledger(ledger.place, tmp_path / "copied", REGISTRY, edge=ledger._edge, sign_in_background=False) as opened:
        yield opened


class Slow:
    """Witnesses of whom nobody answers; meanwhile something happens."""

    policy: Policy = parse_policy("quorum none\n")
    required = False

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    def collect(self, note: bytes, checkpoint: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> Collected:
        self._meanwhile()
        return Collected((), {}, {})


def fill(ledger: Ledger, stream: str, count: int = 1) -> None:
    with ledger.recorder.reading() as reader:
        start = reader.next_pos(stream)
    ledger.record(*(NewEvent(stream, pos, EVENT, Meta()) for pos in range(start, start + count)))


def published(ledger: Ledger) -> dict[int, bytes]:
    with ledger.recorder.reading() as reader:
        return dict(reader.checkpoints())


def end_lock_sessions(place: Place) -> None:
    from affidavit.ledger.store.postgres.place import PostgresPlace

    assert isinstance(place, PostgresPlace)
    with closing(place.login.connect()) as db:
        assert db.execute(_TERMINATE.encode()).fetchall() == [(True,)]


@every_store
def test_two_hosts_sign_at_once_and_their_checkpoints_are_one_log(ledger: Ledger, other: Ledger) -> None:
    failed: list[BaseException] = []

    def append_and_sign(host: Ledger, stream: str) -> None:
        try:
            for _ in range(8):
                fill(host, stream)
                host.sign()
        except BaseException as error:
            failed.append(error)

    hosts = [threading.Thread(target=append_and_sign, args=each) for each in ((ledger, "a/1"), (other, "b/1"))]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert failed == []
    assert ledger.sign() == other.sign() == ledger.keys.signed() == other.keys.signed()
    notes = published(ledger)
    with ledger.recorder.reading() as reader:
        assert max(notes) == reader.head().size == 17
        for size, note in notes.items():
            assert claimed_checkpoint(note) == Checkpoint(ledger.origin, size, reader.frontier_at(size).root())
        against = Against(signed=other.keys.signed(), scopes=ledger.scopes)
        assert audit(reader, REGISTRY, against).verdict == "ok"


@every_store
def test_a_host_that_has_not_signed_for_long_goes_on_from_what_is_published(ledger: Ledger, other: Ledger) -> None:
    for _ in range(3):
        fill(ledger, "a/1", 5)
        signed = ledger.sign()
    notes = published(ledger)
    assert other.keys.signed().size == 1
    assert other.sign() == signed == other.keys.signed()
    assert published(ledger) == notes

    fill(other, "b/1")
    assert other.sign().size == 17
    assert [*published(ledger)] == [*notes, 17]


@every_store
def test_a_host_does_not_sign_after_a_checkpoint_that_is_not_the_log_s(ledger: Ledger, other: Ledger) -> None:
    fill(ledger, "a/1", 5)
    with ledger.recorder.reading() as reader:
        root = reader.frontier_at(3).root()
    key = ledger.keys.signing_key()
    ledger.recorder.publish_checkpoint(3, sign_checkpoint(Checkpoint(ledger.origin, 3, bytes(32)), key))
    with pytest.raises(SigningRefused) as caught:
        other.sign()
    assert caught.value.kind == "self_check_failed"
    assert other.keys.signed().size == 1

    strange = sign_checkpoint(Checkpoint("strange.example/0123456789abcdef", 4, root), key)
    ledger.recorder.publish_checkpoint(4, strange)
    for host in (ledger, other):
        with pytest.raises(SigningRefused, match="a checkpoint of size 4 is published"):
            host.sign()
        with pytest.raises(SigningRefused):
            host.close()


@every_postgresql
def test_who_loses_the_lock_while_it_signs_publishes_nothing(ledger: Ledger, other: Ledger) -> None:
    fill(ledger, "a/1")
    before = published(ledger)
    ledger._cosigners = Slow(lambda: end_lock_sessions(ledger.place))
    with pytest.raises(Unavailable, match="lost the lock"):
        ledger.sign()
    assert published(ledger) == before

    fill(other, "b/1")
    signed = other.sign()
    ledger._cosigners = None
    assert ledger.sign() == signed


@every_postgresql
def test_who_loses_the_lock_before_it_signs_keeps_its_state(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ledger, "a/1")
    state = ledger.keys.signed()
    settle = ledger.recorder.settle

    def lose() -> None:
        settle()
        end_lock_sessions(ledger.place)

    with monkeypatch.context() as patched:
        patched.setattr(ledger.recorder, "settle", lose)
        with pytest.raises(Unavailable, match="lost the lock"):
            ledger.sign()
    assert ledger.keys.signed() == state
    assert ledger.sign().size == 2


@every_store
def test_while_one_host_waits_for_witnesses_another_publishes_nothing(ledger: Ledger, other: Ledger) -> None:
    fill(ledger, "a/1")
    before = published(ledger)
    signing = threading.Thread(target=other.sign)

    def meanwhile() -> None:
        signing.start()
        with ledger.recorder.reading() as reader:
            assert dict(reader.checkpoints()) == before

    ledger._cosigners = Slow(meanwhile)
    signed = ledger.sign()
    signing.join()
    ledger._cosigners = None
    assert other.keys.signed() == signed
    assert [*published(ledger)] == [*before, 2]


@every_store
def test_a_lock_that_is_held_says_so(place: Place) -> None:
    with closing(place.lock(SIGNING)) as lock, lock.held():
        lock.require_held()


@every_postgresql
def test_a_lock_whose_session_ended_is_lost_and_taken_anew(place: Place) -> None:
    with closing(place.lock(SIGNING)) as lock:
        with lock.held():
            end_lock_sessions(place)
            with pytest.raises(Unavailable, match="lost the lock"):
                lock.require_held()
        with lock.held():
            lock.require_held()
