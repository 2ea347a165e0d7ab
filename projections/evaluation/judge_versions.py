"""The judges through time: which version of the prompt was pinned when, and how many verdicts each version gave.

Verdicts are counted as they were recorded, all of them, by when they were judged; which of them count in a headline
is asked elsewhere. Versions are never added up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Column, Connection, MetaData, Table

from ...domain.evaluation.config import DEFAULT_PIN
from ...domain.evaluation.events import JudgePromptPublished
from ...domain.evaluation.prompts import GRADE_PROMPT, SHADOW_PROMPTS
from ...ledger.store.opening import EventReader
from ..columns import TEXT, WHOLE, equals
from .trend import MICRO
from .view import DAY

MOST_PINS = 200
"""Changes of the pinned version that are shown, the newest of them."""

RECENT = 500
RECENT_DAYS = 30
_CACHE = MetaData()
Table(
    "verdict_days_2",
    _CACHE,
    Column("version", TEXT, primary_key=True),
    Column("day", WHOLE, primary_key=True, autoincrement=False),
    Column("n", WHOLE),
    sqlite_with_rowid=False,
)
Table("verdicts_counted_2", _CACHE, Column("size", WHOLE))
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Pinned:
    """A version was pinned from ``since`` (seconds) on, by the configuration at entry ``seq``; the first by default,
    which no entry says. ``until`` is None of the one in force."""

    version: str
    since: int
    until: int | None
    seq: int | None


@dataclass(frozen=True, slots=True)
class PublishedPrompt:
    """A judge's prompt on the ledger. ``known`` says whether this software would judge with exactly this text."""

    seq: int
    at: str
    judge: str
    version: str
    digest: str
    text: str
    known: bool


@dataclass(frozen=True, slots=True)
class VersionCounts:
    """What a version of the shadow judge gave: ``total`` of all times, ``steps`` in each step of ``VersionTimes``.

    ``version`` is "" for the verdicts that name none.
    """

    version: str
    total: int
    first_at: int
    last_at: int
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VersionTimes:
    """Versions over one stretch of time, cut in steps of ``step`` seconds from ``start`` on."""

    start: int
    end: int
    step: int
    pins: tuple[Pinned, ...]
    versions: tuple[VersionCounts, ...]


def pins_through_time(views: Connection, events: EventReader, size: int) -> tuple[Pinned, ...]:
    """The versions that were pinned, one after another, as far as the last ``MOST_PINS`` changes say."""
    rows = views.exec_driver_sql(
        "SELECT seq, at, pin FROM (SELECT seq, at, pin, lag(pin) OVER (ORDER BY seq) AS was FROM configs "
        "WHERE seq < :size) c WHERE was IS NULL OR was <> pin ORDER BY seq DESC LIMIT :most",
        {"size": size, "most": MOST_PINS},
    ).all()
    changes = [(row.seq, _seconds(row.at), row.pin) for row in reversed(rows)]
    if len(changes) < MOST_PINS and (not changes or changes[0][2] != DEFAULT_PIN):
        first = events.event(0)
        changes.insert(0, (None, 0 if first is None else _seconds(first.at), DEFAULT_PIN))
    ends = [since for _, since, _ in changes[1:]] + [None]
    return tuple(Pinned(pin, since, until, seq) for (seq, since, pin), until in zip(changes, ends, strict=True))


