"""Routes for whoever runs the server: is it there, can it serve, do the judges work; and who am I."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ...ledger.entries.entry import format_at
from ...ledger.errors import LedgerError
from ...projections.evaluation.undecided import failures_since
from ..telemetry.probe import Probe
from ..telemetry.standing import Standing
from ..telemetry.telemetry import Telemetry
from ..telling import told
from .errors import Problem
from .service import ServiceDep, StrictRoute, answer

router = APIRouter(tags=["health"], route_class=StrictRoute)

_DAY = 86_400_000_000


@router.get("/health")
@router.get("/healthz")
@router.get("/health/live")
async def live() -> JSONResponse:
    """The process answers. Nothing is looked at: a database that does not answer is no reason to start it anew."""
    return JSONResponse({"status": "ok"})


@router.get("/health/ready")
async def ready(request: Request, service: ServiceDep) -> JSONResponse:
    """The ledger's database answers, what is appended is signed, and the server was not told to stop."""
    telemetry: Telemetry = request.app.state.telemetry
    if telemetry.stopping.is_set():
        raise _not_ready("the server is stopping")
    if service.ledger.is_signing_stopped:
        raise _not_ready("signing was refused; the log says why")
    reachable: Probe[object] = request.app.state.reachable
    try:
        await reachable.look()
    except LedgerError as error:
        raise _not_ready("the ledger's database does not answer") from error
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """For Prometheus, in its text format."""
    telemetry: Telemetry = request.app.state.telemetry
    if telemetry.metrics is None:
        raise Problem(501, "metrics_installed", "metrics need an extra: pip install 'affidavit[metrics]'")
    standing: Probe[Standing] = request.app.state.standing
    found: Standing | None = None
    with suppress(LedgerError):
        found = await standing.look()
    return Response(telemetry.metrics.page(found), media_type=telemetry.metrics.media_type)


def _not_ready(why: str) -> Problem:
    return Problem(503, "not_ready", why, {"Retry-After": "1"})


@router.get("/healthz/eval")
def evaluation(service: ServiceDep) -> Response:
    """What the judges are doing, ``off`` where none work here; and how often judging failed in the last 24 hours."""
    status: dict[str, Any] = {"liveness": "off"} if service.judges is None else service.judges.status()
    try:
        with service.moment() as moment:
            start = moment.events.reader.size_at(format_at(service.clock() - _DAY))
            status["failures_24h"] = failures_since(moment.views, moment.size, start)
            return answer(moment.size, moment.root, status)
    except LedgerError as error:
        raise _not_ready(told(error)) from error


@router.get("/healthz/anchors")
def anchors(service: ServiceDep) -> Response:
    """What the timestamp schedule has done, and what is wrong with it; ``off`` where there is none."""
    status: dict[str, Any] = {"schedule": "off"}
    if service.anchoring is not None:
        status = {"schedule": "on", **service.anchoring.status()}
    return answer(*service.head(), status)


@router.get("/api/whoami")
def whoami(service: ServiceDep) -> Response:
    """Which ledger this is."""
    document = {
        "success": True,
        "org_id": service.settings.organisation,
        "storage_type": "affidavit",
        "storage_label": service.ledger.origin,
        "storage_configured": True,
        "message": "",
    }
    return answer(*service.head(), document)
