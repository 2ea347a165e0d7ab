"""Following a log by its static files, and keeping the same files: a mirror.

What is taken is shown before it is kept. The new checkpoint is signed; the served tiles show that it extends the one
that lies here; the hashes of level 2 and the right edge give its root, and each tile and bundle below is held against
the hash above it. So a server that lies is found out at the first file that is wrong, and what a mirror serves it has
hashed itself. The checkpoint comes last, as in an export, and whoever is stopped half-way goes on where they were; what
was signed to them is remembered from before the first file is taken.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Protocol

from ...ledger.audit.fork import ForkEvidence, print_fork, verify_fork
from ...ledger.errors import LedgerError, Malformed, Unavailable, VerificationError
from ...ledger.files import hold_lock, sync_folder, write_whole
from ...ledger.publishing.static_log import CHECKPOINT, MOST_NOTE, ExportedLog
from ...ledger.publishing.tile_edge import TileEdge, each_hash
from ...ledger.publishing.tile_files import TileFiles
from ...ledger.tlog.bundle import parse_bundle, print_bundle
from ...ledger.tlog.checkpoint import Checkpoint, claimed_checkpoint, open_checkpoint
from ...ledger.tlog.cosignature import add_signatures
from ...ledger.tlog.hashing import HASH_SIZE, leaf_hash
from ...ledger.tlog.note import named_keys, parse_note, print_signature
from ...ledger.tlog.proof import verify_consistency
from ...ledger.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, ReadHashes, TileLevel, frontier_at, tile_nodes, tile_path
from ...ledger.tlog.tree import Frontier, fold_perfect, prove_consistency
from ...ledger.tlog.witness import KeysOf

CONTRADICTIONS = "contradictions"
"""Where a mirror keeps what a log signed and then took back."""

PENDING = ".pending"
"""The checkpoint that is being taken: signed, and so to be extended by any later one, but not all here yet."""

MOST_ENTRIES = 2**36
"""A larger tree is not taken: the hashes of its level 2 would be more than 32 MB, and a log can sign any size."""

STALE_SECONDS = 10.0
"""A cache may show an older checkpoint for some seconds. What is still older after so many is a rollback."""

MOST_ENTRY = 2 + 0xFFFF
"""Bytes that an entry takes in a bundle at most."""

OnProgress = Callable[[int, int], None]
CompleteNote = Callable[[Checkpoint, bytes, ReadHashes], bytes]
"""The note to publish, such as with a cosignature under it, once everything that it covers is durable.

It may be called with a checkpoint that it has seen before, and gets the hashes of its tree.
"""
RequireNote = Callable[[Checkpoint, bytes], None]
"""Raises where a signed note is not one to take, such as without the quorum of a policy."""

_AHEAD = 6
"""Bundles that are fetched while one is hashed; of the longest entries they take 100 MB."""
_MOST_SERVED = MOST_NOTE // 2
"""Bytes of a note that is taken, so that there is room for more signatures."""
_UPPER = 2 * TILE_HEIGHT
"""The height of a hash of level 2, of which 10 million entries have 153."""


class Source(Protocol):
    """Where a log's resources are fetched. It is called from several threads."""

    def get(self, name: str, most: int) -> bytes | None:
        """A resource of at most so many bytes, None where there is none. Raises ``LedgerError``."""
        ...


class Contradiction(LedgerError):
    """The log signed what cannot be one history with what it showed before.

    ``kind`` is ``rollback`` (an older head, of the same history) or ``fork``; ``kept`` are the files that show it.
    """

    def __init__(self, kind: str, message: str, kept: tuple[Path, ...]) -> None:
        super().__init__(message)
        self.kind = kind
        self.kept = kept


@dataclass(frozen=True, slots=True)
class Followed:
    """The head that the mirror has now, and how many entries it had before."""

    checkpoint: Checkpoint
    before: int


