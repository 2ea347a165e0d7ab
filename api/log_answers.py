"""How a resource of the static log is answered over HTTP, so that any cache can hold it.

Tiles and bundles never change under their names; a checkpoint may be taken from a cache for seconds.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from ..ledger.publishing.static_log import CHECKPOINT

CHECKPOINT_SECONDS = 5
"""How long a checkpoint may be taken from a cache; a new one is signed half a second after an append."""

_YEAR = 31_536_000


class LogAnswer(NamedTuple):
    """An answer as HTTP has it; without a body where the caller has the resource already."""

    status: int
    headers: dict[str, str]
    content: bytes


def answer_resource(name: str, content: bytes, known: str, *, public: bool) -> LogAnswer:
    """The answer that gives a resource, to a caller whose ``If-None-Match`` says ``known``."""
    is_checkpoint = name == CHECKPOINT
    whose = "public" if public else "private"
    how_long = f"max-age={CHECKPOINT_SECONDS}" if is_checkpoint else f"max-age={_YEAR}, immutable"
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"Cache-Control": f"{whose}, {how_long}", "ETag": etag}
    if is_known(known, etag):
        return LogAnswer(304, headers, b"")
    headers["Content-Type"] = "text/plain; charset=utf-8" if is_checkpoint else "application/octet-stream"
    return LogAnswer(200, headers, content)


def is_known(condition: str, etag: str) -> bool:
    """Whether ``If-None-Match`` names the tag, or any."""
    named = {tag.strip().removeprefix("W/") for tag in condition.split(",")}
    return etag in named or "*" in named
