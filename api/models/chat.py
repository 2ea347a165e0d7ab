"""Chat clients that expose the exact text of request and reply, for any OpenAI-compatible server.

``HttpModel`` is what every client shares: sending, limits, and what a server is known to refuse. ``ChatModel`` speaks
the protocol that most servers speak; ``anthropic.py`` speaks another. ``bodies.py`` reads the bodies of both.

Structured output goes down a ladder, because servers differ; the rung that works is remembered per client:

1. ``json_schema``: ``response_format`` with a strict JSON schema
2. ``json_object`` with the schema beside it, as llama.cpp takes it
3. ``json_object`` alone
4. no ``response_format`` at all

From the second rung on the schema also stands at the end of the prompt. Whatever the rung, a reply is text that
whoever asked checks by itself. ``temperature`` and ``max_tokens`` are left out once a server has refused them.

No redirects are followed, nothing comes from the environment (no proxies, no netrc), a reply is cut off at
``max_bytes``, and the whole call at ``timeout`` seconds. The key stands in a header and in no recorded text.
"""

from __future__ import annotations

import json
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx2

from ...domain.errors import Refused
from ...domain.model_calls import Ask, Outcome
from .bodies import with_schema

MAX_BYTES = 1_000_000
TIMEOUT = 60.0
RUNGS = 4
_MAX_LISTING = 20_000_000
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "structured output", "grammar")
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


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


class Model(Protocol):
    """What a loop needs of a model. Safe from threads."""

    @property
    def model(self) -> str:
        """The name that is recorded."""
        ...

    def prepare(self, ask: Ask) -> Prepared: ...

    def send(self, prepared: Prepared) -> Exchange: ...

    def step_down(self, prepared: Prepared, exchange: Exchange) -> bool: ...

    def close(self) -> None: ...


class HttpModel(ABC):
    """One model behind ``base_url`` (``http://127.0.0.1:8000/v1``). Safe from threads; close it.

    ``model`` is the name on the wire; ``recorded_as`` the name that is recorded, where that is another.
    """

    path: str
    """Where requests go, below the base URL."""

    first_rung = 0
    """The rung of the ladder that is tried first."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        recorded_as: str | None = None,
        timeout: float = TIMEOUT,
        max_bytes: int = MAX_BYTES,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.model = recorded_as or model
        self.wire_model = model
        self.base_url = _checked(base_url)
        self.timeout = timeout
        self._echoed = _spellings(api_key) if api_key else None
        self._max_bytes = max_bytes
        self._clock = clock
        self._wall_clock = wall_clock
        self._mutex = threading.Lock()
        self._rung = self.first_rung
        self._left_out: frozenset[str] = frozenset()
        self._client = httpx2.Client(
            headers=_HEADERS | self.headers(_readable(api_key) if api_key else None),
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r}, {self.model!r})"

    @abstractmethod
    def headers(self, api_key: str | None) -> dict[str, str]:
        """The headers of this protocol, the key's among them."""

    @abstractmethod
    def document(self, ask: Ask, rung: int, left_out: frozenset[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The request, and the names of its fields that may be left out where a server refuses them."""

    def prepare(self, ask: Ask) -> Prepared:
        """The request for ``ask`` on the rung that this server is known to take."""
        with self._mutex:
            rung, left_out = self._rung, self._left_out
        document, optional = self.document(ask, rung, left_out)
        return Prepared(json.dumps(document, ensure_ascii=False), rung, optional)

    def send(self, prepared: Prepared) -> Exchange:
        """Send a prepared request once. Never raises for what the network or the server does."""
        return self._exchange("POST", self.path, self._max_bytes, prepared.body.encode())

    def fetch(self, path: str) -> Exchange:
        """What the server says of itself at ``path`` below the base URL, such as ``/models``."""
        return self._exchange("GET", path, _MAX_LISTING)

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
            if prepared.rung < RUNGS - 1 and any(word in said for word in _FORMAT_WORDS):
                self._rung = max(self._rung, prepared.rung + 1)
                return True
        return False

    def close(self) -> None:
        self._client.close()

    def _exchange(self, method: str, path: str, max_bytes: int, content: bytes | None = None) -> Exchange:
        end = self._clock() + self.timeout
        try:
            with self._client.stream(method, self.base_url + path, content=content) as response:
                return self._read(response, end, max_bytes)
        except httpx2.TimeoutException:
            return Exchange("timed_out", reason="timed_out")
        except httpx2.HTTPError:
            return Exchange("unreachable", reason="unreachable")

    def _read(self, response: httpx2.Response, end: float, max_bytes: int) -> Exchange:
        status, retry_after = response.status_code, self._retry_after(response)
        outcome: Outcome = "replied" if 200 <= status < 300 else "refused"
        reason = None if outcome == "replied" else _status_reason(status)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return Exchange(outcome, status, None, reason or "encoded_reply", retry_after)
        received = bytearray()
        for chunk in response.iter_bytes(65536):
            received += chunk
            if len(received) > max_bytes:
                return Exchange(outcome, status, None, reason or "reply_too_large", retry_after)
            if self._clock() > end:
                return Exchange("timed_out", status, None, "timed_out")
        body = received.decode(errors="backslashreplace")
        if self._echoed is not None:
            body = self._echoed.sub("[redacted api_key]", body)
        return Exchange(outcome, status, body, reason, retry_after)

    def _retry_after(self, response: httpx2.Response) -> float | None:
        value = response.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return float(value[:9])
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - self._wall_clock())
        except (ValueError, OverflowError):
            return None


class ChatModel(HttpModel):
    """A model behind ``/chat/completions``."""

    path = "/chat/completions"

    def headers(self, api_key: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def document(self, ask: Ask, rung: int, left_out: frozenset[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
        given = {"temperature": ask.temperature, "max_tokens": ask.max_tokens}
        optional = {name: value for name, value in given.items() if value is not None and name not in left_out}
        document: dict[str, Any] = {"model": self.wire_model, "messages": list(ask.messages), **optional, **ask.extra}
        if ask.schema is not None:
            if rung > 0:
                document["messages"] = with_schema(ask)
            response_format = _response_format(rung, ask)
            if response_format is not None:
                document["response_format"] = response_format
        return document, tuple(optional)


def _spellings(api_key: str) -> re.Pattern[str]:
    """The key as a server may echo it: each character as it is or escaped as JSON allows."""
    return re.compile("".join(rf"(?:\\?{re.escape(c)}|\\u00(?i:{ord(c):02x}))" for c in api_key))


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


def _readable(api_key: str) -> str:
    if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise Refused("api_key_readable", "the model's API key: expected printable ASCII without blanks")
    return api_key


def _checked(base_url: str) -> str:
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        url = httpx2.URL()  # what it says of the address may hold a password
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise Refused(
            "address_readable",
            "the model's base URL: expected http(s)://HOST[:PORT]/PATH without credentials, query or fragment",
        )
    return base_url.rstrip("/")
