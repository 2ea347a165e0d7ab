"""A client of Anthropic's Messages API.

It differs from the chat protocol in three ways: what system messages say stands apart, a limit of tokens is always
sent, and there is no ``response_format``, so that a schema stands at the end of the prompt from the start.
"""

from __future__ import annotations

from typing import Any

from ...domain.model_calls import Ask
from .bodies import split_system, with_schema
from .chat import RUNGS, HttpModel

MAX_TOKENS = 1024
"""Sent where the question names no limit: the protocol wants one."""

VERSION = "2023-06-01"


class AnthropicModel(HttpModel):
    """A model behind ``/messages``; the base URL ends in ``/v1``."""

    path = "/messages"
    first_rung = RUNGS - 1

    def headers(self, api_key: str | None) -> dict[str, str]:
        return {"anthropic-version": VERSION} | ({"x-api-key": api_key} if api_key else {})

    def document(self, ask: Ask, rung: int, left_out: frozenset[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
        system, messages = split_system(ask.messages if ask.schema is None else with_schema(ask))
        document: dict[str, Any] = {"model": self.wire_model, "max_tokens": ask.max_tokens or MAX_TOKENS}
        if system:
            document["system"] = system
        document["messages"] = messages
        optional: tuple[str, ...] = ()
        if ask.temperature is not None and "temperature" not in left_out:
            document["temperature"], optional = ask.temperature, ("temperature",)
        return document | ask.extra, optional
