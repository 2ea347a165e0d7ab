"""Writing the static log into a folder that any tlog client can read, and going on with it later.

Entries and tiles are written first, each file whole under its name or not there, then everything is made durable,
and the checkpoint that covers it comes last. So whatever a reader or a crash finds, the checkpoint that lies there
has all its tiles.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import LedgerError, Unavailable, VerificationError
from ..files import hold_lock, sync_folder
from ..store.reader import LedgerReader
from ..tlog.bundle import print_bundle
from ..tlog.checkpoint import Checkpoint
from ..tlog.hashing import leaf_hash
from ..tlog.tiles import TILE_WIDTH, tile_path
from .published import open_published
from .static_log import ExportedLog, read_raws
from .tile_edge import TileEdge
from .tile_files import TileFiles

OnProgress = Callable[[int, int], None]


def export_log(reader: LedgerReader, folder: Path, on_progress: OnProgress | None = None) -> Checkpoint:
    """Write the log up to its newest published checkpoint, which is returned, as a static log.

    Into a folder that is new or empty, which appears whole or not at all; or into an earlier export of this log,
    where only what has been added is written. Everything is hashed again on the way: ``VerificationError`` where the
    stored entries do not give the signed root, and no checkpoint is written then. ``Unavailable`` where nothing is
    signed yet, where something else lies in the folder, or where the disk does not serve.
    """
    folder = folder.absolute()
    note, checkpoint = _published(reader)
    try:
        if not folder.is_dir() or not any(folder.iterdir()):
            _export_new(reader, folder, note, checkpoint, on_progress)
        else:
            with hold_lock(folder, alone=True):
                edge = _edge_of_earlier(reader, folder, checkpoint)
                _write(reader, edge, folder, note, checkpoint, on_progress)
    except OSError as error:
        raise Unavailable(f"{error.filename or folder}: {error.strerror}") from error
    return checkpoint


def _published(reader: LedgerReader) -> tuple[bytes, Checkpoint]:
    latest = reader.latest_checkpoint()
    if latest is None:
        raise Unavailable("no checkpoint is signed yet; `affidavit seal` signs one")
    return latest[1], open_published(reader, *latest)


def _export_new(
    reader: LedgerReader, folder: Path, note: bytes, checkpoint: Checkpoint, on_progress: OnProgress | None
) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Unavailable(f"{folder}: expected a folder, or nothing, found something else")
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        fresh.mkdir(parents=True)
        _write(reader, TileEdge(), fresh, note, checkpoint, on_progress)
        fresh.replace(folder)
        sync_folder(folder.parent)
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(fresh)


def _write(
    reader: LedgerReader,
    edge: TileEdge,
    folder: Path,
    note: bytes,
    checkpoint: Checkpoint,
    on_progress: OnProgress | None,
) -> None:
    """Write everything from the edge, which stands at a full leaf tile, up to the checkpoint."""
    files = TileFiles(folder)
    size = checkpoint.size
    while edge.size < size:
        n = edge.size // TILE_WIDTH
        raws = read_raws(reader, edge.size, min(TILE_WIDTH, size - edge.size))
        files.write(tile_path("entries", n, len(raws)), print_bundle(raws))
        for path, hashes in edge.add(b"".join(map(leaf_hash, raws))):
            files.write(path, hashes)
        if on_progress is not None:
            on_progress(edge.size, size)
    for path, hashes in edge.partial_tiles():
        files.write(path, hashes)
    if edge.root() != checkpoint.root:
        raise VerificationError(
            f"ledger {checkpoint.origin}: the first {size} entries have root {edge.root().hex()}, "
            f"expected {checkpoint.root.hex()}, which is signed; `affidavit verify` says more"
        )
    files.sync()
    files.publish(note)


def _edge_of_earlier(reader: LedgerReader, folder: Path, checkpoint: Checkpoint) -> TileEdge:
    """Where to go on with what lies in the folder: at the last leaf tile that is full there."""
    try:
        earlier = ExportedLog(folder).checkpoint
    except LedgerError as error:
        raise Unavailable(f"{folder}: expected nothing here, or an earlier export: {error}") from error
    if not 0 < earlier.size <= checkpoint.size:
        raise Unavailable(
            f"{folder}: expected an export of 1 to {checkpoint.size} entries of {checkpoint.origin}, "
            f"found {earlier.size} entries of {earlier.origin}"
        )
    edge = TileEdge()
    edge.skip(earlier.size // TILE_WIDTH * TILE_WIDTH, reader.hashes)
    known = edge.frontier.copy()
    for raw in read_raws(reader, edge.size, earlier.size - edge.size):
        known.append(leaf_hash(raw))
    if known.root() != earlier.root:
        raise Unavailable(
            f"{folder}: found another log, {earlier.origin} of size {earlier.size} and root {earlier.root.hex()}; "
            f"expected an earlier export of {checkpoint.origin}, whose root at that size is {known.root().hex()}"
        )
    return edge
