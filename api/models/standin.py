"""A stand-in judge: a deterministic OpenAI-compatible server on this machine, for demonstrations and tests.

It is no model and knows nothing. Its name, ``stand-in-judge-simulated``, stands in every verdict that it gives and its
reasons begin with "[simulated]". It prefers the answer that shares more words with the user's message, then the
longer one, and leans a little towards whichever is shown first, as real judges do.

::

    with StandInJudge() as judge:
        os.environ["AFFIDAVIT_JUDGE_BASE_URL"] = judge.base_url
        os.environ["AFFIDAVIT_JUDGE_MODEL"] = judge.model
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

MODEL = "stand-in-judge-simulated"
LABEL = "stand-in judge (simulated)"
LEAN = 0.04
"""What being shown first is worth, on a scale of 0 to 1."""

_MAX_REQUEST = 20_000_000
_FAILURES = ("wrong_answer", "missing_tool", "insufficient_info_from_tool", "wrong_tool", "system_error")
_WORD = re.compile(r"\w+")
_CORRECTING = re.compile(r"\b(?:no|not|wrong|actually|instead|meant)\b", re.IGNORECASE)
_ESCALATING = re.compile(r"\b(?:human|supervisor|representative|real person)\b", re.IGNORECASE)


class StandInJudge:
    """Serves on ``port`` of the loopback interface, 0 for any that is free, inside the block."""

    model = MODEL

    def __init__(self, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="stand-in judge", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The chat completion for a judge's question; the same question gets the same answer."""
    question = str(request["messages"][-1]["content"])
    said = _grade(question) if "The session, oldest turn first:" in question else _compare(question)
    text = json.dumps(said, ensure_ascii=False)
    used = {"prompt_tokens": len(_WORD.findall(question)), "completion_tokens": len(_WORD.findall(text))}
    return {
        "id": "simulated-" + hashlib.sha256(question.encode()).hexdigest()[:16],
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {**used, "total_tokens": sum(used.values())},
    }


def _compare(question: str) -> dict[str, Any]:
    *context, first, second = ["", "", *_material(question)]
    wanted = _words(context[-1])
    one, two = _worth(first, wanted) + LEAN, _worth(second, wanted)
    gap = abs(one - two)
    better = "tie" if gap < 0.02 else "1" if one > two else "2"
    return {
        "better_request": better,
        "is_significantly_better": better != "tie" and gap > 0.25,
        "comparison_reason": f"[simulated] worth {one:.2f} against {two:.2f} by shared words and length.",
    }


def _grade(question: str) -> dict[str, Any]:
    turns = _material(question)
    users = [turn for turn in turns if turn.lower().startswith("user")]
    chance = hashlib.sha256("\n".join(turns).encode()).digest()
    corrections = sum(bool(_CORRECTING.search(turn)) for turn in users[1:])
    success = chance[0] / 256 < 0.8 - 0.2 * corrections
    return {
        "is_success": success,
        "failure_type": None if success else _FAILURES[chance[1] % len(_FAILURES)],
        "failure_reason": None if success else "[simulated] drawn from a hash of the session.",
        "is_escalated": any(_ESCALATING.search(turn) for turn in users),
        "number_of_corrections": corrections,
    }


def _material(question: str) -> list[str]:
    """The texts between the lines that open and close material, by the code of the first of them."""
    opened = re.search(r"^<<<([0-9a-f]{32})$", question, re.MULTILINE)
    if opened is None:
        return []
    fence = opened[1]
    return re.findall(rf"^<<<{fence}\n(.*?)\n{fence}>>>$", question, re.DOTALL | re.MULTILINE)


def _worth(text: str, wanted: set[str]) -> float:
    words = _words(text)
    shared = len(words & wanted) / len(wanted) if wanted else 0.0
    return 0.6 * shared + 0.4 * min(len(text), 400) / 400


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text) if len(word) > 3}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a judge that is killed hangs up."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "stand-in-judge"
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MAX_REQUEST:
            self.close_connection = True
            return self._reply(413, {"error": {"message": "expected a length of at most 20 MB"}})
        body = self.rfile.read(int(length))
        if self.path != "/v1/chat/completions":
            return self._reply(404, {"error": {"message": "expected /v1/chat/completions"}})
        try:
            found = answer(json.loads(body))
        except (ValueError, LookupError, TypeError) as error:
            return self._reply(400, {"error": {"message": f"no chat request: {error}"}})
        return self._reply(200, found)

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._reply(404, {"error": {"message": "expected /v1/models"}})
        return self._reply(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": LABEL}]})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the library names it
        """Nothing: what was asked is on the ledger."""

    def _reply(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
