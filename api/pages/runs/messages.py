"""The bodies of recorded calls as people read them: messages, settings, and what was quoted to a model as material."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ....domain.event import Withheld
from ...models.bodies import read_chat

_MATERIAL = re.compile(r"^<<<([0-9a-f]{32})[ \t]*\n(.*?)\n\1>>>[ \t]*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a message: what was said, or material of others that was quoted under ``label``."""

    text: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A request. ``settings`` are its other fields, as JSON; ``messages`` None where the body is no chat request."""

    messages: tuple[Message, ...] | None
    settings: tuple[tuple[str, str], ...] = ()


def read_request(body: str | Withheld) -> ReadRequest:
    """The messages and settings of a recorded request, in either protocol that is spoken here."""
    document = _document(body)
    told = document.get("messages")
    if not isinstance(told, list) or not all(isinstance(message, dict) for message in told):
        return ReadRequest(None)
    messages = [
        Message(str(message.get("role", "?")), tuple(passages(_text(message.get("content"))))) for message in told
    ]
    if document.get("system") is not None:
        messages.insert(0, Message("system", tuple(passages(_text(document["system"])))))
    settings = tuple(
        (str(name), json.dumps(value, ensure_ascii=False, sort_keys=True))
        for name, value in document.items()
        if name not in ("messages", "system")
    )
    return ReadRequest(tuple(messages), settings)


def read_reply(body: str | Withheld | None) -> str | None:
    """The text that a recorded answer says; None where it says none or is not open."""
    return None if body is None or isinstance(body, Withheld) else read_chat(body).text


def passages(text: str) -> Iterator[Passage]:
    """A message in parts: what stands between fences apart, under the line above it."""
    start = 0
    for found in _MATERIAL.finditer(text):
        said = text[start : found.start()].strip("\n")
        before, _, label = said.rpartition("\n")
        if before.strip():
            yield Passage(before.strip("\n"))
        yield Passage(found[2], label)
        start = found.end()
    rest = text[start:].strip("\n")
    if rest or not start:
        yield Passage(rest)


def _document(body: str | Withheld) -> dict[str, Any]:
    try:
        document = None if isinstance(body, Withheld) else json.loads(body)
    except (ValueError, RecursionError):
        document = None
    return document if isinstance(document, dict) else {}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        return "\n".join(part["text"] for part in content)
    return json.dumps(content, ensure_ascii=False)
