"""A program in a model's place: what it returns, raises or never returns, in the words of the chat protocol."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from affidavit.api.models.bodies import is_request_for, read_chat
from affidavit.api.models.pipeline import PipelineModel
from affidavit.domain.model_calls import Ask

ASK = Ask(
    "eval.train",
    ({"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Which? «é»"}),
    temperature=0.0,
    max_tokens=50,
)


def node(name: str, given: str, output: str, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, input=given, output=output, **more)


def test_the_program_is_given_prompt_and_input_and_its_text_is_the_reply() -> None:
    model = PipelineModel("pipeline/upper", lambda prompt, given: f"{prompt} {given}".upper())
    prepared = model.prepare(ASK)
    assert is_request_for(ASK, prepared.body)
    assert json.loads(prepared.body)["temperature"] == 0.0
    exchange = model.send(prepared)
    assert exchange.replied
    said = read_chat(exchange.body)
    assert (said.text, said.reason, said.completion_tokens) == ("ANSWER BRIEFLY. WHICH? «É»", "", None)
    assert not model.step_down(prepared, exchange)
    model.close()


def test_a_longer_conversation_is_given_with_who_said_what() -> None:
    more = ({"role": "assistant", "content": "B."}, {"role": "user", "content": "Why?"})
    ask = Ask("eval.train", (*ASK.messages, *more))
    model = PipelineModel("pipeline/p", lambda _, given: given)
    said = read_chat(model.send(model.prepare(ask)).body).text
    assert said == "user: Which? «é»\n\nassistant: B.\n\nuser: Why?"


def test_a_trace_is_read_as_text_and_its_tokens_and_reference_are_kept() -> None:
    trace = SimpleNamespace(
        nodes=[node("search", "Which?", "two pages"), node("answer", "two pages", "B", optimize=True)],
        tokens=41,
        ideal="B",
    )
    model = PipelineModel("pipeline/p", lambda _, __: trace)
    body = model.send(model.prepare(ASK)).body
    assert body is not None
    said = read_chat(body)
    assert said.text == (
        "=== AGENT TRACE ===\n\n1. search\nInput: Which?\nOutput: two pages\n\n"
        "2. answer [optimize]\nInput: two pages\nOutput: B"
    )
    assert said.completion_tokens == 41
    assert json.loads(body)["ideal"] == "B"


@pytest.mark.parametrize("returned", [None, 7, SimpleNamespace(nodes=[SimpleNamespace(name="half")])])
def test_what_is_neither_text_nor_a_trace_is_an_error_of_the_program(returned: Any) -> None:
    model = PipelineModel("pipeline/p", lambda _, __: returned)
    exchange = model.send(model.prepare(ASK))
    assert (exchange.outcome, exchange.reason) == ("refused", "pipeline_error")


@pytest.mark.parametrize("error", [ValueError("bad \ud800 input"), SystemExit(1)])
def test_what_the_program_raises_is_a_call_that_failed_with_its_traceback(error: BaseException) -> None:
    def broken(_: str, __: str) -> str:
        raise error

    model = PipelineModel("pipeline/p", broken)
    exchange = model.send(model.prepare(ASK))
    assert (exchange.outcome, exchange.reason) == ("refused", "pipeline_error")
    assert type(error).__name__ in str(exchange.body)
    assert str(exchange.body).encode()


def test_a_program_that_does_not_return_has_timed_out() -> None:
    never = threading.Event()
    model = PipelineModel("pipeline/p", lambda _, __: str(never.wait(30)), timeout=0.01)
    exchange = model.send(model.prepare(ASK))
    never.set()
    assert (exchange.outcome, exchange.reason) == ("timed_out", "pipeline_timed_out")


def test_half_a_character_and_an_empty_text_do_no_harm() -> None:
    model = PipelineModel("pipeline/p", lambda _, __: "a\ud800b")
    assert read_chat(model.send(model.prepare(ASK)).body).text == "a\\ud800b"
    model = PipelineModel("pipeline/p", lambda _, __: " ")
    assert read_chat(model.send(model.prepare(ASK)).body).reason == "empty_reply"
