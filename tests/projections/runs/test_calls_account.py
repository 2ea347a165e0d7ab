"""The account of a run's calls: exact sums, and what is unknown said as such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.api.record import RecordingLedger
from affidavit.domain.event import Event, NewEvent, Recorded
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.domain.optimization.events import RunPlanned
from affidavit.ledger.application import Ledger
from affidavit.ledger.store.opening import EventReader
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runs.calls_account import DIMENSIONS, NOT_ASKED, CallsAccount, Tally
from affidavit.projections.runs.record import fold_run
from affidavit.projections.runs.summary import summarise


def requested(site: str, occurrence: int = 0, attempt: int = 1, model: str = "local/target", **told: Any) -> Event:
    return ModelRequested(site=site, occurrence=occurrence, attempt=attempt, model=model, body="{}", **told)


def answered(site: str, occurrence: int = 0, attempt: int = 1, tokens: Any = (10, 5), **told: Any) -> Event:
    prompt, completion = tokens or (None, None)
    return ModelAnswered.model_validate(
        {
            "site": site,
            "occurrence": occurrence,
            "attempt": attempt,
            "outcome": "replied",
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "body": "{}",
            **told,
        }
    )


def account_of(events: Sequence[Event]) -> CallsAccount:
    account = CallsAccount()
    for pos, event in enumerate(events):
        account.apply(Recorded(pos, "2026-11-22T10:00:00.000000Z", "run/1", pos, event.type_name, {}, event))
    return account


def test_w19_totals_of_every_purpose_are_sums_over_calls_val_and_judge_among_them() -> None:
    """The peer counts no validation, no judge, and its reasoning twice when threads race."""
    asked = [
        ("baseline", "baseline", "local/target", None, None, (100, 10)),
        ("train.0", "train", "local/target", 1, 1, (200, 20)),
        ("val", "val", "local/target", 1, 1, (300, 30)),
        ("judge", "judge", "local/judge", 1, 1, (400, 40)),
        ("rewrite", "reasoning", "openai/reasoner", 1, 1, (500, 50)),
        ("train.1", "train", "local/other", 2, 2, (600, 60)),
    ]
    events = [
        event
        for site, purpose, model, iteration, phase, tokens in asked
        for event in (
            requested(site, model=model, purpose=purpose, iteration=iteration, phase=phase),
            answered(site, tokens=tokens),
        )
    ]
    account = account_of(events)
    assert (account.total().prompt_tokens, account.total().completion_tokens) == (2100, 210)
    assert {name: tally.tokens for name, tally in account.by("purpose").items()} == {
        "baseline": 110,
        "train": 880,
        "val": 330,
        "judge": 440,
        "reasoning": 550,
    }
    assert {name: tally.prompt_tokens for name, tally in account.by("model").items()} == {
        "local/target": 600,
        "local/judge": 400,
        "openai/reasoner": 500,
        "local/other": 600,
    }
    assert {number: tally.tokens for number, tally in account.by("iteration").items()} == {None: 110, 1: 1540, 2: 660}
    assert list(account.by("phase")) == [None, 1, 2]


def test_a_retry_is_no_call_of_its_own_and_is_paid_for() -> None:
    account = account_of(
        [
            requested("train", attempt=1),
            answered("train", attempt=1, tokens=None, outcome="refused", status=429),
            requested("train", attempt=2),
            answered("train", attempt=2, tokens=(7, 3), reason="not_json"),
            requested("train", attempt=3),
            answered("train", attempt=3),
        ]
    )
    assert account.total() == Tally(calls=1, retries=2, prompt_tokens=17, completion_tokens=8)


def test_a_call_that_was_given_up_is_a_failure() -> None:
    account = account_of(
        [
            requested("train"),
            answered("train", tokens=None, outcome="refused", status=500, gave_up=True, body=None),
        ]
    )
    assert account.total() == Tally(calls=1, gave_up=1)


@pytest.mark.parametrize("tokens", [None, (12, None), (None, 4)])
def test_what_the_server_did_not_count_is_unknown_and_not_0(tokens: Any) -> None:
    total = account_of([requested("train"), answered("train", tokens=tokens)]).total()
    assert (total.not_counted, total.is_whole) == (1, False)
    assert total.tokens == sum(count or 0 for count in tokens or ())


def test_a_call_that_timed_out_may_have_been_billed() -> None:
    total = account_of([requested("train"), answered("train", tokens=None, outcome="timed_out", body=None)]).total()
    assert total.not_counted == 1


def test_a_call_in_flight_at_a_kill_stays_unknown_when_a_later_attempt_is_answered() -> None:
    account = account_of([requested("train"), requested("train", attempt=2), answered("train", attempt=2)])
    assert account.total() == Tally(calls=1, retries=1, prompt_tokens=10, completion_tokens=5, in_flight=1)
    assert "1 attempt in flight, never answered: the cost is not known" in account.text()
    assert "lower bounds" in account.text()


def test_an_attempt_that_is_sent_again_under_its_old_number_hides_no_call_in_flight() -> None:
    account = account_of([requested("train"), requested("train"), answered("train")])
    assert (account.total().in_flight, account.total().retries) == (1, 1)


def test_an_answer_without_its_request_is_counted_under_a_name_of_its_own() -> None:
    assert account_of([answered("train")]).by("model") == {
        NOT_ASKED: Tally(calls=1, prompt_tokens=10, completion_tokens=5)
    }


def test_w20_a_resumed_runs_account_holds_every_session_once(record_of: Any, run_events: list[Event]) -> None:
    """The peer's result keeps the iterations of the last session, and counts tokens of the first twice."""
    first = [requested("train.0", iteration=1), answered("train.0")]
    killed = [requested("rewrite", iteration=1)]
    second = [
        requested("rewrite", attempt=2, iteration=1),
        answered("rewrite", attempt=2),
        requested("train.1", iteration=2),
        answered("train.1"),
    ]
    events = [*run_events[:4], *first, *run_events[4:5], *killed, *second, *run_events[5:]]
    found = summarise(record_of(events))
    assert [row["iteration"] for row in found["iterations"]] == [1, 2, 3]
    assert [(row["iteration"], row["tokens"], row["in_flight"]) for row in found["calls"]["by_iteration"]] == [
        (1, 30, 1),
        (2, 15, 0),
    ]


