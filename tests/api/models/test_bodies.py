"""Bodies of requests and replies: what they say, and whether one asks what is asked now."""

from __future__ import annotations

import json
from typing import Any

import pytest

from affidavit.api.models.bodies import RequestDifference, is_request_for, read_chat, request_difference, with_schema
from affidavit.domain.model_calls import Ask

SCHEMA = {"type": "object", "required": ("better",)}
ASK = Ask(
    "shadow.compare",
    ({"role": "system", "content": "Judge."}, {"role": "user", "content": "Which?"}),
    SCHEMA,
    temperature=0.5,
    max_tokens=50,
    extra={"seed": 7, "stop": ("a", "b")},
)
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": list(ASK.messages),
    "temperature": 0.5,
    "max_tokens": 50,
    "seed": 7,
    "stop": ("a", "b"),
}
STRICT = {"type": "json_schema", "json_schema": {"name": "shadow_compare", "strict": True, "schema": SCHEMA}}
BESIDE = {"type": "json_object", "schema": SCHEMA}
ANTHROPIC = CHAT | {"system": "Judge.", "messages": with_schema(ASK)[1:]}
LEFT_OUT = {name: value for name, value in CHAT.items() if name not in ("temperature", "max_tokens")}


@pytest.mark.parametrize(
    ("body", "text", "reason"),
    [
        ('{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":-1,"completion_tokens":true}}', "x", ""),
        ('{"choices":[{"message":{"content":"x"},"finish_reason":"length"}]}', "x", "cut_off"),
        ('{"choices":[{"message":{"content":null,"refusal":"I will not"}}]}', None, "model_refused"),
        ('{"choices":[{"message":{"content":" "}}]}', None, "empty_reply"),
        ('{"choices":[{"message":"x"}]}', None, "empty_reply"),
        ('{"choices":[]}', None, "empty_reply"),
        ("[" * 100_000, None, "not_a_completion"),
        ("<html>", None, "not_a_completion"),
        (None, None, "empty_reply"),
    ],
)
def test_a_body_is_read_or_says_why_it_holds_no_text(body: str | None, text: str | None, reason: str) -> None:
    said = read_chat(body)
    assert (said.text, said.reason) == (text, reason)
    assert said.prompt_tokens is None
    assert said.completion_tokens is None


@pytest.mark.parametrize(
    "document",
    [
        CHAT | {"response_format": STRICT},
        CHAT | {"response_format": BESIDE, "messages": with_schema(ASK)},
        CHAT | {"response_format": {"type": "json_object"}, "messages": with_schema(ASK)},
        CHAT | {"messages": with_schema(ASK)},
        LEFT_OUT | {"response_format": STRICT},
        ANTHROPIC,
    ],
)
def test_a_request_is_the_same_on_whatever_rung_in_either_protocol_and_without_what_was_refused(
    document: dict[str, Any],
) -> None:
    assert request_difference(ASK, json.dumps(document)) is None
    assert is_request_for(ASK, json.dumps(document))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"temperature": 0.7}, ("temperature", 0.7, 0.5)),
        ({"max_tokens": 51}, ("max_tokens", 51, 50)),
        ({"seed": 8}, ("seed", 8, 7)),
        ({"stop": ["a"]}, ("stop", ["a"], ("a", "b"))),
        ({"response_format": {"type": "json_object", "schema": {}}}, ("schema", {}, SCHEMA)),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}},
            ("schema", {"type": "array"}, SCHEMA),
        ),
    ],
)
def test_another_setting_is_named_and_is_a_request_with_the_same_messages_all_the_same(
    change: dict[str, Any], found: tuple[str, object, object]
) -> None:
    body = json.dumps(CHAT | change)
    assert request_difference(ASK, body) == RequestDifference(*found)
    assert is_request_for(ASK, body)


def test_a_setting_that_is_not_asked_for_now_is_a_difference() -> None:
    plain = Ask(ASK.site, ASK.messages)
    document = {"model": "m", "messages": list(ASK.messages), "max_tokens": 1024}
    assert request_difference(plain, json.dumps(document)) is None  # one protocol always wants a limit
    assert request_difference(plain, json.dumps(document | {"temperature": 1})) == ("temperature", 1, None)
    assert request_difference(plain, json.dumps(document | {"response_format": BESIDE})) == (
        "schema",
        json.loads(json.dumps(SCHEMA)),
        None,
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (json.dumps(CHAT | {"messages": [ASK.messages[1]]}), "messages"),
        (json.dumps(ANTHROPIC | {"system": "Answer."}), "messages"),
        (json.dumps({"model": "m"}), "messages"),
        (json.dumps(["messages"]), "body"),
        ("<html>", "body"),
        ("[" * 100_000, "body"),
    ],
)
def test_other_messages_and_what_is_no_request_at_all_are_named(body: str, field: str) -> None:
    found = request_difference(ASK, body)
    assert found is not None
    assert (found.field, found.asked) == (field, list(ASK.messages))
    assert not is_request_for(ASK, body)