def versions_through_time(
    views: Connection, events: EventReader, size: int, now: int, days: int | None = None
) -> VersionTimes:
    """Pins and verdict counts up to ``now`` (seconds), in at most 60 equal steps; of the last ``days`` days, if given.

    Else they begin with the first pin or verdict. They end 30 days after the last of either, if that is earlier.
    """
    pins = pins_through_time(views, events, size)
    counted = _daily(views, size)
    bounds = {version: _bounds(views, version, size) for version in counted}
    first = min([since for since, _ in bounds.values()] + [pins[0].since])
    last = max([until for _, until in bounds.values()] + [pins[-1].since])
    end = max(last, min(now, last + RECENT_DAYS * DAY)) // DAY * DAY + DAY
    start = first // DAY * DAY if days is None else max(first // DAY * DAY, end - days * DAY)
    step = max(1, -(-(end - start) // (_STEPS * DAY))) * DAY
    count = -(-(end - start) // step)
    versions = []
    for version, daily in counted.items():
        steps = [0] * count
        for day, number in daily.items():
            if day * DAY >= start:
                steps[(day * DAY - start) // step] += number
        versions.append(VersionCounts(version, sum(daily.values()), *bounds[version], tuple(steps)))
    return VersionTimes(start, start + count * step, step, pins, tuple(versions))


def _daily(views: Connection, size: int) -> dict[str, dict[int, int]]:
    """Verdicts by version and day, over the first ``size`` entries."""
    upto = count_verdicts(views, size)
    found: dict[str, dict[int, int]] = {}
    for version, day, n in views.exec_driver_sql("SELECT version, day, n FROM verdict_days_2 ORDER BY version, day"):
        found.setdefault(version, {})[day] = n
    if upto > size:
        since = views.exec_driver_sql(
            "SELECT coalesce(version, ''), day, count(*) FROM verdicts WHERE seq >= ? AND seq < ? GROUP BY 1, 2",
            (size, upto),
        )
        for version, day, n in since:
            found[version][day] -= n
    counted = {version: {day: n for day, n in daily.items() if n} for version, daily in found.items()}
    return {version: daily for version, daily in counted.items() if daily}


def count_verdicts(views: Connection, size: int) -> int:
    """Carry the counts, which are kept beside the view, on to ``size`` entries; returns how many they are of."""
    _CACHE.create_all(views)
    upto = int(views.exec_driver_sql("SELECT coalesce(max(size), 0) FROM verdicts_counted_2").scalar_one())
    if upto < size:
        views.exec_driver_sql(
            "INSERT INTO verdict_days_2 SELECT coalesce(version, ''), day, count(*) FROM verdicts "
            "WHERE seq >= :upto AND seq < :size GROUP BY 1, 2 "
            "ON CONFLICT (version, day) DO UPDATE SET n = verdict_days_2.n + excluded.n",
            {"upto": upto, "size": size},
        )
        views.exec_driver_sql("DELETE FROM verdicts_counted_2")
        views.exec_driver_sql("INSERT INTO verdicts_counted_2 VALUES (?)", (size,))
        views.commit()
    return max(upto, size)


def _bounds(views: Connection, version: str, size: int) -> tuple[int, int]:
    """When a version gave its first and its last verdict, in seconds."""
    named, values = equals("version", version or None)
    query = f"SELECT judged_at FROM verdicts WHERE {named} AND seq < ? ORDER BY judged_at {{}} LIMIT 1"
    bound = (*values, size)
    first, last = (views.exec_driver_sql(query.format(way), bound).scalar_one() for way in ("ASC", "DESC"))
    return int(first) // MICRO, int(last) // MICRO


def prompt_seq(views: Connection, size: int, version: str) -> int | None:
    """The entry that published the shadow judge's prompt of a version."""
    row = views.exec_driver_sql(
        "SELECT seq FROM judge_prompts WHERE judge = 'shadow' AND version = ? AND seq < ?", (version, size)
    ).first()
    return None if row is None else int(row[0])


def published_prompts(views: Connection, events: EventReader, size: int) -> list[PublishedPrompt]:
    """The prompts that the ledger published, the newest first."""
    known = {("shadow", prompt.version): prompt.digest for prompt in SHADOW_PROMPTS.values()}
    known["grade", GRADE_PROMPT.version] = GRADE_PROMPT.digest
    found = []
    for (seq,) in views.exec_driver_sql("SELECT seq FROM judge_prompts WHERE seq < ? ORDER BY seq DESC", (size,)):
        recorded = events.event(seq)
        if recorded is not None and isinstance(recorded.event, JudgePromptPublished):
            prompt = recorded.event
            found.append(
                PublishedPrompt(
                    seq,
                    recorded.at,
                    prompt.judge,
                    prompt.version,
                    prompt.digest,
                    prompt.text,
                    known=known.get((prompt.judge, prompt.version)) == prompt.digest,
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class RecentJudges:
    """Who judged of late: of the last ``RECENT`` verdicts of each version how many each model gave, and of the last
    ``RECENT`` grades how many each (version, model). "" is a version or model that nobody named."""

    verdicts: dict[str, dict[str, int]]
    grades: dict[tuple[str, str], int]


def recent_judges(views: Connection, size: int, versions: Iterable[str]) -> RecentJudges:
    """The models that judged of late, under each of these versions, and that graded."""
    verdicts = {}
    for version in versions:
        named, values = equals("version", version or None)
        rows = views.exec_driver_sql(
            f"SELECT coalesce(model, '') AS model, count(*) AS n FROM (SELECT model FROM verdicts WHERE {named} "
            "AND seq < ? ORDER BY judged_at DESC LIMIT ?) v GROUP BY 1 ORDER BY 2 DESC, 1",
            (*values, size, RECENT),
        )
        verdicts[version] = {row.model: row.n for row in rows}
    rows = views.exec_driver_sql(
        "SELECT coalesce(version, '') AS version, coalesce(model, '') AS model, count(*) AS n FROM (SELECT version, "
        "model FROM results WHERE seq < ? ORDER BY seq DESC LIMIT ?) g GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
        (size, RECENT),
    )
    return RecentJudges(verdicts, {(row.version, row.model): row.n for row in rows})


def _seconds(at: str) -> int:
    return int(datetime.fromisoformat(at).astimezone(UTC).timestamp())
