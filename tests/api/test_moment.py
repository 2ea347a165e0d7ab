"""Who looks while somebody else does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from affidavit.api.moment import LiveLedger
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.place import Lock
from affidavit.tests.ledger.store.noting import noted


class _Failing(Lock):
    """Cannot be taken: who tries is told so once ``told`` is set."""

    def __init__(self) -> None:
        self.tried = 0
        self.told = threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        self.tried += 1
        self.told.wait()
        raise Unavailable("gone")
        yield

    def require_held(self) -> None:
        raise AssertionError

    def close(self) -> None:
        return


class _Counting:
    """A mutex that says how many have come."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        self.come = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.come.release()
        self._mutex.acquire()

    def __exit__(self, *_: object) -> None:
        self._mutex.release()


def test_who_waits_for_somebody_that_fails_is_told_the_same_and_who_comes_later_tries_anew(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.record(noted(0))
    with closing(LiveLedger(ledger)) as live, ThreadPoolExecutor(5) as at_once:
        lock, mutex, working = _Failing(), _Counting(), live._lock
        monkeypatch.setattr(live, "_lock", lock)
        monkeypatch.setattr(live, "_mutex", mutex)
        looking = [at_once.submit(live.catch_up) for _ in range(5)]
        for _ in looking:
            mutex.come.acquire()
        lock.told.set()
        for each in looking:
            with pytest.raises(Unavailable, match="gone"):
                each.result()
        assert lock.tried == 1
        monkeypatch.setattr(live, "_lock", working)
        assert live.catch_up() == 2
