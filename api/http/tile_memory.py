"""Tiles that were asked for before, answered from memory: they never change, and many verifiers ask for the same.

It stands behind the gate, so whoever is answered may read the log, and before the framework, whose work for a request
takes several times as long as the answer. The checkpoint is not kept: it is asked for to be new.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..log_answers import is_known

_MOST_BYTES = 32 * 2**20
_MOST_EACH = 2**20
_BESIDE = 2048
"""Bytes that are reckoned for the name, the headers and the bookkeeping of each: a partial tile can be smaller."""


@dataclass(slots=True)
class _Tile:
    headers: list[tuple[bytes, bytes]]
    etag: str
    route: object
    content: bytes = field(repr=False)


class TileMemory:
    """Remembers at most 32 MB of tiles and bundles, those that were asked for last."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tiles: OrderedDict[str, _Tile] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/tile/"):
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        tile = self._tiles.get(path)
        if tile is None:
            await self._app(scope, receive, self._remembering(scope, send))
            return
        self._tiles.move_to_end(path)
        scope["route"] = tile.route
        headers, content, status = tile.headers, tile.content, 200
        if is_known(Headers(scope=scope).get("if-none-match", ""), tile.etag):
            kept = (b"cache-control", b"etag")
            headers, content, status = [each for each in headers if each[0] in kept], b"", 304
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        await send({"type": "http.response.body", "body": content})

    def _remembering(self, scope: Scope, send: Send) -> Send:
        """``send`` that keeps a tile that goes through it."""
        headers: list[tuple[bytes, bytes]] = []

        async def remembering(message: Message) -> None:
            nonlocal headers
            if message["type"] == "http.response.start":
                headers = [*message["headers"]] if message["status"] == 200 else []
            elif headers and message["type"] == "http.response.body" and not message.get("more_body"):
                self._keep(scope, headers, message["body"])
            await send(message)

        return remembering

    def _keep(self, scope: Scope, headers: list[tuple[bytes, bytes]], content: bytes) -> None:
        path: str = scope["path"]
        if len(content) > _MOST_EACH or path in self._tiles:
            return
        etag = next(value for name, value in headers if name == b"etag").decode("ascii")
        self._tiles[path] = _Tile(headers, etag, scope.get("route"), content)
        self._bytes += len(content) + _BESIDE
        while self._bytes > _MOST_BYTES:
            _, oldest = self._tiles.popitem(last=False)
            self._bytes -= len(oldest.content) + _BESIDE
