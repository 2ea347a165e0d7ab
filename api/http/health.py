"""Routes for whoever runs the server: is it there, can it serve, do the judges work; and who am I."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from ...ledger.entries.entry import format_at
from ...ledger.errors import LedgerError
from ...projections.evaluation.undecided import failures_since
from .errors import Problem
from .service import ServiceDep, StrictRoute, answer

router = APIRouter(tags=["health"], route_class=StrictRoute)

_DAY = 86_400_000_000


@router.get("/health")
@router.get("/healthz")
@router.get("/health/live")
def live(service: ServiceDep) -> Response:
    """The process answers."""
    return answer(*service.head(), {"status": "ok"})


@router.get("/health/ready")
def ready(service: ServiceDep) -> Response:
    """The ledger and its projections can be read."""
    try:
        with service.moment() as moment:
            return answer(moment.size, moment.root, {"status": "ready"})
    except LedgerError as error:
        raise Problem(503, "not_ready", str(error)) from error


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
        raise Problem(503, "not_ready", str(error)) from error


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
