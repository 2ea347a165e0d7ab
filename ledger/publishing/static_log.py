"""The static log: checkpoint, tiles and bundles of entries as plain resources (C2SP tlog-tiles).

``read_resource`` gives one of them from a ledger. ``ExportedLog`` reads a folder of them, whoever wrote it;
``check_export`` verifies such a folder whole. A client takes the checkpoint, verifies its signature, and derives
from its size which tiles there are::

    checkpoint                 the newest signed checkpoint
    tile/0/000 …               leaf hashes; the levels above in tile/1, tile/2 …
    tile/entries/000 …         the entries, 256 in a bundle
    tile/0/003.p/17            a tile, or bundle, that is not full yet: named by its width
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import Malformed, Unavailable, VerificationError
from ..store.reader import LedgerReader
from ..tlog.bundle import parse_bundle, print_bundle
from ..tlog.checkpoint import Checkpoint, claimed_checkpoint, open_checkpoint
from ..tlog.hashing import HASH_SIZE, leaf_hash
from ..tlog.note import VerifierKey
from ..tlog.tiles import TILE_HEIGHT, TILE_WIDTH, TileLevel, parse_tile_path, tile_path
from ..tlog.tree import Frontier, fold_perfect

CHECKPOINT = "checkpoint"

MOST_NOTE = 1_000_000
_MOST_BUNDLE = TILE_WIDTH * (2 + 0xFFFF)


def read_resource(reader: LedgerReader, path: str) -> bytes | None:
    """The resource of this name; None where there is none, or none that the newest published checkpoint covers.

    A partial tile is there in every width up to the checkpoint's, also when the tile is full by now.
    """
    latest = reader.latest_checkpoint()
    if latest is None:
        return None
    size, note = latest
    if path == CHECKPOINT:
        return note
    try:
        level, n, width = parse_tile_path(path)
    except Malformed:
        return None
    height = 0 if level == "entries" else TILE_HEIGHT * level
    first = n * TILE_WIDTH
    if first + width > size >> height:
        return None
    if level == "entries":
        return print_bundle(read_raws(reader, first, width))
    hashes = reader.hashes(level, first, width)
    if len(hashes) != width * HASH_SIZE:
        raise VerificationError(f"{path}: expected {width} stored hashes, found {len(hashes)} bytes")
    return hashes


def read_raws(reader: LedgerReader, first: int, count: int) -> list[bytes]:
    """The bytes of ``count`` entries from ``first`` on; ``VerificationError`` where one is missing, or is no bytes."""
    raws = reader.raws(first, first + count)
    if [*map(type, raws)] != [bytes] * count:
        raise VerificationError(
            f"entries {first} to {first + count - 1}: expected the bytes of {count}, found {len(raws)} rows"
        )
    return raws


class ExportedLog:
    """A log in a folder. What is read from it is not verified; ``check_export`` does that.

    ``checkpoint`` is what ``note`` says, its signatures not checked. What does not read raises ``VerificationError``
    where it is missing or of the wrong length, ``Malformed`` where it does not follow its format, and ``Unavailable``
    where the disk does not serve.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        note = self._file(CHECKPOINT, MOST_NOTE)
        if note is None:
            raise VerificationError(f"{folder}: expected a file {CHECKPOINT!r}, found none")
        self.note = note
        self.checkpoint = claimed_checkpoint(note)

    def hashes(self, level: int, first: int, count: int) -> bytes:
        """``count`` hashes of a tile level from number ``first`` on, joined; they must lie in one tile."""
        n, at = divmod(first, TILE_WIDTH)
        width = min(TILE_WIDTH, (self.checkpoint.size >> TILE_HEIGHT * level) - n * TILE_WIDTH)
        return self.tile(level, n, width)[at * HASH_SIZE : (at + count) * HASH_SIZE]

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of the entries ``start <= seq < stop``, all that the checkpoint covers by default, streamed."""
        end = self.checkpoint.size if stop is None else min(stop, self.checkpoint.size)
        for n in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            first = n * TILE_WIDTH
            bundle = self.bundle(n, min(TILE_WIDTH, self.checkpoint.size - first))
            yield from bundle[max(start - first, 0) : end - first]

    def tile(self, level: int, n: int, width: int) -> bytes:
        """The first ``width`` hashes of a tile; from the full one where the partial one is not there."""
        found, path = self._named(level, n, width, TILE_WIDTH * HASH_SIZE)
        expected = (width if path == tile_path(level, n, width) else TILE_WIDTH) * HASH_SIZE
        if len(found) != expected:
            raise VerificationError(f"{self.folder / path}: expected {expected} bytes, found {len(found)} or more")
        return found[: width * HASH_SIZE]

    def bundle(self, n: int, width: int) -> list[bytes]:
        """The first ``width`` entries that belong to leaf tile ``n``."""
        found, path = self._named("entries", n, width, _MOST_BUNDLE)
        try:
            entries = parse_bundle(found)
        except Malformed as error:
            raise Malformed(f"{self.folder / path}: {error}") from error
        expected = width if path == tile_path("entries", n, width) else TILE_WIDTH
        if len(entries) != expected:
            raise VerificationError(f"{self.folder / path}: expected {expected} entries, found {len(entries)}")
        return entries[:width]

    def widths(self, level: TileLevel, n: int) -> list[int]:
        """The widths in which a tile, or bundle, lies there beside the full form."""
        folder = self.folder / f"{tile_path(level, n)}.p"
        try:
            names = [path.name for path in folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Unavailable(f"{folder}: {error.strerror}") from error
        return sorted(width for width in range(1, TILE_WIDTH) if str(width) in names)

    def _named(self, level: TileLevel, n: int, width: int, most: int) -> tuple[bytes, str]:
        """The bytes of a tile in this width, else of the full one, and its name."""
        names = dict.fromkeys((tile_path(level, n, width), tile_path(level, n)))
        for name in names:
            found = self._file(name, most)
            if found is not None:
                return found, name
        raise VerificationError(f"{self.folder}: expected {' or '.join(names)}, found none")

    def _file(self, name: str, most: int) -> bytes | None:
        try:
            with (self.folder / name).open("rb") as file:
                found = file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unavailable(f"{self.folder / name}: {error.strerror}") from error
        if len(found) > most:
            raise VerificationError(f"{self.folder / name}: expected at most {most} bytes, found more")
        return found


def check_export(folder: Path, log_keys: Sequence[VerifierKey]) -> Checkpoint:
    """Verify an exported log whole; return its checkpoint.

    Checked are the signature, by one of ``log_keys`` that bears the checkpoint's origin as its name, the entries
    against the leaf hashes, each tile against those below it, and the root. Partial tiles that are kept for earlier
    checkpoints must hold the beginning of their tile. Files of other names are passed over, and so are tiles beyond
    the checkpoint: an export that goes on writes them first. Raises as ``open_checkpoint`` and ``ExportedLog`` do;
    ``VerificationError`` names the file that does not fit.
    """
    log = ExportedLog(folder)
    checkpoint = open_checkpoint(log.note, log_keys, log.checkpoint.origin)
    frontier = Frontier()
    roots = bytearray()
    for n in range(-(-checkpoint.size // TILE_WIDTH)):
        width = min(TILE_WIDTH, checkpoint.size - n * TILE_WIDTH)
        entries = log.bundle(n, width)
        for narrow in log.widths("entries", n):
            if narrow < width and log.bundle(n, narrow) != entries[:narrow]:
                raise _differs(log, "entries", n, narrow, f"the first {narrow} entries of bundle {n}")
        leaves = list(map(leaf_hash, entries))
        hashes = b"".join(leaves)
        _require_tile(log, 0, n, hashes)
        if width == TILE_WIDTH:
            roots += fold_perfect(hashes)
            frontier.append_subtree(TILE_HEIGHT, bytes(roots[-HASH_SIZE:]))
        else:
            for leaf in leaves:
                frontier.append(leaf)
    _check_upper(log, bytes(roots))
    if frontier.root() != checkpoint.root:
        raise VerificationError(
            f"{folder}: expected root {checkpoint.root.hex()}, which is signed, found {frontier.root().hex()}"
        )
    return checkpoint


def _check_upper(log: ExportedLog, hashes: bytes) -> None:
    """The levels above the leaves, each from the full tiles below it; ``hashes`` are those of level 1."""
    level, whole = 1, TILE_WIDTH * HASH_SIZE
    while hashes:
        tiles = [hashes[at : at + whole] for at in range(0, len(hashes), whole)]
        for n, tile in enumerate(tiles):
            _require_tile(log, level, n, tile)
        hashes = b"".join(fold_perfect(tile) for tile in tiles if len(tile) == whole)
        level += 1


def _require_tile(log: ExportedLog, level: int, n: int, expected: bytes) -> None:
    width = len(expected) // HASH_SIZE
    found = log.tile(level, n, width)
    if found != expected:
        pairs = zip(_hashes(expected), _hashes(found), strict=True)
        at, (right, wrong) = next((at, pair) for at, pair in enumerate(pairs) if pair[0] != pair[1])
        what = f"leaf hash {n * TILE_WIDTH + at}" if level == 0 else f"hash {at}"
        raise VerificationError(
            f"{log.folder / tile_path(level, n, width)}: {what}: expected {right.hex()}, found {wrong.hex()}"
        )
    for narrow in log.widths(level, n):
        if narrow < width and log.tile(level, n, narrow) != expected[: narrow * HASH_SIZE]:
            raise _differs(log, level, n, narrow, f"the first {narrow} hashes of tile {n}")


def _hashes(joined: bytes) -> Iterator[bytes]:
    return (joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE))


def _differs(log: ExportedLog, level: TileLevel, n: int, width: int, expected: str) -> VerificationError:
    return VerificationError(f"{log.folder / tile_path(level, n, width)}: expected {expected}, found others")
