"""A model that is none: a deterministic OpenAI-compatible server on this machine, for the peers to optimise against.

It answers sums. The more of three rules a system prompt has, the shorter it answers; asked to improve a prompt, it adds
the next rule. What it says depends on the request alone, so that two runs which ask the same get the same.

``before`` is called with the number of each request, from 1, before it is answered, and may raise ``Refuse``.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

RULES = ("Answer in one sentence.", "Leave out all politeness.", "Answer with the number only.")
START = "You answer questions about sums."
_SUM = re.compile(r"What is ([0-9]+) plus ([0-9]+)\?")


class Refuse(Exception):
    """Answer this request with status 400."""


def rows(count: int) -> list[dict[str, Any]]:
    """A data set of sums in the form that aevyra-verdict reads."""
    return [
        {
            "messages": [{"role": "user", "content": f"What is {number} plus {number + 2}?"}],
            "ideal": str(2 * number + 2),
        }
        for number in range(1, count + 1)
    ]


def follow(prompt: str, question: str) -> str:
    """The reply of the model under optimisation."""
    asked = _SUM.search(question)
    total = "?" if asked is None else str(int(asked[1]) + int(asked[2]))
    kept = sum(rule in prompt for rule in RULES)
    return (
        f"Thank you for asking! I have thought about it, and I believe that it is {total} . Ask again at any time.",
        f"With pleasure: the sum is {total} .",
        f"It is {total} .",
        total,
    )[kept]


def improve(request: str) -> str:
    """The reply of the reasoning model: a prompt with one more rule, in the form that reflex asks for."""
    known = [rule for rule in RULES if rule in request]
    added = next((rule for rule in RULES if rule not in known), RULES[-1])
    revised = " ".join([START, *dict.fromkeys([*known, added])])
    return f"The answers are too long.\n\n## Summary of change\n[Added: {added}]\n\n## Revised prompt\n{revised}"


class StubServer(ThreadingHTTPServer):
    """Serves on a free port of the loopback interface inside the block."""

    daemon_threads = True

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._before = before
        self._counting = threading.Lock()
        self.requests = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that is killed hangs up."""

    def answer(self, messages: list[dict[str, Any]]) -> str:
        with self._counting:
            self.requests += 1
            number = self.requests
        self._before(number)
        said = messages[-1]["content"]
        return follow(messages[0]["content"], said) if messages[0]["role"] == "system" else improve(said)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StubServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            text = self.server.answer(request["messages"])
        except Refuse as refused:
            return self._reply(400, {"error": {"message": str(refused)}})
        used = {"prompt_tokens": len(str(request["messages"]).split()), "completion_tokens": len(text.split())}
        message = {"role": "assistant", "content": text}
        return self._reply(
            200,
            {
                "id": "stub",
                "object": "chat.completion",
                "created": 0,
                "model": request["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {**used, "total_tokens": sum(used.values())},
            },
        )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the library names it
        """Nothing."""

    def _reply(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
