"""Stands before everything: bounds what is answered at once, names each request, and tells what became of it."""

from __future__ import annotations

import re
from collections.abc import Collection
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..http.access import UNBOUNDED
from ..http.errors import Problem, Respond
from .answered import NO_ROUTE, Answered
from .telemetry import Telemetry

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Watcher:
    """``paths`` are the templates of routes without a parameter."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, respond: Respond, paths: Collection[str]) -> None:
        self._app = app
        self._telemetry = telemetry
        self._respond = respond
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        method = scope["method"] if scope["method"] in _METHODS else "other"
        answered = Answered(_request_id(headers), method)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(raw=message.setdefault("headers", []))
                told["X-Request-Id"] = answered.request_id
                if self._telemetry.stopping.is_set():
                    told["Connection"] = "close"
                answered.status = message["status"]
                answered.seq = told.get("affidavit-seq")
            await send(message)

        with self._telemetry.request(headers, answered):
            try:
                await self._bounded(scope, receive, named)
            finally:
                route = scope.get("route")
                path = scope["path"]
                answered.route = str(getattr(route, "path", path if path in self._paths else NO_ROUTE))
                answered.rule = state.get("rule")
                answered.key = getattr(state.get("caller"), "key_id", None)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in UNBOUNDED:
            await self._app(scope, receive, send)
            return
        bound = self._telemetry.in_progress
        if not bound.enter():
            problem = Problem(503, "busy", f"{bound.most} requests are being answered already", {"Retry-After": "1"})
            response = self._respond(Request(scope), problem)
            response.headers["Connection"] = "close"  # what follows may be a body, which nobody reads
            await response(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            bound.leave()


def _request_id(headers: Headers) -> str:
    """The caller's, where it is one that a log line can hold; else a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.match(given) else uuid4().hex
