"""Grading on demand: shared, cached on the ledger for a day, limited, and honest about a judge that fails."""

from __future__ import annotations

import threading
from dataclasses import replace

import httpx2
import pytest

from affidavit.api.moment import LiveLedger
from affidavit.api.workers.on_demand import GradedOnDemand, JudgeFailed
from affidavit.domain.errors import Refused
from affidavit.domain.evaluation.events import SessionGraded, SessionUndecided

from .conftest import Court, completion, stand_in


def test_a_session_nobody_published_is_skipped(court: Court, live: LiveLedger) -> None:
    with court.judges(live) as judges:
        assert judges.on_demand.grade(" nobody ", "v1") == GradedOnDemand("nobody", skipped_reason="NO_REQUESTS")
    assert court.provider.requests == []


def test_a_session_without_turns_has_nothing_to_grade(court: Court, live: LiveLedger) -> None:
    court.publish(live.ledger, "s1", [])
    with court.judges(live) as judges:
        found = judges.on_demand.grade("s1", "v1")
    assert (found.result_id, found.skipped_reason, found.retrieved_learning_status) == (None, None, "skipped")


def test_a_grade_is_cached_for_a_day_per_content_also_over_a_restart(court: Court, live: LiveLedger) -> None:
    court.exchange(live.ledger, "s1")
    with court.judges(live) as judges:
        first = judges.on_demand.grade("s1", "v1")
    with court.reopened() as other, court.judges(other) as judges:
        second = judges.on_demand.grade("s1", "v1")
        assert (first.cached, second.cached, second.result_id) == (False, True, first.result_id)
        court.exchange(other.ledger, "s1")
        third = judges.on_demand.grade("s1", "v1")
        court.now[0] += 86_400_000_000
        fourth = judges.on_demand.grade("s1", "v1")
    assert (third.cached, fourth.cached) == (False, False)
    assert len({first.result_id, third.result_id, fourth.result_id}) == 3
    assert [found.seq for found in court.events(live.ledger, SessionGraded)] == [first.seq, third.seq, fourth.seq]


def test_clicks_at_once_share_one_grading(court: Court, live: LiveLedger) -> None:
    """The provider answers the one call only when all four clicks wait for it."""
    court.exchange(live.ledger, "s1")
    found: list[GradedOnDemand] = []
    clicked = threading.Barrier(4)

    with court.judges(live) as judges:
        shared = judges.on_demand._running

        def say(request: httpx2.Request) -> httpx2.Response:
            (running,) = shared.values()
            while len(running._condition._waiters) < 3:  # type: ignore[attr-defined] # who waits for a future
                pass
            return stand_in(request)

        court.provider.say = say

        def click() -> None:
            clicked.wait(timeout=30)
            found.append(judges.on_demand.grade("s1", "v1"))

        threads = [threading.Thread(target=click) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(court.provider.requests) == 1
    assert len(found) == 4
    assert len({one.result_id for one in found}) == 1


def test_a_version_that_the_session_never_had_makes_no_result_of_its_own(court: Court, live: LiveLedger) -> None:
    court.exchange(live.ledger, "s1", agent_version="v1")
    court.exchange(live.ledger, "s1", agent_version="v2")
    with court.judges(live) as judges:
        unknown = judges.on_demand.grade("s1", "v99")
        known = judges.on_demand.grade("s1", "v1")
    assert (unknown.agent_version, known.agent_version) == ("v2", "v1")
    assert not known.cached


def test_of_users_who_share_an_id_the_one_with_the_earliest_request_owns_it(court: Court, live: LiveLedger) -> None:
    court.exchange(live.ledger, "s1", user="late", at=2000)
    court.exchange(live.ledger, "s1", user="early", at=1000)
    with court.judges(live) as judges:
        judges.on_demand.grade("s1", "v1")
    (graded,) = court.events(live.ledger, SessionGraded)
    ((_, scope),) = live.ledger.find_aliases("user", "early")
    assert graded.meta["scope"] == scope


def test_only_so_many_a_minute_are_paid_for_and_cached_ones_are_free(court: Court, live: LiveLedger) -> None:
    for number in range(3):
        court.exchange(live.ledger, f"s{number}")
    with court.judges(live, grades_per_minute=2) as judges:
        for session in ("s0", "s1", "s1", "s0"):
            judges.on_demand.grade(session, "v1")
        with pytest.raises(Refused) as limited:
            judges.on_demand.grade("s2", "v1")
        court.now[0] += 61_000_000
        judges.on_demand.grade("s2", "v1")
    assert limited.value.rule == "rate_limited"


def test_a_judge_that_fails_is_said_recorded_and_asked_anew_at_the_next_click(court: Court, live: LiveLedger) -> None:
    court.exchange(live.ledger, "s1")
    with court.judges(live) as judges:
        court.provider.say = lambda _: completion("hm")
        with pytest.raises(JudgeFailed) as failed:
            judges.on_demand.grade("s1", "v1")
        court.provider.say = stand_in
        again = judges.on_demand.grade("s1", "v1")
    assert failed.value.reason == "not_json"
    assert len(court.events(live.ledger, SessionUndecided)) == 1
    assert again.result_id is not None
    assert not again.cached


def test_of_two_processes_the_one_that_has_to_wait_takes_the_grade_of_the_other(court: Court, live: LiveLedger) -> None:
    """Both look up before either has graded; claims are what processes share, here by being the same object."""
    court.exchange(live.ledger, "s1")
    waits = threading.Event()
    found: list[GradedOnDemand] = []

    def say(request: httpx2.Request) -> httpx2.Response:
        assert waits.wait(timeout=30)
        return stand_in(request)

    court.provider.say = say
    with court.judges(live) as one, court.reopened() as other, court.judges(other, grades_per_minute=0) as two:

        def sleep(seconds: float) -> None:
            waits.set()
            threading.Event().wait(seconds)

        two.on_demand._claims = one.on_demand._claims
        two.bench.asker = replace(two.bench.asker, sleep=sleep)
        first = threading.Thread(target=lambda: found.append(one.on_demand.grade("s1", "v1")))
        first.start()
        while not court.provider.requests:
            pass
        second = two.on_demand.grade("s1", "v1")
        first.join()
    assert len(court.provider.requests) == 1
    assert (found[0].cached, second.cached) == (False, True)
    assert second.result_id == found[0].result_id


def test_clicks_for_two_versions_of_a_session_at_once_are_both_answered(court: Court, live: LiveLedger) -> None:
    """Their gradings share a stream, where of two conclusions at once the later would be given up."""
    for version in ("v1", "v2"):
        court.exchange(live.ledger, "s1", agent_version=version)
    waits = threading.Event()

    def say(request: httpx2.Request) -> httpx2.Response:
        assert waits.wait(timeout=30)
        return stand_in(request)

    court.provider.say = say
    found: dict[str, GradedOnDemand] = {}
    with court.judges(live) as judges:

        def sleep(seconds: float) -> None:
            waits.set()
            threading.Event().wait(seconds)

        judges.bench.asker = replace(judges.bench.asker, sleep=sleep)

        def click(version: str) -> None:
            found[version] = judges.on_demand.grade("s1", version)

        threads = [threading.Thread(target=click, args=(version,)) for version in ("v1", "v2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {found[version].agent_version for version in found} == {"v1", "v2"}
    assert found["v1"].result_id != found["v2"].result_id
