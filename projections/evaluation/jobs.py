"""Regeneration jobs: how far each has come, from the events of its work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy import Connection, RowMapping, text

MAX_FAILURES = 50

_ENDS = "SELECT status, at, reason FROM job_ends WHERE job=:job AND seq < :size ORDER BY seq"


class Failure(NamedTuple):
    """A session that was not graded, by its alias, and the code of why."""

    session: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job as of a size. ``completed`` sessions were graded, ``failed`` could not be; ``turns`` were judged anew.

    ``cancelling`` is true from the request to cancel until what was being judged is finished. Times are those of
    the entries, ``seq`` is that of its start. ``failures`` are the first 50.
    """

    job: str
    seq: int
    status: Literal["running", "completed", "cancelled", "error"]
    cancelling: bool
    reason: str | None
    from_at: int
    to_at: int
    upto: int
    seed: str
    sample_n: int
    concurrency: int
    candidates: int
    strata: int
    sampled: int
    shadow: bool
    version: str | None
    completed: int
    failed: int
    turns: int
    turns_undecided: int
    failures: tuple[Failure, ...]
    started_at: str
    finished_at: str | None


def job_progress(views: Connection, size: int, job: str) -> JobProgress | None:
    """How far a job has come, None where there is no such."""
    given = {"job": job, "size": size}
    row = views.execute(text("SELECT * FROM jobs WHERE job=:job AND seq < :size"), given).mappings().one_or_none()
    return None if row is None else _progress(views, size, row)


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job in a list. ``completed`` and ``failed`` are what its end says, of one that runs what is on the ledger."""

    job: str
    seq: int
    status: Literal["running", "completed", "cancelled", "error"]
    cancelling: bool
    from_at: int
    to_at: int
    candidates: int
    sampled: int
    shadow: bool
    version: str | None
    completed: int
    failed: int
    started_at: str
    finished_at: str | None


def list_jobs(views: Connection, size: int, *, before: int | None = None, limit: int) -> tuple[list[JobLine], bool]:
    """Jobs started below seq ``before``, the newest first; and whether older ones follow."""
    rows = (
        views.execute(
            text("SELECT * FROM jobs WHERE seq < :before ORDER BY seq DESC LIMIT :limit"),
            {"before": size if before is None else min(before, size), "limit": limit + 1},
        )
        .mappings()
        .all()
    )
    return [_line(views, size, row) for row in rows[:limit]], len(rows) > limit


def _line(views: Connection, size: int, row: RowMapping) -> JobLine:
    ends = (
        views.execute(
            text("SELECT status, at, completed, failed FROM job_ends WHERE job=:job AND seq < :size ORDER BY seq"),
            {"job": row["job"], "size": size},
        )
        .mappings()
        .all()
    )
    end = next((found for found in ends if found["status"] != "cancelling"), None)
    return JobLine(
        job=row["job"],
        seq=row["seq"],
        status="running" if end is None else end["status"],
        cancelling=end is None and bool(ends),
        from_at=row["from_at"],
        to_at=row["to_at"],
        candidates=row["candidates"],
        sampled=row["sampled"],
        shadow=bool(row["shadow"]),
        version=row["version"],
        completed=_count(views, size, row["job"], "results", "session") if end is None else end["completed"],
        failed=_count(views, size, row["job"], "undecided", "session") if end is None else end["failed"],
        started_at=row["at"],
        finished_at=None if end is None else end["at"],
    )


def _count(views: Connection, size: int, job: str, table: Literal["results", "undecided"], what: str) -> int:
    grades = " AND judge='grade'" if table == "undecided" else ""
    query = text(f"SELECT count(DISTINCT {what}) FROM {table} WHERE job=:job{grades} AND seq < :size")
    return int(views.execute(query, {"job": job, "size": size}).scalar_one())


def running_jobs(views: Connection, size: int) -> list[str]:
    """Jobs that were started and neither ended nor cancelled, the oldest first."""
    query = text(
        "SELECT j.job FROM jobs j WHERE j.seq < :size "
        "AND NOT EXISTS (SELECT 1 FROM job_ends e WHERE e.job=j.job AND e.seq < :size) ORDER BY j.seq"
    )
    return [row.job for row in views.execute(query, {"size": size})]


def unfinished_jobs(views: Connection, size: int) -> list[str]:
    """Jobs that were started and have no end, the oldest first."""
    query = text(
        "SELECT j.job FROM jobs j WHERE j.seq < :size AND NOT EXISTS (SELECT 1 FROM job_ends e "
        "WHERE e.job=j.job AND e.status<>'cancelling' AND e.seq < :size) ORDER BY j.seq"
    )
    return [row.job for row in views.execute(query, {"size": size})]


def concluded_sessions(views: Connection, size: int, job: str) -> set[str]:
    """Sessions that a job has graded, or found that it cannot."""
    query = text(
        "SELECT session FROM results WHERE job=:job AND seq < :size "
        "UNION SELECT session FROM undecided WHERE job=:job AND judge='grade' AND seq < :size"
    )
    return {row.session for row in views.execute(query, {"job": job, "size": size})}


def concluded_turns(views: Connection, size: int, job: str) -> set[int]:
    """Turns that a job has judged, or found that it cannot."""
    query = text(
        "SELECT turn FROM verdicts WHERE job=:job AND seq < :size "
        "UNION SELECT turn FROM undecided WHERE job=:job AND judge='shadow' AND seq < :size"
    )
    return {row.turn for row in views.execute(query, {"job": job, "size": size})}


def _progress(views: Connection, size: int, row: RowMapping) -> JobProgress:
    given = {"job": row["job"], "size": size}
    ends = views.execute(text(_ENDS), given).all()
    end = next((found for found in ends if found.status != "cancelling"), None)

    def count(what: str) -> int:
        return int(views.execute(text(f"SELECT count(DISTINCT {what} AND seq < :size"), given).scalar_one())

    failures = views.execute(
        text(
            "SELECT session, reason FROM undecided WHERE job=:job AND judge='grade' AND seq < :size "
            f"ORDER BY seq LIMIT {MAX_FAILURES}"
        ),
        given,
    )
    return JobProgress(
        job=row["job"],
        seq=row["seq"],
        status="running" if end is None else end.status,
        cancelling=end is None and bool(ends),
        reason=None if end is None else end.reason,
        from_at=row["from_at"],
        to_at=row["to_at"],
        upto=row["upto"],
        seed=row["seed"],
        sample_n=row["sample_n"],
        concurrency=row["concurrency"],
        candidates=row["candidates"],
        strata=row["strata"],
        sampled=row["sampled"],
        shadow=bool(row["shadow"]),
        version=row["version"],
        completed=count("session) FROM results WHERE job=:job"),
        failed=count("session) FROM undecided WHERE job=:job AND judge='grade'"),
        turns=count("turn) FROM verdicts WHERE job=:job"),
        turns_undecided=count("turn) FROM undecided WHERE job=:job AND judge='shadow'"),
        failures=tuple(Failure(found.session, found.reason) for found in failures),
        started_at=row["at"],
        finished_at=None if end is None else end.at,
    )
