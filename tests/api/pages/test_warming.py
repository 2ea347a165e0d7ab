"""What a server makes before it is asked."""

from __future__ import annotations

import threading

import pytest

from affidavit.api.http.app import open_service
from affidavit.api.http.service import Service
from affidavit.api.pages import warming as module
from affidavit.api.pages.warming import Warming
from affidavit.ledger.application import Ledger


def kept(service: Service) -> dict[str, int]:
    """How many rows there are of what is kept beside the read models."""
    with service.moment() as moment:
        return {
            table: moment.views.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("run_lines_3", "segments", "session_spans", "verdict_days_2")
        }


def test_what_pages_keep_is_made(world: Service) -> None:
    warming = Warming(world)
    warming.start()
    for thread in threading.enumerate():
        if thread.name == "warming":
            thread.join()
    assert all(kept(world).values())


def test_no_step_takes_more_than_one_day(own_world: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        module, "load_segments", lambda views, kind, first, last, size: loaded.append((kind, first, last))
    )
    Warming(own_world)._run()
    assert len(loaded) == len(set(loaded)) == 3 * 46
    assert all(first == last for _, first, last in loaded)


def test_a_ledger_without_anything_is_no_hindrance_and_stopping_waits(ledger: Ledger) -> None:
    with open_service(ledger) as service:
        warming = Warming(service)
        warming.stop()
        warming.start()
        warming.stop()
        assert "warming" not in {thread.name for thread in threading.enumerate()}
