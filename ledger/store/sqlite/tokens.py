"""The timestamp tokens that lie beside a ledger: ``anchors/<size>.tsr``, each named by its hash in an entry."""

from __future__ import annotations

import secrets
from pathlib import Path

from ...errors import Unavailable
from ...files import sync_folder, write_whole


def anchor_path(folder: Path, size: int) -> Path:
    """Where the token of the checkpoint of ``size`` entries lies."""
    return folder / "anchors" / f"{size}.tsr"


def token_sizes(folder: Path) -> list[int]:
    """The sizes of the checkpoints whose tokens lie there, in order."""
    found = (path.name.removesuffix(".tsr") for path in (folder / "anchors").glob("*.tsr"))
    return sorted(int(name) for name in found if name.isascii() and name.isdigit())


def stored_token(folder: Path, size: int) -> bytes | None:
    """The authority's answer for the checkpoint of ``size`` entries, or None where it is not there."""
    try:
        return anchor_path(folder, size).read_bytes()
    except OSError:
        return None


def keep_token(path: Path, token: bytes) -> bool:
    """Make a token durable in its place, whole or not at all; False where another has taken the place."""
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            write_whole(path, token, new=True)
        except FileExistsError:
            return False
        sync_folder(path.parent.parent)
    except OSError as error:
        raise Unavailable(f"{error.filename or path}: {error.strerror}") from error
    return True


def put_aside(path: Path) -> str:
    """Rename a token; in words, what it is called from now on."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return "another process has put it aside"
    except OSError as failed:
        raise Unavailable(f"{path}: {failed.strerror}") from failed
    return f"it lies as {aside.name} now"
