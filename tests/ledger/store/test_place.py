"""What a place has beside its databases, in every store: locks, timestamp tokens; and it goes to other processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from affidavit.ledger.store.place import Place
from affidavit.tests.stores import every_store

HOLD = """
import pickle, sys
place = pickle.loads(bytes.fromhex(sys.argv[1]))
with place.alone("views"):
    locks = place.locks("judging")
    print(locks.take(7), flush=True)
    sys.stdin.read()
"""


@every_store
def test_a_lock_is_held_by_one_and_let_go(place: Place) -> None:
    order: list[str] = []
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        with place.alone("views"):
            order.append("other")

    other = threading.Thread(target=wait)
    with closing(place.lock("views")) as lock:
        with lock.held():
            with place.alone("regeneration"):  # another lock
                other.start()
                waits.wait()
            order.append("first")
        other.join()
        with lock.held():
            order.append("again")
    assert order == ["first", "other", "again"]


@every_store
def test_many_locks_of_a_kind_are_taken_by_one_each(place: Place) -> None:
    first, second, of_runs = place.locks("judging"), place.locks("judging"), place.locks("runs")
    assert [first.take(1), first.take(1), second.take(1), second.take(2), of_runs.take(1)] == [
        True,
        False,
        False,
        True,
        True,
    ]
    first.release(1)
    assert second.take(1)
    second.close()
    assert first.take(1)
    assert first.take(2)
    first.close()
    of_runs.close()


@every_store
def test_locks_of_a_process_that_is_killed_are_free(place: Place) -> None:
    command = [sys.executable, "-c", HOLD, pickle.dumps(place).hex()]
    locks = place.locks("judging")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not locks.take(7)
        holder.kill()
    with place.alone("views"):  # waits until the system has noticed
        pass
    deadline = threading.Event()
    while not locks.take(7):
        deadline.wait(0.01)
    locks.close()


@every_store
def test_a_token_stays_as_it_was_kept_until_it_is_put_aside(place: Place) -> None:
    assert place.token(3) is None
    assert place.keep_token(3, b"one")
    assert not place.keep_token(3, b"another")
    assert place.token(3) == b"one"
    assert place.token(4) is None
    place.put_token_aside(3)
    assert place.token(3) is None
    place.put_token_aside(3)
    assert place.keep_token(3, b"two")
    assert place.token(3) == b"two"


@every_store
def test_of_many_who_keep_a_token_one_does(place: Place) -> None:
    kept: list[bytes] = []

    def keep(token: bytes) -> None:
        if place.keep_token(1, token):
            kept.append(token)

    threads = [threading.Thread(target=keep, args=(bytes([n + 1]),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [place.token(1)] == kept


@every_store
def test_a_place_says_whether_a_ledger_is_there(place: Place, nowhere: Place, tmp_path: Path) -> None:
    assert place.exists()
    assert str(pickle.loads(pickle.dumps(place))) == str(place)
    place.require_readable()
