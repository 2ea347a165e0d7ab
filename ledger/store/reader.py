"""The reading side of a ledger: queries that change nothing, the same over every database.

What a database has of its own, its reader says: ``sqlite/reader.py``, ``postgres/reader.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from ..entries.chain import Head
from ..entries.entry import StoredEntry
from ..errors import Malformed
from ..tlog.tiles import TILE_WIDTH, frontier_at
from ..tlog.tree import Frontier

_ENTRY = "SELECT seq, stream, pos, type, entry, leaf FROM entries"
_NO_END = 2**62


class LedgerReader(ABC):
    """Read-only queries on one state of a ledger. Their SQL is what the databases have in common, ``?`` a value.

    ``again`` opens the same state once more, in a worker process; None where that cannot be had. Not safe from threads.
    """

    again: Callable[[], LedgerReader] | None = None

    _NOTE = "note"
    """How the bytes of a signed note are selected."""
    _UNINDEXED = ""
    """What, before a column, keeps the planner from going by its index."""
    _PLACE_IN = "strpos"
    """The function that finds a text in another, from 1 on."""

    @abstractmethod
    def _rows(self, statement: str, *values: object) -> list[Any]:
        """Every row of the answer."""

    @abstractmethod
    def _stream(self, statement: str, *values: object) -> Iterator[Any]:
        """The rows of an answer that may not fit into memory, read as they are asked for."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Where the tables differ from those of a ledger, and what the database itself finds wrong with them."""

    def _row(self, statement: str, *values: object) -> Any:
        return next(iter(self._rows(statement, *values)), None)

    def head(self) -> Head:
        row = self._row("SELECT size, leaf, at, frontier, held FROM head")
        if row is None:
            raise Malformed("table head: expected one row, found none")
        if [type(value) for value in row] != [int, bytes, str, bytes, int] or row[4] not in (0, 1):
            raise Malformed("table head: its row holds values of other types than it was given")
        return Head(row[0], row[1], row[2], row[3], held=bool(row[4]))

    def origin(self) -> str:
        """The origin, as stored beside the entries; entry 0 says it under the first signature."""
        row = self._row("SELECT origin FROM ledger")
        if row is None or type(row[0]) is not str:
            raise Malformed(f"table ledger: expected one row that names the origin, found {row!r:.80}")
        return row[0]

    def clock_finding_at(self) -> str | None:
        """When the newest finding of a clock that stood behind was recorded."""
        row = self._row("SELECT seq FROM entries WHERE stream='clock' ORDER BY pos DESC LIMIT 1")
        return None if row is None else self._recorded_at(row[0])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """Entries ``start <= seq < stop`` in order, streamed."""
        rows = self._stream(
            f"{_ENTRY} WHERE seq >= ? AND seq < ? ORDER BY seq", start, _NO_END if stop is None else stop
        )
        return map(StoredEntry._make, rows)

    def raws(self, start: int, stop: int) -> list[bytes]:
        """The bytes of the entries ``start <= seq < stop`` that are there, in order; twice as fast as their rows."""
        rows = self._rows("SELECT entry FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq", start, stop)
        return [row[0] for row in rows]

    def stream(
        self, stream: str, before: int | None = None, start: int = 0, *, without: Collection[str] = ()
    ) -> Iterator[StoredEntry]:
        """The entries of one stream from position ``start`` on, those below seq ``before`` where it is given.

        Those of the types ``without`` are left out, and their bytes are not read.
        """
        others = f"AND type NOT IN ({_places(without)}) " if without else ""
        rows = self._stream(
            f"{_ENTRY} WHERE stream=? AND pos >= ? AND seq < ? {others}ORDER BY pos",
            stream,
            start,
            _NO_END if before is None else before,
            *without,
        )
        return map(StoredEntry._make, rows)

    def newest(self, before: int, count: int) -> list[StoredEntry]:
        """At most ``count`` entries below seq ``before``, newest first."""
        return self._entries("WHERE seq < ? ORDER BY seq DESC LIMIT ?", before, count)

    def newest_of_stream(self, stream: str, stop: int, count: int) -> list[StoredEntry]:
        """At most ``count`` entries of a stream below position ``stop``, newest first."""
        return self._entries("WHERE stream=? AND pos < ? ORDER BY pos DESC LIMIT ?", stream, stop, count)

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
            name = f"{self._UNINDEXED}stream"  # the index of streams has all history
            asked += f" AND ({name} = ? OR ({name} > ? AND {name} < ?))"
            values += [category, category + "/", category + "0"]  # "0" follows "/" in ASCII
        found = self._entries(f"WHERE seq >= ? AND seq < ?{asked} ORDER BY seq DESC LIMIT ?", *values, count)
        return found, (found[-1].seq if len(found) == count else low)

    def count_types(self, start: int, stop: int) -> list[tuple[str, str, int]]:
        """(category of the stream, type, count) of the entries ``start <= seq < stop``, the most frequent first."""
        return self._rows(
            f"SELECT substr(stream, 1, {self._PLACE_IN}(stream || '/', '/') - 1) AS category, type, count(*) AS n "
            "FROM entries WHERE seq >= ? AND seq < ? GROUP BY category, type ORDER BY n DESC, category, type",
            start,
            stop,
        )

    def extent(self) -> tuple[int, int, int]:
        """(smallest seq, largest seq, count) of the entries that are there; (0, -1, 0) for none."""
        low, high, count = self._row("SELECT min(seq), max(seq), count(*) FROM entries")
        return (0, -1, 0) if low is None else (low, high, count)

    def first_gap(self) -> int:
        """The smallest seq from 0 on that has no entry."""
        if self._row("SELECT 1 FROM entries WHERE seq=0") is None:
            return 0
        (last,) = self._row(
            "SELECT seq FROM entries a WHERE seq >= 0 AND "
            "NOT EXISTS (SELECT 1 FROM entries b WHERE b.seq = a.seq + 1) ORDER BY seq LIMIT 1"
        )
        return int(last) + 1

    def streams(self, category: str) -> list[str]:
        """The names of the streams ``category/…``, sorted; found by skipping through the index."""
        rows = self._rows(
            "WITH RECURSIVE found(name) AS ("
            "SELECT min(stream) FROM entries WHERE stream > ? AND stream < ? UNION ALL "
            "SELECT (SELECT min(stream) FROM entries WHERE stream > name AND stream < ?) FROM found "
            "WHERE name IS NOT NULL) SELECT name FROM found WHERE name IS NOT NULL",
            category + "/",
            category + "0",  # "0" follows "/" in ASCII
            category + "0",
        )
        return [str(row[0]) for row in rows]

    def categories(self, before: int | None = None) -> list[str]:
        """What stands before the first "/" of the names of streams, sorted; found by skipping through the index.

        Of the entries below seq ``before`` where it is given, which may look at every entry of a category.
        """
        found: list[str] = []
        after = ""
        while True:
            (name,) = self._row("SELECT min(stream) FROM entries WHERE stream >= ?", after)
            if name is None:
                break
            found.append(name.partition("/")[0])
            after = found[-1] + "0"
        return found if before is None else [name for name in found if self._begins(name, before)]

    def _begins(self, category: str, before: int) -> bool:
        row = self._row(
            f"SELECT EXISTS (SELECT 1 FROM entries WHERE stream >= ? AND stream < ? AND {self._UNINDEXED}seq < ?)",
            category,
            category + "0",
            before,
        )
        return bool(row[0])

    def seqs_of_types(self, types: Sequence[str], before: int, most: int) -> list[int]:
        """At most ``most`` seqs below ``before`` of the entries of some types, in order; their bytes are not read."""
        rows = self._rows(
            f"SELECT seq FROM entries WHERE seq < ? AND type IN ({_places(types)}) ORDER BY seq LIMIT ?",
            before,
            *types,
            most,
        )
        return [row[0] for row in rows]

    def stream_names(self, category: str, after: str, count: int) -> list[str]:
        """At most ``count`` names of the streams ``category`` and ``category/…`` that come after ``after``, sorted."""
        rows = self._rows(
            "WITH RECURSIVE found(name, n) AS ("
            "SELECT (SELECT min(stream) FROM entries WHERE stream > ? AND stream >= ? AND stream < ?), 1 UNION ALL "
            "SELECT (SELECT min(stream) FROM entries WHERE stream > name AND stream < ?), n + 1 FROM found "
            "WHERE name IS NOT NULL AND n < ?) "
            "SELECT name FROM found WHERE name IS NOT NULL",
            after,
            category,
            category + "0",
            category + "0",
            count,
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
        row = self._row("SELECT seq FROM entries WHERE stream=? AND pos=?", stream, pos)
        if row is None:
            raise Malformed(f"stream {stream} position {pos}: expected an entry, found none")
        return int(row[0])

    def next_pos(self, stream: str) -> int:
        """The position that the next event of a stream takes."""
        return self.next_positions([stream])[stream]

    def next_positions(self, streams: Iterable[str]) -> dict[str, int]:
        """The position that the next event of each of these streams takes."""
        found = {}
        for stream in streams:
            row = self._row("SELECT pos FROM entries WHERE stream=? ORDER BY pos DESC LIMIT 1", stream)
            found[stream] = 0 if row is None else int(row[0]) + 1
        return found

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

    def boxes(self, low: int | None = None, high: int | None = None) -> Iterator[tuple[int, str, bytes]]:
        """(seq, field, box) of every sealed field in order, those of ``low <= seq < high`` where these are given.

        Values may be of other types than these.
        """
        asked = [f"seq {sign} ?" for sign, bound in ((">=", low), ("<", high)) if bound is not None]
        where = f"WHERE {' AND '.join(asked)} " if asked else ""
        bounds = [bound for bound in (low, high) if bound is not None]
        return self._stream(f"SELECT seq, field, box FROM boxes {where}ORDER BY seq, field", *bounds)

    def boxes_of(self, seqs: Sequence[int]) -> dict[int, dict[str, bytes]]:
        """Field to box, for each of these entries that has any; at most some thousands at a time."""
        found: dict[int, dict[str, bytes]] = {}
        if seqs:
            rows = self._rows(f"SELECT seq, field, box FROM boxes WHERE seq IN ({_places(seqs)})", *seqs)
            for seq, field, box in rows:
                found.setdefault(seq, {})[field] = box
        return found

    def count_boxes(self) -> int:
        """How many sealed fields have a box."""
        return int(self._row("SELECT count(*) FROM boxes")[0])

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """(size, signed note) of every published checkpoint, smallest first."""
        return self._checkpoints("ORDER BY size")

    def latest_checkpoint(self) -> tuple[int, bytes] | None:
        return next(iter(self._checkpoints("ORDER BY size DESC LIMIT 1")), None)

    def newest_checkpoints(self, most: int, count: int) -> list[tuple[int, bytes]]:
        """(size, signed note) of at most ``count`` published checkpoints of a size up to ``most``, largest first."""
        return self._checkpoints("WHERE size <= ? ORDER BY size DESC LIMIT ?", most, count)

    def next_checkpoint(self, least: int) -> tuple[int, bytes] | None:
        """(size, signed note) of the smallest published checkpoint of at least this size."""
        return next(iter(self._checkpoints("WHERE size >= ? ORDER BY size LIMIT 1", least)), None)

    def checkpoints_between(self, after: int, most: int) -> list[tuple[int, bytes]]:
        """(size, signed note) of the published checkpoints of a size above ``after`` and up to ``most``."""
        return self._checkpoints("WHERE size > ? AND size <= ? ORDER BY size", after, most)

    def tiles(self) -> Iterator[tuple[int, int, bytes, bytes]]:
        """(level, n, root, hashes) of every full tile, lower levels first."""
        return self._stream("SELECT level, n, root, hashes FROM tiles ORDER BY level, n")

    def hashes(self, level: int, first: int, count: int) -> bytes:
        """``count`` hashes of a tile level from number ``first`` on, joined; they must lie in one tile.

        Taken from the full tile where there is one, else from the leaves or from the tiles below.
        """
        n, offset = divmod(first, TILE_WIDTH)
        row = self._row(
            "SELECT substr(hashes, ?, ?) FROM tiles WHERE level=? AND n=?", 32 * offset + 1, 32 * count, level, n
        )
        if row is not None:
            return bytes(row[0])
        if level == 0:
            statement = "SELECT leaf FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq"
            rows = self._rows(statement, first, first + count)
        else:
            statement = "SELECT root FROM tiles WHERE level=? AND n >= ? AND n < ? ORDER BY n"
            rows = self._rows(statement, level - 1, first, first + count)
        return b"".join([row[0] for row in rows])

    def frontier_at(self, size: int) -> Frontier:
        """The frontier of the tree over the first ``size`` entries, from O(log size) stored hashes."""
        return frontier_at(size, self.hashes)

    def _entries(self, rest: str, *values: object) -> list[StoredEntry]:
        return [*map(StoredEntry._make, self._rows(f"{_ENTRY} {rest}", *values))]

    def _checkpoints(self, rest: str, *values: object) -> list[tuple[int, bytes]]:
        rows = self._rows(f"SELECT size, {self._NOTE} FROM checkpoints {rest}", *values)
        return [(size, note) for size, note in rows]

    def _recorded_at(self, seq: int) -> str:
        row = self._row("SELECT entry FROM entries WHERE seq=?", seq)
        if row is None:
            raise Malformed(f"entry {seq}: expected to find it, found none")
        raw = bytes(row[0])
        start = raw.index(b'"at":"') + 6
        return raw[start : start + 27].decode()


def _places(values: Collection[object]) -> str:
    return ",".join("?" * len(values))
