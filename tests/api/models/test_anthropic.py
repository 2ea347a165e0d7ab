"""The Messages API: the same questions in another shape, read back without knowing the provider."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from affidavit.api.models.anthropic import AnthropicModel
from affidavit.api.models.bodies import is_request_for, read_chat
from affidavit.api.models.chat import ChatModel
from affidavit.domain.model_calls import Ask

ASK = Ask(
    "train",
    ({"role": "system", "content": "Answer «briefly»."}, {"role": "user", "content": "Which?"}),
    temperature=0.3,
    max_tokens=50,
)
OK = {
    "type": "message",
    "content": [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "this "},
        {"type": "text", "text": "one"},
    ],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 12, "output_tokens": 3},
}


def model_of(answer: httpx2.Response, seen: list[httpx2.Request] | None = None) -> AnthropicModel:
    def reply(request: httpx2.Request) -> httpx2.Response:
        if seen is not None:
            seen.append(request)
        return answer

    return AnthropicModel("http://claude.test/v1", "claude-x", "sk-ant", transport=httpx2.MockTransport(reply))


def test_a_question_is_sent_as_the_protocol_wants_it_and_the_key_stands_only_in_a_header() -> None:
    seen: list[httpx2.Request] = []
    model = model_of(httpx2.Response(200, json=OK), seen)
    prepared = model.prepare(ASK)
    exchange = model.send(prepared)
    assert json.loads(prepared.body) == {
        "model": "claude-x",
        "max_tokens": 50,
        "system": "Answer «briefly».",
        "messages": [{"role": "user", "content": "Which?"}],
        "temperature": 0.3,
    }
    assert seen[0].content == prepared.body.encode()
    assert str(seen[0].url) == "http://claude.test/v1/messages"
    assert (seen[0].headers["x-api-key"], seen[0].headers["anthropic-version"]) == ("sk-ant", "2023-06-01")
    assert "authorization" not in seen[0].headers
    assert "sk-ant" not in prepared.body + repr(model)
    said = read_chat(exchange.body)
    assert (said.text, said.reason, said.prompt_tokens, said.completion_tokens) == ("this one", "", 12, 3)


def test_a_limit_of_tokens_is_always_sent_and_nothing_else_that_was_not_asked() -> None:
    body = model_of(httpx2.Response(200)).prepare(Ask("train", ({"role": "user", "content": "Which?"},))).body
    assert json.loads(body) == {
        "model": "claude-x",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": "Which?"}],
    }


def test_a_schema_stands_in_the_prompt_from_the_start() -> None:
    ask = Ask(ASK.site, ASK.messages, {"type": "object"})
    model = model_of(httpx2.Response(400, text="response_format: unknown"))
    prepared = model.prepare(ask)
    document = json.loads(prepared.body)
    assert "response_format" not in document
    assert document["messages"][-1]["content"].endswith('JSON schema:\n{"type": "object"}')
    assert not model.step_down(prepared, model.send(prepared))


def test_only_the_temperature_is_left_out_where_the_server_refuses_it() -> None:
    model = model_of(httpx2.Response(400, text="temperature, max_tokens: not for this model"))
    prepared = model.prepare(ASK)
    assert model.step_down(prepared, model.send(prepared))
    again = model.prepare(ASK)
    assert "temperature" not in again.body
    assert json.loads(again.body)["max_tokens"] == 50
    assert not model.step_down(again, model.send(again))


def test_a_key_that_the_server_echoes_is_not_kept() -> None:
    model = model_of(httpx2.Response(401, text="bad key sk-ant"))
    exchange = model.send(model.prepare(ASK))
    assert (exchange.reason, exchange.body) == ("not_allowed", "bad key [redacted api_key]")


@pytest.mark.parametrize(
    ("change", "text", "reason"),
    [
        ({"stop_reason": "max_tokens"}, "this one", "cut_off"),
        ({"stop_reason": "refusal"}, None, "model_refused"),
        ({"stop_reason": "refusal", "content": []}, None, "model_refused"),
        ({"content": []}, None, "empty_reply"),
        ({"content": [{"type": "text"}]}, None, "empty_reply"),
        ({"content": [{"type": "text", "text": None}]}, None, "empty_reply"),
        ({"content": ["text"]}, None, "empty_reply"),
        ({"content": None}, None, "empty_reply"),
    ],
)
def test_a_reply_is_read_or_says_why_it_holds_no_text(change: dict[str, Any], text: str | None, reason: str) -> None:
    said = read_chat(json.dumps(OK | change))
    assert (said.text, said.reason) == (text, reason)


@pytest.mark.parametrize("schema", [None, {"type": "object"}])
def test_a_recorded_request_is_recognised_whichever_protocol_it_was_sent_in(schema: dict[str, Any] | None) -> None:
    ask = Ask(ASK.site, ASK.messages, schema)
    bodies = [
        model_of(httpx2.Response(200)).prepare(ask).body,
        ChatModel("http://other.test/v1", "m", transport=httpx2.MockTransport(lambda _: httpx2.Response(200)))
        .prepare(ask)
        .body,
    ]
    system, user = ASK.messages
    others = [
        Ask(ASK.site, (user,), schema),
        Ask(ASK.site, ({**system, "content": "Answer at length."}, user), schema),
        Ask(ASK.site, (system, {**user, "content": "What?"}), schema),
    ]
    for body in bodies:
        assert is_request_for(ask, body)
        assert not any(is_request_for(other, body) for other in others)
