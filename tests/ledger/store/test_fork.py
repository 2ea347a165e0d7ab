"""A process that is forked while a ledger is open is told to open it again, and takes nothing away from its parent."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

from affidavit.ledger.application import Ledger
from affidavit.ledger.signing.sign import SIGNING
from affidavit.tests.ledger.store.noting import check, noted
from affidavit.tests.stores import every_store

pytestmark = every_store


def in_a_fork(work: Callable[[], object]) -> str:
    """What ``work`` gives or raises, in words, in a child process, which ends then."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, from Python 3.12 on
        child = os.fork()
    if child == 0:
        try:
            try:
                told = f"ended: {work()}"
            except BaseException as error:
                told = f"{type(error).__name__}: {error}"
            os.write(writing, told.encode()[:1000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        told = answer.read()
    os.waitpid(child, 0)
    return told


def test_it_neither_reads_nor_writes_in_the_fork(ledger: Ledger) -> None:
    ledger.record(noted(0))
    alias = ledger.alias("user", "Ada")
    ledger.sign()
    for work in (
        lambda: ledger.record(noted(1)),
        lambda: ledger.sign(),
        lambda: ledger.identity(),
        lambda: ledger.alias("user", "Bob"),
        lambda: ledger.name_of(alias),
        lambda: ledger.erase(f"user/{alias}", "asked_for"),
        lambda: ledger.rotate_key(),
        lambda: ledger.recorder.max_notification_id(),
    ):
        told = in_a_fork(work)
        assert told.startswith("RuntimeError: ")
        assert told.endswith("open it again here")
    assert ledger.record(noted(1))[0].seq == 2
    assert ledger.name_of(alias) == "Ada"
    assert len(check(ledger)) == 3


def test_a_fork_that_closes_it_leaves_it_open_and_unsigned_for_its_parent(ledger: Ledger) -> None:
    ledger.record(noted(0))
    ledger.alias("user", "Ada")
    signed = ledger.sign()
    ledger.record(noted(1))
    assert in_a_fork(ledger.close) == "ended: None"
    assert ledger.keys.signed() == signed
    assert ledger.record(noted(2))[0].seq == 3
    assert ledger.sign().size == 4


def test_a_fork_may_open_it_for_itself(ledger: Ledger) -> None:
    def open_again() -> int:
        keys = ledger.keys.path.parent
        with Ledger(ledger.place, keys, ledger._registry, edge=ledger._edge, sign_in_background=False) as again:
            return again.record(noted(0))[0].seq

    assert in_a_fork(open_again) == "ended: 1"
    assert ledger.record(noted(1))[0].seq == 2


def test_a_lock_that_the_parent_holds_stays_its_own(ledger: Ledger) -> None:
    lock = ledger.place.lock(SIGNING)
    with lock.held():
        in_a_fork(lock.close)
        lock.require_held()
    lock.close()
