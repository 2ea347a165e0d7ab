"""Recorded calls: a page of requests with their answers, one call with its attempts, the stretch of an iteration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from affidavit.api.moment import LiveLedger, Moment
from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, Meta, NewEvent
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.ledger.application import Ledger
from affidavit.projections.runs.recorded_calls import Stretch, iteration_stretch, read_call, read_calls

STREAM = "run/043"
OTHERS = "session/s"


class Recorder:
    """Records events of one run, and events of others between them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.pos = 0

    def __call__(self, *events: Event) -> list[int]:
        seqs = []
        for event in events:
            self.ledger.record(NewEvent(OTHERS, self.pos, _asked("other", 0), Meta()))
            seqs.append(self.ledger.record(NewEvent(STREAM, self.pos, event, Meta()))[0].seq)
            self.pos += 1
        return seqs


def _asked(site: str, occurrence: int, attempt: int = 1, iteration: int | None = None) -> ModelRequested:
    return ModelRequested(
        site=site, occurrence=occurrence, attempt=attempt, model="m", purpose="train", iteration=iteration, body="{}"
    )


def _said(site: str, occurrence: int, attempt: int = 1, *, status: int = 200) -> ModelAnswered:
    outcome = "replied" if status == 200 else "refused"
    return ModelAnswered.model_validate(
        {"site": site, "occurrence": occurrence, "attempt": attempt, "outcome": outcome, "status": status, "body": "x"}
    )


@pytest.fixture
def recorder(ledger: Ledger, run_events: list[Event]) -> Recorder:
    """The run has begun, and its baseline was scored."""
    made = Recorder(ledger)
    made(run_events[0], _asked("eval.baseline", 0), _said("eval.baseline", 0), run_events[1])
    return made


@pytest.fixture
def live(ledger: Ledger) -> Iterator[LiveLedger]:
    with closing(LiveLedger(ledger)) as opened:
        yield opened


def _walk(moment: Moment, most: int, stretch: Stretch | None = None) -> list[list[int]]:
    pages: list[list[int]] = []
    start = 0
    while True:
        page = read_calls(moment.views, moment.events, "043", moment.size, stretch=stretch, start=start, most=most)
        assert page.first == sum(map(len, pages)) + 1
        pages.append([attempt.seq for attempt in page.attempts])
        if page.older is None:
            return pages
        start = page.older


def test_requests_are_paged_in_order_each_once_whatever_others_record(recorder: Recorder, live: LiveLedger) -> None:
    asked = recorder(*(_asked("eval.train", number) for number in range(5)))
    recorder(*(_said("eval.train", number) for number in reversed(range(5))))
    with live.moment() as moment:
        pages = _walk(moment, 2)
        assert [seq for page in pages for seq in page][1:] == asked
        assert [len(page) for page in pages] == [2, 2, 2]
        last = read_calls(moment.views, moment.events, "043", moment.size, start=7, most=2)
        assert (last.first, last.count, last.newer) == (5, 6, 5)


def test_answers_that_came_after_the_page_are_found(recorder: Recorder, live: LiveLedger) -> None:
    recorder(*(_asked("eval.train", number) for number in range(20)))
    answers = recorder(*(_said("eval.train", number) for number in range(20)))
    with live.moment() as moment:
        page = read_calls(moment.views, moment.events, "043", moment.size, start=4, most=3)
        assert [attempt.answer_seq for attempt in page.attempts] == answers[:3]


def test_what_is_not_answered_before_the_next_fact_was_never_answered(
    recorder: Recorder, live: LiveLedger, run_events: list[Event]
) -> None:
    (lost,) = recorder(_asked("eval.train", 0))
    again, _ = recorder(_asked("eval.train", 0, 2), _said("eval.train", 0, 2))
    recorder(run_events[2], _asked("eval.train", 1), _said("eval.train", 1))
    with live.moment() as moment:
        page = read_calls(moment.views, moment.events, "043", moment.size, start=4, most=2)
        assert [(attempt.seq, attempt.answered is None) for attempt in page.attempts] == [(lost, True), (again, False)]


def test_a_call_has_its_attempts_whichever_entry_of_it_is_named(
    recorder: Recorder, live: LiveLedger, run_events: list[Event]
) -> None:
    seqs = recorder(
        _asked("eval.train", 0),
        _asked("eval.train", 1),
        _said("eval.train", 0, status=429),
        _said("eval.train", 1),
        _asked("eval.train", 0, 2),
        _said("eval.train", 0, 2),
    )
    recorder(run_events[2])
    with live.moment() as moment:
        found = [read_call(moment.views, moment.events, "043", seqs[place], moment.size) for place in (0, 2, 4, 5)]
        assert {call.attempts for call in found} == {found[0].attempts}
        assert [attempt.seq for attempt in found[0].attempts] == [seqs[0], seqs[4]]
        assert [call.shown for call in found] == [0, 0, 1, 1]
        assert [attempt.answered and attempt.answered.status for attempt in found[0].attempts] == [429, 200]
        assert (found[2].before, found[2].after) == (seqs[1], None)


def test_an_earlier_moment_knows_no_later_answer(recorder: Recorder, live: LiveLedger) -> None:
    asked, answered = recorder(_asked("eval.train", 0), _said("eval.train", 0))
    with live.moment(str(answered - 1)) as moment:
        (attempt,) = read_call(moment.views, moment.events, "043", asked, moment.size).attempts
        assert attempt.answered is None
        assert read_calls(moment.views, moment.events, "043", moment.size, most=9).count == 2
        with pytest.raises(Refused, match=f"entry {answered} is no call"):
            read_call(moment.views, moment.events, "043", answered, moment.size)


def test_an_entry_that_is_no_call_of_the_run_is_refused(recorder: Recorder, live: LiveLedger) -> None:
    with live.moment() as moment:
        others = next(moment.events.stream(OTHERS)).seq
        started = next(moment.events.stream(STREAM)).seq
        for seq in (others, started, 10**9):
            with pytest.raises(Refused, match="is no call of it") as refused:
                read_call(moment.views, moment.events, "043", seq, moment.size)
            assert refused.value.rule == "entry_known"


def test_the_calls_of_an_iteration_stand_between_its_end_and_that_of_the_one_before(
    recorder: Recorder, live: LiveLedger, run_events: list[Event]
) -> None:
    first, _ = recorder(_asked("eval.train", 0, iteration=1), _said("eval.train", 0))
    recorder(*run_events[2:5])
    second, _ = recorder(_asked("iterative.diagnose", 0, iteration=2), _said("iterative.diagnose", 0))
    recorder(*run_events[5:9])
    third, _ = recorder(_asked("iterative.refine", 0, iteration=3), _said("iterative.refine", 0))
    with live.moment() as moment:
        found = [_walk(moment, 9, iteration_stretch(moment.views, "043", number, moment.size)) for number in range(4)]
        assert found[1:] == [[[first]], [[second]], [[third]]]
        assert len(found[0][0]) == 1
        assert _walk(moment, 9)[0][1:] == [first, second, third]
