"""A mirror as an HTTP server: the checkpoint that lies in its folder, and the tiles and bundles that it covers.

A plain ASGI application over the files, which any web server can give out as well. Nobody logs in. What is asked for
is looked up only where its name is that of a tile, so no other file can be reached. The same lies below the hash of
the origin, where clients of C2SP tlog-mirror look for it.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...ledger.errors import LedgerError, Malformed
from ...ledger.publishing.static_log import CHECKPOINT, ExportedLog
from ...ledger.tlog.bundle import print_bundle
from ...ledger.tlog.hashing import HASH_SIZE
from ...ledger.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, parse_tile_path
from ...ledger.tlog.witness import state_path
from ..log_answers import LogAnswer, answer_resource
from ..witness.server import Receive, Scope, Send

_THREADS = 8
_HARDENING = {"X-Content-Type-Options": "nosniff"}


class MirrorApp:
    """An ASGI application over the mirror in ``folder``, which may grow meanwhile. Close it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(_THREADS, "affidavit-mirror-serve")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = b", ".join(value for name, value in scope["headers"] if name == b"if-none-match").decode("latin-1")
        if scope["method"] in ("GET", "HEAD"):
            loop = asyncio.get_running_loop()
            status, headers, content = await loop.run_in_executor(self._pool, self._answer, scope["path"], known)
        else:
            status, headers, content = _refused(405, f"{scope['method']} is not served here")
            headers["Allow"] = "GET, HEAD"
        if status != 304:
            headers["Content-Length"] = str(len(content))
        raw = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in (headers | _HARDENING).items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    def close(self) -> None:
        self._pool.shutdown()

    def _answer(self, path: str, known: str) -> LogAnswer:
        try:
            found = read_mirrored(self._folder, path.removeprefix("/"))
        except LedgerError as error:
            return _unavailable(error)
        if found is None:
            return _refused(404, "the checkpoint covers no resource of this name")
        return answer_resource(*found, known, public=True)


def read_mirrored(folder: Path, name: str) -> tuple[str, bytes] | None:
    """A resource of the log in a folder, and its plain name; None where there is none that its checkpoint covers.

    A partial tile is there in every width up to the checkpoint's, also where only a wider one lies in the folder.
    Raises as ``ExportedLog`` does where what should be there does not read, or was cut off: caches would keep it.
    """
    if not (folder / CHECKPOINT).exists():
        return None
    log = ExportedLog(folder)
    name = name.removeprefix(state_path(log.checkpoint.origin).removesuffix(CHECKPOINT))
    if name == CHECKPOINT:
        return name, log.note
    try:
        level, n, width = parse_tile_path(name)
    except Malformed:
        return None
    covered = (log.checkpoint.size >> (0 if level == "entries" else TILE_HEIGHT * level)) - n * TILE_WIDTH
    if width > covered:
        return None
    # The checkpoint's own width is always there, and so is a full one.
    there = width if (folder / name).exists() else min(TILE_WIDTH, covered)
    if level == "entries":
        return name, print_bundle(log.bundle(n, there)[:width])
    return name, log.tile(level, n, there)[: width * HASH_SIZE]


def _unavailable(error: LedgerError) -> LogAnswer:
    logging.getLogger(__name__).error("%s", error)
    return _refused(503, "the mirror's own log says why this is not served")


def _refused(status: int, reason: str) -> LogAnswer:
    headers = {"Cache-Control": "no-store", "Content-Type": "text/plain; charset=utf-8"}
    return LogAnswer(status, headers, f"{reason}\n".encode("utf-8", "backslashreplace"))
