"""``affidavit export tiles`` and ``affidavit export jsonl``: the log itself, for mirrors and for other tools.

Both hash what they write and compare with the root, so that an answer is right also where somebody appends
meanwhile, and nobody is made to wait.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ...ledger.errors import LedgerError, Malformed, Unavailable, VerificationError
from ...ledger.files import whole_file
from ...ledger.publishing.static_log import read_raws
from ...ledger.publishing.tlog_directory import export_log
from ...ledger.store.place import Place
from ...ledger.store.reader import LedgerReader
from ...ledger.tlog.hashing import leaf_hash
from ...ledger.tlog.tree import Frontier
from ..settings import ledger_place
from .output import OnProgress, base64, print_json, progress, say

_PART = 1000

Result = TypeVar("Result")


def export_tiles(given: str | None, folder: Path, as_json: bool) -> None:
    """Write the log up to its newest checkpoint as a static log, or go on with one."""

    def export(reader: LedgerReader) -> tuple[int, str, int, bytes]:
        with progress("exporting", quiet=as_json) as on_progress:
            checkpoint = export_log(reader, folder, on_progress)
        return reader.head().size - checkpoint.size, checkpoint.origin, checkpoint.size, checkpoint.root

    unsigned, origin, size, root = _read_long(ledger_place(given), export)
    if as_json:
        print_json({"origin": origin, "size": size, "root": base64(root), "unsigned": unsigned})
        return
    say(f"exported {size} entries of {origin}, root {base64(root)}, to {folder}")
    if unsigned:
        say(f"{unsigned} newer entries are not signed yet; `affidavit seal` signs them, and the next export adds them")


def export_jsonl(given: str | None, path: Path, as_json: bool) -> None:
    """Write one JSON line for each entry to a new file, which appears whole or not at all."""
    if path.exists() or path.is_symlink():
        raise Unavailable(f"{path}: expected nothing here, found something; an export never writes over it")

    def export(reader: LedgerReader) -> tuple[int, bytes]:
        head = reader.head()
        with whole_file(path, new=True) as file, progress("exporting", quiet=as_json) as told:
            file.writelines(_lines(reader, head.size, head.root(), told))
        return head.size, head.root()

    try:
        size, root = _read_long(ledger_place(given), export)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    if as_json:
        print_json({"size": size, "root": base64(root)})
    else:
        say(f"exported {size} entries, root {base64(root)}, to {path}")


def _lines(reader: LedgerReader, size: int, root: bytes, on_progress: OnProgress | None) -> Iterator[bytes]:
    """A line for each entry; ``VerificationError`` after the last where they do not give ``root``."""
    frontier = Frontier()
    for start in range(0, size, _PART):
        for seq, raw in enumerate(read_raws(reader, start, min(_PART, size - start)), start):
            leaf = leaf_hash(raw)
            frontier.append(leaf)
            line = json.dumps({"seq": seq, "leaf_hash": leaf.hex(), "entry": _text(seq, raw)})
            yield line.encode() + b"\n"
        if on_progress is not None:
            on_progress(frontier.size, size)
    if frontier.root() != root:
        raise VerificationError(
            f"ledger: the entries have root {frontier.root().hex()}, expected {root.hex()}, which the head says; "
            "`affidavit verify` says more"
        )


def _text(seq: int, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"entry {seq}: byte {error.start} is not UTF-8") from error


def _read_long(place: Place, read: Callable[[LedgerReader], Result]) -> Result:
    """What ``read``, which verifies what it gives, says of the ledger, read while others may append.

    Where it fails and the ledger has moved, it gets a copy that nobody moves.
    """
    before = _state(place)
    try:
        with place.snapshot(hold=False) as reader:
            return read(reader)
    except LedgerError:
        if _state(place) == before:
            raise
    except sqlite3.Error as error:
        if _state(place) == before:
            raise Unavailable(f"{place}: {error}; `affidavit verify` says more") from error
    with place.snapshot(copy=True, hold=False) as reader:
        return read(reader)


def _state(place: Place) -> object:
    with suppress(OSError):
        return place.fingerprint()
    return None