def test_what_a_branch_is_fed_costs_nothing_there_and_is_named() -> None:
    plan = RunPlanned(
        seed=1,
        rows_count=1,
        held_out=True,
        versions={},
        draws=(),
        branch_after=3,
        options={},
        rows=[{}],
        split={},
        sources={},
    )
    account = account_of([plan, requested("train", iteration=4), answered("train")])
    account.fed_from = "001"
    document = account.as_json()
    assert document is not None
    assert document["fed_from_parent"] == {"run": "001", "up_to_iteration": 3}
    assert [row["iteration"] for row in document["by_iteration"]] == [4]
    assert "up to iteration 3 were fed from run 001" in account.text()


def test_a_run_without_recorded_calls_has_no_account() -> None:
    assert account_of([]).as_json() is None
    assert account_of([]).text() == "no calls are recorded"


def test_the_account_is_the_same_whether_the_bodies_can_be_opened(ledger: Ledger) -> None:
    recording = RecordingLedger(ledger)
    run = recording.start_run(strategy="iterative", prompt="Answer.", config={}, run="7")
    for pos, event in enumerate([requested("baseline", purpose="baseline"), answered("baseline", tokens=(31, 4))], 1):
        ledger.record(NewEvent("run/7", pos, event, {}))
    run.record_baseline(score=0.5)
    with ledger.recorder.reading() as reader:
        for events in (ledger.event_reader(reader), EventReader(reader, REGISTRY)):
            record = fold_run(events.stream("run/7"))
            assert record is not None
            assert record.calls.by("purpose") == {"baseline": Tally(calls=1, prompt_tokens=31, completion_tokens=4)}


_CALLS = st.lists(
    st.tuples(
        st.sampled_from(["train", "val", "reasoning", None]),
        st.sampled_from(["local/a", "local/b"]),
        st.none() | st.integers(1, 4),
        st.lists(st.none() | st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), min_size=1, max_size=3),
    ),
    max_size=30,
)


@given(_CALLS)
def test_every_grouping_sums_to_the_same_exact_totals(calls: list[Any]) -> None:
    events: list[Event] = []
    for occurrence, (purpose, model, iteration, attempts) in enumerate(calls):
        for attempt, tokens in enumerate(attempts, 1):
            events.append(requested("s", occurrence, attempt, model, purpose=purpose, iteration=iteration))
            if tokens is not None:
                events.append(answered("s", occurrence, attempt, tokens))
    account = account_of(events)
    counted = [event for event in events if isinstance(event, ModelAnswered)]
    total = account.total()
    assert total.prompt_tokens == sum(event.prompt_tokens or 0 for event in counted)
    assert total.completion_tokens == sum(event.completion_tokens or 0 for event in counted)
    assert total.in_flight == len(events) - 2 * len(counted)
    assert (total.calls, total.calls + total.retries) == (len(calls), len(events) - len(counted))
    for dimension in DIMENSIONS:
        summed = Tally()
        for tally in account.by(dimension).values():
            summed.add(tally)
        assert summed == total
