"""The timestamp tokens that lie beside a ledger: ``anchors/<size>.tsr``, each named by its hash in an entry."""

from __future__ import annotations

from pathlib import Path


def anchor_path(folder: Path, size: int) -> Path:
    """Where the token of the checkpoint of ``size`` entries lies."""
    return folder / "anchors" / f"{size}.tsr"


def stored_token(folder: Path, size: int) -> bytes | None:
    """The authority's answer for the checkpoint of ``size`` entries, or None where it is not there."""
    try:
        return anchor_path(folder, size).read_bytes()
    except OSError:
        return None
