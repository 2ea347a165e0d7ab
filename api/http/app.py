"""The application: routes, gate and errors wired together, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from ...ledger.application import Ledger, system_clock
from ..anchoring import Anchoring
from ..keyring import Keyring
from ..moment import LiveLedger
from ..pages import errors as page_errors
from ..pages import routes as pages
from ..pages.kept import Kept
from ..publishing import Publisher
from ..telemetry.probe import Probe
from ..telemetry.standing import look
from ..telemetry.telemetry import Telemetry
from ..telemetry.watcher import Watcher
from ..verifying import Verifier
from ..workers.judges import Judges
from . import config, evaluation, health, outcomes, publish, requests, reviews, rules, tlog
from .access import SCOPES, Gate, is_page
from .errors import MEDIA_TYPE, install, noting
from .limits import RateLimiter
from .schemas import PublishRequest
from .service import Service, Settings
from .tile_memory import TileMemory

ROUTERS = (
    publish.router,
    evaluation.router,
    requests.router,
    config.router,
    rules.router,
    outcomes.router,
    reviews.router,
    health.router,
    tlog.router,
    *pages.ROUTERS,
)
_PROBLEMS = {
    400: "The body broke off.",
    401: "A key is needed, or is not known.",
    403: "The key's scopes do not open this.",
    404: "There is no such thing.",
    405: "There is no such method here.",
    408: "The body came too slowly.",
    409: "Somebody else was first.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "A field is wrong; `detail` names it.",
    429: "Too many requests; `Retry-After` says when.",
    500: "Something failed here.",
    501: "A ledger does not do this.",
    503: "It cannot be served now.",
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "rule", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "rule": {"type": "string"},
        "detail": {},
    },
}


@contextmanager
def open_service(
    ledger: Ledger,
    settings: Settings | None = None,
    *,
    live: LiveLedger | None = None,
    judges: Judges | None = None,
    anchoring: Anchoring | None = None,
    clock: Callable[[], int] = system_clock,
) -> Iterator[Service]:
    """What a server works with, for a ledger, and read models, that the caller opened and will close."""
    with ExitStack() as opened:
        views = live or opened.enter_context(closing(LiveLedger(ledger)))
        publisher = opened.enter_context(Publisher(ledger))
        keyring = Keyring(ledger.keys.path)
        roots = () if anchoring is None else anchoring.authority.roots
        verifier = Verifier(ledger.place, ledger.keys.path.parent, lambda: clock() // 1_000_000, roots)
        opened.enter_context(closing(verifier))
        yield Service(
            ledger,
            views,
            publisher,
            keyring,
            settings or Settings(),
            judges,
            verifier,
            clock,
            anchoring=anchoring,
        )


def create_app(
    service: Service, *, seconds: Callable[[], float] = time.monotonic, telemetry: Telemetry | None = None
) -> FastAPI:
    """The HTTP API over one ledger. ``seconds`` is the clock of the rate limit."""
    app = FastAPI(
        title="Affidavit",
        version=version("affidavit"),
        description="A tamper-evident ledger for AI quality evidence.",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name a path that no scope was asked for
        responses={
            status: {"description": text, "content": {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}}}
            for status, text in _PROBLEMS.items()
        },
    )
    app.state.service = service
    app.state.kept = Kept()
    limits = service.settings.limits
    telemetry = telemetry or Telemetry(requests_at_once=limits.requests_at_once)
    app.state.telemetry = telemetry
    app.state.reachable = Probe(service.head)
    app.state.standing = Probe(partial(look, service.ledger, service.judges, service.clock))
    respond = noting(page_errors.respond)
    for router in ROUTERS:
        app.include_router(router)
    _require_scopes()
    install(app, respond)
    app.add_middleware(TileMemory)  # what is added last stands first: the gate stands before it
    limiter = RateLimiter(limits.requests_per_minute, seconds)
    public_log = service.settings.public_log
    app.add_middleware(
        Gate,
        keyring=service.keyring,
        limits=limits,
        limiter=limiter,
        respond=respond,
        public_log=public_log,
        let_local=service.settings.let_local,
    )
    paths = frozenset(route.path for router in ROUTERS for route in router.routes if isinstance(route, APIRoute))
    app.add_middleware(Watcher, telemetry=telemetry, respond=respond, paths=paths)
    _describe_publishing(app)
    return app


def _require_scopes() -> None:
    """An endpoint whose scope nobody has decided must not be served to everybody."""
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and not is_page(route.path):
                for method in route.methods or ():
                    if (method, route.path) not in SCOPES:
                        raise RuntimeError(f"{method} {route.path}: say in access.SCOPES which scope it needs")


def _describe_publishing(app: FastAPI) -> None:
    """The routes that read their bodies themselves name a schema that FastAPI does not know of."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        model = PublishRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        for name, schema in model.pop("$defs", {}).items():
            schemas.setdefault(name, schema)
        schemas.setdefault("PublishRequest", model)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
