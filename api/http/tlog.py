"""The static log over HTTP: the signed checkpoint, and tiles and bundles that never change (C2SP tlog-tiles).

The server's address is the prefix that a tlog client asks for. Only what the published checkpoint covers is there.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from ...ledger.publishing.static_log import CHECKPOINT, read_resource
from ..log_answers import answer_resource
from .errors import Problem
from .service import Service, ServiceDep, StrictRoute

router = APIRouter(tags=["log"], route_class=StrictRoute)

_TEXT = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"


@router.get(
    "/checkpoint",
    response_class=Response,
    responses={200: {"content": {_TEXT: {}}}, 304: {"description": "It is the one that the caller has."}},
)
def get_checkpoint(service: ServiceDep, request: Request) -> Response:
    """The newest published checkpoint, a signed note, cosignatures included."""
    return _answer(service, request, CHECKPOINT)


@router.get(
    "/tile/{name:path}",
    response_class=Response,
    responses={200: {"content": {_BYTES: {}}}, 304: {"description": "It never changes."}},
)
def get_tile(service: ServiceDep, request: Request, name: str) -> Response:
    """A tile of hashes, `LEVEL/N[.p/WIDTH]`, or a bundle of entries, `entries/N[.p/WIDTH]`."""
    return _answer(service, request, f"tile/{name}")


def _answer(service: Service, request: Request, name: str) -> Response:
    with service.ledger.recorder.reading() as reader:
        content = read_resource(reader, name)
    if content is None:
        raise Problem(404, "resource_known", f"{name[:80]!r}: the published checkpoint covers no resource of this name")
    known = request.headers.get("if-none-match", "")
    status, headers, body = answer_resource(name, content, known, public=service.settings.public_log)
    return Response(body, status, headers)
