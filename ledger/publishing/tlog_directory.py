"""Writing the static log into a folder that any tlog client can read, and going on with it later.

Entries and tiles are written first, each file whole under its name or not there, then everything is made durable,
and the checkpoint that covers it comes last. So whatever a reader or a crash finds, the checkpoint that lies there
has all its tiles.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ..errors import LedgerError, Unavailable, VerificationError
from ..files import hold_lock, sync_folder, write_whole
from ..store.reader import LedgerReader
from ..tlog.bundle import print_bundle
from ..tlog.checkpoint import Checkpoint
from ..tlog.hashing import HASH_SIZE, leaf_hash
from ..tlog.tiles import TILE_HEIGHT, TILE_WIDTH, tile_path
from ..tlog.tree import Frontier, fold_perfect
from .published import open_published
from .static_log import CHECKPOINT, ExportedLog, read_raws

OnProgress = Callable[[int, int], None]

_SYNCING = 16
"""Files that are made durable at once: the file system then commits them together."""


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
        _write(reader, _Edge(), fresh, note, checkpoint, on_progress)
        fresh.replace(folder)
        sync_folder(folder.parent)
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(fresh)


def _write(
    reader: LedgerReader,
    edge: _Edge,
    folder: Path,
    note: bytes,
    checkpoint: Checkpoint,
    on_progress: OnProgress | None,
) -> None:
    """Write everything from the edge, which stands at a full leaf tile, up to the checkpoint."""
    files = _Files(folder)
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


def _edge_of_earlier(reader: LedgerReader, folder: Path, checkpoint: Checkpoint) -> _Edge:
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
    edge = _Edge()
    edge.skip(reader, earlier.size // TILE_WIDTH * TILE_WIDTH)
    known = edge.frontier.copy()
    for raw in read_raws(reader, edge.size, earlier.size - edge.size):
        known.append(leaf_hash(raw))
    if known.root() != earlier.root:
        raise Unavailable(
            f"{folder}: found another log, {earlier.origin} of size {earlier.size} and root {earlier.root.hex()}; "
            f"expected an earlier export of {checkpoint.origin}, whose root at that size is {known.root().hex()}"
        )
    return edge


class _Edge:
    """The right edge of the tree and of its tiles, while leaves are added by full tiles and then by a rest."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self._loose: list[bytes] = [b""]
        """By level, the hashes that have not filled a tile."""

    @property
    def size(self) -> int:
        return self.frontier.size

    def root(self) -> bytes:
        return self.frontier.root()

    def skip(self, reader: LedgerReader, size: int) -> None:
        """Go to ``size``, a multiple of 256, by stored hashes."""
        level, count = 1, size // TILE_WIDTH
        while count:
            rest = count % TILE_WIDTH
            self._loose.append(reader.hashes(level, count - rest, rest) if rest else b"")
            level, count = level + 1, count // TILE_WIDTH
        for height in range(level - 1, 0, -1):
            for root in _each(self._loose[height]):
                self.frontier.append_subtree(TILE_HEIGHT * height, root)
        if self.size != size:
            raise VerificationError(f"stored tiles: expected the hashes of {size} entries, found those of {self.size}")

    def add(self, leaves: bytes) -> Iterator[tuple[str, bytes]]:
        """Add up to 256 leaf hashes, joined; name and bytes of each tile that became full."""
        if len(leaves) < TILE_WIDTH * HASH_SIZE:
            for leaf in _each(leaves):
                self.frontier.append(leaf)
            self._loose[0] = leaves
            return
        level, full, n = 0, leaves, self.size // TILE_WIDTH
        root = fold_perfect(full)
        self.frontier.append_subtree(TILE_HEIGHT, root)
        while True:
            yield tile_path(level, n), full
            level, n = level + 1, n // TILE_WIDTH
            if level == len(self._loose):
                self._loose.append(b"")
            self._loose[level] += root
            if len(self._loose[level]) < TILE_WIDTH * HASH_SIZE:
                return
            full, self._loose[level] = self._loose[level], b""
            root = fold_perfect(full)

    def partial_tiles(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of the tile on each level that is not full."""
        for level, hashes in enumerate(self._loose):
            if hashes:
                n = (self.size >> TILE_HEIGHT * level) // TILE_WIDTH
                yield tile_path(level, n, len(hashes) // HASH_SIZE), hashes


def _each(hashes: bytes) -> Iterator[bytes]:
    return (hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE))


class _Files:
    """Writes files under a folder, each whole under its name or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh = folder / ".new"
        self._written: list[Path] = []
        self._folders = {folder}

    def write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            inside = path.relative_to(self._folder).parents
            self._folders.update(self._folder / parent for parent in inside)
        self._fresh.write_bytes(content)
        self._fresh.replace(path)
        self._written.append(path)

    def sync(self) -> None:
        """Make everything that was written durable."""
        with ThreadPoolExecutor(_SYNCING) as pool:
            for _ in pool.map(_sync, [*self._written, *self._folders]):
                pass

    def publish(self, note: bytes) -> None:
        """Put the checkpoint in its place, durably."""
        write_whole(self._folder / CHECKPOINT, note)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
