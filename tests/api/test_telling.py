"""What is told of an error, and to whom."""

from __future__ import annotations

import logging

import pytest

from affidavit.api.http import errors
from affidavit.api.http.errors import problem_of
from affidavit.api.telling import Sparing, print_error, told
from affidavit.domain.errors import AffidavitError, Refused
from affidavit.ledger.errors import Conflict, NotNow, OutcomeUnknown, Unavailable, Unreachable

WHERE = 'postgresql://db-7.internal:5432/books?ledger=acme: connection to server at "10.0.0.7" failed'


@pytest.mark.parametrize("kind", [Unavailable, Unreachable, OutcomeUnknown])
def test_where_a_ledger_lies_is_for_the_log_alone(
    kind: type[Unavailable], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_SPARING", Sparing())

    problem = problem_of(kind(WHERE))

    rule = "outcome_unknown" if kind is OutcomeUnknown else "unavailable"
    assert (problem.status, problem.rule, problem.headers) == (503, rule, {"Retry-After": "1"})
    assert not {"db-7", "10.0.0.7", "books", "acme"} & set(str(problem.as_json()).replace(":", " ").split())
    assert "internal" not in str(problem.as_json())
    assert "db-7.internal" in caplog.text
    assert "db-7" not in told(kind(WHERE))


def test_what_names_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    for error in (NotNow("20001 interactions wait"), Conflict("a", 1, 2), Refused("rule", "no"), AffidavitError("so")):
        assert told(error) == problem_of(error).detail == str(error)
    assert caplog.text == ""


def test_what_nobody_foresaw_is_not_told() -> None:
    assert told(KeyError("what a user wrote")) == "something failed here; it is in the server's log"
    assert print_error(KeyError("x")) == "KeyError: 'x'"


def test_a_text_that_comes_again_and_again_is_logged_once_in_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(errors, "_SPARING", Sparing(lambda: now[0]))
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            problem_of(Unavailable("away"))
        problem_of(Unavailable("full"))
        now[0] = 10.0
        problem_of(Unavailable("away"))
    assert [record.getMessage() for record in caplog.records] == [
        "told as 503: away",
        "told as 503: full",
        "told as 503: away",
    ]


def test_few_texts_are_remembered() -> None:
    sparing = Sparing(lambda: 0.0)
    assert all(sparing.may_say(str(n)) for n in range(1000))
    assert len(sparing._said) == 256
    assert not sparing.may_say("999")
    assert sparing.may_say("0")
