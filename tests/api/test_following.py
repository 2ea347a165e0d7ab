"""Read models come up to date without anybody's look, whoever appended, and whatever failed meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.api import following as module
from affidavit.api.following import Following
from affidavit.api.moment import LiveLedger
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runner import has_caught_up, views_engine
from affidavit.tests.ledger.store.noting import noted
from affidavit.tests.stores import every_store

PATIENCE = 60


@pytest.fixture(autouse=True)
def _in_no_hurry_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REST_SECONDS", 0.01)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)


@pytest.fixture
def live(ledger: Ledger) -> Iterator[LiveLedger]:
    with closing(LiveLedger(ledger)) as opened:
        yield opened


@pytest.fixture
def following(live: LiveLedger) -> Iterator[Following]:
    made = Following(live)
    yield made
    made.stop()


@pytest.fixture
def reaches(ledger: Ledger) -> Iterator[Callable[[int], bool]]:
    """Whether all read models come to hold so many entries."""
    engine = views_engine(ledger.place.views)

    def reaches(size: int) -> bool:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if has_caught_up(engine, size):
                return True
            threading.Event().wait(0.01)
        return False

    yield reaches
    engine.dispose()


@every_store
def test_what_anybody_appends_is_followed_without_a_look(
    ledger: Ledger, following: Following, reaches: Callable[[int], bool], tmp_path: Path
) -> None:
    ledger.record(noted(0))
    following.start()
    assert reaches(2)
    ledger.record(noted(1), noted(2))
    assert reaches(4)
    with Ledger(ledger.place, tmp_path / "keys", REGISTRY, edge=ledger._edge, sign_in_background=False) as other:
        other.record(noted(3))
    assert reaches(5)


def test_what_fails_is_logged_once_and_tried_again(
    ledger: Ledger,
    live: LiveLedger,
    following: Following,
    reaches: Callable[[int], bool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = iter([Unavailable("the disk is full"), RuntimeError("odd"), None])
    catch_up = live.catch_up

    def fail_at_first() -> int:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return catch_up()

    monkeypatch.setattr(live, "catch_up", fail_at_first)
    following.start()
    assert reaches(1)
    ledger.record(noted(0))
    assert reaches(2)
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == ["read models are not brought up to date: Unavailable: the disk is full"]


def test_read_models_of_a_newer_program_are_left_to_it_until_somebody_looks(ledger: Ledger, live: LiveLedger) -> None:
    engine = views_engine(ledger.place.views)
    live.catch_up()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE tracking SET version = version + 1 WHERE view = 'runs'")
    ledger.record(noted(0))
    assert live.catch_up() == 2
    assert not has_caught_up(engine, 2)
    with live.moment() as moment:
        assert moment.size == 2
    assert has_caught_up(engine, 2)
    engine.dispose()


@every_store
def test_stopping_ends_the_thread_whether_it_waits_or_has_not_begun(
    ledger: Ledger, live: LiveLedger, reaches: Callable[[int], bool]
) -> None:
    waiting, early = Following(live), Following(live)
    waiting.start()
    assert reaches(1)
    waiting.stop()
    early.stop()
    early.start()
    early.stop()
    assert "affidavit-following" not in {thread.name for thread in threading.enumerate()}
