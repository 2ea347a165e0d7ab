"""Which runs there are, and where the facts of one are recorded: the entries of what it numbers."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ...domain.errors import Refused
from .view import EVALUATIONS, ITERATIONS, REWRITES, RUNS


@dataclass(frozen=True, slots=True)
class RunPlaces:
    """Seqs by number. A prompt's is that of the entry which seals its text."""

    started: int
    prompts: dict[int, int]
    evaluations: dict[int, int]
    rewrites: dict[int, int]


def run_places(views: Connection, run: str, size: int) -> RunPlaces:
    """The places of a run that the first ``size`` entries know; ``Refused`` (``run_known``) where they do not."""
    started = require_run(views, run, size)
    found = RunPlaces(started, {0: started}, {}, {})
    named: list[tuple[int, int]] = []
    for table, number, places in (
        (EVALUATIONS, EVALUATIONS.c.evaluation, found.evaluations),
        (REWRITES, REWRITES.c.rewrite, found.rewrites),
    ):
        query = select(number, table.c.seq, table.c.prompt).where(table.c.run == run, table.c.seq < size)
        for at, seq, prompt in views.execute(query):
            places[at] = seq
            if prompt is not None:
                named.append((seq, prompt))
    for seq, prompt in sorted(named):
        found.prompts.setdefault(prompt, seq)
    return found


def require_run(views: Connection, run: str, size: int) -> int:
    """The seq at which a run began; ``Refused`` (``run_known``) where the first ``size`` entries know of none."""
    started = views.execute(select(RUNS.c.seq).where(RUNS.c.run == run, RUNS.c.seq < size)).scalar()
    if started is None:
        raise Refused("run_known", f"run {run!r} is not on this ledger as of {size:,} entries")
    return int(started)


def newest_runs(views: Connection, size: int, most: int) -> list[str]:
    """At most ``most`` runs, the one that began last first."""
    return list(views.scalars(select(RUNS.c.run).where(RUNS.c.seq < size).order_by(RUNS.c.seq.desc()).limit(most)))


def last_iteration(views: Connection, run: str, size: int) -> int:
    """The number of the last completed iteration, from 1 on; 0 where none is."""
    within = (ITERATIONS.c.run == run, ITERATIONS.c.seq < size)
    return views.execute(select(func.max(ITERATIONS.c.iteration)).where(*within)).scalar() or 0
