"""Where the facts of a run are recorded: the entries of its prompts, evaluations and rewrites, by their numbers."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from .runs_view import EVALUATIONS, REWRITES, RUNS


@dataclass(frozen=True, slots=True)
class RunPlaces:
    """Seqs by number. A prompt's is that of the entry which seals its text."""

    started: int
    prompts: dict[int, int]
    evaluations: dict[int, int]
    rewrites: dict[int, int]


def run_places(views: Connection, run: str, size: int) -> RunPlaces:
    """The places of a run that the first ``size`` entries know."""
    started = views.execute(select(RUNS.c.seq).where(RUNS.c.run == run, RUNS.c.seq < size)).scalar_one()
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
