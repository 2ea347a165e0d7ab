"""Which runs a log knows, as of any size."""

from __future__ import annotations

from contextlib import closing

import pytest

from affidavit.api.moment import LiveLedger
from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, Meta, NewEvent
from affidavit.domain.optimization.events import IterationCompleted
from affidavit.ledger.application import Ledger
from affidavit.projections.runs.places import last_iteration, newest_runs, require_run


def test_a_run_is_known_from_the_entry_that_began_it_on(ledger: Ledger, run_events: list[Event]) -> None:
    recorded = ledger.record(*(NewEvent("run/043", pos, event, Meta()) for pos, event in enumerate(run_events)))
    started, after = recorded[0].seq, recorded[-1].seq + 1
    completed = next(
        each.seq for each, event in zip(recorded, run_events, strict=True) if isinstance(event, IterationCompleted)
    )
    with closing(LiveLedger(ledger)) as live, live.moment() as moment:
        views = moment.views
        assert require_run(views, "043", after) == started
        assert newest_runs(views, after, 5) == ["043"]
        assert newest_runs(views, started, 5) == []
        assert last_iteration(views, "043", completed) == 0
        assert last_iteration(views, "043", completed + 1) == 1
        with pytest.raises(Refused) as refused:
            require_run(views, "043", started)
    assert refused.value.rule == "run_known"
