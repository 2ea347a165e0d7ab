"""A chat client for any OpenAI-compatible server, which exposes the exact text of request and reply.

Structured output goes down a ladder, because servers differ; the rung that works is remembered per client:

1. ``json_schema``: ``response_format`` with a strict JSON schema
2. ``json_object`` with the schema beside it, as llama.cpp takes it
3. ``json_object`` alone
4. no ``response_format`` at all

From the second rung on the schema also stands at the end of the prompt. Whatever the rung, a reply is text that
the judge checks by itself. ``temperature`` and ``max_tokens`` are left out once a server has refused them.

No redirects are followed, nothing comes from the environment (no proxies, no netrc), a reply is cut off at
``max_bytes``, and the whole call at ``timeout`` seconds. The key stands in a header and in no recorded text.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from ...domain.errors import Refused
from ...domain.model_calls import Ask, Outcome

MAX_BYTES = 1_000_000
TIMEOUT = 60.0
_RUNGS = 4
_OPTIONAL = ("temperature", "max_tokens")
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "structured output", "grammar")
_MAX_COUNT = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Prepared:
    """The exact body of a request, and what of it a server may refuse: its rung and optional fields."""

    body: str
    rung: int
    optional: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What became of one request. ``body`` is the exact text that came back, None where none did or it was too long.

    ``reason`` is a code, None for a reply with text. ``retry_after`` is in seconds, as the server asked.
    """

    outcome: Outcome
    status: int | None = None
    body: str | None = None
    reason: str | None = None
    retry_after: float | None = None

    @property
    def replied(self) -> bool:
        return self.outcome == "replied"


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What a body of success says: the text, or None and why (``reason``); tokens as the provider counted them."""

    text: str | None
    reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ChatModel:
    """One model behind ``base_url`` (``http://127.0.0.1:8000/v1``). Safe from threads; close it."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        max_bytes: int = MAX_BYTES,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.model = model
        self.timeout = timeout
        self._url = _chat_url(base_url)
        self._api_key = api_key
        self._max_bytes = max_bytes
        self._clock = clock
        self._wall_clock = wall_clock
        self._mutex = threading.Lock()
        self._rung = 0
        self._left_out: frozenset[str] = frozenset()
        self._client = httpx2.Client(
            headers=_headers(api_key),
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
        )

    def __repr__(self) -> str:
        return f"ChatModel({self._url!r}, {self.model!r})"

    def prepare(self, ask: Ask) -> Prepared:
        """The request for ``ask`` on the rung that this server is known to take."""
        with self._mutex:
            rung, left_out = self._rung, self._left_out
        given = {"temperature": ask.temperature, "max_tokens": ask.max_tokens}
        optional = {name: value for name, value in given.items() if value is not None and name not in left_out}
        document: dict[str, Any] = {"model": self.model, "messages": list(ask.messages), **optional, **ask.extra}
        if ask.schema is not None:
            if rung > 0:
                document["messages"] = _with_schema(ask)
            response_format = _response_format(rung, ask)
            if response_format is not None:
                document["response_format"] = response_format
        return Prepared(json.dumps(document, ensure_ascii=False), rung, tuple(optional))

    def send(self, prepared: Prepared) -> Exchange:
        """Send a prepared request once. Never raises for what the network or the server does."""
        end = self._clock() + self.timeout
        try:
            with self._client.stream("POST", self._url, content=prepared.body.encode()) as response:
                return self._read(response, end)
        except httpx2.TimeoutException:
            return Exchange("timed_out", reason="timed_out")
        except httpx2.HTTPError:
            return Exchange("unreachable", reason="unreachable")

    def step_down(self, prepared: Prepared, exchange: Exchange) -> bool:
        """Remember what a 400 or 422 refused of a request; whether there is now another way to ask the same."""
        if exchange.status not in (400, 422) or exchange.body is None:
            return False
        said = exchange.body.lower()
        with self._mutex:
            for name in prepared.optional:
                if name in said:
                    self._left_out |= {name}
                    return True
            if prepared.rung < _RUNGS - 1 and any(word in said for word in _FORMAT_WORDS):
                self._rung = max(self._rung, prepared.rung + 1)
                return True
        return False

    def close(self) -> None:
        self._client.close()

    def _read(self, response: httpx2.Response, end: float) -> Exchange:
        status, retry_after = response.status_code, self._retry_after(response)
        outcome: Outcome = "replied" if 200 <= status < 300 else "refused"
        reason = None if outcome == "replied" else _status_reason(status)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return Exchange(outcome, status, None, reason or "encoded_reply", retry_after)
        received = bytearray()
        for chunk in response.iter_bytes(65536):
            received += chunk
            if len(received) > self._max_bytes:
                return Exchange(outcome, status, None, reason or "reply_too_large", retry_after)
            if self._clock() > end:
                return Exchange("timed_out", status, None, "timed_out")
        body = received.decode(errors="backslashreplace")
        if self._api_key:
            body = body.replace(self._api_key, '{"redacted":"api_key"}')  # a server that echoes the key
        return Exchange(outcome, status, body, reason, retry_after)

    def _retry_after(self, response: httpx2.Response) -> float | None:
        value = response.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return float(value[:9])
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - self._wall_clock())
        except (ValueError, OverflowError):
            return None


