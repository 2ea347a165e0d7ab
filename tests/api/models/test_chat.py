"""The chat client: exact texts, the ladder, and a server that means no good."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from affidavit.api.models.bodies import is_request_for, read_chat
from affidavit.api.models.chat import ChatModel, Exchange
from affidavit.api.models.patience import Patience
from affidavit.api.models.settings import judge_model
from affidavit.api.models.standin import StandInJudge
from affidavit.domain.errors import Refused
from affidavit.domain.model_calls import Ask

ASK = Ask(
    "shadow.compare",
    ({"role": "system", "content": "Judge."}, {"role": "user", "content": "Which? «é»"}),
    {"type": "object"},
    temperature=0.0,
    max_tokens=50,
)
Answer = Callable[[httpx2.Request], httpx2.Response]
OK = {"choices": [{"message": {"content": "yes"}}]}


def model_of(answer: Answer, **more: Any) -> ChatModel:
    return ChatModel(
        "http://judge.test/v1/", "judge-1", "sk-secret-key", transport=httpx2.MockTransport(answer), **more
    )


def test_the_body_sent_is_the_prepared_text_and_the_key_stands_only_in_a_header() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=OK)

    model = model_of(answer)
    prepared = model.prepare(ASK)
    exchange = model.send(prepared)
    assert seen[0].content == prepared.body.encode()
    assert str(seen[0].url) == "http://judge.test/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer sk-secret-key"
    assert "sk-secret" not in prepared.body + repr(model)
    assert "«é»" in prepared.body
    assert exchange == Exchange("replied", 200, json.dumps(OK, separators=(",", ":")))


def test_the_ladder_goes_down_where_a_format_is_refused_and_stays_there() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        asked = json.loads(request.content)
        if "response_format" in asked:
            return httpx2.Response(400, json={"error": f"response_format {asked['response_format']['type']} unknown"})
        return httpx2.Response(200, json=OK)

    model, formats = model_of(answer), []
    for _ in range(4):
        prepared = model.prepare(ASK)
        document = json.loads(prepared.body)
        formats.append(document.get("response_format"))
        assert ("JSON schema" in document["messages"][-1]["content"]) == (len(formats) > 1)
        assert is_request_for(ASK, prepared.body)
        stepped = model.step_down(prepared, model.send(prepared))
    assert [None if found is None else found["type"] for found in formats] == [
        "json_schema",
        "json_object",
        "json_object",
        None,
    ]
    assert "schema" in formats[1]
    assert "schema" not in formats[2]
    assert not stepped
    assert "response_format" not in model.prepare(ASK).body


def test_two_threads_refused_on_one_rung_go_down_one_rung() -> None:
    model = model_of(lambda _: httpx2.Response(422, text="json_schema is not supported"))
    one, other = model.prepare(ASK), model.prepare(ASK)
    assert model.step_down(one, model.send(one))
    assert model.step_down(other, model.send(other))
    assert model.prepare(ASK).rung == 1


def test_optional_fields_that_a_server_refuses_are_left_out_from_then_on() -> None:
    model = model_of(lambda _: httpx2.Response(400, text="Unsupported value: 'temperature'"))
    prepared = model.prepare(ASK)
    assert model.step_down(prepared, model.send(prepared))
    document = json.loads(model.prepare(ASK).body)
    assert "temperature" not in document
    assert document["max_tokens"] == 50


def test_a_bad_request_about_something_else_does_not_step_down() -> None:
    model = model_of(lambda _: httpx2.Response(400, text="context too long"))
    prepared = model.prepare(ASK)
    exchange = model.send(prepared)
    assert (exchange.outcome, exchange.reason) == ("refused", "request_refused")
    assert not model.step_down(prepared, exchange)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (307, "redirected"),
        (401, "not_allowed"),
        (404, "model_unknown"),
        (408, "server_error"),
        (429, "rate_limited"),
        (503, "server_error"),
    ],
)
def test_a_status_has_a_code_and_no_redirect_is_followed(status: int, reason: str) -> None:
    calls: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        calls.append(str(request.url))
        return httpx2.Response(status, headers={"location": "http://elsewhere.test/"}, text="no")

    model = model_of(answer)
    exchange = model.send(model.prepare(ASK))
    assert (exchange.outcome, exchange.status, exchange.reason) == ("refused", status, reason)
    assert calls == ["http://judge.test/v1/chat/completions"]


def test_a_reply_that_is_too_long_is_cut_off_and_not_kept() -> None:
    read: list[int] = []

    def endless() -> Iterator[bytes]:
        for number in range(10_000):
            read.append(number)
            yield b"x" * 1000

    model = model_of(lambda _: httpx2.Response(200, content=endless()), max_bytes=5000)
    exchange = model.send(model.prepare(ASK))
    assert (exchange.body, exchange.reason) == (None, "reply_too_large")
    assert len(read) < 200


def test_a_reply_that_drips_ends_at_the_time_limit() -> None:
    seconds = iter(range(1000))

    def dripping() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x" * 65536

    model = model_of(
        lambda _: httpx2.Response(200, content=dripping()),
        timeout=3.0,
        max_bytes=10**9,
        clock=lambda: float(next(seconds)),
    )
    assert model.send(model.prepare(ASK)) == Exchange("timed_out", 200, None, "timed_out")


def test_a_compressed_reply_is_not_unpacked() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["accept-encoding"] == "identity"
        return httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=httpx2.ByteStream(b"bomb"))

    model = model_of(answer)
    assert model.send(model.prepare(ASK)).reason == "encoded_reply"


def test_no_connection_and_no_answer_in_time_are_told_apart() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no", request=request)

    def wait(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("slow", request=request)

    for answer, outcome in ((refuse, "unreachable"), (wait, "timed_out")):
        model = model_of(answer)
        assert model.send(model.prepare(ASK)).outcome == outcome


def test_a_key_that_a_server_echoes_and_bytes_that_are_no_text_are_not_kept_as_they_are() -> None:
    model = model_of(lambda _: httpx2.Response(401, content=b"bad key sk-secret-key \xff"))
    body = model.send(model.prepare(ASK)).body
    assert body == "bad key [redacted api_key] \\xff"


@pytest.mark.parametrize("escaped", [r"ab/cd+\"x\"", r"ab\/cd+\"x\"", r"ab\/cd\u002B\u0022x\u0022"])
def test_a_key_that_is_echoed_in_json_is_not_kept_however_it_is_escaped(escaped: str) -> None:
    said = f'{{"choices":[{{"message":{{"content":"your key is {escaped}"}}}}]}}'
    model = ChatModel(
        "http://m/v1",
        "m",
        'ab/cd+"x"',
        transport=httpx2.MockTransport(lambda _: httpx2.Response(200, content=said.encode())),
    )
    body = model.send(model.prepare(ASK)).body

    assert read_chat(body).text == "your key is [redacted api_key]"


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    for value, seconds in (("7", 7.0), ("Sun, 22 Nov 2026 12:00:10 GMT", 10.0), ("soon", None), ("", None)):
        model = model_of(
            lambda _, value=value: httpx2.Response(429, headers={"retry-after": value}),  # type: ignore[misc] # bound now
            wall_clock=lambda: 1_795_348_800.0,
        )
        assert model.send(model.prepare(ASK)).retry_after == seconds


def test_patience_doubles_takes_a_random_part_off_and_ends() -> None:
    patience = Patience(tries=5, first=1.0, longest=3.0, random=lambda: 0.5)
    failed = Exchange("refused", 503, reason="server_error")
    assert [patience.wait(tried, failed) for tried in range(1, 6)] == [0.75, 1.5, 2.25, 2.25, None]
    assert patience.wait(1, Exchange("refused", 429, reason="rate_limited", retry_after=2.5)) == 2.5
    assert patience.wait(1, Exchange("refused", 429, reason="rate_limited", retry_after=9.0)) is None
    assert patience.wait(1, Exchange("refused", 400, reason="request_refused")) is None


@pytest.mark.parametrize(
    "address",
    ["judge.test", "ftp://judge.test", "http://user:pass@judge.test/v1", "http://judge.test/v1?key=1", "http://", ""],
)
def test_an_address_with_credentials_or_without_a_host_is_refused(address: str) -> None:
    with pytest.raises(Refused, match="base URL") as refused:
        ChatModel(address, "m")
    assert "pass" not in str(refused.value)


def test_the_model_comes_from_arguments_or_environment_and_needs_both_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL", "BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"AFFIDAVIT_JUDGE_{name}", raising=False)
    assert judge_model() is None
    with pytest.raises(Refused, match="both"):
        judge_model("m")
    monkeypatch.setenv("AFFIDAVIT_JUDGE_BASE_URL", "http://judge.test/v1")
    found = judge_model("m")
    assert found is not None
    assert found.model == "m"
    found.close()
    monkeypatch.setenv("AFFIDAVIT_JUDGE_API_KEY", "two\nlines")
    with pytest.raises(Refused, match="API key"):
        judge_model("m")


def test_the_stand_in_judge_serves_the_same_answer_to_the_same_question_under_its_name() -> None:
    from affidavit.domain.evaluation.prompts import SHADOW_PROMPTS
    from affidavit.domain.evaluation.shadow import Comparison, SpokenTurn, judge_turn

    comparison = Comparison(
        (SpokenTurn((0, 0), "user", "User", "Where is parcel seventeen?"),), "Parcel seventeen!", "x"
    )
    ask = next(judge_turn(SHADOW_PROMPTS["v1.1.0"], comparison, "0" * 16))
    with StandInJudge() as judge:
        model = ChatModel(judge.base_url, judge.model)
        first, second = (model.send(model.prepare(ask)) for _ in range(2))
        model.close()
    assert first == second
    said = json.loads(read_chat(first.body).text or "")
    assert said["better_request"] == "1"
    assert said["comparison_reason"].startswith("[simulated]")
    assert json.loads(first.body or "")["model"] == "stand-in-judge-simulated"
