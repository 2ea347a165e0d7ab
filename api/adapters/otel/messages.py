"""Messages of GenAI spans and turns of a session: each made from the other.

A message is ``{"role", "parts", …}`` of the conventions' schema. What older instrumentations write (a ``content`` with
``tool_calls``, numbered attributes, an event for each message) is brought into that form first.

A turn holds ``role``, ``content`` (the text of its parts, one on each line) and ``tools_used``; under ``otel`` stands
what these three do not say, so that the message can be written again: ``parts``, where it is not one plain text, and
``message``, its other fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ....domain.evaluation.publication import speaker_of
from ....domain.redaction import redact
from .spans import SpanEvent

INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
DETAILS = "gen_ai.client.inference.operation.details"
EXTENSION = "affidavit"
"""A message's own field for what a turn of a ledger has beside its words: a shadow answer, citations, …"""

_EXTENDS = (
    *("shadow_content", "expert_content", "user_action", "user_action_description", "interacted_image_url"),
    *("image_encoding", "tools_used", "citations", "retrieved_learnings"),
)
_ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "developer": "system", "function": "tool"}
_SPOKEN = {"agent": "assistant", "system": "system", "user": "user"}
_INPUT_EVENTS = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
_OUTPUT_EVENT = "gen_ai.choice"
_OLD_EVENTS = {"gen_ai.content.prompt": "gen_ai.prompt", "gen_ai.content.completion": "gen_ai.completion"}
_NUMBERED = re.compile(r"gen_ai\.(prompt|completion)\.(0|[1-9][0-9]{0,4})\.(.+)")
_CALLS = re.compile(r"tool_calls\.(0|[1-9][0-9]{0,4})\.(.+)")
_OF_SPAN = frozenset({INPUT, OUTPUT, "gen_ai.prompt", "gen_ai.completion"})


@dataclass(slots=True)
class Said:
    """What went into a call and what came out of it, as messages; ``unreadable`` more have no known form."""

    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    unreadable: int = 0

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)


def holds_messages(name: str) -> bool:
    """Whether an attribute of this name is read as messages."""
    return name in _OF_SPAN or _NUMBERED.fullmatch(name) is not None


def is_message_event(name: str) -> bool:
    """Whether an event of this name is read as messages of its span."""
    return name in _INPUT_EVENTS or name in _OLD_EVENTS or name in (_OUTPUT_EVENT, DETAILS)


def read_messages(attributes: Mapping[str, Any], events: Iterable[SpanEvent]) -> Said:
    """The messages of a span. Of several forms the newest that says anything counts, for each direction alone."""
    events = list(events)
    said = Said()
    sources = [attributes, *(event.attributes for event in events if event.name == DETAILS)]
    old = [attributes, *(event.attributes for event in events if event.name in _OLD_EVENTS)]
    numbered = _numbered(attributes)
    for target, role, forms in (
        (
            said.inputs,
            "user",
            (
                [message for source in sources for message in _listed(source.get(INPUT))],
                [_spoken(event) for event in events if event.name in _INPUT_EVENTS],
                numbered["prompt"],
                [message for source in old for message in _listed(source.get("gen_ai.prompt"))],
            ),
        ),
        (
            said.outputs,
            "assistant",
            (
                [message for source in sources for message in _listed(source.get(OUTPUT))],
                [_chosen(event) for event in events if event.name == _OUTPUT_EVENT],
                numbered["completion"],
                [message for source in old for message in _listed(source.get("gen_ai.completion"))],
            ),
        ),
    ):
        for raw in next((form for form in forms if form), ()):
            message = _normal(raw, role)
            if message is None:
                said.unreadable += 1
            else:
                target.append(message)
    return said


