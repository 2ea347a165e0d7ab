"""The witness as an HTTP server: ``POST /add-checkpoint`` and ``GET /<hex SHA-256 of an origin>/checkpoint``.

A plain ASGI application, since two routes need no framework. Nobody logs in: a request is as good as the signature of
the log on the checkpoint in it. No header says who calls, so none is believed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...ledger.errors import LedgerError
from ...ledger.tlog.witness import OTHER_SIZE, KeysOf, WitnessRefusal, read_submission
from .store import WitnessStore

MAX_BODY_BYTES = 128 * 1024
"""A proof of 63 hashes and a note with some thirty post-quantum signatures."""

ADD_CHECKPOINT = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
_BODY_SECONDS = 10.0
_THREADS = 16
_LONGEST_REASON = 500
_STATE_PATH = re.compile(r"/([0-9a-f]{64}/checkpoint)")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, str, bytes]


class WitnessApp:
    """An ASGI application over ``store``, for the logs that ``keys_of`` knows. Close it, then the store."""

    def __init__(self, store: WitnessStore, keys_of: KeysOf, *, body_seconds: float = _BODY_SECONDS) -> None:
        self._store = store
        self._keys_of = keys_of
        self._body_seconds = body_seconds
        self._pool = ThreadPoolExecutor(_THREADS, "affidavit-witness")  # those who wait there share a commit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, kind, body = await self._answer(scope, receive)
        headers = [
            (b"content-type", kind.encode("ascii")),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if status == 405:
            headers.append((b"allow", b"POST" if scope["path"] == ADD_CHECKPOINT else b"GET, HEAD"))
        if status in (408, 413):  # the rest of the body is not read
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def close(self) -> None:
        self._pool.shutdown()

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        state = _STATE_PATH.fullmatch(path)
        if path != ADD_CHECKPOINT and state is None:
            return _text(404, "there is no such thing")
        if method not in (("POST",) if state is None else ("GET", "HEAD")):
            return _text(405, f"{method} is not served here")
        loop = asyncio.get_running_loop()
        if state is not None:
            return await loop.run_in_executor(self._pool, self._show, state[1])
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await _read(scope, receive)
        except TimeoutError:
            return _text(408, f"expected the body within {self._body_seconds:g} s")
        if body is None:
            return _text(413, f"expected a body of at most {MAX_BODY_BYTES} bytes")
        return await loop.run_in_executor(self._pool, self._add, body)

    def _add(self, body: bytes) -> Answer:
        try:
            return 200, TEXT_TYPE, self._store.cosign(read_submission(body, self._keys_of)).encode()
        except WitnessRefusal as refusal:
            if refusal.status == OTHER_SIZE:
                return OTHER_SIZE, SIZE_TYPE, f"{refusal.size}\n".encode("ascii")
            return _text(refusal.status, str(refusal))
        except LedgerError as error:
            return _unavailable(error)

    def _show(self, path: str) -> Answer:
        try:
            note = self._store.latest(path)
        except LedgerError as error:
            return _unavailable(error)
        return _text(404, "no checkpoint of this log was cosigned") if note is None else (200, TEXT_TYPE, note)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body, None where it is too long; a caller who hangs up leaves half of one, which is malformed."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _unavailable(error: LedgerError) -> Answer:
    logging.getLogger(__name__).error("%s", error)
    return _text(503, "nothing was signed; the witness's own log says why")


def _text(status: int, reason: str) -> Answer:
    shown = reason[:_LONGEST_REASON].encode("utf-8", "backslashreplace")
    return status, TEXT_TYPE, shown.replace(b"\n", b" ") + b"\n"