def follow_log(
    source: Source,
    folder: Path,
    keys_of: KeysOf,
    complete: CompleteNote | None = None,
    on_progress: OnProgress | None = None,
    *,
    require: RequireNote | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> Followed:
    """Bring the mirror in ``folder``, made where there is none, up to the checkpoint that ``source`` shows.

    What ``require`` raises comes through, before anything of that checkpoint is taken, and after what contradicts.

    ``Contradiction`` where that does not extend what lies here, of which nothing is changed then. ``VerificationError``
    or ``Malformed`` where what is served, or lies here, is not what was signed. ``Unavailable`` where the source or the
    disk does not serve, or something else lies in the folder.
    """
    folder = folder.absolute()
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            sync_folder(folder.parent)
        with hold_lock(folder, alone=True):
            return _Mirror(source, folder, keys_of, wait).follow(complete, on_progress, require)
    except OSError as error:
        raise Unavailable(f"{error.filename or folder}: {error.strerror}") from error


class _Mirror:
    def __init__(self, source: Source, folder: Path, keys_of: KeysOf, wait: Callable[[float], object]) -> None:
        self._source = source
        self._folder = folder
        self._keys_of = keys_of
        self._wait = wait
        self._held = _held(folder)

    def follow(
        self, complete: CompleteNote | None, on_progress: OnProgress | None, require: RequireNote | None
    ) -> Followed:
        held = self._held
        known: list[tuple[bytes, Checkpoint]] = []
        if held is not None:
            known.append((held.note, self._open(held.note, f"{self._folder / CHECKPOINT}")))
        pending = self._pending()
        if pending is not None:
            known.append((pending, self._open(pending, f"{self._folder / PENDING}")))
        note, checkpoint = self._ask()
        if any(checkpoint.size < each.size for _, each in known):
            self._wait(STALE_SECONDS)
            note, checkpoint = self._ask()
        remote = _Served(self._source, checkpoint.size)
        for earlier, each in known:
            self._require_growth(earlier, each, note, checkpoint, remote)
        before = 0 if held is None else held.checkpoint.size
        if held is not None and checkpoint.size == before:
            note = _with_lines_of(held.note, note)
        elif pending is None or claimed_checkpoint(pending).size < checkpoint.size:
            write_whole(self._folder / PENDING, note)
        if require is not None:
            require(checkpoint, note)
        if checkpoint.size > before or held is None:
            self._take(remote, checkpoint, on_progress)
        if complete is not None:
            note = complete(checkpoint, note, _Read(self._folder, checkpoint.size).hashes)
        if held is None or note != held.note:
            TileFiles(self._folder).publish(note)
        (self._folder / PENDING).unlink(missing_ok=True)
        if held is not None:
            self._drop_partials(before, checkpoint.size)
        return Followed(checkpoint, before)

    def _ask(self) -> tuple[bytes, Checkpoint]:
        """The checkpoint that the log shows now, signed."""
        note = self._source.get(CHECKPOINT, _MOST_SERVED)
        if note is None:
            raise Unavailable("the log shows no checkpoint")
        checkpoint = self._open(note, "the checkpoint that is served")
        if checkpoint.size > MOST_ENTRIES:
            raise Unavailable(f"the log has {checkpoint.size} entries; a mirror takes at most {MOST_ENTRIES}")
        return note, checkpoint

    def _pending(self) -> bytes | None:
        try:
            return (self._folder / PENDING).read_bytes()
        except FileNotFoundError:
            return None

    def _open(self, note: bytes, what: str) -> Checkpoint:
        claimed = claimed_checkpoint(note)
        keys = self._keys_of(claimed.origin, claimed.size) or ()
        if not named_keys(note, [key for key in keys if key.name == claimed.origin]):
            raise VerificationError(
                f"{what}: no key of yours has signed {claimed.origin!r} at size {claimed.size}; "
                "after a rotation it takes the new key too, and a log that goes on under another origin has its own"
            )
        try:
            return open_checkpoint(note, keys, claimed.origin)
        except LedgerError as error:
            raise VerificationError(f"{what}: {error}") from error

    def _require_growth(self, earlier: bytes, old: Checkpoint, note: bytes, new: Checkpoint, remote: _Served) -> None:
        """``Contradiction`` unless the new checkpoint extends ``old``, which the note ``earlier`` says."""
        if old.origin != new.origin:
            raise Unavailable(
                f"{self._folder}: expected a mirror of {new.origin}, found one of {old.origin}; "
                "a log that goes on under another origin is mirrored into another folder"
            )
        if new.size < old.size:
            held = self._held
            if held is not None and held.checkpoint == old:
                root, proof = _shown(held.hashes, new.size, old)
                if root != new.root:
                    self._accuse(ForkEvidence(note, earlier, root, proof), earlier, note)
            kept = self._keep("rollback", earlier, note, None)
            raise Contradiction(
                "rollback", f"rollback: {old.origin} showed size {old.size} before, and shows {new.size} now", kept
            )
        if new.size > old.size:
            root, proof = _shown(remote.hashes, old.size, new)
            if root != old.root:
                self._accuse(ForkEvidence(earlier, note, root, proof), earlier, note)
        elif new.root != old.root:
            self._accuse(ForkEvidence(earlier, note), earlier, note)

    def _accuse(self, evidence: ForkEvidence, held: bytes, shown: bytes) -> None:
        origin = claimed_checkpoint(held).origin
        older, newer = verify_fork(evidence, lambda size: self._keys_of(origin, size) or ())
        kept = self._keep("fork", held, shown, print_fork(evidence))
        raise Contradiction(
            "fork",
            f"fork: {origin} signed size {older.size} and size {newer.size}, and they cannot both be of one history",
            kept,
        )

    def _keep(self, kind: str, held: bytes, shown: bytes, evidence: bytes | None) -> tuple[Path, ...]:
        """Keep what contradicts: under names of their content, so that nothing is ever written over another."""
        folder = self._folder / CONTRADICTIONS
        folder.mkdir(exist_ok=True)
        stem = f"{kind}-{sha256(held + shown).hexdigest()[:16]}"
        contents = {f"{stem}.held": held, f"{stem}.shown": shown}
        if evidence is not None:
            contents[f"{stem}.json"] = evidence
        for name, content in contents.items():
            if not (folder / name).exists():
                write_whole(folder / name, content)
        return tuple(folder / name for name in contents)

    def _take(self, remote: _Served, checkpoint: Checkpoint, on_progress: OnProgress | None) -> None:
        """Fetch what is missing up to the checkpoint, each file shown to belong there before it is written."""
        edge = self._edge()
        expected = _Expected(remote, checkpoint, edge.frontier)
        files = TileFiles(self._folder)
        numbers = range(edge.size // TILE_WIDTH, -(-checkpoint.size // TILE_WIDTH))
        local = _Read(self._folder, checkpoint.size)

        def fetch(wanted: tuple[int, bytes]) -> tuple[list[bytes], bytes, bool]:
            n, hashed = wanted
            width = min(TILE_WIDTH, checkpoint.size - n * TILE_WIDTH)
            there = local.bundle(n) if width == TILE_WIDTH else None
            if there is not None and _hashed(there) == hashed:  # taken before something stopped the mirror
                return there, b"".join(map(leaf_hash, there)), False
            entries = remote.bundle(n, width)
            if _hashed(entries) != hashed:
                raise VerificationError(
                    f"{tile_path('entries', n, width)}: its entries are not those that the checkpoint signs"
                )
            return entries, b"".join(map(leaf_hash, entries)), True

        with closing(_ahead(fetch, expected.bundles(numbers))) as fetched:
            for entries, leaves, is_new in fetched:
                name = tile_path("entries", edge.size // TILE_WIDTH, len(entries))
                if is_new:
                    files.write(name, print_bundle(entries))
                else:
                    files.keep(name)  # whoever was stopped may not have made it durable
                for path, hashes in edge.add(leaves):
                    files.write(path, hashes)
                if on_progress is not None:
                    on_progress(edge.size, checkpoint.size)
        for path, hashes in edge.partial_tiles():
            files.write(path, hashes)
        if edge.root() != checkpoint.root:
            raise VerificationError(f"{self._folder}: what lies here has root {edge.root().hex()}, which is not signed")
        files.sync()

    def _edge(self) -> TileEdge:
        """Where to go on: at the last leaf tile that is full here, once what lies here gives its own root."""
        edge = TileEdge()
        held = self._held
        if held is None or held.checkpoint.size == 0:
            return edge
        n, rest = divmod(held.checkpoint.size, TILE_WIDTH)
        edge.skip(n * TILE_WIDTH, held.hashes)
        known = edge.frontier.copy()
        for raw in held.bundle(n, rest) if rest else ():
            known.append(leaf_hash(raw))
        if known.root() != held.checkpoint.root:
            raise VerificationError(
                f"{self._folder}: its tiles have root {known.root().hex()}, expected {held.checkpoint.root.hex()}, "
                "which its checkpoint says; mirror the log into another folder"
            )
        return edge

    def _drop_partials(self, before: int, size: int) -> None:
        """Remove the partial tiles that are full by now; those who look for them take the full one."""
        level = 0
        while before >> TILE_HEIGHT * level:
            n = (before >> TILE_HEIGHT * level) // TILE_WIDTH
            if (n + 1) * TILE_WIDTH <= size >> TILE_HEIGHT * level:
                kinds: list[TileLevel] = [level, "entries"] if level == 0 else [level]
                for kind in kinds:
                    rmtree(self._folder / f"{tile_path(kind, n)}.p", ignore_errors=True)
            level += 1


class _Served:
    """The tiles of the tree of ``size`` as a source serves them: of the right length, and nothing more is known."""

    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self._size = size
        self._edge_tiles: dict[tuple[int, int], bytes] = {}

    def hashes(self, level: int, first: int, count: int) -> bytes:
        """As ``ReadHashes``; for a few hashes of the tree, since the tiles are remembered."""
        n, at = divmod(first, TILE_WIDTH)
        tile = self._edge_tiles.get((level, n))
        if tile is None:
            width = min(TILE_WIDTH, (self._size >> TILE_HEIGHT * level) - n * TILE_WIDTH)
            tile = self._edge_tiles[level, n] = self.tile(level, n, width)
        return tile[at * HASH_SIZE : (at + count) * HASH_SIZE]

    def tile(self, level: int, n: int, width: int) -> bytes:
        """The first ``width`` hashes of a tile."""
        name, found, whole = self._get(level, n, width, HASH_SIZE)
        if len(found) != whole * HASH_SIZE:
            raise VerificationError(f"{name}: expected {whole * HASH_SIZE} bytes, found {len(found)}")
        return found[: width * HASH_SIZE]

    def bundle(self, n: int, width: int) -> list[bytes]:
        """The first ``width`` entries of a bundle."""
        name, found, whole = self._get("entries", n, width, MOST_ENTRY)
        try:
            entries = parse_bundle(found)
        except Malformed as error:
            raise Malformed(f"{name}: {error}") from error
        if len(entries) != whole:
            raise VerificationError(f"{name}: expected {whole} entries, found {len(entries)}")
        return entries[:width]

    def _get(self, level: TileLevel, n: int, width: int, most_each: int) -> tuple[str, bytes, int]:
        for whole in dict.fromkeys((width, TILE_WIDTH)):
            name = tile_path(level, n, whole)
            found = self._source.get(name, whole * most_each)
            if found is not None:
                return name, found, whole
        raise Unavailable(f"{tile_path(level, n, width)}: the checkpoint covers it, and it is not served")


class _Expected:
    """What the bundles of a checkpoint's tree must hash to, from tiles that give the signed root.

    ``known`` is the frontier of a beginning that is held already.
    """

    def __init__(self, remote: _Served, checkpoint: Checkpoint, known: Frontier) -> None:
        self._remote = remote
        size = checkpoint.size
        frontier = known.copy()
        frontier.cut(_UPPER)
        self._first = frontier.size >> _UPPER
        self._upper = _stretch(remote, 2, self._first, size >> _UPPER)
        for root in each_hash(self._upper):
            frontier.append_subtree(_UPPER, root)
        below = size >> TILE_HEIGHT
        self._level_1 = _stretch(remote, 1, below // TILE_WIDTH * TILE_WIDTH, below)
        for root in each_hash(self._level_1):
            frontier.append_subtree(TILE_HEIGHT, root)
        self._leaves = _stretch(remote, 0, below * TILE_WIDTH, size)
        for leaf in each_hash(self._leaves):
            frontier.append(leaf)
        if frontier.root() != checkpoint.root:
            raise VerificationError(
                f"the tiles that are served have root {frontier.root().hex()}, expected {checkpoint.root.hex()}, "
                "which is signed"
            )
        self._full = below

    def bundles(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Each number, and the root over its leaves, or its leaf hashes where it is not full; in order."""
        at, tile = -1, b""
        for n in numbers:
            if n >= self._full:
                yield n, self._leaves
                continue
            upper, inside = divmod(n, TILE_WIDTH)
            if upper != at:
                at, tile = upper, self._tile(upper)
            yield n, tile[inside * HASH_SIZE : (inside + 1) * HASH_SIZE]

    def _tile(self, n: int) -> bytes:
        if (n + 1) * TILE_WIDTH > self._full:
            return self._level_1
        tile = self._remote.tile(1, n, TILE_WIDTH)
        start = (n - self._first) * HASH_SIZE
        if fold_perfect(tile) != self._upper[start : start + HASH_SIZE]:
            raise VerificationError(f"{tile_path(1, n)}: it is not the one that the checkpoint signs")
        return tile


class _Read:
    """What lies in a folder, up to ``size`` entries; it may be anything."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size

    def bundle(self, n: int) -> list[bytes] | None:
        """A full bundle; None where there is none that reads."""
        try:
            entries = parse_bundle((self._folder / tile_path("entries", n)).read_bytes())
        except (OSError, Malformed):
            return None
        return entries if len(entries) == TILE_WIDTH else None

    def hashes(self, level: int, first: int, count: int) -> bytes:
        """As ``ReadHashes``."""
        n, at = divmod(first, TILE_WIDTH)
        width = min(TILE_WIDTH, (self._size >> TILE_HEIGHT * level) - n * TILE_WIDTH)
        tile = (self._folder / tile_path(level, n, width)).read_bytes()
        return tile[at * HASH_SIZE : (at + count) * HASH_SIZE]


def _held(folder: Path) -> ExportedLog | None:
    """The mirror that lies in a folder; None where it is empty, or was stopped before its first checkpoint."""
    if (folder / CHECKPOINT).exists():
        return ExportedLog(folder)
    ours, begun = ("tile", ".new", PENDING, CONTRADICTIONS), (f".{CHECKPOINT}.", f".{PENDING}.")
    strange = [path.name for path in folder.iterdir() if path.name not in ours and not path.name.startswith(begun)]
    if strange:
        raise Unavailable(f"{folder}: expected a mirror, an exported log or nothing, found {sorted(strange)[0]!r}")
    return None


def _with_lines_of(held: bytes, served: bytes) -> bytes:
    """The served note with the signatures that only the held one of the same checkpoint has, where there is room.

    Whoever serves the log can leave cosignatures out, and whoever asks for them here must not lose what is held.
    """
    there = {(each.name, each.key_id) for each in parse_note(served).signatures}
    lines = [print_signature(each) for each in parse_note(held).signatures if (each.name, each.key_id) not in there]
    try:
        longer = add_signatures(served, lines)
    except Malformed:
        return held
    return longer if len(longer) <= _MOST_SERVED else held


def _shown(hashes: ReadHashes, older: int, newer: Checkpoint) -> tuple[bytes, tuple[bytes, ...]]:
    """The root that the tree of ``newer`` has at a smaller size, and the proof of that, verified."""
    root = frontier_at(older, hashes).root()
    path = prove_consistency(older, newer.size, tile_nodes(newer.size, hashes))
    verify_consistency(older, newer.size, path, root, newer.root)
    return root, tuple(path)


def _stretch(remote: _Served, level: int, start: int, stop: int) -> bytes:
    """The hashes ``start <= number < stop`` of a level, to the end of the tree."""
    parts = []
    for n in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
        first = n * TILE_WIDTH
        tile = remote.tile(level, n, min(TILE_WIDTH, stop - first))
        parts.append(tile[max(start - first, 0) * HASH_SIZE :])
    return b"".join(parts)


def _hashed(entries: list[bytes]) -> bytes:
    """The root over the entries of a full bundle; the leaf hashes of one that is not."""
    leaves = b"".join(map(leaf_hash, entries))
    return fold_perfect(leaves) if len(entries) == TILE_WIDTH else leaves


def _ahead(
    fetch: Callable[[tuple[int, bytes]], tuple[list[bytes], bytes, bool]], wanted: Iterable[tuple[int, bytes]]
) -> Generator[tuple[list[bytes], bytes, bool], None, None]:
    """What ``fetch`` gives for each, in order, some of it ahead of time."""
    waiting: deque[Future[tuple[list[bytes], bytes, bool]]] = deque()
    pool = ThreadPoolExecutor(_AHEAD, "affidavit-mirror")
    try:
        for each in wanted:
            waiting.append(pool.submit(fetch, each))
            if len(waiting) >= _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # who is interrupted need not wait for who serves
