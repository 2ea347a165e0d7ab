"""Bodies of requests and replies as text, in either protocol that the clients here speak.

Recorded bodies name no protocol, so whatever reads one reads both: the chat protocol of most servers, and that of
Anthropic, where the system prompt stands apart. All of it is pure: a recorded body reads the same each time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from ...domain.model_calls import Ask

_MAX_COUNT = 2**53 - 1


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What a body of success says: the text, or None and why (``reason``); tokens as the provider counted them."""

    text: str | None
    reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class RequestDifference(NamedTuple):
    """The first field of a recorded request that is not as asked; where it is no JSON, all of it (``body``)."""

    field: str
    recorded: object
    asked: object


def read_chat(body: str | None) -> ChatReply:
    """Read the body of a reply."""
    document = _document(body)
    if document is None:
        return ChatReply(None, "not_a_completion" if body else "empty_reply")
    try:
        if "choices" in document:
            choice = document["choices"][0]
            content, refused = choice["message"]["content"], bool(choice["message"].get("refusal"))
            stopped, names = choice.get("finish_reason"), ("prompt_tokens", "completion_tokens")
        else:
            content, stopped = document["content"], document.get("stop_reason")
            refused, names = stopped == "refusal", ("input_tokens", "output_tokens")
        text = _text(content)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ChatReply(None, "empty_reply")
    counted = [_count(document.get("usage"), name) for name in names]
    if stopped == "refusal" or not text.strip():
        return ChatReply(None, "model_refused" if refused else "empty_reply", *counted)
    return ChatReply(text, "cut_off" if stopped in ("length", "max_tokens") else "", *counted)


def _document(body: str | None) -> dict[str, Any] | None:
    """The JSON object that a completion is, None where the body is none: a page of a proxy, a stream that was cut."""
    try:
        document = json.loads(body or "")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.keys() & {"choices", "content"} else None


def _text(content: object) -> str:
    """The text of a message: itself, or its blocks of text one after another."""
    if isinstance(content, list):
        return "".join(block["text"] for block in content if block["type"] == "text")
    return content if isinstance(content, str) else ""


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def with_schema(ask: Ask) -> list[dict[str, str]]:
    """The messages of ``ask``, the schema at the end of the last: some servers take no second system message."""
    *before, last = ask.messages
    schema = json.dumps(ask.schema, ensure_ascii=False)
    return [*before, {**last, "content": f"{last['content']}\n\nThe JSON object obeys this JSON schema:\n{schema}"}]


def split_system(messages: Sequence[dict[str, str]]) -> tuple[str, list[dict[str, str]]]:
    """What the system messages say, and the messages without them: some protocols keep the two apart."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    return "\n\n".join(system), [message for message in messages if message["role"] != "system"]


def is_request_for(ask: Ask, body: str) -> bool:
    """Whether a recorded body has the messages of ``ask``, on whatever rung."""
    document = _parsed(body)
    return document is not None and _has_messages(ask, document)


def request_difference(ask: Ask, body: str) -> RequestDifference | None:
    """Where a recorded body asks otherwise than ``ask``, None where it asks the same.

    Fields that a server refused, and that were left out therefore, are not missed.
    """
    document, messages = _parsed(body), list(ask.messages)
    if document is None:
        return RequestDifference("body", body, messages)
    if not _has_messages(ask, document):
        return RequestDifference("messages", document.get("messages"), messages)
    for name, value in (("temperature", ask.temperature), ("max_tokens", ask.max_tokens)):
        if name not in ask.extra and value is not None and document.get(name, value) != value:
            return RequestDifference(name, document[name], value)
    if ask.temperature is None and "temperature" in document and "temperature" not in ask.extra:
        return RequestDifference("temperature", document["temperature"], None)
    for name, value in ask.extra.items():
        if document.get(name) != _as_sent(value):
            return RequestDifference(name, document.get(name), value)
    schema = _schema(document.get("response_format"))
    if schema is not None and schema != _as_sent(ask.schema):
        return RequestDifference("schema", schema, ask.schema)
    return None


def _has_messages(ask: Ask, document: dict[str, Any]) -> bool:
    system, sent = document.get("system"), document.get("messages")
    if system is None and sent == list(ask.messages):
        return True
    asked = (list(ask.messages), with_schema(ask))
    if system is None and sent in asked:
        return True
    return (system or "", sent) in [split_system(messages) for messages in asked]


def _schema(response_format: object) -> object:
    """The JSON schema that a request carries beside its messages, None where it carries none."""
    if not isinstance(response_format, dict):
        return None
    strict = response_format.get("json_schema")
    return strict.get("schema") if isinstance(strict, dict) else response_format.get("schema")


def _as_sent(value: object) -> object:
    """``value`` as it reads once it was sent as JSON: a tuple is a list there."""
    return json.loads(json.dumps(value))


def _parsed(body: str) -> dict[str, Any] | None:
    try:
        document = orjson.loads(body)
    except ValueError:
        try:
            document = json.loads(body)  # which reads a little more
        except (ValueError, RecursionError):
            return None
    return document if isinstance(document, dict) else None
