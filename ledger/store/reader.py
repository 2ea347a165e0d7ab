"""The reading side of a ledger in SQLite: queries that change nothing, and snapshots that touch no byte.

Opening and closing a database in WAL mode may rewrite it, even to read. So where no ``-wal`` file lies
beside it, a snapshot opens ``ledger.db`` immutably; where one does, because a writer is at work or was
killed, it opens a copy in a scratch folder, taken while no writer commits.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from ..entries.chain import Head
from ..entries.entry import StoredEntry
from ..errors import Malformed, Unavailable, UnsupportedFormat
from ..files import hold_lock
from ..tlog.tiles import TILE_WIDTH, node_from_tiles
from ..tlog.tree import Frontier
from .schema import LEDGER_FILE, LOCK_FILE, SCHEMA_VERSION, SchemaRow, schema_rows


class LedgerReader:
    """Read-only queries on one SQLite connection to a ``ledger.db``.

    ``uri`` opens the same state once more, for a worker process; None where that cannot be had.
    """

    def __init__(self, db: sqlite3.Connection, uri: str | None = None) -> None:
        self._db = db
        self.uri = uri

    def head(self) -> Head:
        row = self._db.execute("SELECT size, leaf, at, frontier, held FROM head").fetchone()
        if row is None:
            raise Malformed(f"{LEDGER_FILE}: expected one head row, found none")
        if [type(value) for value in row] != [int, bytes, str, bytes, int] or row[4] not in (0, 1):
            raise Malformed(f"{LEDGER_FILE}: the head row holds values of other types than it was given")
        return Head(row[0], row[1], row[2], row[3], held=bool(row[4]))

    def origin(self) -> str:
        """The origin, as stored beside the entries; entry 0 says it under the first signature."""
        row = self._db.execute("SELECT origin FROM ledger").fetchone()
        if row is None or type(row[0]) is not str:
            raise Malformed(f"{LEDGER_FILE}: expected one row that names the origin, found {row!r:.80}")
        return row[0]

    def schema(self) -> set[SchemaRow]:
        """(type, name, table, text) of every table, index, view and trigger."""
        return schema_rows(self._db)

    def inconsistencies(self) -> list[str]:
        """What SQLite itself finds wrong: pages, row formats, an index that is not its table's."""
        found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(10)")]
        return [] if found == ["ok"] else found

    def clock_finding_at(self) -> str | None:
        """When the newest finding of a clock that stood behind was recorded."""
        row = self._db.execute("SELECT seq FROM entries WHERE stream='clock' ORDER BY pos DESC LIMIT 1").fetchone()
        return None if row is None else self._recorded_at(row[0])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """Entries ``start <= seq < stop`` in order, streamed."""
        rows = self._db.execute(
            "SELECT seq, stream, pos, type, entry, leaf FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq",
            (start, 2**62 if stop is None else stop),
        )
        rows.arraysize = 512
        while batch := rows.fetchmany():
            yield from map(StoredEntry._make, batch)

    def raws(self, start: int, stop: int) -> list[bytes]:
        """The bytes of the entries ``start <= seq < stop`` that are there, in order; twice as fast as their rows."""
        rows = self._db.execute("SELECT entry FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq", (start, stop))
        return [row[0] for row in rows]

    def stream(
        self, stream: str, before: int | None = None, start: int = 0, *, without: Collection[str] = ()
    ) -> Iterator[StoredEntry]:
        """The entries of one stream from position ``start`` on, those below seq ``before`` where it is given.

        Those of the types ``without`` are left out, and their bytes are not read.
        """
        others = f"AND type NOT IN ({','.join('?' * len(without))}) " if without else ""
        rows = self._db.execute(
            "SELECT seq, stream, pos, type, entry, leaf FROM entries "
            f"WHERE stream=? AND pos >= ? AND seq < ? {others}ORDER BY pos",
            (stream, start, 2**62 if before is None else before, *without),
        )
        for row in rows:
            yield StoredEntry(*row)

    def newest(self, before: int, count: int) -> list[StoredEntry]:
        """At most ``count`` entries below seq ``before``, newest first."""
        rows = self._db.execute(
            "SELECT seq, stream, pos, type, entry, leaf FROM entries WHERE seq < ? ORDER BY seq DESC LIMIT ?",
            (before, count),
        )
        return [*map(StoredEntry._make, rows)]

    def newest_of_stream(self, stream: str, stop: int, count: int) -> list[StoredEntry]:
        """At most ``count`` entries of a stream below position ``stop``, newest first."""
        rows = self._db.execute(
            "SELECT seq, stream, pos, type, entry, leaf FROM entries WHERE stream=? AND pos < ? "
            "ORDER BY pos DESC LIMIT ?",
            (stream, stop, count),
        )
        return [*map(StoredEntry._make, rows)]

    def look_back(
        self, before: int, count: int, most: int, *, type_name: str | None = None, category: str | None = None
    ) -> tuple[list[StoredEntry], int]:
        """At most ``count`` entries of a type, and of the streams ``category`` or ``category/…``, newest first.

        Only the ``most`` entries below seq ``before`` are looked at, since nothing indexes a type. Also the seq down to
        which they were: whoever goes on goes on below it.
        """
        low = max(0, before - most)
        asked = ""
        values: list[object] = [low, before]
        if type_name is not None:
            asked += " AND type = ?"
            values.append(type_name)
        if category is not None:
            # "+" keeps SQLite from going by the index of streams, which has all history.
            asked += " AND (+stream = ? OR (+stream > ? AND +stream < ?))"
            values += [category, category + "/", category + "0"]  # "0" follows "/" in ASCII
        rows = self._db.execute(
            f"SELECT seq, stream, pos, type, entry, leaf FROM entries WHERE seq >= ? AND seq < ?{asked} "
            "ORDER BY seq DESC LIMIT ?",
            (*values, count),
        )
        found = [*map(StoredEntry._make, rows)]
        return found, (found[-1].seq if len(found) == count else low)

    def count_types(self, start: int, stop: int) -> list[tuple[str, str, int]]:
        """(category of the stream, type, count) of the entries ``start <= seq < stop``, the most frequent first."""
        return self._db.execute(
            "SELECT substr(stream, 1, instr(stream || '/', '/') - 1) AS category, type, count(*) AS n FROM entries "
            "WHERE seq >= ? AND seq < ? GROUP BY category, type ORDER BY n DESC, category, type",
            (start, stop),
        ).fetchall()

    def extent(self) -> tuple[int, int, int]:
        """(smallest seq, largest seq, count) of the entries that are there; (0, -1, 0) for none."""
        low, high, count = self._db.execute("SELECT min(seq), max(seq), count(*) FROM entries").fetchone()
        return (0, -1, 0) if low is None else (low, high, count)

    def first_gap(self) -> int:
        """The smallest seq from 0 on that has no entry."""
        row = self._db.execute(
            "SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM entries WHERE seq=0) UNION ALL "
            "SELECT seq + 1 FROM entries a WHERE seq >= 0 AND "
            "NOT EXISTS (SELECT 1 FROM entries b WHERE b.seq = a.seq + 1) LIMIT 1"
        ).fetchone()
        return int(row[0])

    def streams(self, category: str) -> list[str]:
        """The names of the streams ``category/…``, sorted; found by skipping through the index."""
        rows = self._db.execute(
            "WITH RECURSIVE found(name) AS ("
            "SELECT min(stream) FROM entries WHERE stream > ? AND stream < ? UNION ALL "
            "SELECT (SELECT min(stream) FROM entries WHERE stream > name AND stream < ?) FROM found "
            "WHERE name IS NOT NULL) SELECT name FROM found WHERE name IS NOT NULL",
            (category + "/", category + "0", category + "0"),  # "0" follows "/" in ASCII
        )
        return [str(row[0]) for row in rows]

    def categories(self, before: int | None = None) -> list[str]:
        """What stands before the first "/" of the names of streams, sorted; found by skipping through the index.

        Of the entries below seq ``before`` where it is given, which may look at every entry of a category.
        """
        found: list[str] = []
        after = ""
        while True:
            (name,) = self._db.execute("SELECT min(stream) FROM entries WHERE stream >= ?", (after,)).fetchone()
            if name is None:
                break
            found.append(name.partition("/")[0])
            after = found[-1] + "0"
        return found if before is None else [name for name in found if self._begins(name, before)]

    def _begins(self, category: str, before: int) -> bool:
        row = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM entries WHERE stream >= ? AND stream < ? AND +seq < ?)",
            (category, category + "0", before),
        ).fetchone()
        return bool(row[0])

    def seqs_of_types(self, types: Sequence[str], before: int, most: int) -> list[int]:
        """At most ``most`` seqs below ``before`` of the entries of some types, in order; their bytes are not read."""
        rows = self._db.execute(
            f"SELECT seq FROM entries WHERE seq < ? AND type IN ({','.join('?' * len(types))}) ORDER BY seq LIMIT ?",
            (before, *types, most),
        )
        return [row[0] for row in rows]

    def stream_names(self, category: str, after: str, count: int) -> list[str]:
        """At most ``count`` names of the streams ``category`` and ``category/…`` that come after ``after``, sorted."""
        rows = self._db.execute(
            "WITH RECURSIVE found(name, n) AS ("
            "SELECT (SELECT min(stream) FROM entries "
            "WHERE stream > :after AND stream >= :category AND stream < :end), 1 UNION ALL "
            "SELECT (SELECT min(stream) FROM entries WHERE stream > name AND stream < :end), n + 1 FROM found "
            "WHERE name IS NOT NULL AND n < :count) "
            "SELECT name FROM found WHERE name IS NOT NULL",
            {"after": after, "category": category, "end": category + "0", "count": count},
        )
        return [str(row[0]) for row in rows]

    def events_before(self, stream: str, before: int) -> int:
        """How many events of a stream stand below seq ``before``: the position after the last of them."""
        low, high = 0, self.next_pos(stream)
        while low < high:
            middle = (low + high) // 2
            if self.seq_of(stream, middle) < before:
                low = middle + 1
            else:
                high = middle
        return low

    def seq_of(self, stream: str, pos: int) -> int:
        """The seq of the event at a position of a stream; ``Malformed`` where none stands there."""
        row = self._db.execute("SELECT seq FROM entries WHERE stream=? AND pos=?", (stream, pos)).fetchone()
        if row is None:
            raise Malformed(f"stream {stream} position {pos}: expected an entry, found none")
        return int(row[0])

    def next_pos(self, stream: str) -> int:
        """The position that the next event of a stream takes."""
        row = self._db.execute("SELECT max(pos) + 1 FROM entries WHERE stream=?", (stream,)).fetchone()
        return int(row[0] or 0)

    def size_at(self, at: str) -> int:
        """How many entries were recorded at or before the time ``at``; times never run backwards."""
        low, high = 0, self.head().size
        while low < high:
            middle = (low + high) // 2
            if self._recorded_at(middle) <= at:
                low = middle + 1
            else:
                high = middle
        return low

    def boxes(self) -> Iterator[tuple[int, str, bytes]]:
        """(seq, field, box) of every sealed field in order; values may be of other types than these."""
        yield from self._db.execute("SELECT seq, field, box FROM boxes ORDER BY seq, field")

    def boxes_of(self, seqs: Sequence[int]) -> dict[int, dict[str, bytes]]:
        """Field to box, for each of these entries that has any; at most some thousands at a time."""
        found: dict[int, dict[str, bytes]] = {}
        statement = f"SELECT seq, field, box FROM boxes WHERE seq IN ({','.join('?' * len(seqs))})"
        for seq, field, box in self._db.execute(statement, seqs):
            found.setdefault(seq, {})[field] = box
        return found

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """(size, signed note) of every published checkpoint, smallest first."""
        rows = self._db.execute("SELECT size, CAST(note AS BLOB) FROM checkpoints ORDER BY size")
        return [(size, note) for size, note in rows]

    def latest_checkpoint(self) -> tuple[int, bytes] | None:
        row = self._db.execute("SELECT size, CAST(note AS BLOB) FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        return None if row is None else (row[0], row[1])

    def newest_checkpoints(self, most: int, count: int) -> list[tuple[int, bytes]]:
        """(size, signed note) of at most ``count`` published checkpoints of a size up to ``most``, largest first."""
        rows = self._db.execute(
            "SELECT size, CAST(note AS BLOB) FROM checkpoints WHERE size <= ? ORDER BY size DESC LIMIT ?", (most, count)
        )
        return [(size, note) for size, note in rows]

    def next_checkpoint(self, least: int) -> tuple[int, bytes] | None:
        """(size, signed note) of the smallest published checkpoint of at least this size."""
        row = self._db.execute(
            "SELECT size, CAST(note AS BLOB) FROM checkpoints WHERE size >= ? ORDER BY size LIMIT 1", (least,)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def tiles(self) -> Iterator[tuple[int, int, bytes, bytes]]:
        """(level, n, root, hashes) of every full tile, lower levels first."""
        yield from self._db.execute("SELECT level, n, root, hashes FROM tiles ORDER BY level, n")

    def hashes(self, level: int, first: int, count: int) -> bytes:
        """``count`` hashes of a tile level from number ``first`` on, joined; they must lie in one tile.

        Taken from the full tile where there is one, else from the leaves or from the tiles below.
        """
        n, offset = divmod(first, TILE_WIDTH)
        row = self._db.execute(
            "SELECT substr(hashes, ?, ?) FROM tiles WHERE level=? AND n=?",
            (32 * offset + 1, 32 * count, level, n),
        ).fetchone()
        if row is not None:
            return bytes(row[0])
        if level == 0:
            rows = self._db.execute(
                "SELECT leaf FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq", (first, first + count)
            )
        else:
            rows = self._db.execute(
                "SELECT root FROM tiles WHERE level=? AND n >= ? AND n < ? ORDER BY n",
                (level - 1, first, first + count),
            )
        return b"".join([row[0] for row in rows])

    def frontier_at(self, size: int) -> Frontier:
        """The frontier of the tree over the first ``size`` entries, from O(log size) stored hashes."""
        packed, start = b"", 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                packed += node_from_tiles(level, start >> level, size, self.hashes)
                start += 1 << level
        return Frontier.unpack(size, packed)

    def _recorded_at(self, seq: int) -> str:
        row = self._db.execute("SELECT entry FROM entries WHERE seq=?", (seq,)).fetchone()
        if row is None:
            raise Malformed(f"entry {seq}: expected to find it, found none")
        raw = bytes(row[0])
        start = raw.index(b'"at":"') + 6
        return raw[start : start + 27].decode()


def check_schema(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is not a ledger, or is a newer one than this version knows."""
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        known = db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('ledger', 'entries')").fetchone()[0]
    except sqlite3.Error as error:
        raise Unavailable(f"{path}: {error}") from error
    if version > SCHEMA_VERSION:
        raise UnsupportedFormat(f"{path}: ledger format {version}, this version knows up to {SCHEMA_VERSION}")
    if version < 1 or known != 2:
        raise Unavailable(f"{path}: not an Affidavit ledger")


@contextmanager
def open_snapshot(folder: Path, *, copy: bool = False, hold: bool = True) -> Iterator[LedgerReader]:
    """Read the ledger in ``folder`` without changing a byte of it.

    While an immutable snapshot is read, appends wait. Who reads for long says ``hold=False``, asks
    ``fingerprint`` before and after, and reads a ``copy`` where it changed.
    """
    path = folder / LEDGER_FILE
    if not path.is_file():
        raise Unavailable(f"no ledger in {folder}: expected {LEDGER_FILE}; `affidavit init` makes one")
    with tempfile.TemporaryDirectory(prefix="affidavit-") as scratch, ExitStack() as held:
        held.enter_context(hold_lock(folder / LOCK_FILE))
        source, options = path, "mode=ro&immutable=1"
        if copy or _has_wal(path):
            source, options = Path(scratch) / path.name, "mode=rw"
            shutil.copyfile(path, source)
            if _has_wal(path):
                shutil.copyfile(_wal(path), _wal(source))
        if source != path or not hold:
            held.close()
        uri = f"{source.absolute().as_uri()}?{options}"
        with closing(connect(uri)) as db:
            check_schema(db, path)
            yield LedgerReader(db, uri)


@contextmanager
def open_beside(folder: Path) -> Iterator[LedgerReader]:
    """Read one state of the ledger in ``folder``, as it is now, while a writer has it open; nobody who appends waits.

    Until it is closed SQLite keeps what is appended in the ``-wal`` file. Where no writer has the ledger open,
    ``open_snapshot`` is what touches no byte.
    """
    path = folder / LEDGER_FILE
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as db:
        check_schema(db, path)
        db.execute("BEGIN")
        reader = LedgerReader(db)
        reader.head()  # the state is taken at the first look
        yield reader


def fingerprint(folder: Path) -> tuple[object, ...]:
    """Changes when something is appended to the ledger in ``folder``, or a checkpoint is published."""
    path = folder / LEDGER_FILE
    stat = path.stat()
    return (stat.st_mtime_ns, stat.st_size, _has_wal(path))


def connect(uri: str) -> sqlite3.Connection:
    """Open a snapshot's ``uri``, here or in another process."""
    return sqlite3.connect(uri, uri=True, check_same_thread=False)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _has_wal(path: Path) -> bool:
    wal = _wal(path)
    return wal.exists() and wal.stat().st_size > 0
