"""Calls of language models: what is asked, what came back, and the events that keep both.

Whoever wants a model's answer (a judge, a grader, a strategy) is a generator that yields ``Ask`` and is sent
``Reply``. It uses no network: a loop outside makes the call, or feeds what was recorded.

A call is two events: ``model.requested``, durable before anything is sent, and ``model.answered``. A request
without an answer is a call whose cost is unknown. Each attempt is a call of its own.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import Field

from .event import Event, Sealed
from .number import Number

SITE = "^[a-z][a-z0-9_.-]{0,63}$"

Outcome = Literal["replied", "refused", "unreachable", "timed_out"]
"""``replied``: a body came under a status of success; ``refused``: another status; the rest: no body came."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a model. ``schema`` is the JSON schema that the reply should obey, None for free text."""

    site: str
    messages: tuple[dict[str, str], ...]
    schema: dict[str, Any] | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said to one ``Ask``: its text, or None and why there is none (``reason``, a code).

    ``seq`` is the entry that holds the call, None where nothing was recorded. Tokens are as the provider counted
    them, None where it did not.
    """

    text: str | None
    reason: str = ""
    seq: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def tokens(self) -> int:
        """What the provider counted in all, 0 where it counted nothing."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)


T = TypeVar("T")
Conversation = Generator[Ask, Reply, T]
"""Yields questions, is sent replies, and returns its conclusion."""


class ModelRequested(Event):
    """A request is about to be sent. ``site`` is where in the code it is made and ``occurrence`` counts from 0
    there, within the stream; ``attempt`` counts from 1. ``body`` is the exact text of the request. In a run,
    ``purpose`` is what the call is for (that of the evaluation, ``judge`` or ``reasoning``), ``iteration`` the one
    that it counts towards (from 1), ``phase`` the open phase."""

    type_name = "model.requested.v1"
    site: str = Field(pattern=SITE)
    occurrence: int = Field(ge=0)
    attempt: int = Field(ge=1)
    model: str
    purpose: str | None = Field(default=None, pattern=SITE)
    iteration: int | None = Field(default=None, ge=1)
    phase: int | None = Field(default=None, ge=1)
    body: Sealed[str]


class ModelAnswered(Event):
    """What became of the request before it. ``body`` is the exact text that came back, None where none did.

    ``reason`` is a code for what went wrong. Tokens are as the provider counted them. ``gave_up`` says, in a run, that
    no further attempt follows: this failure is the outcome of the call.
    """

    type_name = "model.answered.v1"
    site: str = Field(pattern=SITE)
    occurrence: int = Field(ge=0)
    attempt: int = Field(ge=1)
    outcome: Outcome
    status: int | None = None
    reason: str | None = Field(default=None, pattern="^[a-z][a-z0-9_]{0,63}$")
    prompt_tokens: int | None = Field(default=None, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)
    elapsed_seconds: Number | None = None
    gave_up: bool | None = None
    body: Sealed[str] | None = None


EVENTS: tuple[type[Event], ...] = (ModelRequested, ModelAnswered)
