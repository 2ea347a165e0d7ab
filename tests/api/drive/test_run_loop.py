"""The loop: a run that is stopped anywhere and driven on is the run that was never stopped."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affidavit.api.drive.claims import RUNS, Claims
from affidavit.api.drive.run_equality import Diverged
from affidavit.api.drive.run_loop import Observer
from affidavit.api.models.chat import Exchange
from affidavit.api.models.patience import Patience
from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, Meta, NewEvent
from affidavit.domain.model_calls import Ask, ModelAnswered, ModelRequested
from affidavit.domain.optimization.conversation import Calls, Fact, Question, Script
from affidavit.domain.optimization.events import (
    AnalysisNoted,
    IterationCompleted,
    PhaseCompleted,
    PhaseStarted,
    RunCompleted,
    RunFailed,
    RunSealed,
)
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Conflict, Unavailable

from .conftest import (
    MODEL,
    FailingLedger,
    Killed,
    Rig,
    Telling,
    attempts_of,
    body_of,
    optimising,
    question,
    said,
    seqs,
)

NUMBERS = count()
REFUSED = Exchange("refused", 500, "no", "server_error")


def asking(*batches: tuple[str, ...], site: str = "eval.train") -> Script:
    """Asks each batch side by side, states what came back, and ends."""
    for batch in batches:
        replies = yield Calls(tuple(question(site, text) for text in batch))
        words = " ".join(reply.text or reply.reason for reply in replies)
        yield Fact(AnalysisNoted(kind="said", text=words), seqs(replies))
    yield Fact(RunCompleted(reason="finished", converged=True))


def failing_at(rig: Rig, **how: Any) -> Ledger:
    return cast(Ledger, FailingLedger(rig.ledger, **how))


def through(rig: Rig, **how: Any) -> Rig:
    """The same models on a ledger that fails."""
    other = Rig(failing_at(rig, **how))
    other.models = rig.models
    return other


def test_a_run_is_driven_to_its_end_and_every_call_and_fact_is_on_record(rig: Rig) -> None:
    told = Telling()
    outcome = rig.drive(rig.start("001"), optimising(), observer=told)
    assert isinstance(outcome.ended_by, RunCompleted)
    assert (outcome.facts, outcome.asked, outcome.fed, outcome.sent) == (9, 16, 0, 16)
    recorded = rig.read("001")
    assert [fact.type_name for fact in recorded.facts][:3] == [
        "prompt.evaluated.v1",
        "analysis.noted.v1",
        "iteration.completed.v1",
    ]
    assert sorted(recorded.calls)[:3] == [("eval.train", 0), ("eval.train", 1), ("eval.train", 2)]
    assert ("eval.train", 5) in recorded.calls
    requested = recorded.calls["eval.train", 4][0].requested
    assert (requested.model, requested.purpose, requested.iteration, requested.attempt) == (MODEL, "train", 2, 1)
    answered = recorded.calls["eval.train", 4][0].answered
    assert answered is not None
    assert (answered.outcome, answered.prompt_tokens, answered.completion_tokens) == ("replied", 7, 3)
    assert set(rig.sent().values()) == {1}
    assert [fed for _, fed in told.facts] == [False] * 9
    assert len(told.requests) == len(told.answers) == 16


def test_a_request_is_durable_before_it_is_sent_and_an_answer_before_it_is_told(rig: Rig) -> None:
    seen: list[int] = []

    def look(text: str) -> None:
        waiting = rig.read("001").in_flight()
        seen.append(sum(text in str(attempt.requested.body) for attempt in waiting))

    def script() -> Script:
        replies = yield Calls((question("eval.train", "a"),))
        (attempt,) = rig.read("001").calls["eval.train", 0]
        assert attempt.answer_seq == replies[0].seq
        yield Fact(RunCompleted(reason="finished", converged=True))

    rig.models[MODEL].before = look
    assert isinstance(rig.drive(rig.start("001"), script()).ended_by, RunCompleted)
    assert seen == [1]


def test_facts_share_a_commit_with_the_requests_that_follow_and_answers_with_the_next(rig: Rig) -> None:
    counting = FailingLedger(rig.ledger, at=10**6)
    other = Rig(cast(Ledger, counting))
    rig.start("001")
    other.drive("001", asking(("a",), ("b",), ("c",)), max_workers=1)
    # requests and answers of three calls, and the two last facts; facts between go with the next request
    assert counting.commits == 7
    counting.commits = 0
    rig.start("002")
    other.drive("002", asking(tuple("abcdefgh")), max_workers=1)
    assert counting.commits == 1 + 8 + 1  # each answer goes with the request it makes room for


def test_what_is_measured_is_filled_and_nothing_else(rig: Rig, now: list[int]) -> None:
    def script() -> Script:
        yield Fact(PhaseStarted(phase=1, axis="wording"))
        (reply,) = yield Calls((question("eval.train", "a"),))
        now[0] += 5_000_000
        yield Fact(PhaseCompleted(phase=1, axis="wording", iterations=0), (2, reply.seq or 0))
        yield Fact(RunCompleted(reason="finished", converged=True), judge_prompt_version="v1")

    now[0] += 60_000_000
    rig.drive(rig.start("001"), script(), meta=Meta(recorder="test"))
    started, completed, ended = rig.read("001").facts
    assert isinstance(started.event, PhaseStarted)
    assert isinstance(completed.event, PhaseCompleted)
    assert isinstance(ended.event, RunCompleted)
    assert (started.event.timestamp or "").startswith("2026-11-22T10:01:00.0000")
    assert (started.event.timestamp or "").endswith("+00:00")
    assert completed.event.duration_seconds == pytest.approx(5, abs=0.001)
    assert ended.event.duration_seconds == pytest.approx(65, abs=0.001)
    assert completed.meta == {
        "recorder": "test",
        "cause": rig.read("001").calls["eval.train", 0][0].answer_seq,
    }
    assert ended.meta == {"recorder": "test", "judge_prompt_version": "v1"}


def test_a_clock_that_stepped_back_gives_no_negative_duration(rig: Rig, now: list[int]) -> None:
    now[0] -= 3_600_000_000
    rig.drive(rig.start("001"), asking())
    ended = rig.read("001").facts[-1].event
    assert isinstance(ended, RunCompleted)
    assert ended.duration_seconds == 0


# Stopped anywhere.


def small() -> Script:
    return optimising(2, 2)


@pytest.fixture
def whole(rig: Rig) -> tuple[Any, int, int]:
    """A run that was never stopped: its meaning, and how many commits and sends it took."""
    counting = FailingLedger(rig.ledger, at=10**6)
    other = Rig(cast(Ledger, counting))
    other.drive(rig.start("whole"), small(), max_workers=2)
    return rig.meaning("whole"), counting.commits, sum(other.sent().values())


@pytest.mark.parametrize("behind", [False, True], ids=["before the commit", "behind the commit"])
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_a_run_killed_at_any_commit_and_resumed_is_the_run_never_stopped(
    rig: Rig, whole: tuple[Any, int, int], behind: bool, for_good: bool
) -> None:
    meaning, commits, calls = whole
    for at in range(commits + 6):  # alone, a call or two may come in at a time
        run = rig.start(f"k{at}")
        rig.models = Rig(rig.ledger).models
        try:
            through(rig, at=at, behind=behind, for_good=for_good).drive(run, small(), max_workers=2)
        except Killed:
            before = rig.read(run)
            if before.ended_by is None:
                unknown = len(before.in_flight())
                answered = {place for place in before.calls if before.outcome(place)}
                told = Telling()
                rig.drive(run, small(), max_workers=2, observer=told)
                assert {(site, at) for site, at, fed in told.answers if fed} == answered
                assert answered.isdisjoint(told.requests)
                assert len(rig.read(run).in_flight()) == unknown
        assert rig.meaning(run) == meaning
        attempts = attempts_of(rig.events(run))
        assert set(attempts.values()) == {1}
        if for_good:
            assert sum(rig.sent().values()) <= calls + 2  # what was in flight, and that alone, was sent again
        else:
            assert sum(rig.sent().values()) == calls or behind


def test_a_run_killed_at_any_send_and_resumed_is_the_run_never_stopped(rig: Rig, whole: tuple[Any, int, int]) -> None:
    meaning, _, calls = whole
    for at in range(calls):
        run = rig.start(f"s{at}")
        rig.models = Rig(rig.ledger).models
        left = [at]
        mutex = threading.Lock()

        def die(_: str, left: list[int] = left, mutex: threading.Lock = mutex) -> None:
            with mutex:
                left[0] -= 1
                if left[0] == -1:
                    raise Killed

        for model in rig.models.values():
            model.before = die
        with pytest.raises(Killed):
            rig.drive(run, small(), max_workers=2)
        (lost,) = rig.read(run).in_flight()
        rig.drive(run, small(), max_workers=2)
        assert rig.meaning(run) == meaning
        assert sorted(rig.sent().values())[-2:] in ([1, 2], [2])  # the lost one, and no other
        assert [attempt.request_seq for attempt in rig.read(run).in_flight()] == [lost.request_seq]
        again = rig.read(run).calls[lost.requested.site, lost.requested.occurrence]
        assert [attempt.requested.attempt for attempt in again] == [1, 2]


def test_ctrl_c_lets_calls_in_flight_finish_and_records_what_they_cost(rig: Rig) -> None:
    slow = threading.Event()

    def wait(text: str) -> None:
        if text == "slow":
            assert slow.wait(30)

    class Stopping(Observer):
        def answered(self, requested: ModelRequested, answered: ModelAnswered, *, fed: bool) -> None:
            slow.set()
            raise KeyboardInterrupt

    rig.models[MODEL].before = wait
    with pytest.raises(KeyboardInterrupt):
        rig.drive(rig.start("001"), asking(("slow", "quick", "later", "latest")), max_workers=2, observer=Stopping())
    recorded = rig.read("001")
    assert recorded.in_flight() == []
    assert recorded.outcome(("eval.train", 0)) is not None
    assert recorded.outcome(("eval.train", 3)) is None
    rig.drive("001", asking(("slow", "quick", "later", "latest")))
    assert set(rig.sent().values()) == {1}


def test_a_real_ctrl_c_while_the_loop_waits_is_a_clean_end(rig: Rig) -> None:
    main = threading.main_thread()
    if threading.current_thread() is not main or main.ident is None:
        pytest.skip("signals go to the main thread, and this test is run on another")

    def interrupt(text: str) -> None:
        if text == "b":
            signal.pthread_kill(cast(int, main.ident), signal.SIGINT)

    rig.models[MODEL].before = interrupt
    with pytest.raises(KeyboardInterrupt):
        rig.drive(rig.start("001"), asking(("a",), ("b",), ("c",)))
    assert rig.read("001").in_flight() == []
    rig.drive("001", asking(("a",), ("b",), ("c",)))
    assert rig.sent() == {"a": 1, "b": 1, "c": 1}


def test_a_server_that_never_answers_holds_up_an_interruption_for_the_grace_alone(rig: Rig) -> None:
    never = threading.Event()

    def wait(text: str) -> None:
        if text == "never":
            never.wait(30)

    class Stopping(Observer):
        def answered(self, requested: ModelRequested, answered: ModelAnswered, *, fed: bool) -> None:
            raise KeyboardInterrupt

    rig.models[MODEL].before = wait
    with pytest.raises(KeyboardInterrupt):
        rig.drive(rig.start("001"), asking(("never", "quick")), observer=Stopping(), grace=0.05)
    (lost,) = rig.read("001").in_flight()
    assert "never" in str(lost.requested.body)
    never.set()


def test_a_disk_that_fails_once_loses_no_answer(rig: Rig) -> None:
    run = rig.start("001")
    full = through(rig, at=1, for_good=False, error=lambda: Unavailable("disk full"))
    with pytest.raises(Unavailable):
        full.drive(run, asking(("a", "b")), max_workers=1)
    assert rig.read(run).outcome(("eval.train", 0)) is not None
    rig.drive(run, asking(("a", "b")))
    assert set(rig.sent().values()) == {1}


# What the script sees does not hang on time.


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_the_order_in_which_replies_come_in_decides_nothing(rig: Rig, seed: int) -> None:
    if not rig.events("first"):
        rig.drive(rig.start("first"), optimising(), max_workers=1)
    order = random.Random(seed)
    run = rig.start(f"n{next(NUMBERS)}")
    gate = threading.Condition()
    held: list[str] = []
    let_go: set[str] = set()

    def wait(text: str) -> None:
        with gate:
            held.append(text)
            if len(held) == 3 or text.startswith(("why", "better")):
                order.shuffle(held)
                let_go.update(held)
                held.clear()
                gate.notify_all()
            assert gate.wait_for(lambda: text in let_go, 30)
            let_go.discard(text)

    other = Rig(rig.ledger)
    for model in other.models.values():
        model.before = wait
    other.drive(run, optimising(), max_workers=3)
    assert rig.meaning(run) == rig.meaning("first")


def test_never_more_calls_at_once_than_allowed(rig: Rig) -> None:
    together = threading.Barrier(3)

    def meet(_: str) -> None:
        together.wait(30)

    rig.models[MODEL].before = meet
    rig.drive(rig.start("001"), asking(tuple("abcdefghi")), max_workers=3)
    assert rig.models[MODEL].most_at_once == 3


# Failures and tries.


def test_each_try_stands_on_record_and_the_last_failure_is_the_outcome(rig: Rig) -> None:
    def answer(text: str) -> Exchange | None:
        tries = rig.models[MODEL].sent[text]
        if text == "dead" or (text == "shaky" and tries < 3):
            return REFUSED
        return None

    rig.models[MODEL].before = answer
    waits: list[float] = []
    patience = Patience(tries=3, first=1.0, random=lambda: 1.0)
    run = rig.start("001")
    rig.drive(
        run, asking(("dead", "shaky", "well")), patience=patience, sleep=waits.append, max_workers=1, clock=lambda: 0.0
    )
    dead, shaky, well = (rig.read(run).calls["eval.train", at] for at in range(3))
    assert [(try_.requested.attempt, try_.answered and try_.answered.gave_up) for try_ in dead] == [
        (1, None),
        (2, None),
        (3, True),
    ]
    assert [try_.answered and try_.answered.outcome for try_ in shaky] == ["refused", "refused", "replied"]
    assert len(well) == 1
    said_ = rig.read(run).facts[0].event
    assert isinstance(said_, AnalysisNoted)
    assert said_.text == "server_error re: shaky re: well"
    assert waits


def test_a_wait_between_tries_keeps_no_other_call_waiting(rig: Rig) -> None:
    """The refused call is due again in an hour; the others are asked meanwhile, one after another."""
    time = [0.0]

    def sleep(seconds: float) -> None:
        assert rig.models[MODEL].sent == {"late": 1, "a": 1, "b": 1, "c": 1}
        time[0] += seconds

    def answer(text: str) -> Exchange | None:
        return REFUSED if text == "late" and rig.models[MODEL].sent[text] == 1 else None

    rig.models[MODEL].before = answer
    patience = Patience(tries=2, first=3600.0, longest=3600.0, random=lambda: 1.0)
    rig.drive(
        rig.start("001"),
        asking(("late", "a", "b", "c")),
        max_workers=1,
        patience=patience,
        sleep=sleep,
        clock=lambda: time[0],
    )
    assert time == [3600.0]
    assert rig.models[MODEL].sent["late"] == 2


def test_retry_after_is_kept_to(rig: Rig) -> None:
    def answer(text: str) -> Exchange | None:
        first = rig.models[MODEL].sent[text] == 1
        return Exchange("refused", 429, "slow down", "rate_limited", retry_after=17.0) if first else None

    waits: list[float] = []
    rig.models[MODEL].before = answer
    rig.drive(rig.start("001"), asking(("a",)), patience=Patience(), sleep=waits.append, clock=lambda: 0.0)
    assert waits == [17.0]


def test_a_step_down_is_an_attempt_and_no_try(rig: Rig) -> None:
    def answer(text: str) -> Exchange | None:
        return None if rig.models[MODEL].stepped_down else Exchange("refused", 400, "no such field", "request_refused")

    rig.models[MODEL].before = answer
    rig.drive(rig.start("001"), asking(("a",)), patience=Patience(tries=1))
    first, second = rig.read("001").calls["eval.train", 0]
    assert first.answered is not None
    assert (first.answered.reason, first.answered.gave_up) == ("request_refused", None)
    assert second.settles


def test_a_failure_that_was_the_outcome_is_fed_as_such_and_one_to_be_retried_is_retried(rig: Rig) -> None:
    run = rig.start("001")
    rig.models[MODEL].before = lambda text: REFUSED if text == "dead" else None
    first = asking(("dead",), ("next",))
    with pytest.raises(Killed):
        through(rig, at=4).drive(run, first, max_workers=1, patience=Patience(tries=2, first=0.0))
    assert rig.read(run).outcome(("eval.train", 0)) is not None
    rig.models[MODEL].before = lambda _: None
    rig.drive(run, asking(("dead",), ("next",)))
    assert rig.models[MODEL].sent["dead"] == 2
    noted = rig.read(run).facts[0].event
    assert isinstance(noted, AnalysisNoted)
    assert noted.text == "server_error"

    run = rig.start("002")
    rig.models[MODEL].before = lambda text: REFUSED
    with pytest.raises(Killed):
        through(rig, at=2).drive(run, asking(("shaky",)), max_workers=1)
    assert rig.read(run).outcome(("eval.train", 0)) is None
    rig.models[MODEL].before = lambda _: None
    rig.drive(run, asking(("shaky",)))
    attempts = rig.read(run).calls["eval.train", 0]
    assert [attempt.requested.attempt for attempt in attempts] == list(range(1, len(attempts) + 1))
    assert attempts[-1].settles
    assert not any(attempt.settles for attempt in attempts[:-1])


def test_a_reply_with_half_a_character_is_told_and_kept_with_its_escape(rig: Rig) -> None:
    body = body_of("x").replace('"x"', '"half \\ud83d done"')
    rig.models[MODEL].before = lambda _: Exchange("replied", 200, body)
    rig.drive(rig.start("001"), asking(("a",)))
    noted = rig.read("001").facts[0].event
    assert isinstance(noted, AnalysisNoted)
    assert noted.text == "half \\ud83d done"


# The script fails, or is another one.


def test_an_error_of_the_script_ends_the_run_with_its_traceback(rig: Rig) -> None:
    def script() -> Script:
        yield Calls((question("eval.train", "a"),))
        raise ZeroDivisionError("no samples \ud800")

    outcome = rig.drive(rig.start("001"), script())
    assert isinstance(outcome.ended_by, RunFailed)
    failed = rig.read("001").facts[-1].event
    assert isinstance(failed, RunFailed)
    assert failed.reason == "ZeroDivisionError"
    assert "no samples" in str(failed.message)
    with pytest.raises(Refused, match="has ended") as refused:
        rig.drive("001", asking())
    assert refused.value.rule == "run_ended"


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Fact(IterationCompleted(iteration=1, evaluation=9)), "Refused"),
        (Calls((Question(MODEL, "train", Ask("Not a site", ({"role": "user", "content": "a"},))),)), "Refused"),
        ("nonsense", "TypeError"),
    ],
)
def test_a_step_that_cannot_be_is_a_failure_of_the_script(rig: Rig, step: Any, reason: str) -> None:
    def script() -> Iterator[Any]:
        yield Fact(AnalysisNoted(kind="said", text="before"))
        yield step

    outcome = rig.drive(rig.start("001"), cast(Script, script()))
    assert outcome.ended_by is not None
    assert outcome.ended_by.reason == reason
    assert [fact.type_name for fact in rig.read("001").facts] == ["analysis.noted.v1", "run.failed.v1"]


@pytest.fixture
def stopped(rig: Rig) -> Rig:
    """Run 001, stopped in its second iteration."""
    with pytest.raises(Killed):
        through(rig, at=11).drive(rig.start("001"), optimising(), max_workers=1)
    assert len(rig.read("001").facts) >= 2
    return rig


def before_the_end(script: Script, steps: int) -> Script:
    """A script that ends after so many steps."""
    answer = None
    for _ in range(steps):
        answer = yield script.send(answer)


def failing_after(script: Script, steps: int) -> Script:
    yield from before_the_end(script, steps)
    raise ValueError("a bug of today")


DIVERGING: list[tuple[str, Callable[[], Script], str]] = [
    (
        "a request",
        lambda: optimising(rule="do "),
        r"call reasoner.analyse 0 \(entry \d+\): messages.0.content: recorded",
    ),
    ("a fact", lambda: optimising(last="!"), r"fact 1 \(analysis.noted.v1, entry \d+\): text: recorded"),
    ("more calls", lambda: optimising(samples=4), r"the script asks call eval.train 3, which has no recorded outcome"),
    (
        "fewer calls",
        lambda: optimising(samples=2),
        r"fact 0 \(prompt.evaluated.v1, entry \d+\): n: recorded '3', now '2'",
    ),
    ("an early end", lambda: before_the_end(optimising(), 4), r"fact 1 .*: the script ends, where the record goes on"),
    (
        "a failure",
        lambda: failing_after(optimising(), 3),
        r"fact 1 .*: the script fails with ValueError, where the rec",
    ),
    ("a fact for a call", lambda: asking(), r"fact 0 \(prompt.evaluated.v1, entry \d+\): type: recorded"),
]


@pytest.mark.parametrize(("script", "said"), [case[1:] for case in DIVERGING], ids=[case[0] for case in DIVERGING])
def test_a_script_that_is_another_is_refused_before_anything_is_sent_or_recorded(
    stopped: Rig, script: Callable[[], Script], said: str
) -> None:
    before, sent = stopped.events("001"), stopped.sent()
    with pytest.raises(Diverged, match=said):
        stopped.drive("001", script())
    assert stopped.events("001") == before
    assert stopped.sent() == sent
    stopped.drive("001", optimising())
    assert isinstance(stopped.read("001").ended_by, RunCompleted)


def test_a_new_fact_is_refused_where_the_record_goes_on_with_a_call(rig: Rig) -> None:
    def one(fact_first: bool) -> Script:
        if fact_first:
            yield Fact(AnalysisNoted(kind="said", text="new"))
        yield Calls((question("eval.train", "a"),))
        yield Fact(RunCompleted(reason="finished", converged=True))

    with pytest.raises(Killed):
        through(rig, at=2).drive(rig.start("001"), one(fact_first=False))
    with pytest.raises(Diverged, match=r"call eval.train 0: the script states a new analysis.noted.v1"):
        rig.drive("001", one(fact_first=True))


def test_another_temperature_or_iteration_is_another_request(rig: Rig) -> None:
    def asks(**more: Any) -> Script:
        ask = Ask("eval.train", ({"role": "user", "content": "a"},), temperature=more.pop("temperature", 0.5))
        yield Calls((Question(MODEL, "train", ask, **more),))
        yield Calls((question("eval.train", "b"),))

    with pytest.raises(Killed):
        through(rig, at=2).drive(rig.start("001"), asks())
    with pytest.raises(Diverged, match=r"temperature: recorded '0.5', now '0.7'"):
        rig.drive("001", asks(temperature=0.7))
    with pytest.raises(Diverged, match=r"iteration: recorded 'null', now '2'"):
        rig.drive("001", asks(iteration=2))


def test_what_was_erased_cannot_be_compared_and_nothing_is_sent(stopped: Rig) -> None:
    stopped.ledger.erase("run/001", "requested")
    sent = stopped.sent()
    with pytest.raises(Refused, match=r"\[erased\]") as refused:
        stopped.drive("001", optimising())
    assert refused.value.rule == "content_withheld"
    assert stopped.sent() == sent


def test_a_question_to_nobody_is_refused_before_anything_is_sent(rig: Rig) -> None:
    def script() -> Script:
        yield Calls((question("eval.train", "a"), question("eval.train", "b", to="sandbox/unknown")))

    with pytest.raises(Refused, match="sandbox/unknown"):
        rig.drive(rig.start("001"), script())
    assert not rig.sent()


# One writer at a time.


def test_a_run_that_somebody_drives_is_busy(rig: Rig) -> None:
    run = rig.start("001")
    claims = Claims(rig.ledger.place, RUNS)
    with claims.claimed("run/001") as held:
        assert held
        with pytest.raises(Refused, match="somebody else is driving it") as refused:
            rig.drive(run, asking(("a",)))
    claims.close()
    assert refused.value.rule == "run_busy"
    rig.drive(run, asking(("a",)))


def test_another_drive_in_this_process_is_refused_and_the_end_of_one_frees_no_other(rig: Rig) -> None:
    refusals: list[str] = []

    def meddle(_: str) -> None:
        other = Rig(rig.ledger)
        for run in ("001", "002", "001"):  # the second is free, and done when the third is tried
            try:
                other.drive(run, asking(("a",)))
            except Refused as error:
                refusals.append(error.rule)

    rig.start("002")
    rig.models[MODEL].before = meddle
    rig.drive(rig.start("001"), asking(("a",)))
    assert refusals == ["run_busy", "run_busy"]


def test_a_foreign_writer_is_noticed_and_nothing_is_doubled(rig: Rig) -> None:
    run = rig.start("001")

    def meddle(_: str) -> None:
        pos = rig.events(run)[-1].pos + 1
        rig.ledger.record(NewEvent(f"run/{run}", pos, AnalysisNoted(kind="foreign"), Meta()))

    rig.models[MODEL].before = meddle
    with pytest.raises(Refused, match="somebody else records it") as refused:
        rig.drive(run, asking(("a",)))
    assert refused.value.rule == "run_busy"
    assert isinstance(refused.value.__cause__, Conflict)
    assert set(attempts_of(rig.events(run)).values()) == {1}


def test_a_seal_put_beside_a_running_run_disturbs_nothing(rig: Rig) -> None:
    run = rig.start("001")

    def seal(_: str) -> None:
        pos = rig.events(run)[-1].pos + 1
        event: Event = RunSealed(profile="native", version=1, upto=1, files=0, bytes=0, manifest={})
        rig.ledger.record(NewEvent(f"run/{run}", pos, event, Meta()))

    rig.models[MODEL].before = seal
    assert rig.drive(run, asking(("a",), ("b",)), max_workers=1).ended_by is not None
    assert len(rig.read(run).calls) == 2


# Branches.


def test_a_branch_is_fed_its_parents_calls_up_to_its_iteration_and_asks_the_rest(rig: Rig) -> None:
    rig.drive(rig.start("001"), optimising(3))
    sent = rig.sent()
    outcome = rig.drive(rig.start("002", ("001", 2)), optimising(3))
    fed = 2 * 7 + 1  # two whole iterations, and the rewrite between them
    assert (outcome.fed, outcome.asked) == (fed, 24 - fed)
    assert rig.meaning("002") == rig.meaning("001")
    assert len(rig.read("002").calls) == 24 - fed
    assert sum(rig.sent().values()) == sum(sent.values()) + 24 - fed


def test_a_branch_of_a_branch_is_fed_by_both_and_one_that_leaves_earlier_by_no_more(rig: Rig) -> None:
    rig.drive(rig.start("001"), optimising(4))
    rig.drive(rig.start("002", ("001", 2)), optimising(4))
    whole = rig.meaning("001")
    for name, parent, after in (("003", "002", 3), ("004", "002", 1)):
        before = sum(rig.sent().values())
        outcome = rig.drive(rig.start(name, (parent, after)), optimising(4))
        assert outcome.fed == 8 * after - 1
        assert sum(rig.sent().values()) - before == 32 - outcome.fed
        assert rig.meaning(name) == whole


def test_a_branch_killed_anywhere_and_resumed_is_the_branch_never_stopped(rig: Rig) -> None:
    rig.drive(rig.start("001"), optimising(2), max_workers=2)
    whole = rig.meaning("001")
    for at in range(12):
        run = rig.start(f"b{at}", ("001", 1))
        try:
            through(rig, at=at).drive(run, optimising(2), max_workers=2)
        except Killed:
            if rig.read(run).ended_by is None:
                rig.drive(run, optimising(2), max_workers=2)
        assert rig.meaning(run) == whole


def test_a_branch_whose_script_differs_before_it_leaves_is_refused(rig: Rig) -> None:
    rig.drive(rig.start("001"), optimising(2))
    sent = rig.sent()
    with pytest.raises(Diverged, match=r"run 002, call reasoner.analyse 0"):
        rig.drive(rig.start("002", ("001", 1)), optimising(2, rule="tell me "))
    with pytest.raises(Diverged, match="where the record goes on with this call"):
        rig.drive(rig.start("003", ("001", 1)), optimising(2, judged=False))
    assert rig.sent() == sent


@pytest.mark.parametrize(("parent", "rule"), [(("009", 1), "run_known"), (("001", 9), "iteration_known")])
def test_a_branch_of_what_is_not_there_is_refused(rig: Rig, parent: tuple[str, int], rule: str) -> None:
    rig.drive(rig.start("001"), optimising(1))
    with pytest.raises(Refused) as refused:
        rig.drive(rig.start("002", parent), optimising(2))
    assert refused.value.rule == rule


def test_no_workers_are_refused(rig: Rig) -> None:
    with pytest.raises(Refused, match="max_workers 0: expected 1 or more"):
        rig.drive(rig.start("001"), asking(("a",)), max_workers=0)


def test_a_run_that_is_not_there_is_refused(rig: Rig) -> None:
    with pytest.raises(Refused, match="run '001' is not on this ledger"):
        rig.drive("001", asking())


# Any script.

TEXTS = st.text("ab", min_size=1, max_size=2)
STEPS = st.lists(
    st.one_of(
        st.lists(st.tuples(st.sampled_from(["eval.a", "eval.b"]), TEXTS), max_size=4),
        TEXTS,
    ),
    max_size=6,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(0, 12), st.booleans(), st.integers(1, 3), st.data())
def test_any_script_stopped_anywhere_goes_on_as_if_it_was_not(
    rig: Rig, steps: list[Any], at: int, behind: bool, workers: int, data: st.DataObject
) -> None:
    def script() -> Script:
        heard = ""
        for step in steps:
            if isinstance(step, str):
                yield Fact(AnalysisNoted(kind="said", text=f"{heard} {step}"))
            else:
                replies = yield Calls(tuple(question(site, f"{heard[-5:]} {text}") for site, text in step))
                heard = "/".join(reply.text or reply.reason for reply in replies)
        yield Fact(RunCompleted(reason="finished", converged=True))

    dead = data.draw(st.sets(TEXTS), "questions that always fail")
    number = next(NUMBERS)
    other = Rig(rig.ledger)
    other.models[MODEL].before = lambda text: REFUSED if text.split(" ")[-1] in dead else None
    other.drive(rig.start(f"w{number}"), script(), max_workers=1)
    run = rig.start(f"x{number}")
    try:
        through(other, at=at, behind=behind).drive(run, script(), max_workers=workers)
    except Killed:
        if rig.read(run).ended_by is None:
            other.drive(run, script(), max_workers=workers)
    assert rig.meaning(run) == rig.meaning(f"w{number}")


def test_a_reply_is_the_same_told_at_once_and_read_back(rig: Rig) -> None:
    heard: list[Any] = []

    def script() -> Script:
        heard.append((yield Calls((question("eval.train", "a"), question("eval.train", "dead")))))
        yield Calls((question("eval.train", "b"),))

    rig.models[MODEL].before = lambda text: REFUSED if text == "dead" else said("cut") if text == "a" else None
    with pytest.raises(Killed):
        through(rig, at=4).drive(rig.start("001"), script(), max_workers=2, patience=Patience(tries=1))
    rig.drive("001", script())
    assert len(heard) == 2
    assert heard[0] == heard[1]
