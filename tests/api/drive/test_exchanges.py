"""What is recorded of an exchange, and the reply that whoever asked is sent, at once or read back."""

from __future__ import annotations

import json

import pytest

from affidavit.api.drive.exchanges import Attempt, answered, reply_of
from affidavit.api.models.chat import Exchange
from affidavit.domain.errors import Refused
from affidavit.domain.event import Withheld
from affidavit.domain.model_calls import ModelAnswered, ModelRequested, Reply

from .conftest import body_of

REQUESTED = ModelRequested(site="eval.train", occurrence=2, attempt=3, model="m", body="{}")
FAILED = Exchange("refused", 503, "no", "server_error")


def test_a_reply_is_recorded_with_its_exact_body_and_the_tokens_that_the_server_counted() -> None:
    body = body_of("yes", tokens=5)
    event = answered(REQUESTED, Exchange("replied", 200, body), 1.23456789)
    assert event == ModelAnswered(
        site="eval.train",
        occurrence=2,
        attempt=3,
        outcome="replied",
        status=200,
        prompt_tokens=7,
        completion_tokens=5,
        elapsed_seconds=1.234568,
        body=body,
    )
    assert reply_of(event, 9) == Reply("yes", "", 9, 7, 5)


def test_a_failure_is_recorded_with_its_reason_and_a_clock_that_ran_back_counts_nothing() -> None:
    event = answered(REQUESTED, FAILED, -1.0, True)
    assert (event.outcome, event.status, event.reason, event.body) == ("refused", 503, "server_error", "no")
    assert (event.prompt_tokens, event.completion_tokens, event.elapsed_seconds) == (None, None, 0.0)
    assert event.gave_up
    assert reply_of(event, 9) == Reply(None, "server_error", 9)


def test_a_reply_without_text_says_why() -> None:
    for exchange, reason in (
        (Exchange("replied", 200, "<html>"), "not_a_completion"),
        (Exchange("replied", 200, None, "reply_too_large"), "reply_too_large"),
    ):
        event = answered(REQUESTED, exchange, 0.0)
        assert event.reason == reason
        assert reply_of(event, 9) == Reply(None, reason, 9)


def test_half_of_a_surrogate_pair_is_not_handed_on() -> None:
    body = json.dumps({"choices": [{"message": {"content": "é\ud800"}}]})
    text = reply_of(answered(REQUESTED, Exchange("replied", 200, body), 0.0), 9).text
    assert text == "é\\ud800"


def test_a_reply_whose_text_is_closed_is_refused() -> None:
    event = answered(REQUESTED, Exchange("replied", 200, body_of("a")), 0.0)
    with pytest.raises(Refused, match=r"entry 7: the reply is \[closed\]") as refused:
        reply_of(event.model_copy(update={"body": Withheld("0" * 43)}), 7)
    assert refused.value.rule == "content_withheld"


def test_a_reply_settles_a_call_and_a_failure_only_where_it_is_the_last() -> None:
    attempt = Attempt(REQUESTED, 1)
    assert not attempt.settles
    for exchange, gave_up, settles in (
        (Exchange("replied", 200, "<html>"), None, True),
        (FAILED, None, False),
        (FAILED, True, True),
    ):
        attempt.answered = answered(REQUESTED, exchange, 0.0, gave_up)
        assert attempt.settles == settles
