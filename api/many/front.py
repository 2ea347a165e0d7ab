"""Before the applications of many ledgers: the key that a request shows says which of them answers.

Nothing else does, neither path nor name nor where the caller is. Whoever shows no key, or one that no ledger knows, is
at the door: what probes ask, signing in, style sheets, and the logs that are public, each under ``/logs/NAME/``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ...ledger.errors import NotNow
from ..http import health
from ..http.access import KEY_COOKIE, Gate, is_log
from ..http.errors import Problem, install, noting
from ..http.limits import Limits, RateLimiter
from ..keyring import ApiKey
from ..pages import assets, login
from ..pages import errors as page_errors
from ..telemetry.telemetry import Telemetry
from ..telemetry.watcher import Watcher
from .tenant import Tenant

LOGS = "/logs/"
_AT_THE_DOOR = 64
"""How many are answered at the door at a time."""
_FORM_BYTES = 64 * 1024
_SPARE_THREADS = 16
_CLOSED = "the ledger of this key cannot be served now; it is tried again"


class Front:
    """The ASGI application of a server of many ledgers."""

    def __init__(self, tenants: Sequence[Tenant], stopping: threading.Event) -> None:
        self._tenants = tenants
        self._named = {tenant.listed.name: tenant for tenant in tenants}
        self._threads = sum(tenant.listed.limits.requests_at_once for tenant in tenants) + _SPARE_THREADS
        self._has_threads = False
        self._door = _door(self, stopping)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._door(scope, receive, send)
            return
        if not self._has_threads:
            # Each request takes one thread at most, and each ledger has so many requests at most: none waits for a
            # thread because another ledger's database hangs.
            limiter = current_default_thread_limiter()
            limiter.total_tokens = max(limiter.total_tokens, self._threads)
            self._has_threads = True
        app, scope = self._chosen(scope)
        await app(scope, receive, send)

    @property
    def is_serving(self) -> bool:
        """Whether a ledger is open."""
        return any(tenant.working is not None for tenant in self._tenants)

    def tenant_of(self, token: str) -> Tenant | None:
        """Whose key this is. A key that two have opens neither. ``NotNow`` where it is that of a closed one."""
        opened = [tenant for tenant in self._tenants if tenant.keyring is not None]
        claimed = {tenant.keyring.folder for tenant in opened if tenant.keyring is not None}
        found = [tenant for tenant in opened if tenant.knows(token)]
        if len(found) == 1:
            if found[0].working is None:
                raise NotNow(_CLOSED)
            return found[0]
        never = [tenant for tenant in self._tenants if tenant.keyring is None]
        if not found and any(tenant.knows(token, claimed) for tenant in never):
            raise NotNow(_CLOSED)
        return None

    def _chosen(self, scope: Scope) -> tuple[ASGIApp, Scope]:
        """Which application answers, and what it is asked."""
        headers = Headers(scope=scope)
        try:
            tenant = self.tenant_of(_token(headers))
        except NotNow:
            tenant = None
        named, path = self._log_of(scope["path"])
        if named is not None and is_log({**scope, "path": path}):
            asked = {**scope, "path": path, "raw_path": path.encode(), "root_path": ""}
            if named.listed.public_log:
                # Whoever asks, with whatever key: everybody is answered alike.
                asked["headers"] = [(k, v) for k, v in scope["headers"] if k not in (b"authorization", b"cookie")]
                return (_closed if named.working is None else named.working.app), asked
            if tenant is named and named.working is not None:
                return named.working.app, asked
        working = None if tenant is None else tenant.working
        return (self._door if working is None else working.app), scope

    def _log_of(self, path: str) -> tuple[Tenant | None, str]:
        if not path.startswith(LOGS):
            return None, ""
        name, _, rest = path.removeprefix(LOGS).partition("/")
        return self._named.get(name), f"/{rest}"


def _token(headers: Headers) -> str:
    """What may be a key, as the gate of each ledger will look for it again."""
    given = headers.get("authorization")
    if given is not None:
        kind, _, token = given.partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""
    return cookie_parser(headers.get("cookie", "")).get(KEY_COOKIE, "")


async def _closed(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(503, "unavailable", "this log cannot be served now; it is tried again", {"Retry-After": "1"})
    response = problem.response()
    response.headers["Cache-Control"] = "no-store"
    await response(scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Unknown:
    """The keys that open something at the door: none."""

    front: Front

    def find(self, token: str) -> ApiKey | None:
        self.front.tenant_of(token)
        return None


@dataclass(frozen=True, slots=True)
class _Every:
    """The keys that one can sign in with: those of every open ledger."""

    front: Front

    def find(self, token: str) -> ApiKey | None:
        tenant = self.front.tenant_of(token)
        return None if tenant is None or tenant.keyring is None else tenant.keyring.find(token)


@dataclass(frozen=True, slots=True)
class _AtTheDoor:
    """What the pages at the door work with."""

    keyring: _Every

    def now(self) -> int:
        return int(time.time())


def _door(front: Front, stopping: threading.Event) -> FastAPI:
    """The application for who shows no key of an open ledger."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.service = _AtTheDoor(_Every(front))
    telemetry = Telemetry(requests_at_once=_AT_THE_DOOR)
    telemetry.stopping = stopping
    app.add_api_route("/health/live", health.live)

    @app.get("/health/ready")
    async def ready() -> JSONResponse:
        """A ledger is open, whichever, and the server was not told to stop."""
        if stopping.is_set() or not front.is_serving:
            why = "the server is stopping" if stopping.is_set() else "no ledger is open"
            raise Problem(503, "not_ready", why, {"Retry-After": "1"})
        return JSONResponse({"status": "ready"})

    app.include_router(assets.router)
    app.include_router(login.router)
    limits = Limits(body_bytes=_FORM_BYTES)
    respond = noting(page_errors.respond)
    install(app, respond)
    app.add_middleware(
        Gate,
        keyring=_Unknown(front),
        limits=limits,
        limiter=RateLimiter(limits.requests_per_minute),
        respond=respond,
        let_local=False,
    )
    app.add_middleware(Watcher, telemetry=telemetry, respond=respond, paths=frozenset())
    return app
