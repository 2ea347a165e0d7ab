"""What the judges share: material set apart from instructions, replies read by schema, garbage asked again.

A judge is asked at most ``ASKS`` times. What cannot be used is never taken for an answer: after the last try the
matter is undecided, with a reason code. Codes of what a reply lacked:

==================  =====================================================================
``empty_reply``     no text came
``not_json``        no JSON object can be read from the text, or text that is no Unicode
``several_answers``  several objects that differ, so that it is open which one is meant
``wrong_shape``     a field is missing, or of a wrong type or value
``contradictory``   the fields exclude each other
==================  =====================================================================

A reply without text may come with a code of its own (``UNUSABLE``), one that broke off with ``cut_off``. Any other
code comes from the model's side (``Reply.reason``) and ends the matter at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..model_calls import Ask, Conversation
from ..strict_json import STRICT_JSON

ASKS = 3

UNUSABLE = frozenset({"empty_reply", "not_a_completion", "model_refused", "reply_too_large", "encoded_reply"})
"""Codes that come with a reply that has no text: something came back, so it is worth asking again."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """No conclusion; ``reason`` is a code."""

    reason: str


class Unusable(Exception):
    """A reply cannot be used: ``reason`` is a code, the message says to the judge what was wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class JudgeReply(BaseModel):
    """What a judge must reply. Types are taken strictly; further keys say nothing and are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    def contradiction(self) -> str | None:
        """Say which fields exclude each other; None where they agree."""
        raise NotImplementedError


R = TypeVar("R", bound=JudgeReply)


class Answer(NamedTuple):
    """A usable reply and the seq of the entry that holds it."""

    reply: Any
    call: int | None


def ask_until_usable(
    site: str,
    messages: tuple[dict[str, str], ...],
    schema: Mapping[str, Any],
    shape: type[R],
    check: Callable[[R], str | None] = lambda reply: None,
) -> Conversation[Answer | Undecided]:
    """Ask, and ask again, saying what was wrong, until a reply obeys ``shape`` and ``check`` finds no contradiction."""
    asked, reason = messages, ""
    for _ in range(ASKS):
        reply = yield Ask(site, asked, dict(schema), temperature=0.0)
        if reply.text is None and reply.reason not in UNUSABLE:
            return Undecided(reply.reason or "unreachable")
        try:
            found = read_reply(reply.text, shape)
        except Unusable as error:
            reason, wrong = reply.reason or error.reason, str(error)
        else:
            contradiction = check(found)
            if contradiction is None:
                return Answer(found, reply.seq)
            reason, wrong = "contradictory", contradiction
        asked = _asked_again(messages, wrong)
    return Undecided(reason)


def _asked_again(messages: tuple[dict[str, str], ...], wrong: str) -> tuple[dict[str, str], ...]:
    """The first question with what was wrong at its end. The reply itself is not shown again: it may be anything."""
    *before, last = messages
    note = f"An earlier reply of yours could not be used: {wrong}. Reply with the JSON object and nothing else."
    return (*before, {**last, "content": f"{last['content']}\n\n{note}"})


def read_reply(text: str | None, shape: type[R]) -> R:
    """Read a judge's reply; ``Unusable`` where it does not obey ``shape`` or contradicts itself."""
    if text is None or not text.strip():
        raise Unusable("empty_reply", "it was empty")
    try:
        found = shape.model_validate(_one_object(text, shape))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Unusable("wrong_shape", f"{place}: {first['msg']}") from error
    wrong = found.contradiction()
    if wrong is not None:
        raise Unusable("contradictory", wrong)
    return found


def _one_object(text: str, shape: type[JudgeReply]) -> dict[str, Any]:
    """The JSON object that ``text`` is, or the only one with a field of ``shape`` that stands in it."""
    whole = _parsed(text.strip())
    if isinstance(whole, dict):
        return whole
    fields = shape.model_fields.keys()
    found = [candidate for candidate in _objects(text) if fields & candidate.keys()]
    if not found:
        raise Unusable("not_json", "it was not one JSON object")
    if any(other != found[0] for other in found):
        raise Unusable("several_answers", "it held several JSON objects that differ")
    return found[0]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every outermost JSON object in ``text``, at most the first 1000 openings tried."""
    start = 0
    for _ in range(1000):
        start = text.find("{", start)
        if start < 0:
            return
        try:
            found, start = STRICT_JSON.raw_decode(text, start)
            _require_unicode(found)
        except (ValueError, RecursionError):
            start += 1
            continue
        if isinstance(found, dict):
            yield found


def _parsed(text: str) -> object:
    try:
        found = STRICT_JSON.decode(text)
        _require_unicode(found)
    except (ValueError, RecursionError):
        return None
    return found


def _require_unicode(value: object) -> None:
    """``UnicodeEncodeError``, which is a ``ValueError``, where a lone surrogate stands anywhere in ``value``."""
    json.dumps(value, ensure_ascii=False).encode()


_SUSPICIONS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "names_reply_field",
        re.compile(
            r"better_request|is_significantly_better|comparison_reason|is_success|failure_type|number_of_corrections",
            re.IGNORECASE,
        ),
    ),
    (
        "overrides_instructions",
        re.compile(
            r"\b(?:ignore|disregard|forget|override)\b[^.\n]{0,40}\b(?:instructions?|prompts?|rules?|rubric|above|previous)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "addresses_judge",
        re.compile(
            r"\b(?:you are|dear|as|attention|note to)\b[^.\n]{0,20}\b(?:judge|grader|evaluator|comparer)\b"
            r"|\b(?:request|answer|response) ?[12] is (?:clearly |significantly |much )?(?:better|worse)\b",
            re.IGNORECASE,
        ),
    ),
    ("imitates_marks", re.compile(r"^<<<|>>>$|^=== question ===$|<\|(?:im_start|im_end|system)\|>", re.MULTILINE)),
)


def find_suspicions(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Which of ``texts`` look as if they spoke to the judge, with codes of why. A hint for people, not a verdict."""
    found = {name: [code for code, pattern in _SUSPICIONS if pattern.search(text)] for name, text in texts.items()}
    return {name: codes for name, codes in found.items() if codes}
