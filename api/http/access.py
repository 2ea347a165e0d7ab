"""Who may ask what, decided before a byte of a body is read.

With a key a caller may do what its scopes open. Without one the server answers only callers on this machine
that no browser page from elsewhere and no proxy stands behind: peer, ``Host`` and ``Origin`` are loopback, there
is no forwarding header, and ``Sec-Fetch-Site`` is absent, ``none`` or ``same-origin``; of many ledgers that one server
serves none answers a caller without a key. Erasing and changing the
configuration always need a key. A server whose log is public answers everybody who asks for the log itself.

A browser that signed in shows its key in a cookie. With it a page may only be changed by a page of this server: what
writes must say that it comes from here. So must signing in and out, which no key guards.

The peer's gate on ``User-Agent`` is not copied: it stops nobody who means harm, and stops curl.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..keyring import ApiKey
from .errors import Problem, Respond, problem_of
from .limits import Held, Limits, RateLimiter, Shares

BATCH = "/api/publish_interactions"
ANY = "any"
KEY_COOKIE = "affidavit_key"
"""Where a browser that signed in keeps its key."""

SCOPES: dict[tuple[str, str], str] = {
    ("POST", "/api/publish_interaction"): "publish",
    ("POST", BATCH): "publish",
    ("POST", "/api/session_outcome"): "publish",
    ("POST", "/api/scores"): "publish",
    ("POST", "/api/search"): "publish",
    ("POST", "/api/get_evaluation_overview"): "read",
    ("GET", "/api/evaluations/shadow_comparisons/recent"): "read",
    ("GET", "/api/evaluations/shadow_comparisons/top_disagreements"): "read",
    ("GET", "/api/evaluations/undecided"): "read",
    ("POST", "/api/evaluations/sessions"): "read",
    ("GET", "/api/evaluations/trend"): "read",
    ("POST", "/api/get_agent_success_evaluation_results"): "read",
    ("POST", "/api/get_requests"): "read",
    ("POST", "/api/get_interactions"): "read",
    ("GET", "/api/get_all_interactions"): "read",
    ("POST", "/api/get_session_outcomes"): "read",
    ("GET", "/api/get_config"): "read",
    ("GET", "/api/config_history"): "read",
    ("GET", "/api/rules"): "read",
    ("GET", "/api/assignments"): "read",
    ("POST", "/api/evaluations/grade_on_demand"): "review",
    ("POST", "/api/evaluations/regenerate"): "review",
    ("GET", "/api/evaluations/regenerate/{job_id}"): "read",
    ("DELETE", "/api/evaluations/regenerate/{job_id}"): "review",
    ("POST", "/api/rules"): "review",
    ("POST", "/api/assignments"): "review",
    ("GET", "/api/reviews"): "read",
    ("POST", "/api/reviews"): "review",
    ("POST", "/api/set_config"): "admin",
    ("POST", "/api/update_config"): "admin",
    ("POST", "/api/clear_user_data"): "admin",
    ("DELETE", "/api/delete_session"): "publish",
    ("DELETE", "/api/delete_request"): "publish",
    ("DELETE", "/api/delete_interaction"): "publish",
    ("DELETE", "/api/delete_requests_by_ids"): "publish",
    ("DELETE", "/api/delete_all_interactions"): "publish",
    ("GET", "/checkpoint"): "read",
    ("GET", "/tile/{name:path}"): "read",
    ("GET", "/api/whoami"): ANY,
    ("GET", "/health"): ANY,
    ("GET", "/healthz"): ANY,
    ("GET", "/health/live"): ANY,
    ("GET", "/health/ready"): ANY,
    ("GET", "/healthz/eval"): ANY,
    ("GET", "/healthz/anchors"): ANY,
    ("GET", "/metrics"): "read",
    ("GET", "/openapi.json"): ANY,
    ("GET", "/assets/{name}"): ANY,
}
"""The scope that each endpoint needs; ``create_app`` refuses to serve one that is not here."""

FORWARDING = frozenset(
    {
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "forwarded",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
    }
)
"""Headers that proxies add, beside those that begin with ``x-forwarded``."""

_LATER = {"Retry-After": "1"}
_JOB = "/api/evaluations/regenerate/"
_CHECKPOINT = "/checkpoint"
_TILE = "/tile/"
_PAGES = frozenset({"", "runs", "evaluation", "ledger", "reviews"})
"""The first parts of the paths of pages: looking needs the scope ``read``, sending a form ``review``."""

_SIGNING_IN = frozenset({"/login", "/logout"})

_LIVE = "/health/live"

PROBES = frozenset({_LIVE, "/health/ready"})
"""What restarts this process, or sends it requests, asks these from wherever it runs, without a key, and must get an
answer however much the others ask."""

UNBOUNDED = PROBES | {"/metrics"}
"""Whoever watches a server must get an answer above all when it is full."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a key's id and what it opens, or the address of a caller without one."""

    name: str
    key_id: str | None


