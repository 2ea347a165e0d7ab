"""Killed at every step: before and after each record, and during each call, judging goes on to one conclusion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import Any

import httpx2
import pytest

from affidavit.api.drive.asking import Asker
from affidavit.api.moment import LiveLedger
from affidavit.api.workers.judging import Bench
from affidavit.api.workers.regeneration import start_regeneration
from affidavit.domain.evaluation.config import AgentSuccessConfig
from affidavit.domain.evaluation.events import (
    RegenerationFinished,
    RegenerationStarted,
    SessionGraded,
    ShadowJudged,
)
from affidavit.domain.event import NewEvent
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.ledger.application import Acknowledged, Ledger
from affidavit.projections.evaluation.pending import session_rows

from .conftest import PATIENT, Court, Provider, completion, stand_in


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """Kills at step ``at``: each record has two (before it, after it is durable), each call has two."""

    def __init__(self, at: int) -> None:
        self._left = at

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed

    @property
    def killed(self) -> bool:
        return self._left <= 0


@contextmanager
def killing(live: LiveLedger, provider: Provider, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    record, say = Ledger.record, provider.say

    def recorded(ledger: Ledger, *events: NewEvent) -> list[Acknowledged]:
        steps.step()
        done = record(ledger, *events)
        steps.step()
        return done

    def sent(request: httpx2.Request) -> httpx2.Response:
        steps.step()
        answer = say(request)
        steps.step()
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "record", recorded)
        patched.setattr(provider, "say", sent)
        yield


Work = Callable[[Bench, LiveLedger], object]


def run_until_alive(court: Court, work: Work, monkeypatch: pytest.MonkeyPatch, at: int) -> bool:
    """Work, killed at step ``at`` if there are so many, then again in a new process; whether it was killed."""
    steps = Steps(at)
    for last in (False, True):
        with court.reopened() as live, closing(court.provider.model()) as model:
            bench = Bench(live.ledger, Asker(model, PATIENT, lambda _: None), court.clock)
            if last:
                work(bench, live)
                continue
            with killing(live, court.provider, steps, monkeypatch):
                try:
                    work(bench, live)
                except Killed:
                    continue
    return steps.killed


def judge_two_replies(court: Court) -> None:
    """The provider gives garbage first, so that one judging has two calls."""
    asked: set[int] = set()

    def say(request: httpx2.Request) -> httpx2.Response:
        if b"An earlier reply of yours" in request.content:
            return stand_in(request)
        asked.add(1)
        return completion("hm")

    court.provider.say = say


def test_a_turn_has_one_verdict_wherever_its_judge_is_killed(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_two_replies(court)
    seen = 0
    for at in count(1):
        with court.reopened() as live:
            turn = court.exchange(live.ledger, f"s{at}")
        killed = run_until_alive(court, lambda bench, live: bench.judge(turn, "v1.1.0"), monkeypatch, at)  # noqa: B023
        with court.reopened() as live:
            verdicts = [found for found in court.events(live.ledger, ShadowJudged) if found.stream == f"shadow/{turn}"]
            _require_whole(court, live.ledger, f"shadow/{turn}")
        assert len(verdicts) == 1
        if not killed:
            break
        seen += 1
    assert seen >= 14  # 5 records and 2 calls of two steps each


def test_a_session_has_one_grade_wherever_its_grader_is_killed(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_two_replies(court)
    for at in count(1):
        with court.reopened() as live:
            court.exchange(live.ledger, f"s{at}")
            ((alias, _),) = live.ledger.find_aliases("session", f"s{at}")

        def grade(bench: Bench, live: LiveLedger, alias: str = alias) -> None:
            with live.moment() as moment:
                rows = session_rows(moment.views, moment.size, alias)
            assert rows is not None
            bench.grade(rows, "It worked.", "live")

        killed = run_until_alive(court, grade, monkeypatch, at)
        with court.reopened() as live:
            grades = [found for found in court.events(live.ledger, SessionGraded) if found.stream == f"session/{alias}"]
            _require_whole(court, live.ledger, f"session/{alias}")
        assert len(grades) == 1
        if not killed:
            break
    assert at > 14


def _require_whole(court: Court, ledger: Ledger, stream: str) -> None:
    """No reply was bought twice: each question has one reply, and a request without an answer has a successor."""
    calls: list[Any] = [
        found for found in court.events(ledger, ModelRequested, ModelAnswered) if found.stream == stream
    ]
    replies = [call.event.occurrence for call in calls if isinstance(call.event, ModelAnswered)]
    assert replies == sorted(set(replies))
    requests = [(call.event.occurrence, call.event.attempt) for call in calls if isinstance(call.event, ModelRequested)]
    assert len(requests) - len(replies) <= 1


def test_a_job_that_is_killed_anywhere_ends_with_one_grade_and_verdict_for_each(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers' threads record what they can; here the process ends between any two pieces of work, and inside."""
    court_now = court.now[0] // 1_000_000
    with court.reopened() as live:
        court.configure(live.ledger, eval_concurrency_limit=1, agent_success_config=AgentSuccessConfig(sampling_rate=0))
        for number in range(4):
            court.exchange(live.ledger, f"s{number}")
        with court.judges(live) as judges:
            judges.run_once()
        court.configure(
            live.ledger,
            eval_concurrency_limit=1,
            agent_success_config=AgentSuccessConfig(sampling_rate=0),
            shadow_comparison_judge_prompt_version="v1.2.0-transcript",
        )
        started = start_regeneration(live, court_now - 10, court_now + 10)
    assert (started.sampled, started.shadow) == (4, True)
    stop_after = 0
    for stop_after in count(1):
        with court.reopened() as live, court.judges(live) as judges:
            _stop_after(judges, stop_after % 4 + 1, court)
            judges.run_once()
            if any(court.events(live.ledger, RegenerationFinished)):
                break
    with court.reopened() as live:
        grades = [found.event for found in court.events(live.ledger, SessionGraded)]
        verdicts = court.events(live.ledger, ShadowJudged)
        (finished,) = court.events(live.ledger, RegenerationFinished)
        assert len(court.events(live.ledger, RegenerationStarted)) == 1
    assert stop_after > 2
    assert len({event.session for event in grades if isinstance(event, SessionGraded)}) == len(grades) == 4
    assert len(verdicts) == 8
    assert [found.meta["judge_prompt_version"] for found in verdicts] == ["v1.1.0"] * 4 + ["v1.2.0-transcript"] * 4
    assert isinstance(finished.event, RegenerationFinished)
    assert (finished.event.status, finished.event.completed, finished.event.failed) == ("completed", 4, 0)


def _stop_after(judges: Any, calls: int, court: Court) -> None:
    """Tell the judges to stop at a call: it is recorded, and what would follow is left."""
    made = iter(range(1, calls + 1))

    def say(request: httpx2.Request) -> httpx2.Response:
        if next(made, calls) == calls:
            judges._stopping.set()
        return stand_in(request)

    court.provider.say = say
