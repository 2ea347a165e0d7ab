"""Regeneration: what is sampled, what a job covers, how it ends."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from affidavit.api.moment import LiveLedger
from affidavit.api.workers.regeneration import cancel_regeneration, plan_job, start_regeneration
from affidavit.domain.errors import Refused
from affidavit.domain.evaluation.config import AgentSuccessConfig
from affidavit.domain.evaluation.events import RegenerationFinished, RegenerationStarted, SessionGraded, ShadowJudged
from affidavit.projections.evaluation.jobs import JobProgress, job_progress

from .conftest import NOON, Court, completion, stand_in

DAY = 86_400
NEVER = AgentSuccessConfig(sampling_rate=0.0)


@pytest.fixture
def live(court: Court, live: LiveLedger) -> LiveLedger:
    """Nothing is graded by itself, and strata are cut at two."""
    court.configure(live.ledger, agent_success_config=NEVER, eval_sample_n_per_stratum=2)
    return live


def progress_of(live: LiveLedger, job: str) -> JobProgress:
    with live.moment() as moment:
        found = job_progress(moment.views, moment.size, job)
    assert found is not None
    return found


def test_each_day_and_first_source_gives_at_most_n_sessions_and_the_plan_says_of_how_many(
    court: Court, live: LiveLedger
) -> None:
    for number in range(5):
        court.exchange(live.ledger, f"a{number}", at=NOON, source="a")
        court.exchange(live.ledger, f"b{number}", at=NOON - DAY, source="a")
    court.exchange(live.ledger, "c", at=NOON, source="c")
    court.exchange(live.ledger, "c", at=NOON + 5, source="a")  # sticky: of source c
    court.exchange(live.ledger, "out", at=NOON + 60)
    started = start_regeneration(live, NOON - DAY, NOON + 59)
    assert (started.total, started.candidates, started.sampled) == (12, 11, 5)
    (event,) = [found.event for found in court.events(live.ledger, RegenerationStarted)]
    assert isinstance(event, RegenerationStarted)
    assert event.plan == {"strata": [["2026-11-21", "a", 5, 2], ["2026-11-22", "a", 5, 2], ["2026-11-22", "c", 1, 1]]}


def test_the_same_seed_draws_the_same_whatever_came_after(court: Court, live: LiveLedger) -> None:
    for number in range(8):
        court.exchange(live.ledger, f"s{number}", at=NOON)
    started = start_regeneration(live, NOON, NOON + 1)
    with live.moment() as moment:
        before = plan_job(moment.views, progress_of(live, started.job))
    for number in range(8):
        court.exchange(live.ledger, f"later{number}", at=NOON)
    with live.moment() as moment:
        assert plan_job(moment.views, progress_of(live, started.job)) == before
    assert len(before.sessions) == 2


def test_a_job_grades_the_content_of_its_start_and_supersedes_without_replacing(court: Court, live: LiveLedger) -> None:
    court.exchange(live.ledger, "s1")
    start = court.now[0] // 1_000_000
    first = start_regeneration(live, start - 10, start + 10)
    court.exchange(live.ledger, "s1")
    with court.judges(live) as judges:
        done = judges.run_once()
        second = start_regeneration(live, start - 10, start + 10)
        judges.run_once()
    assert done.jobs == 1
    grades: list[Any] = [found.event for found in court.events(live.ledger, SessionGraded)]
    assert [(event.job, event.made, event.interactions) for event in grades] == [
        (first.job, "regeneration", 2),
        (second.job, "regeneration", 4),
    ]


def test_verdicts_are_made_anew_only_after_another_pin(court: Court, live: LiveLedger) -> None:
    turn = court.exchange(live.ledger, "s1")
    imported = court.exchange(live.ledger, "s2", imported=True)
    now = court.now[0] // 1_000_000
    with court.judges(live) as judges:
        judges.run_once()
        same = start_regeneration(live, now - 10, now + 10)
        judges.run_once()
        pin = "v1.2.0-transcript"
        court.configure(live.ledger, agent_success_config=NEVER, shadow_comparison_judge_prompt_version=pin)
        other = start_regeneration(live, now - 10, now + 10)
        judges.run_once()
    assert same.shadow  # the imported turn was never judged under the pin
    assert other.shadow
    found: list[Any] = [recorded.event for recorded in court.events(live.ledger, ShadowJudged)]
    assert [(event.turn, event.job) for event in found[:2]] == [(turn, None), (imported, same.job)]
    assert sorted((event.turn, event.job) for event in found[2:]) == [(turn, other.job), (imported, other.job)]
    assert len({event.position_seed for event in found}) == 4
    assert progress_of(live, other.job).turns == 2


def test_under_a_pin_without_a_prompt_only_sessions_are_graded(court: Court, live: LiveLedger) -> None:
    court.exchange(live.ledger, "s1", at=NOON, imported=True)
    court.configure(live.ledger, agent_success_config=NEVER, shadow_comparison_judge_prompt_version="v9.9.9")
    started = start_regeneration(live, NOON, NOON + 1)
    assert not started.shadow
    with court.judges(live) as judges:
        judges.run_once()
    assert progress_of(live, started.job).status == "completed"


def test_live_turns_do_not_wait_behind_a_job(court: Court, live: LiveLedger) -> None:
    court.configure(live.ledger, agent_success_config=NEVER, eval_concurrency_limit=1)
    for number in range(6):
        court.publish(live.ledger, f"s{number}", [{"role": "User", "content": "hello"}], at=NOON)
    start_regeneration(live, NOON, NOON + 1)
    for number in range(2):
        court.exchange(live.ledger, f"t{number}")
    with court.judges(live) as judges:
        judges.run_once()
    order = [type(found.event).__name__ for found in court.events(live.ledger, SessionGraded, ShadowJudged)]
    assert order.index("ShadowJudged") == 0
    assert order[:4].count("ShadowJudged") == 2
    assert len(order) == 8


def test_only_one_job_runs_at_a_time_and_a_window_has_a_length(court: Court, live: LiveLedger) -> None:
    court.exchange(live.ledger, "s1", at=NOON)
    with pytest.raises(Refused) as backwards:
        start_regeneration(live, NOON, NOON)
    assert backwards.value.rule == "window_ordered"
    start_regeneration(live, NOON, NOON + 1)
    with pytest.raises(Refused) as running:
        start_regeneration(live, NOON, NOON + 1)
    assert running.value.rule == "regeneration_running"
    with court.judges(live) as judges:
        judges.run_once()
    start_regeneration(live, NOON, NOON + 1)


def test_a_failed_session_is_counted_and_named_and_the_job_completes(court: Court, live: LiveLedger) -> None:
    court.configure(live.ledger, agent_success_config=NEVER)
    for number in range(3):
        court.publish(live.ledger, f"s{number}", [{"role": "User", "content": f"text {number}"}], at=NOON)

    def say(request: httpx2.Request) -> httpx2.Response:
        return completion("hm") if b"text 1" in request.content else stand_in(request)

    court.provider.say = say
    started = start_regeneration(live, NOON, NOON + 1)
    with court.judges(live) as judges:
        judges.run_once()
    found = progress_of(live, started.job)
    assert (found.status, found.completed, found.failed) == ("completed", 2, 1)
    assert [(live.ledger.name_of(failure.session), failure.reason) for failure in found.failures] == [
        ("s1", "not_json")
    ]
    assert found.finished_at is not None


def test_a_cancelled_job_finishes_what_it_is_at_and_no_more(court: Court, live: LiveLedger) -> None:
    court.configure(live.ledger, agent_success_config=NEVER, eval_concurrency_limit=1)
    for number in range(5):
        court.publish(live.ledger, f"s{number}", [{"role": "User", "content": "hello"}], at=NOON)
    started = start_regeneration(live, NOON, NOON + 1)

    def say(request: httpx2.Request) -> httpx2.Response:
        if len(court.provider.requests) == 2:
            assert cancel_regeneration(live, started.job).cancelling is True
        return stand_in(request)

    court.provider.say = say
    with court.judges(live) as judges:
        done = judges.run_once()
    found = progress_of(live, started.job)
    assert (found.status, found.completed, found.failed, found.sampled) == ("cancelled", 2, 0, 5)
    assert (done.jobs, done.waiting) == (1, 0)
    assert cancel_regeneration(live, started.job).status == "cancelled"
    assert len(court.events(live.ledger, RegenerationFinished)) == 1
    with pytest.raises(Refused) as unknown:
        cancel_regeneration(live, "0" * 32)
    assert unknown.value.rule == "job_known"


def test_a_job_that_was_cancelled_before_a_restart_ends_as_cancelled(court: Court, live: LiveLedger) -> None:
    court.exchange(live.ledger, "s1", at=NOON)
    started = start_regeneration(live, NOON, NOON + 1)
    assert cancel_regeneration(live, started.job).status == "running"
    with court.judges(live) as judges:
        judges.run_once()
    found = progress_of(live, started.job)
    assert (found.status, found.completed) == ("cancelled", 0)


def test_a_job_that_was_cancelled_keeps_no_other_from_starting(court: Court, live: LiveLedger) -> None:
    """Also where no judge works that could end it."""
    court.exchange(live.ledger, "s1", at=NOON)
    cancel_regeneration(live, start_regeneration(live, NOON, NOON + 1).job)
    started = start_regeneration(live, NOON, NOON + 1)
    with court.judges(live) as judges:
        judges.run_once()
    assert progress_of(live, started.job).completed == 1


def test_a_job_with_nothing_to_sample_completes(court: Court, live: LiveLedger) -> None:
    started = start_regeneration(live, NOON, NOON + 1)
    with court.judges(live) as judges:
        judges.run_once()
    assert progress_of(live, started.job).status == "completed"
