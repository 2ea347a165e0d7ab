"""A program of the user's in a model's place: any callable from prompt and input to output.

The question and what the program returned are put into the words of the chat protocol, so that a recorded call of a
pipeline reads as any other. A program that returns a trace of its steps is scored on the trace as text.
"""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...domain.model_calls import Ask
from ...domain.text import without_surrogates
from .bodies import split_system
from .chat import Exchange, Prepared

TIMEOUT = 300.0
_HEADING = "=== AGENT TRACE ==="

Pipeline = Callable[[str, str], Any]
"""Given the prompt under test and the input of a sample; returns text, or a trace (see ``PipelineModel``)."""


@dataclass(frozen=True, slots=True)
class PipelineModel:
    """``run`` under the name ``model``. Safe from threads if ``run`` is.

    ``run`` returns text, or an object with ``nodes``, each with ``name``, ``input``, ``output`` and perhaps
    ``optimize``; its ``tokens`` and ``ideal``, where it has them, go on record in the reply. What it raises is a call
    that failed (``pipeline_error``). After ``timeout`` seconds the call has timed out (``pipeline_timed_out``); ``run``
    cannot be stopped and its thread goes on, so it is not tried again beside itself.
    """

    model: str
    run: Pipeline
    timeout: float = TIMEOUT

    def prepare(self, ask: Ask) -> Prepared:
        settings = {"temperature": ask.temperature, "max_tokens": ask.max_tokens}
        given = {name: value for name, value in settings.items() if value is not None}
        document = {"model": self.model, "messages": list(ask.messages), **given, **ask.extra}
        return Prepared(json.dumps(document, ensure_ascii=False), 0, ())

    def send(self, prepared: Prepared) -> Exchange:
        prompt, said = split_system(json.loads(prepared.body)["messages"])
        came: list[Exchange] = []
        thread = threading.Thread(target=lambda: came.append(self._run(prompt, said)), daemon=True)
        thread.start()
        thread.join(self.timeout)
        return came[0] if came else Exchange("timed_out", reason="pipeline_timed_out")

    def step_down(self, prepared: Prepared, exchange: Exchange) -> bool:
        return False

    def close(self) -> None:
        """Nothing is held open."""

    def _run(self, prompt: str, said: list[dict[str, str]]) -> Exchange:
        try:
            body = self._reply(self.run(prompt, _input_of(said)))
        except BaseException:  # whatever it was, a program of the user's failed, and only this call with it
            return Exchange("refused", body=without_surrogates(traceback.format_exc()), reason="pipeline_error")
        return Exchange("replied", body=body)

    def _reply(self, returned: Any) -> str:
        nodes = getattr(returned, "nodes", None)
        if nodes is None and not isinstance(returned, str):
            raise TypeError(f"a pipeline returns text or an object with nodes, not {type(returned).__name__}")
        text = returned if nodes is None else render_trace(nodes)
        message = {"role": "assistant", "content": without_surrogates(text)}
        document: dict[str, Any] = {"model": self.model, "choices": [{"message": message, "finish_reason": "stop"}]}
        tokens, ideal = getattr(returned, "tokens", None), getattr(returned, "ideal", None)
        if type(tokens) is int and tokens > 0:
            document["usage"] = {"completion_tokens": tokens}
        if isinstance(ideal, str):
            document["ideal"] = without_surrogates(ideal)
        return json.dumps(document, ensure_ascii=False)


def render_trace(nodes: Iterable[Any]) -> str:
    """A trace as text: each step numbered, with its name, input and output; steps under test are marked."""
    lines = [_HEADING]
    for number, node in enumerate(nodes, 1):
        marked = " [optimize]" if getattr(node, "optimize", False) else ""
        lines += ["", f"{number}. {node.name}{marked}", f"Input: {node.input}", f"Output: {node.output}"]
    return "\n".join(lines)


def _input_of(said: list[dict[str, str]]) -> str:
    """What the user said: a single message as it is, a longer conversation with who said what."""
    if len(said) == 1:
        return said[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in said)
