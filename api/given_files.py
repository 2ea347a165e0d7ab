"""Files that somebody brings along to check against. What does not read is told with the name of its file.

Each reader raises ``Unavailable`` where the disk does not serve, and ``Malformed`` where the file is something else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..ledger.errors import Malformed, Unavailable
from ..ledger.tlog.checkpoint import claimed_checkpoint
from ..ledger.tlog.policy import Policy, parse_policy
from ..ledger.tlog.receipt import Receipt, parse_receipt
from ..ledger.tlog.timestamp import read_certificates as parse_certificates

T = TypeVar("T")


def read_file(what: str, path: Path) -> bytes:
    """The bytes of a file; ``what`` it is stands in the error."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"{what} {path}: {error.strerror}") from error


def read_checkpoint(path: Path) -> bytes:
    """A signed note that holds a checkpoint, its signatures not checked."""
    return _read("checkpoint", path, _require_checkpoint)


def read_certificates(path: Path) -> bytes:
    """One certificate or more, in PEM."""
    return _read("certificates", path, _require_certificates)


def read_policy(path: Path) -> Policy:
    """A tlog-policy."""
    return _read("policy", path, parse_policy)


def read_receipt(path: Path) -> Receipt:
    """A receipt whose note holds a checkpoint, none of it verified."""
    return _read("receipt", path, _parse_receipt)


def _read(what: str, path: Path, parse: Callable[[bytes], T]) -> T:
    content = read_file(what, path)
    try:
        return parse(content)
    except Malformed as error:
        raise Malformed(f"{what} {path}: {error}") from error


def _require_checkpoint(note: bytes) -> bytes:
    claimed_checkpoint(note)
    return note


def _require_certificates(pem: bytes) -> bytes:
    try:
        found = parse_certificates(pem)
    except Malformed:
        found = []
    if not found:
        raise Malformed("expected certificates in PEM, found none that read")
    return pem


def _parse_receipt(data: bytes) -> Receipt:
    receipt = parse_receipt(data)
    claimed_checkpoint(receipt.checkpoint_note)
    return receipt