def make_turn(message: Mapping[str, Any], created_at: int, *, answer: bool = False) -> tuple[dict[str, Any], list[str]]:
    """The turn that a message becomes, and where secrets were taken out of its tools. The turn is still unchecked.

    An ``answer`` is the agent's under whatever role. Text is never rewritten.
    """
    rest = dict(message)
    role, parts = str(rest.pop("role")), rest.pop("parts")
    extension = rest.pop(EXTENSION, None)
    plain = _plain_role(message)
    if answer and speaker_of(plain) != "agent":
        plain = "assistant"
    if plain != role:
        rest["role"] = role
    places: list[str] = []
    kept: list[Any] = []
    for part in parts:
        if isinstance(part, dict) and part.get("type") not in ("text", "reasoning"):
            safe = redact(part)
            places += safe.places
            kept.append(safe.value)
        else:
            kept.append(part)
    turn: dict[str, Any] = {"role": plain, "content": _content(kept), "created_at": created_at}
    if tools := [_tool(part) for part in kept if _is_call(part)]:
        turn["tools_used"] = tools
    beside = {} if _is_plain(kept) else {"parts": kept}
    if rest:
        safe = redact(rest)
        places += safe.places
        beside["message"] = safe.value
    if beside:
        turn["otel"] = beside
    if isinstance(extension, dict):
        turn |= {name: extension[name] for name in _EXTENDS if name in extension}
        own = extension.get("role")
        if isinstance(own, str) and speaker_of(own) == speaker_of(plain):
            turn["role"] = own
    return turn, places


def make_message(turn: Mapping[str, Any]) -> dict[str, Any]:
    """The message that a turn was, or becomes where it never was one."""
    beside = turn.get("otel")
    found: dict[str, Any] = beside if isinstance(beside, dict) else {}
    rest = dict(found["message"]) if isinstance(found.get("message"), dict) else {}
    role = str(turn.get("role", "User"))
    extension = {name: value for name, value in turn.items() if name not in ("role", "content", "created_at", "otel")}
    parts = found.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        parts = [{"type": "text", "content": turn.get("content", "")}]
    elif any(map(_is_call, parts)):
        extension.pop("tools_used", None)
    spoken = rest.pop("role", None)
    if spoken is None:
        spoken = role if role in ("user", "assistant", "system", "tool") else _SPOKEN[speaker_of(role)]
        if spoken != role:
            extension["role"] = role
    message = {"role": spoken, "parts": parts, **rest}
    if extension:
        message[EXTENSION] = extension
    return message


def is_answer(message: Mapping[str, Any]) -> bool:
    """Whether a message of a call's history is an answer of the agent's."""
    return speaker_of(_plain_role(message)) == "agent"


def signature(message: Mapping[str, Any]) -> bytes:
    """What a message says, whoever tells it again: later calls write the same history in other forms."""
    calls = [part["name"] for part in message["parts"] if _is_call(part)]
    return orjson.dumps([speaker_of(_plain_role(message)), _content(message["parts"]), calls])


def _plain_role(message: Mapping[str, Any]) -> str:
    role = str(message["role"])
    return _ROLES.get(role.lower(), role)


def _listed(value: Any) -> list[Any]:
    """Messages as an attribute holds them: structured, as JSON text, or as one bare text."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return [value]
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        return list(value["messages"])
    return list(value) if isinstance(value, list) else [value]


def _normal(raw: Any, role: str) -> dict[str, Any] | None:
    """A message in today's form, whoever wrote it; None where it has no known form."""
    if isinstance(raw, str):
        return {"role": role, "parts": [_text_part(raw)]}
    if not isinstance(raw, dict):
        return None
    if isinstance(raw.get("message"), dict):  # a choice
        raw = {**{name: value for name, value in raw.items() if name not in ("message", "index")}, **raw["message"]}
    rest = {name: value for name, value in raw.items() if name not in ("role", "parts", "content", "tool_calls")}
    found = raw.get("role") or role
    if not isinstance(found, str):
        return None
    if "parts" in raw:
        if not isinstance(raw["parts"], list):
            return None
        parts = [_text_part(part) if isinstance(part, str) else part for part in raw["parts"]]
        rest |= {name: raw[name] for name in ("content", "tool_calls") if name in raw}
    else:
        parts = _old_parts(raw, found, rest)
    if not parts or not all(isinstance(part, dict) for part in parts):
        return None
    return {"role": found, "parts": parts, **rest}


