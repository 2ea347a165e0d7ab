"""What is derived of sessions and verdicts, by day, as columns: what an overview is computed from.

A segment is one day: of sessions that began (``begun``), of results by when their session began (``graded``) and
of verdicts by when they were judged (``judged``). It is derived from the view's rows by SQL and may be kept beside
them; a day whose sessions have new facts is mended when it is read. An overview loads the segments of the days that
it shows, so what it costs does not depend on what came before. As of an earlier size, what was recorded since is left
out, and the sessions that have facts on both sides of that size are derived anew.

Aliases stand in columns as the 64 random bits that they are. Texts (source, version, rule) are numbers into
``Segments.texts``, the same for all the days that are loaded together.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ..columns import add_rows
from ..runner import tracked
from .effective import VERDICT_COUNTS, newer_result
from .stale import SOURCE_TABLES, fill_sessions, has_nameless_since, kept_as, make_caches, split_sessions
from .view import DAY, EVALUATION_VIEW

Kind = Literal["begun", "graded", "judged"]
NONE = -(2**63)
"""Stands for a missing integer."""
MENDED_AT_MOST = 400
"""With more stale sessions than these a day is derived as a whole."""
DERIVED_AT_MOST = 20_000
"""With more sessions than these on both sides of an earlier size its days are derived as a whole."""
_MICRO = 1_000_000
_HELD_AT_MOST = 250_000
"""Where more rows than these are held in memory they make room for the days that are asked for next."""

SUCCESS, SYSTEM_ERROR, ESCALATED, REPEATED, FLIPPED, SUPERSEDED = 1, 2, 4, 8, 16, 32
"""Flags of a result. ``REPEATED``: its session has other results; ``FLIPPED``: its requests had several sources.
``SYSTEM_ERROR`` is only set on a failure. ``SUPERSEDED``: somebody asked for another grade since; it counts nowhere but
among what chance chose."""

SERVED_FIRST, SIGNIFICANT, LOST, TIED = 1, 2, 4, 8
"""Flags of a verdict; neither lost nor tied is a win of the served answer."""

DTYPES: dict[Kind, Any] = {
    "begun": np.dtype([("at", "i8"), ("seq", "i8"), ("session", "u8"), ("user", "u8"), ("source", "i4")]),
    "graded": np.dtype(
        [
            *(("at", "i8"), ("seq", "i8"), ("result_id", "i8"), ("session", "u8"), ("user", "u8")),
            *(("corrections", "i8"), ("turns", "i8"), ("source", "i4"), ("made", "i4"), ("version", "i4")),
            *(
                ("model", "i4"),
                ("name", "i4"),
                ("prompt", "i4"),
                ("flags", "u4"),
                ("first_cited", "u4"),
                ("cited", "u4"),
            ),
        ]
    ),
    "judged": np.dtype(
        [
            *(("at", "i8"), ("seq", "i8"), ("session", "u8"), ("user", "u8"), ("source", "i4"), ("version", "i4")),
            *(("made", "i4"), ("model", "i4"), ("flags", "u4")),
        ]
    ),
}
TEXT_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "begun": ("source",),
    "graded": ("source", "made", "version", "model", "name", "prompt"),
    "judged": ("source", "version", "made", "model"),
}

_FIRST = (
    "(SELECT {} FROM requests q WHERE q.session = t.session AND q.seq < :size ORDER BY q.requested_at, q.seq LIMIT 1)"
)
# What somebody has graded anew by a click still counts among what chance chose, so that it is kept, and flagged.
_CLICKED, _AGAIN = newer_result("= 'on_demand'"), newer_result("NOT IN ('import', 'on_demand')")
_QUERIES: dict[Kind, str] = {
    # The first request of a session, which is the row of which no earlier one exists.
    "begun": f"""SELECT t.day, t.requested_at, t.seq, t.session, t.user, t.source FROM requests t
        WHERE t.seq < :size AND t.seq = {_FIRST.format("q.seq")} AND""",
    "graded": f"""SELECT t.day, t.started_at, t.seq, t.result_id, t.session, coalesce(t.user, t.session), t.corrections,
        t.turns, coalesce({_FIRST.format("q.source")}, ''), t.made, t.agent_version, coalesce(t.model, ''), t.success,
        t.failure_type, t.escalated,
        (SELECT count(*) FROM results o WHERE o.session = t.session AND o.seq < :size),
        (SELECT count(DISTINCT q.source) FROM requests q WHERE q.session = t.session AND q.seq < :size),
        {_CLICKED}, t.evaluation_name, coalesce(t.version, '')
        FROM results t WHERE t.seq < :size AND NOT {_AGAIN} AND NOT (t.made = 'on_demand' AND {_CLICKED}) AND""",
    "judged": f"""SELECT t.day, t.judged_at, t.seq, t.session, coalesce(t.user, t.session),
        coalesce({_FIRST.format("q.source")}, ''), coalesce(t.version, ''), t.made, coalesce(t.model, ''),
        t.reflexio_is_request_1, t.significant, t.better
        FROM verdicts t WHERE t.seq < :size AND {VERDICT_COUNTS} AND""",
}
_CITED = """SELECT DISTINCT t.session, c.kind, c.rule FROM results t CROSS JOIN citations c
    WHERE c.session = t.session AND t.seq < :size AND c.seq < :size AND"""


@dataclass(frozen=True, slots=True)
class Segments:
    """Rows of one kind, of whole days, in order of time. ``texts`` are what the numbers in text columns stand for.

    Of ``graded``: the rules that a row's session cites are ``cited[first_cited : first_cited + cited]`` of the row,
    each a number into ``rules``, which are (kind, rule).
    """

    rows: NDArray[Any]
    texts: tuple[str, ...]
    cited: NDArray[np.int32]
    rules: tuple[tuple[str, str], ...]


class Load(Protocol):
    """The rows of the days ``first_day`` to ``last_day``, both included, over the first ``size`` entries."""

    def __call__(self, views: Connection, kind: Kind, first_day: int, last_day: int, size: int, /) -> Segments: ...


def load_segments(views: Connection, kind: Kind, first_day: int, last_day: int, size: int) -> Segments:
    """The rows of the days ``first_day`` to ``last_day``, both included, over the first ``size`` entries."""
    return HeldDays().load(views, kind, first_day, last_day, size)


class HeldDays:
    """Days in memory, for who asks for several windows, or several earlier moments, while nothing is recorded.

    Of each kind they are the days from the first to the last that were asked for, as they are now.
    """

    def __init__(self) -> None:
        self._held: dict[Kind, tuple[int, int, Segments]] = {}
        self._split: tuple[int, list[str]] | None = None

    def load(self, views: Connection, kind: Kind, first_day: int, last_day: int, size: int) -> Segments:
        """As ``load_segments``."""
        make_caches(views)
        now = tracked(views, EVALUATION_VIEW)[0]
        present = self._present(views, kind, first_day, last_day, now)
        if size == now:
            return present
        if self._split is None or self._split[0] != size:
            self._split = size, split_sessions(views, size, now)
        return _as_of(views, kind, first_day, last_day, size, present, self._split[1])

    def _present(self, views: Connection, kind: Kind, first_day: int, last_day: int, now: int) -> Segments:
        begin, end, held = self._held.get(kind, (first_day, last_day, None))
        if held is None or first_day < begin or last_day > end:
            begin, end = min(begin, first_day), max(end, last_day)
            if held is not None and len(held.rows) > _HELD_AT_MOST:
                begin, end = first_day, last_day
            held = _joined(kind, _in_day_order(_present(views, kind, begin, end, now)))
            self._held[kind] = begin, end, held
        if (begin, end) == (first_day, last_day):
            return held
        day = DAY * _MICRO if kind == "judged" else DAY
        return replace(held, rows=between(held.rows, first_day * day, (last_day + 1) * day - 1))


def _present(views: Connection, kind: Kind, first_day: int, last_day: int, size: int) -> dict[int, Segments]:
    """The days as they are now: as they are kept, mended, or derived and kept."""
    kept = {
        day: _unpack(kind, content)
        for day, content in views.exec_driver_sql(
            "SELECT day, content FROM segments WHERE kind = ? AND day BETWEEN ? AND ?",
            (kept_as(kind), first_day, last_day),
        )
    }
    stale: dict[int, list[str]] = {}
    for day, session in views.exec_driver_sql(
        "SELECT day, session FROM stale WHERE kind = ? AND day BETWEEN ? AND ?", (kept_as(kind), first_day, last_day)
    ):
        stale.setdefault(day, []).append(session)
    missing = [
        day
        for day in _days(views, kind, first_day, last_day)
        if day not in kept or len(stale.get(day, ())) > MENDED_AT_MOST
    ]
    for start, stop in _stretches(missing):
        derived = _derive(views, kind, start, stop, size)
        kept.update(derived)
        _keep(views, kind, start, stop, derived)
        for day in range(start, stop + 1):
            stale.pop(day, None)
    for day, sessions in stale.items():
        kept[day] = _mended(views, kind, day, sessions, kept[day], size)
    return kept


def _as_of(
    views: Connection, kind: Kind, first_day: int, last_day: int, size: int, present: Segments, split: Sequence[str]
) -> Segments:
    """The days as they were: a session whose facts are all of then or all of since needs no deriving."""
    # Of a verdict on a session that is not known nobody can say what came after it.
    nameless = kind == "judged" and has_nameless_since(views, size)
    if nameless or len(split) > DERIVED_AT_MOST:
        return _joined(kind, _in_day_order(_derive(views, kind, first_day, last_day, size)))
    stays = present.rows["seq"] < size
    if split:
        stays &= ~_of_sessions(present.rows, split)
    kept = replace(present, rows=_taken(present.rows, np.flatnonzero(stays)))
    derived = _in_day_order(_derive(views, kind, first_day, last_day, size, split)) if split else []
    if not derived:
        return kept
    mended = _joined(kind, [kept, *derived])
    return replace(mended, rows=_in_order(mended.rows))


def _of_sessions(rows: NDArray[Any], sessions: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows are of these sessions, which are few."""
    numbers = np.sort(np.array([number_of(session) for session in sessions], dtype=np.uint64))
    place = np.minimum(np.searchsorted(numbers, rows["session"]), len(numbers) - 1)
    found: NDArray[np.bool_] = numbers[place] == rows["session"]
    return found


