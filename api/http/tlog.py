"""The static log over HTTP: the signed checkpoint, and tiles and bundles that never change (C2SP tlog-tiles).

The server's address is the prefix that a tlog client asks for. Only what the published checkpoint covers is there.
"""

from __future__ import annotations

from hashlib import sha256

from fastapi import APIRouter, Request
from starlette.responses import Response

from ...ledger.publishing.static_log import CHECKPOINT, read_resource
from .errors import Problem
from .service import Service, ServiceDep, StrictRoute

router = APIRouter(tags=["log"], route_class=StrictRoute)

_TEXT = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"
_SECONDS = 5
"""How long a checkpoint may be taken from a cache; a new one is signed half a second after an append."""


@router.get(
    "/checkpoint",
    response_class=Response,
    responses={200: {"content": {_TEXT: {}}}, 304: {"description": "It is the one that the caller has."}},
)
def get_checkpoint(service: ServiceDep, request: Request) -> Response:
    """The newest published checkpoint, a signed note, cosignatures included."""
    return _answer(service, request, CHECKPOINT, _TEXT, f"max-age={_SECONDS}")


@router.get(
    "/tile/{name:path}",
    response_class=Response,
    responses={200: {"content": {_BYTES: {}}}, 304: {"description": "It never changes."}},
)
def get_tile(service: ServiceDep, request: Request, name: str) -> Response:
    """A tile of hashes, `LEVEL/N[.p/WIDTH]`, or a bundle of entries, `entries/N[.p/WIDTH]`."""
    return _answer(service, request, f"tile/{name}", _BYTES, "max-age=31536000, immutable")


def _answer(service: Service, request: Request, name: str, media_type: str, caching: str) -> Response:
    with service.ledger.recorder.reading() as reader:
        content = read_resource(reader, name)
    if content is None:
        raise Problem(404, "resource_known", f"{name[:80]!r}: the published checkpoint covers no resource of this name")
    whose = "public" if service.settings.public_log else "private"
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"Cache-Control": f"{whose}, {caching}", "ETag": etag}
    if _has(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)


def _has(condition: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names the tag, or any."""
    named = {tag.strip().removeprefix("W/") for tag in condition.split(",")}
    return etag in named or "*" in named