def read_chat(body: str | None) -> ChatReply:
    """Read the body of a chat completion. Pure, so that a recorded body reads the same each time."""
    try:
        document = json.loads(body or "")
        choice = document["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ChatReply(None, "empty_reply")
    usage = document.get("usage")
    counted = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    if not isinstance(text, str) or not text.strip():
        refusal = choice["message"].get("refusal")
        return ChatReply(None, "model_refused" if isinstance(refusal, str) and refusal else "empty_reply", *counted)
    if choice.get("finish_reason") == "length":
        return ChatReply(text, "cut_off", *counted)
    return ChatReply(text, "", *counted)


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def _response_format(rung: int, ask: Ask) -> dict[str, Any] | None:
    match rung:
        case 0:
            name = ask.site.replace(".", "_")
            return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": ask.schema}}
        case 1:
            return {"type": "json_object", "schema": ask.schema}
        case 2:
            return {"type": "json_object"}
        case _:
            return None


def _with_schema(ask: Ask) -> list[dict[str, str]]:
    """The messages, the schema at the end of the last: some servers take no second system message."""
    *before, last = ask.messages
    schema = json.dumps(ask.schema, ensure_ascii=False)
    return [*before, {**last, "content": f"{last['content']}\n\nThe JSON object obeys this JSON schema:\n{schema}"}]


def is_request_for(ask: Ask, body: str) -> bool:
    """Whether a recorded body asks what ``ask`` asks, on whatever rung."""
    try:
        sent = json.loads(body)["messages"]
    except (ValueError, LookupError, TypeError):
        return False
    return sent in (list(ask.messages), _with_schema(ask))


def _status_reason(status: int) -> str:
    if status in (401, 403):
        return "not_allowed"
    if status == 404:
        return "model_unknown"
    if status == 429:
        return "rate_limited"
    if 300 <= status < 400:
        return "redirected"
    return "server_error" if status >= 500 or status in (408, 425) else "request_refused"


def _headers(api_key: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    if not api_key:
        return headers
    if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise Refused("api_key_readable", "the judge's API key: expected printable ASCII without blanks")
    return {**headers, "Authorization": f"Bearer {api_key}"}


def _chat_url(base_url: str) -> str:
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as error:
        raise Refused("address_readable", f"the judge's base URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise Refused(
            "address_readable",
            "the judge's base URL: expected http(s)://HOST[:PORT]/PATH without credentials, query or fragment",
        )
    return base_url.rstrip("/") + "/chat/completions"
