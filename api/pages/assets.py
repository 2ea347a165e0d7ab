"""Style sheets and scripts, served from the package; a page names each with the digest of its content."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..http.errors import Problem

router = APIRouter(include_in_schema=False)

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served, plain and compressed."""

    content: bytes
    packed: bytes
    media_type: str
    digest: str


@cache
def assets() -> dict[str, Asset]:
    """Every asset by its file name, read once."""
    found = {}
    for item in files(__package__).joinpath("assets").iterdir():
        suffix = item.name.rpartition(".")[2]
        if suffix in _TYPES:
            content = item.read_bytes()
            packed = gzip.compress(content, 9, mtime=0)
            found[item.name] = Asset(content, packed, _TYPES[suffix], sha256(content).hexdigest()[:12])
    return found


def asset_url(name: str) -> str:
    """Where an asset is; another content is another address."""
    return f"/assets/{name}?v={assets()[name].digest}"


@router.get("/assets/{name}")
def get_asset(name: str, request: Request) -> Response:
    """One file. Under the address that ``asset_url`` gives it never changes."""
    asset = assets().get(name)
    if asset is None:
        raise Problem(404, "asset_known", f"there is no asset {name[:80]!r}")
    fresh = request.query_params.get("v") == asset.digest
    caching = "public, max-age=31536000, immutable" if fresh else "no-cache"
    headers = {"Cache-Control": caching, "ETag": f'"{asset.digest}"', "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.content, headers=headers, media_type=asset.media_type)
