"""Bodies of calls as they are read: messages, settings, and material apart from what was said."""

from __future__ import annotations

import json

import pytest

from affidavit.api.pages.runs.messages import Passage, passages, read_reply, read_request
from affidavit.domain.event import Withheld
from affidavit.domain.optimization.requests import Shown, compose

FENCE = "0123456789abcdef" * 2


def test_a_chat_request_has_its_messages_in_order_and_its_settings_apart() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "temperature": 0.5,
    }
    told = read_request(json.dumps(body))
    assert told.messages is not None
    assert [(message.role, message.passages) for message in told.messages] == [
        ("system", (Passage("Be brief."),)),
        ("user", (Passage("Hello"),)),
    ]
    assert told.settings == (("model", '"m"'), ("temperature", "0.5"))


def test_a_system_prompt_that_stands_apart_comes_first_and_blocks_of_text_are_one() -> None:
    body = {"system": "Be brief.", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]}
    told = read_request(json.dumps(body))
    assert told.messages is not None
    assert [message.passages[0].text for message in told.messages] == ["Be brief.", "Hello"]


@pytest.mark.parametrize(
    "body", ["", "no JSON", "[]", '{"messages": 1}', '{"messages": ["x"]}', "[" * 100_000, Withheld("digest")]
)
def test_what_is_no_chat_request_has_no_messages(body: str | Withheld) -> None:
    assert read_request(body).messages is None


def test_content_of_another_kind_is_shown_as_it_is() -> None:
    told = read_request('{"messages": [{"role": "user", "content": [{"type": "image"}]}]}')
    assert told.messages is not None
    assert told.messages[0].passages == (Passage('[{"type": "image"}]'),)


def test_material_stands_under_its_label_apart_from_what_was_said() -> None:
    text = compose("Improve this.", Shown("The prompt:", "Be brief."), "Now reply.")
    found = list(passages(text))
    assert [passage.text for passage in found[1:]] == ["Be brief.", "Now reply."]
    assert [passage.label for passage in found] == [None, "The prompt:", None]
    assert found[0].text.endswith("Improve this.")


def test_fences_that_are_not_closed_are_words_like_others() -> None:
    text = f"Label\n<<<{FENCE}\nnever closed"
    assert list(passages(text)) == [Passage(text)]


def test_an_empty_message_is_one_empty_passage() -> None:
    assert list(passages("")) == [Passage("")]


def test_a_reply_is_read_where_it_says_something() -> None:
    said = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    assert read_reply(json.dumps(said)) == "Hello"
    assert read_reply("<html>") is None
    assert read_reply(None) is None
    assert read_reply(Withheld("digest")) is None
