"""Which run was branched from which: the ancestors of runs, and the family that a run belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Kin:
    """A run of a family. ``parent`` is the run it was branched from, after its iteration ``parent_iteration``;
    ``generation`` counts from 0, the oldest that is on the ledger. ``seq`` is that of its ``run.started``."""

    run: str
    seq: int
    parent: str | None
    parent_iteration: int | None
    generation: int


@dataclass(frozen=True, slots=True)
class Family:
    """Runs of a family: each after the one it was branched from, its own branches in order of recording.

    ``older`` ancestors are left out; ``is_cut`` says that so are some of the runs branched from those here.
    ``unknown_parent`` is the run that the oldest of all says it was branched from, and that is not on the ledger.
    """

    members: tuple[Kin, ...]
    older: int
    is_cut: bool
    unknown_parent: str | None


def ancestors_of(connection: Connection, size: int, runs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The runs that each of ``runs`` was branched from, nearest first, as of ``size`` entries.

    The last may be one that is not on the ledger. Of runs that claim to descend from one another, none twice.
    """
    parents: dict[str, str | None] = {}
    for some in _some(runs):
        places = ", ".join("?" * len(some))
        statement = (
            "WITH RECURSIVE up(run, parent) AS ("
            f"SELECT run, parent_run FROM runs WHERE run IN ({places}) AND seq < ? UNION "
            "SELECT runs.run, runs.parent_run FROM up JOIN runs ON runs.run = up.parent WHERE runs.seq < ?"
            ") SELECT run, parent FROM up"
        )
        parents.update(tuple(row) for row in connection.exec_driver_sql(statement, (*some, size, size)))
    return {run: _walk(run, parents) for run in runs}


def family_of(connection: Connection, size: int, run: str, most: int) -> Family:
    """The family of a run as of ``size`` entries: all that descend from its oldest ancestor; empty for no run.

    Of a larger family about ``most`` runs: the run, its nearest ancestors, and of the rest the oldest generations.
    """
    line = [run, *ancestors_of(connection, size, [run])[run]]
    rows = {row[0]: row for some in _some(line) for row in _rows(connection, size, "run", some, len(some))}
    unknown = None if line[-1] in rows else line.pop()
    if not line:
        return Family((), 0, False, None)
    shown = line[:most][::-1]
    older = len(line) - len(shown)
    found = {name: Kin(*rows[name], older + place) for place, name in enumerate(shown)}
    is_cut = False
    level = [found[shown[0]]]
    while level:
        room = most - len(found)
        branches = [
            row
            for some in _some([kin.run for kin in level])
            for row in _rows(connection, size, "parent_run", some, room + len(shown) + 1)
        ]
        new = [Kin(*row, level[0].generation + 1) for row in branches if row[0] not in found]
        is_cut = is_cut or len(new) > room
        found |= {kin.run: kin for kin in new[:room]}
        below = level[0].generation + 1 - older
        level = [*new[:room], *(found[name] for name in shown[below : below + 1])]
    return Family(tuple(_in_order(shown[0], found)), older, is_cut, unknown)


def branch_counts(connection: Connection, size: int, runs: Sequence[str]) -> dict[str, int]:
    """How many runs were branched from each of ``runs`` directly; those without any are left out."""
    if not runs:
        return {}
    found = connection.exec_driver_sql(
        f"SELECT parent_run, count(*) FROM runs WHERE parent_run IN ({', '.join('?' * len(runs))}) AND seq < ? "
        "GROUP BY parent_run",
        (*runs, size),
    )
    return {str(run): int(count) for run, count in found}


def _rows(
    connection: Connection, size: int, column: str, runs: Sequence[str], most: int
) -> list[tuple[str, int, str | None, int | None]]:
    found = connection.exec_driver_sql(
        f"SELECT run, seq, parent_run, parent_iteration FROM runs WHERE {column} IN ({', '.join('?' * len(runs))}) "
        "AND seq < ? ORDER BY seq LIMIT ?",
        (*runs, size, most),
    )
    return [(run, seq, parent, iteration) for run, seq, parent, iteration in found]


def _in_order(root: str, found: dict[str, Kin]) -> Iterator[Kin]:
    branches: dict[str | None, list[str]] = {}
    for kin in sorted(found.values(), key=lambda kin: kin.seq):
        if kin.run != root:
            branches.setdefault(kin.parent, []).append(kin.run)
    waiting = [root]
    while waiting:
        run = waiting.pop()
        yield found[run]
        waiting += reversed(branches.get(run, []))


def _some(runs: Sequence[str]) -> Iterator[Sequence[str]]:
    return (runs[start : start + _AT_ONCE] for start in range(0, len(runs), _AT_ONCE))


def _walk(run: str, parents: dict[str, str | None]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    parent = parents.get(run)
    while parent is not None and parent != run and parent not in found:
        found[parent] = None
        parent = parents.get(parent)
    return tuple(found)