def between(rows: NDArray[Any], first: int, last: int) -> NDArray[Any]:
    """The rows from ``first`` up to and with ``last``, of rows that stand in order of time."""
    at = rows["at"]  # which numpy's own search would copy whole
    return rows[bisect_left(at, first) : bisect_right(at, last)]


def number_of(alias: str) -> int:
    """The 64 bits of an alias."""
    return int(alias.rpartition("-")[2], 16)


def alias_of(kind: str, number: int) -> str:
    """The alias of 64 bits."""
    return f"{kind}-{int(number):016x}"


def _days(views: Connection, kind: Kind, first_day: int, last_day: int) -> list[int]:
    """The days that have rows, found by skipping through the index: as many steps as days."""
    table = SOURCE_TABLES[kind]
    found = views.exec_driver_sql(
        f"WITH RECURSIVE d(day) AS (SELECT (SELECT min(day) FROM {table} WHERE day >= ?) UNION ALL "
        f"SELECT (SELECT min(day) FROM {table} t WHERE t.day > d.day) FROM d WHERE d.day IS NOT NULL AND d.day < ?) "
        "SELECT day FROM d WHERE day IS NOT NULL AND day <= ?",
        (first_day, last_day, last_day),
    )
    return [row[0] for row in found]


def _stretches(days: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending days as (first, last) of runs without a gap."""
    start = previous = None
    for day in days:
        if start is None or previous is None or day != previous + 1:
            if start is not None and previous is not None:
                yield start, previous
            start = day
        previous = day
    if start is not None and previous is not None:
        yield start, previous


def _derive(
    views: Connection, kind: Kind, first_day: int, last_day: int, size: int, sessions: Sequence[str] | None = None
) -> dict[int, Segments]:
    """Segments by day from the view's rows; of these ``sessions`` only, where they are given."""
    where = "t.day BETWEEN :first AND :last"
    if sessions is not None:
        fill_sessions(views, sessions)
        # "+" keeps SQLite from walking the days for the few sessions.
        where = "+t.day BETWEEN :first AND :last AND t.session IN (SELECT session FROM asked)"
    bound = {"size": size, "first": first_day, "last": last_day}
    cited: dict[str, list[tuple[str, str]]] = {}
    if kind == "graded":
        for session, rule_kind, rule in views.exec_driver_sql(f"{_CITED} {where}", bound):
            cited.setdefault(session, []).append((rule_kind, rule))
    made: dict[int, _Making] = {}
    for day, *values in views.exec_driver_sql(f"{_QUERIES[kind]} {where}", bound):
        if day not in made:
            made[day] = _Making(kind)
        made[day].add(values, cited)
    return {day: making.made() for day, making in made.items()}


class _Making:
    """A segment in the making."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._rows: list[tuple[int, ...]] = []
        self._texts: dict[str, int] = {}
        self._rules: dict[tuple[str, str], int] = {}
        self._cited: list[int] = []

    def add(self, values: Sequence[Any], cited: dict[str, list[tuple[str, str]]]) -> None:
        match self._kind:
            case "begun":
                at, seq, session, user, source = values
                row: tuple[int, ...] = (at, seq, number_of(session), number_of(user), self._text(source))
            case "graded":
                row = self._graded(values, cited)
            case "judged":
                row = self._judged(values)
        self._rows.append(row)

    def made(self) -> Segments:
        rows = _in_order(np.array(self._rows, dtype=DTYPES[self._kind]))
        texts = sorted(self._texts)  # so that days with the same texts have the same numbers
        number = {text: place for place, text in enumerate(texts)}
        _renumber(rows, TEXT_COLUMNS[self._kind], [number[text] for text in self._texts])
        return Segments(rows, tuple(texts), np.array(self._cited, dtype=np.int32), tuple(self._rules))

    def _graded(self, values: Sequence[Any], cited: dict[str, list[tuple[str, str]]]) -> tuple[int, ...]:
        at, seq, result_id, session, user, corrections, turns, source, made, version, model = values[:11]
        success, failure_type, escalated, results, sources, superseded, name, prompt = values[11:]
        system_error = not success and (failure_type or "").strip().lower() == "system_error"
        flags = SUCCESS * bool(success) | SYSTEM_ERROR * system_error | ESCALATED * bool(escalated)
        flags |= REPEATED * (results > 1) | FLIPPED * (sources > 1) | SUPERSEDED * bool(superseded)
        rules = cited.get(session, ())
        first = len(self._cited)
        self._cited += [self._rules.setdefault(rule, len(self._rules)) for rule in rules]
        texts = (
            self._text(source),
            self._text(made),
            self._text(version),
            self._text(model),
            self._text(name),
            self._text(prompt),
        )
        known = (at, seq, result_id, number_of(session), number_of(user), corrections, NONE if turns is None else turns)
        return (*known, *texts, flags, first, len(rules))

    def _judged(self, values: Sequence[Any]) -> tuple[int, ...]:
        at, seq, session, user, source, version, made, model, first, significant, better = values
        won = (better == "1") == bool(first)
        flags = SERVED_FIRST * bool(first) | SIGNIFICANT * bool(significant)
        flags |= TIED if better == "tie" else 0 if won else LOST
        who = (0 if session is None else number_of(session), 0 if user is None else number_of(user))
        texts = (self._text(source), self._text(version), self._text(made), self._text(model))
        return (at, seq, *who, *texts, flags)

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))


def _mended(views: Connection, kind: Kind, day: int, sessions: Sequence[str], kept: Segments, size: int) -> Segments:
    """A kept day, with what is derived now in place of its stale sessions."""
    rest = replace(kept, rows=_taken(kept.rows, np.flatnonzero(~_of_sessions(kept.rows, sessions))))
    mended = _joined(kind, [rest, *_derive(views, kind, day, day, size, sessions).values()])
    return replace(mended, rows=_in_order(mended.rows))


def _in_order(rows: NDArray[Any]) -> NDArray[Any]:
    return _taken(rows, np.argsort(rows["at"], kind="stable"))


def _taken(rows: NDArray[Any], places: NDArray[np.intp]) -> NDArray[Any]:
    """The rows at these places, without a copy where they stand side by side."""
    if not len(places):
        return rows[:0]
    first, last = int(places[0]), int(places[-1])
    if last - first == len(places) - 1 and (np.diff(places) == 1).all():
        return rows[first : last + 1]
    return rows.view(_whole(rows.dtype))[places].view(rows.dtype)


def _whole(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Rows as bytes, whose columns numpy does not look at: it copies them faster."""
    return np.dtype((np.void, dtype.itemsize))


def _in_day_order(segments: dict[int, Segments]) -> list[Segments]:
    return [segments[day] for day in sorted(segments)]


def _joined(kind: Kind, parts: Iterable[Segments]) -> Segments:
    """Several segments as one, their numbers for texts and rules made the same."""
    held = [part for part in parts if len(part.rows)]
    texts = {text: number for number, text in enumerate(sorted({text for part in held for text in part.texts}))}
    rules = {rule: number for number, rule in enumerate(sorted({rule for part in held for rule in part.rules}))}
    rows = np.empty(sum(len(part.rows) for part in held), dtype=DTYPES[kind])
    if held:
        whole = _whole(rows.dtype)
        np.concatenate([part.rows.view(whole) for part in held], out=rows.view(whole))
    cited: list[NDArray[np.int32]] = []
    start = offset = 0
    for part in held:
        own = rows[start : start + len(part.rows)]
        start += len(part.rows)
        _renumber(own, TEXT_COLUMNS[kind], [texts[text] for text in part.texts])
        if kind == "graded" and offset:
            own["first_cited"] += offset
        if len(part.cited):
            cited.append(np.array([rules[rule] for rule in part.rules], dtype=np.int32)[part.cited])
            offset += len(part.cited)
    joined = np.concatenate(cited) if cited else np.empty(0, dtype=np.int32)
    return Segments(rows, tuple(texts), joined, tuple(rules))


def _renumber(rows: NDArray[Any], columns: Sequence[str], numbers: Sequence[int]) -> None:
    if list(numbers) != list(range(len(numbers))):
        wanted = np.array(numbers, dtype=np.int32)
        for column in columns:
            rows[column] = wanted[rows[column]]


def _keep(views: Connection, kind: Kind, start: int, stop: int, derived: dict[int, Segments]) -> None:
    for table in ("segments", "stale"):
        views.exec_driver_sql(
            f"DELETE FROM {table} WHERE kind = ? AND day BETWEEN ? AND ?", (kept_as(kind), start, stop)
        )
    if derived:
        add_rows(views, "segments", [(kept_as(kind), day, _pack(segment)) for day, segment in derived.items()])
    views.commit()  # what is kept is whole, whatever becomes of the reading


def _pack(segment: Segments) -> bytes:
    header = json.dumps([len(segment.rows), segment.texts, segment.rules]).encode()
    return header + b"\n" + segment.rows.tobytes() + segment.cited.tobytes()


def _unpack(kind: Kind, content: bytes) -> Segments:
    end = content.index(b"\n") + 1
    count, texts, rules = json.loads(content[:end])
    rows = np.frombuffer(content, DTYPES[kind], count, end)
    cited = np.frombuffer(content, np.int32, -1, end + rows.nbytes)
    return Segments(rows, tuple(texts), cited, tuple((kind, rule) for kind, rule in rules))
