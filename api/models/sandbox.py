"""The provider ``sandbox/…``: three simulated models in this process, for demonstrations and tests without a network.

``sandbox/target`` answers incident reports, the better the better its prompt is (``sandbox_task.py``);
``sandbox/reasoner`` rewrites prompts and ``sandbox/judge`` grades (``sandbox_reasoner.py``). None of them is a language
model. Each reply says "(simulated)" beside the model's name, and the same request gets the same bytes, from any thread.

``SandboxTransport`` stands below the ordinary client, so that everything else is as with a real server.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from .sandbox_reasoner import judge, reason
from .sandbox_task import SANDBOX_PROMPT, reply_to, sandbox_dataset

__all__ = ["SANDBOX_PROMPT", "SANDBOX_URL", "SandboxTransport", "sandbox_dataset"]

SANDBOX_URL = "http://sandbox.invalid/v1"
"""Never connected to; the top-level domain is reserved for that."""


class SandboxTransport(httpx2.BaseTransport):
    """Answers requests to ``SANDBOX_URL`` in this process."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        match request.method, request.url.path:
            case "GET", "/v1/models":
                models = [{"id": name, "object": "model", "owned_by": "simulated"} for name in _MODELS]
                return _response(200, {"object": "list", "data": models})
            case "POST", "/v1/chat/completions":
                return _complete(request.read())
        return _response(404, {"error": {"message": f"no such path: {request.url.path}"}})


def _complete(body: bytes) -> httpx2.Response:
    try:
        document = json.loads(body)
        name = str(document["model"])
        if name not in _MODELS:
            return _response(404, {"error": {"message": f"no such model: {name}"}})
        text = _MODELS[name](document)
        sent = sum(len(str(message["content"]).split()) for message in document["messages"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return _response(400, {"error": {"message": f"no chat request: {type(error).__name__}"}})
    kept, cut_off = _within(text, document.get("max_tokens"))
    used = {"prompt_tokens": sent, "completion_tokens": len(kept.split())}
    return _response(
        200,
        {
            "id": "simulated-" + hashlib.sha256(body).hexdigest()[:16],
            "object": "chat.completion",
            "created": 0,
            "model": f"{name} (simulated)",
            "system_fingerprint": "simulated",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": kept},
                    "finish_reason": "length" if cut_off else "stop",
                }
            ],
            "usage": {**used, "total_tokens": sum(used.values())},
        },
    )


def _answer(document: Mapping[str, Any]) -> str:
    said: dict[str, list[str]] = {"system": [], "user": [""]}
    for message in document["messages"]:
        said.setdefault(message["role"], []).append(message["content"])
    return reply_to("\n\n".join(said["system"]), said["user"][-1])


_MODELS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "sandbox/target": _answer,
    "sandbox/reasoner": reason,
    "sandbox/judge": judge,
}


def _within(text: str, max_tokens: int | None) -> tuple[str, bool]:
    """As much of ``text`` as the limit allows, a word being a token; whether that is not all of it."""
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    if max_tokens is None or len(ends) <= max_tokens:
        return text, False
    return text[: ends[max_tokens - 1]], True


def _response(status: int, document: Mapping[str, Any]) -> httpx2.Response:
    return httpx2.Response(status, json=document)
