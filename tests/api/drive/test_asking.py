"""The live loop: what stands on the ledger before, between and after calls, and what a later process makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from affidavit.api.drive.asking import Asker
from affidavit.api.drive.journal import Journal, Overtaken, Work
from affidavit.api.models.chat import ChatModel
from affidavit.api.models.patience import Patience
from affidavit.domain.errors import Refused
from affidavit.domain.evaluation.events import SessionUndecided
from affidavit.domain.event import Meta, NewEvent, Recorded, Withheld
from affidavit.domain.model_calls import Ask, Conversation, ModelAnswered, ModelRequested, Reply
from affidavit.ledger.application import Ledger

STREAM = "session/session-00000000000000aa"
META = Meta(scope="user/user-00000000000000aa", correlation="live", judge_prompt_version="v1")
SCHEMA = {"type": "object"}
END = SessionUndecided(session="session-00000000000000aa", agent_version="v", reason="not_json", calls=1)


def question(text: str = "Which?") -> Ask:
    return Ask("session.grade", ({"role": "user", "content": text},), SCHEMA)


def asking(*texts: str) -> Conversation[list[Reply]]:
    replies: list[Reply] = []
    for text in texts:
        reply = yield question(text)
        replies.append(reply)
    return replies


def said(text: str) -> httpx2.Response:
    body = {"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    return httpx2.Response(200, json=body)


class Killed(BaseException):
    """The process ends here."""


class Provider:
    """Answers in turn; an exception is raised in place of an answer."""

    def __init__(self, *answers: httpx2.Response | BaseException | Callable[[], httpx2.Response]) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else answer()

    def asker(self, waits: list[float] | None = None) -> Asker:
        model = ChatModel("http://judge.test/v1", "judge-1", "sk-secret-key", transport=httpx2.MockTransport(self))
        patience = Patience(tries=3, first=1.0, random=lambda: 1.0)
        return Asker(model, patience, (waits if waits is not None else []).append, lambda: 0.0)


def journal_of(ledger: Ledger, meta: Meta = META) -> Journal:
    journal = Journal(ledger, Work(STREAM, meta, (SessionUndecided,)))
    journal.read()
    return journal


def events_of(ledger: Ledger) -> list[Recorded]:
    with ledger.recorder.reading() as reader:
        return list(ledger.event_reader(reader).stream(STREAM))


def shapes(ledger: Ledger) -> list[Any]:
    found: list[Any] = []
    for recorded in events_of(ledger):
        event = recorded.event
        if isinstance(event, ModelRequested):
            found.append(("asked", event.occurrence, event.attempt))
        elif isinstance(event, ModelAnswered):
            found.append((event.reason or event.outcome, event.occurrence, event.attempt))
        else:
            found.append(type(event).__name__)
    return found


def test_a_call_is_durable_before_it_is_sent_and_its_exact_texts_are_sealed_without_the_key(ledger: Ledger) -> None:
    seen: list[Any] = []

    def answer() -> httpx2.Response:
        seen.extend(shapes(ledger))
        return said("yes")

    (reply,) = Provider(answer).asker().converse(journal_of(ledger), asking("Which?"))
    assert seen == [("asked", 0, 1)]
    requested, answered = events_of(ledger)
    assert reply == Reply("yes", "", answered.seq, 7, 3)
    assert isinstance(requested.event, ModelRequested)
    assert isinstance(answered.event, ModelAnswered)
    assert json.loads(str(requested.event.body))["messages"] == [{"role": "user", "content": "Which?"}]
    assert "sk-secret" not in str(requested.event.body)
    assert answered.event.body == said("yes").text
    assert (answered.event.prompt_tokens, answered.event.completion_tokens) == (7, 3)
    assert requested.meta["scope"] == "user/user-00000000000000aa"
    with ledger.recorder.reading() as reader:
        assert not any(b"Which?" in row.raw for row in reader.entries())


def test_failures_of_the_provider_are_tried_again_with_patience_and_each_is_an_event(ledger: Ledger) -> None:
    waits: list[float] = []
    slow = httpx2.Response(429, headers={"retry-after": "5"}, text="slow down")
    provider = Provider(slow, httpx2.ConnectError("gone"), said("yes"))
    (reply,) = provider.asker(waits).converse(journal_of(ledger), asking("Which?"))
    assert reply.text == "yes"
    assert waits == [5.0, 2.0]
    assert shapes(ledger) == [
        ("asked", 0, 1),
        ("rate_limited", 0, 1),
        ("asked", 0, 2),
        ("unreachable", 0, 2),
        ("asked", 0, 3),
        ("replied", 0, 3),
    ]


def test_patience_ends_with_the_reason_of_the_last_failure(ledger: Ledger) -> None:
    provider = Provider(*[httpx2.Response(500, text="no")] * 3)
    (reply,) = provider.asker().converse(journal_of(ledger), asking("Which?"))
    assert (reply.text, reply.reason) == (None, "server_error")


def test_a_step_down_the_ladder_is_an_attempt_without_a_wait(ledger: Ledger) -> None:
    waits: list[float] = []
    refused = [httpx2.Response(400, text="response_format is unknown")] * 3
    (reply,) = Provider(*refused, said("yes")).asker(waits).converse(journal_of(ledger), asking("Which?"))
    assert reply.text == "yes"
    assert waits == []
    assert [shape[0] for shape in shapes(ledger)] == ["asked", "request_refused"] * 3 + ["asked", "replied"]


def test_recorded_replies_are_fed_and_not_bought_again(ledger: Ledger) -> None:
    with pytest.raises(Killed):
        Provider(said("one"), said("two"), Killed()).asker().converse(journal_of(ledger), asking("1", "2", "3"))
    provider = Provider(said("three"))
    replies = provider.asker().converse(journal_of(ledger), asking("1", "2", "3"))
    assert [reply.text for reply in replies] == ["one", "two", "three"]
    assert [reply.tokens for reply in replies] == [10, 10, 10]
    assert provider.calls == 1
    assert shapes(ledger)[-3:] == [("asked", 2, 1), ("asked", 2, 2), ("replied", 2, 2)]


def test_recorded_replies_to_another_question_are_not_fed(ledger: Ledger) -> None:
    Provider(said("one")).asker().converse(journal_of(ledger), asking("before the change"))
    (reply,) = Provider(said("two")).asker().converse(journal_of(ledger), asking("after the change"))
    assert reply.text == "two"
    assert shapes(ledger)[-1] == ("replied", 1, 1)


def test_a_recorded_reply_that_is_closed_is_neither_guessed_nor_bought_again(ledger: Ledger) -> None:
    Provider(said("one")).asker().converse(journal_of(ledger), asking("1"))
    journal = journal_of(ledger)
    (attempt,) = journal.attempts
    assert attempt.answered is not None
    attempt.answered = attempt.answered.model_copy(update={"body": Withheld("0" * 43)})
    provider = Provider()
    with pytest.raises(Refused, match="the reply is") as refused:
        provider.asker().converse(journal, asking("1"))
    assert refused.value.rule == "content_withheld"
    assert provider.calls == 0


def test_replies_of_other_work_and_of_before_a_conclusion_are_not_fed(ledger: Ledger) -> None:
    Provider(said("other")).asker().converse(journal_of(ledger, Meta(**{**META, "correlation": "job"})), asking("1"))
    journal = journal_of(ledger)
    Provider(said("old")).asker().converse(journal, asking("1"))
    journal.append(END)
    provider = Provider(said("new"))
    (reply,) = provider.asker().converse(journal_of(ledger), asking("1"))
    assert reply.text == "new"
    assert [shape[1] for shape in shapes(ledger) if shape[0] == "asked"] == [0, 1, 2]


def test_of_two_workers_one_concludes_and_the_others_paid_call_stays_on_record(ledger: Ledger) -> None:
    late = journal_of(ledger)

    def overtaken() -> httpx2.Response:
        early = journal_of(ledger)
        Provider(said("early")).asker().converse(early, asking("1"))
        early.append(END)
        return said("late")

    with pytest.raises(Overtaken):
        Provider(overtaken).asker().converse(late, asking("1"))
    assert shapes(ledger) == [
        ("asked", 0, 1),
        ("asked", 0, 2),
        ("replied", 0, 2),
        "SessionUndecided",
        ("replied", 0, 1),
    ]
    journal = Journal(ledger, Work(STREAM, META, (SessionUndecided,)))  # has not looked yet
    with pytest.raises(Overtaken):
        journal.append(END)


def test_what_others_append_to_the_stream_does_not_stop_the_work(ledger: Ledger) -> None:
    journal = journal_of(ledger)

    def beside() -> httpx2.Response:
        ledger.record(NewEvent(STREAM, 1, END, Meta(correlation="job")))
        return said("yes")

    Provider(beside).asker().converse(journal, asking("1"))
    journal.append(END)
    assert shapes(ledger) == [("asked", 0, 1), "SessionUndecided", ("replied", 0, 1), "SessionUndecided"]
