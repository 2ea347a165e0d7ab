"""Runs that are kept between pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from affidavit.api.http.service import Service
from affidavit.api.moment import Moment
from affidavit.api.pages import known_runs
from affidavit.api.pages.known_runs import KnownRun, RunRecords
from affidavit.domain.errors import Refused
from affidavit.projections.runs.record import fold_run

from .world_runs import BETTER, DRIVEN, EVEN, FAILED, LONG

Known = Callable[[Moment, str], KnownRun]


@pytest.fixture
def known_run(world: Service) -> Known:
    """Runs of the world, none of them kept yet."""
    return partial(RunRecords().get, world.ledger)


def test_a_run_is_folded_once_and_an_earlier_state_of_it_apart(world: Service, known_run: Known) -> None:
    with world.moment() as moment:
        now = known_run(moment, BETTER)
        assert known_run(moment, BETTER) is now
        first = now.spans[0][0]
    with world.moment(str(first)) as moment:
        begun = known_run(moment, BETTER)
    assert (begun.events, begun.record.iterations) == (1, [])
    with world.moment(str(now.record.last_seq)) as moment:
        ended = known_run(moment, BETTER)
    assert ended.record.last_seq == now.record.last_seq
    assert ended.seed == now.seed


@pytest.mark.parametrize("run", [BETTER, DRIVEN, LONG])
def test_what_is_known_is_what_its_entries_fold_to(world: Service, known_run: Known, run: str) -> None:
    with world.moment() as moment:
        found = known_run(moment, run)
        folded = fold_run(moment.events.stream(f"run/{run}", moment.size))
    assert found.record == folded


def test_before_it_began_a_run_is_not_known(world: Service, known_run: Known) -> None:
    with world.moment() as moment:
        first = known_run(moment, BETTER).spans[0][0]
    with world.moment(str(first - 1)) as moment, pytest.raises(Refused) as refused:
        known_run(moment, BETTER)
    assert refused.value.rule == "run_known"


def test_the_spans_are_the_entries_of_the_run(world: Service, known_run: Known) -> None:
    with world.moment() as moment:
        known = known_run(moment, BETTER)
        seqs = [row.seq for row in moment.events.reader.stream(f"run/{BETTER}", moment.size)]
    assert [seq for first, last in known.spans for seq in range(first, last + 1)] == seqs
    assert known.events == len(seqs)


def test_little_is_kept(world: Service, known_run: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_runs, "MOST_KEPT", 1)
    with world.moment() as moment:
        long = known_run(moment, LONG)
        assert known_run(moment, LONG) is long
        known_run(moment, EVEN)
        assert known_run(moment, LONG) is not long


def test_what_is_derived_is_made_once_for_each_key(world: Service, known_run: Known) -> None:
    made: list[int] = []
    with world.moment() as moment:
        known = known_run(moment, FAILED)
    for key in (1, 1, 2, 1):
        known.once("thing", key, lambda: made.append(1))
    assert len(made) == 3


def test_a_run_that_went_on_is_folded_on_from_what_is_kept(world: Service, known_run: Known) -> None:
    with world.moment() as moment:
        seqs = [row.seq for row in moment.events.reader.stream(f"run/{DRIVEN}", moment.size)]
        whole = known_run(moment, DRIVEN)
        records = RunRecords()
    states = []
    for seq in seqs[1 : len(seqs) : 7] + seqs[-1:]:
        with world.moment(str(seq)) as moment:
            states.append(records.get(world.ledger, moment, DRIVEN))
    assert states[-1].record == whole.record
    assert (states[-1].spans, states[-1].seed, states[-1].events) == (whole.spans, whole.seed, whole.events)
    assert states[0].record.completed is None, "what goes on changes no state that is kept"
    assert len({state.events for state in states}) == len(states)
    calls = [state.record.calls.total().calls for state in states]
    assert calls == sorted(calls)
    assert calls[0] < calls[-1]