def is_page(path: str) -> bool:
    """Whether a path is one that people look at in a browser."""
    return path.startswith("/") and (path.split("/", 2)[1] in _PAGES or path in _SIGNING_IN)


def scope_of(method: str, path: str) -> str:
    """What a request needs; for what is no endpoint nothing, since all it will get is a 404 or 405.

    That holds for paths of printable characters alone: a route may match although a line break follows its path.
    """
    if is_page(path) and path not in _SIGNING_IN:
        return "read" if method in ("GET", "HEAD") else "review"
    if path.startswith(_JOB) and len(path) > len(_JOB):
        path = _JOB + "{job_id}"
    elif path.startswith(_TILE):
        path = _TILE + "{name:path}"
    return SCOPES.get(("GET" if method == "HEAD" else method, path), ANY)


class Keys(Protocol):
    """Where a key is looked for."""

    def find(self, token: str) -> ApiKey | None:
        """The key that a token belongs to, None where there is none in use."""


class Gate:
    """Stands before the application: access, rate, share, content type, size and slowness, in this order."""

    def __init__(
        self,
        app: ASGIApp,
        keyring: Keys,
        limits: Limits,
        limiter: RateLimiter,
        respond: Respond,
        *,
        public_log: bool = False,
        let_local: bool = True,
    ) -> None:
        self._public_log = public_log
        self._let_local = let_local
        self._respond = respond
        self._app = app
        self._keyring = keyring
        self._limits = limits
        self._limiter = limiter
        self._at_once = Shares(limits.requests_at_once)
        self._bodies = Shares(limits.bodies_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answered = False

        async def hardened(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.body" and scope["method"] == "HEAD":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                answered = True
                headers = [*message.get("headers", ())]
                stated = {name.lower() for name, _ in headers}
                message["headers"] = [*headers, *(header for header in _HARDENING if header[0] not in stated)]
            await send(message)

        held = ExitStack()  # what is given back once it is answered
        try:
            headers = Headers(scope=scope)
            _require_path(scope["path"])
            caller = self._admit(scope, headers)
            if scope["path"] not in PROBES:
                self._meter(caller.name)
            if scope["path"] not in UNBOUNDED:
                self._share(caller.name, held)
            scope.setdefault("state", {})["caller"] = caller
            bodies = scope["state"]["bodies"] = held.enter_context(Held(self._bodies, caller.name))
            batch = scope["path"] == BATCH
            _require_content_type(scope["method"], headers, _content_type(scope["path"]))
            body = self._metered(receive, headers) if batch else await self._whole(receive, headers, bodies)
            # What can be got can be asked about, too, with HEAD.
            got = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            try:
                await self._app(got, body, hardened)
            finally:
                scope["route"] = got.get("route")  # for whoever counts
        except Exception as error:
            if answered:
                raise
            response = self._respond(Request(scope), problem_of(error))
            if not isinstance(error, Problem) or error.status in (408, 413, 503):
                response.headers["Connection"] = "close"  # what follows on this connection is the rest of a body
            await response(scope, receive, hardened)
        finally:
            held.close()

    def _meter(self, name: str) -> None:
        wait = self._limiter.take(name)
        if wait:
            raise Problem(429, "rate_limited", "too many requests", {"Retry-After": str(math.ceil(wait))})

    def _share(self, name: str, held: ExitStack) -> None:
        if not self._at_once.take(name):
            raise Problem(429, "share_taken", "too many of your requests are being answered already", _LATER)
        held.callback(self._at_once.give_back, name)

    def _admit(self, scope: Scope, headers: Headers) -> Caller:
        try:
            return self._recognise(scope, headers)
        except Problem:
            client = scope.get("client")
            self._meter(f"refused {client[0] if client else ''}")
            raise

    def _recognise(self, scope: Scope, headers: Headers) -> Caller:
        if scope["path"] == _LIVE:
            return _without_key(scope)  # also where keys cannot be read
        is_write = scope["method"] not in ("GET", "HEAD")
        if is_write and scope["path"] in _SIGNING_IN and not _from_here(headers):
            raise _not_from_here()
        public = (self._public_log and is_log(scope)) or _opens_door(scope["path"])
        needed = ANY if public else scope_of(scope["method"], scope["path"])
        given = headers.get("authorization")
        if given is not None:
            kind, _, token = given.partition(" ")
            key = self._keyring.find(token.strip()) if kind.lower() == "bearer" else None
            if key is not None:
                return _with_key(key, needed)
            if scope["path"] not in PROBES:
                raise _unauthenticated("this key is not known here, or was revoked")
        kept = self._keyring.find(cookie_parser(headers.get("cookie", "")).get(KEY_COOKIE, ""))
        if kept is not None:
            if is_write and not _from_here(headers):
                raise _not_from_here()
            return _with_key(kept, needed)
        why = None if public else _not_local(scope, headers) if self._let_local else "every caller needs a key"
        if why is not None:
            raise _unauthenticated(f"Authentication required: {why}")
        if needed == "admin":
            raise _unauthenticated("Authentication required: this always needs a key with scope 'admin'")
        return _without_key(scope)

    async def _whole(self, receive: Receive, headers: Headers, bodies: Held) -> Receive:
        """The body, read to its end within bounds; nothing of it is acted on before."""
        most = self._limits.body_bytes
        _require_length(headers, most)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Problem(400, "disconnected", "the body ended early")
                    part = message.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise _too_large(most)
                    if part:
                        if not bodies.take(len(part)):
                            raise bodies_take_all()
                        parts.append(part)
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise _too_slow(self._limits.body_seconds) from None
        whole: Message | None = {"type": "http.request", "body": b"".join(parts), "more_body": False}

        async def again() -> Message:
            nonlocal whole
            message, whole = whole, None
            return await receive() if message is None else message

        return again

    def _metered(self, receive: Receive, headers: Headers) -> Receive:
        """A body that is read as it comes, within bounds; whoever reads it holds what it keeps (see ``held_of``)."""
        most = self._limits.batch_bytes
        _require_length(headers, most)
        held = 0
        until: float | None = None

        async def metered() -> Message:
            nonlocal held, until
            loop = asyncio.get_running_loop()
            until = until or loop.time() + self._limits.batch_seconds
            try:
                async with asyncio.timeout(min(self._limits.body_seconds, until - loop.time())):
                    message = await receive()
            except TimeoutError:
                raise _too_slow(self._limits.body_seconds) from None
            held += len(message.get("body", b""))
            if held > most:
                raise _too_large(most)
            return message

        return metered


def _without_key(scope: Scope) -> Caller:
    client = scope.get("client")
    return Caller(f"client {client[0] if client else ''}", None)


def _with_key(key: ApiKey, needed: str) -> Caller:
    if needed != ANY and not key.may(needed):
        raise Problem(403, "scope_missing", f"this needs a key with scope {needed!r}", needed=needed)
    return Caller(f"key {key.id}", key.id)


def _opens_door(path: str) -> bool:
    """Whether a path must be open to who has not signed in yet, or never does."""
    return path in _SIGNING_IN or path in PROBES or path.startswith("/assets/")


def _require_path(path: str) -> None:
    if not path.startswith("/") or any(character < " " or character == "\x7f" for character in path):
        raise Problem(400, "path_readable", "the path: expected a leading / and no control character")


def _from_here(headers: Headers) -> bool:
    """Whether a browser says that a page of this server sent the request; over TLS or not, only a proxy may know."""
    host = headers.get("host", "")
    return host != "" and headers.getlist("origin") in ([f"http://{host}"], [f"https://{host}"])


def _not_from_here() -> Problem:
    return Problem(403, "origin_here", "a form must be sent from a page of this server")


_HARDENING = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


def is_log(scope: Scope) -> bool:
    """Whether a request is for the log itself: its checkpoint, or a tile."""
    path: str = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path == _CHECKPOINT or path.startswith(_TILE))


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own; no name is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _not_local(scope: Scope, headers: Headers) -> str | None:
    """Why a caller without a key is not let in; None where it is on this machine."""
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        return "a caller from another machine needs a key"
    if not _names_loopback(f"//{headers.get('host', '')}"):
        return "Host is not this machine"
    origins = headers.getlist("origin")
    if any(not _names_loopback(origin) for origin in origins):
        return "Origin is not this machine"
    if any(name in FORWARDING or name.startswith("x-forwarded") for name in headers):
        return "a forwarding header is present"
    if any(site not in ("none", "same-origin") for site in headers.getlist("sec-fetch-site")):
        return "the request comes from another site"
    return None


def _names_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.hostname is not None and parts.username is None and is_loopback(parts.hostname)
    except ValueError:
        return False


def _content_type(path: str) -> str:
    if path == BATCH:
        return "application/x-ndjson"
    return "application/x-www-form-urlencoded" if is_page(path) else "application/json"


def _require_content_type(method: str, headers: Headers, wanted: str) -> None:
    """Writes say what they send: a page from elsewhere cannot say JSON without being asked first."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "encoding_unsupported", "Content-Encoding: bodies are taken as they are")
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    if method not in ("POST", "PUT", "PATCH") and not has_body:
        return
    kind, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    if method in ("GET", "HEAD") or (
        kind == wanted and all(part in ("charset=utf-8", 'charset="utf-8"', "") for part in parameters)
    ):
        return
    raise Problem(415, "content_type", f"Content-Type: expected {wanted} in UTF-8")


def _require_length(headers: Headers, most: int) -> None:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise _too_large(most)


def _unauthenticated(detail: str) -> Problem:
    return Problem(401, "unauthenticated", detail, {"WWW-Authenticate": "Bearer"})


def bodies_take_all() -> Problem:
    """There is no memory for more of a body now."""
    return Problem(503, "busy", "the bodies of requests take all memory that they may", _LATER)


def held_of(state: dict[str, Any]) -> Held:
    """What a request holds of the memory for bodies; whoever reads a batch takes for it and gives back."""
    held: Held = state["bodies"]
    return held


def _too_large(most: int) -> Problem:
    return Problem(413, "body_too_large", f"Request body too large: at most {most} bytes")


def _too_slow(seconds: float) -> Problem:
    return Problem(408, "body_too_slow", f"the body did not arrive within {seconds:g} seconds")


def key_id(state: dict[str, Any]) -> str | None:
    """The id of the key that a request came with."""
    caller = state.get("caller")
    return caller.key_id if isinstance(caller, Caller) else None