def _old_parts(raw: Mapping[str, Any], role: str, rest: dict[str, Any]) -> list[Any]:
    content, calls = raw.get("content"), raw.get("tool_calls")
    parts: list[Any] = []
    answered = rest.pop("tool_call_id", None) if role in ("tool", "function") else None
    if role in ("tool", "function") and content is not None:
        identity = answered if answered is not None else rest.pop("id", None)
        named = {} if identity is None else {"id": identity}
        parts.append({"type": "tool_call_response", **named, "response": content})
    elif isinstance(content, list):
        parts += [_old_part(part) for part in content]
    elif isinstance(content, str) and (content or not calls):
        parts.append(_text_part(content))
    elif content is not None and content != "":
        parts.append({"type": "text", "content": orjson.dumps(content).decode()})
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            function = call["function"] if isinstance(call.get("function"), dict) else call
            named = {"id": call["id"]} if call.get("id") is not None else {}
            given = {name: function[name] for name in ("name", "arguments") if name in function}
            parts.append({"type": "tool_call", **named, **given})
    return parts


def _old_part(part: Any) -> Any:
    if isinstance(part, str):
        return _text_part(part)
    if isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
        return _text_part(part["text"])
    return part


def _spoken(event: SpanEvent) -> Any:
    found = _event_fields(event)
    return {"role": _INPUT_EVENTS[event.name], **found} if isinstance(found, dict) else found


def _chosen(event: SpanEvent) -> Any:
    found = _event_fields(event)
    if isinstance(found, dict) and isinstance(found.get("message"), str):  # an attribute cannot hold an object
        try:
            message = orjson.loads(found["message"])
        except orjson.JSONDecodeError:
            message = found["message"]
        return {**found, "message": message if isinstance(message, dict) else {"content": found["message"]}}
    return found


def _event_fields(event: SpanEvent) -> Any:
    """The fields of an event: its body, or JSON under ``gen_ai.event.content``, or its attributes."""
    if event.body is not None:
        return event.body
    content = event.attributes.get("gen_ai.event.content")
    if isinstance(content, str):
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            return content
    return {name: _parsed(name, value) for name, value in event.attributes.items() if not name.startswith("gen_ai.")}


def _parsed(name: str, value: Any) -> Any:
    if name == "tool_calls" and isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _numbered(attributes: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Messages under ``gen_ai.prompt.0.role`` and the like, in order of their numbers."""
    found: dict[str, dict[int, dict[str, Any]]] = {"prompt": {}, "completion": {}}
    calls: dict[tuple[str, int], dict[int, dict[str, Any]]] = {}
    for name, value in attributes.items():
        matched = _NUMBERED.fullmatch(name)
        if matched is None:
            continue
        direction, number, member = matched[1], int(matched[2]), matched[3]
        message = found[direction].setdefault(number, {})
        call = _CALLS.fullmatch(member)
        if call is None:
            message[member] = value
        else:
            calls.setdefault((direction, number), {}).setdefault(int(call[1]), {})[call[2]] = value
    for (direction, number), listed in calls.items():
        found[direction][number]["tool_calls"] = [listed[index] for index in sorted(listed)]
    return {direction: [messages[index] for index in sorted(messages)] for direction, messages in found.items()}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _is_plain(parts: list[Any]) -> bool:
    return len(parts) == 1 and parts[0].keys() == {"type", "content"} and _text_of(parts[0]) is not None


def _is_call(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "tool_call" and isinstance(part.get("name"), str)


def _content(parts: Iterable[Any]) -> str:
    return "\n".join(text for part in parts if (text := _text_of(part)) is not None)


def _text_of(part: Any) -> str | None:
    if part.get("type") == "text" and isinstance(part.get("content"), str):
        return str(part["content"])
    if part.get("type") == "tool_call_response":
        answer = part.get("response", part.get("result"))
        return answer if isinstance(answer, str) or answer is None else orjson.dumps(answer).decode()
    return None


def _tool(part: Mapping[str, Any]) -> dict[str, Any]:
    arguments = part.get("arguments")
    data = arguments if isinstance(arguments, dict) else {} if arguments is None else {"arguments": arguments}
    return {"tool_name": part["name"], "tool_data": data}
