"""The run list: one line a run, with status, lineage and scores, as of any size of the log.

Lines are derived from the view's rows and kept (``changed_runs``); as of an earlier size those of the runs that have
newer rows are derived anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Table

from ...domain.number import parse_number
from ..columns import add_rows, unindexed
from ..simulated import is_simulated
from .changed import LINES, prepare_lines
from .lineage import ancestors_of
from .scores import held_out
from .view import ENDINGS, EVALUATIONS, IMPORTS, ITERATIONS, PLANS, RUNS

Found = dict[str, Any]
"""A row by column name; its values have the types of the table's columns."""

Sort = Literal["recorded", "run", "iterations", "baseline", "best", "improvement", "tokens", "duration"]
SORTS: dict[Sort, str] = {
    "recorded": "seq",
    "run": "run",
    "iterations": "iterations",
    "baseline": "baseline_score",
    "best": "best_score",
    "improvement": "improvement",
    "tokens": "tokens",
    "duration": "duration_seconds",
}
"""What a page can be sorted by, and the column of it."""

_AT_ONCE = 500
"""How many runs are derived together: SQLite takes some thousands of parameters."""
_CHOICES = 200
_WHATEVER = 2**62
_SOUGHT = ("directory", "status", "strategy", "models", "is_simulated", *SORTS.values())
"""What lines are filtered by and sorted by."""
_SAID = [column.name for column in LINES.columns if column.name != "last"]
_YES_OR_NO = ("best_is_batch", "tokens_are_whole", "held_out", "is_simulated")


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in the list. Scores are None where nothing was measured; ``seq`` is that of ``run.started``.

    ``best_train_score`` is the highest training score of an iteration, of means where there are any; ``final_score`` is
    of other samples: they are not comparable. ``best_score`` is that of the prompt that a completed run ended with, of
    another run the highest training score; ``best_from`` is the purpose of its evaluation, and ``best_is_batch`` says
    that it is of a batch. ``improvement`` is the final score less the baseline, None where the two do not compare.
    ``held_out``: whether the final score is of samples that nothing was optimised on, None where nothing says so.

    ``eval_tokens`` and ``reasoning_tokens`` are what the iterations state; ``tokens`` are all that are known of: those
    of the recorded calls, where there are any, else all that is stated. They are a lower bound unless
    ``tokens_are_whole``. ``ancestors`` are the runs it was branched from, nearest first.
    """

    run: str
    seq: int
    directory: str
    timestamp: str
    status: str
    strategy: str
    models: str
    reasoning_model: str | None
    iterations: int
    max_iterations: int | None
    baseline_score: float | None
    best_train_score: float | None
    final_score: float | None
    best_score: float | None
    best_from: str | None
    best_is_batch: bool
    improvement: float | None
    eval_tokens: int
    reasoning_tokens: int
    tokens: int
    tokens_are_whole: bool
    duration_seconds: float | None
    held_out: bool | None
    is_simulated: bool
    parent_run: str | None
    parent_iteration: int | None
    ancestors: tuple[str, ...]
    imported_from: str | None
    findings: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs a page is of. ``search`` is a part of a run's id, directory or models; None asks for nothing."""

    status: str | None = None
    strategy: str | None = None
    model: str | None = None
    simulated: bool | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """Lines from number ``first`` on (from 0) of ``total`` that are wanted, among ``known`` runs."""

    lines: list[RunLine]
    first: int
    total: int
    known: int


@dataclass(frozen=True, slots=True)
class Choices:
    """What the runs can be filtered by, each with how many there are; the most frequent 200 of each kind."""

    statuses: dict[str, int]
    strategies: dict[str, int]
    models: dict[str, int]
    simulated: int


def list_runs(connection: Connection, size: int) -> list[RunLine]:
    """Every run that the first ``size`` entries know, in order of recording."""
    runs = connection.exec_driver_sql("SELECT run FROM runs WHERE seq < ? ORDER BY seq", (size,))
    return run_lines(connection, size, [run for (run,) in runs])


def find_runs(
    connection: Connection,
    size: int,
    wanted: Wanted,
    *,
    sort: Sort = "recorded",
    descending: bool = True,
    first: int = 0,
    count: int = 50,
) -> RunPage:
    """A page of the runs as of ``size`` entries, empty beyond the last.

    Runs without the figure that is sorted by come last; of equals, the newest comes first.
    """
    where, values = _where(connection, wanted)
    column = SORTS[sort]
    if values or column != "seq":
        source, bound = _source(connection, size)
    else:  # the rows themselves say as much, and need no lines
        source, bound = "(SELECT run, seq FROM runs WHERE seq < :size) r", {"size": size}
    total, known = connection.exec_driver_sql(
        f"SELECT count(*) FILTER (WHERE {where}), count(*) FROM {source}", values | bound
    ).one()
    direction = "DESC" if descending else "ASC"
    order = f"seq {direction}" if column == "seq" else f"{column} IS NULL, {column} {direction}, seq DESC"
    found = connection.exec_driver_sql(
        f"SELECT run FROM {source} WHERE {where} ORDER BY {order} LIMIT :count OFFSET :first",
        values | bound | {"count": count, "first": first},
    )
    runs = [run for (run,) in found]
    by_run = {line.run: line for line in run_lines(connection, size, runs)}
    return RunPage([by_run[run] for run in runs], first, total, known)


def run_lines(connection: Connection, size: int, runs: Sequence[str]) -> list[RunLine]:
    """The lines of these runs, in order of recording; of those that ``size`` entries do not know there is none."""
    _bring_up_to_date(connection)
    found: dict[str, Found] = {}
    for some in _some(runs):
        kept = connection.exec_driver_sql(
            f"SELECT {', '.join(_SAID)} FROM {LINES.name} WHERE run IN ({_places(some)}) AND last < ?", (*some, size)
        )
        found |= {row[0]: dict(zip(_SAID, row, strict=True)) for row in kept}
    found |= {said["run"]: said for _, said in _derive(connection, [run for run in runs if run not in found], size)}
    ancestors = ancestors_of(connection, size, [*found])
    for said in found.values():
        said.update((name, bool(said[name])) for name in _YES_OR_NO if said[name] is not None)
    return [
        RunLine(**said, ancestors=ancestors[run])
        for run, said in sorted(found.items(), key=lambda item: item[1]["seq"])
    ]


def filter_choices(connection: Connection, size: int) -> Choices:
    """What the runs as of ``size`` entries differ in."""
    _bring_up_to_date(connection)
    every: Counter[tuple[Any, ...]] = Counter()
    columns = "status, strategy, models, is_simulated"
    counted_rows = connection.exec_driver_sql(
        f"SELECT {columns}, count(*) FROM {LINES.name} WHERE last < ? GROUP BY {columns}", (size,)
    )
    for *values, count in counted_rows:
        every[tuple(values)] += count
    for _, said in _then(connection, size):
        every[said["status"], said["strategy"], said["models"], said["is_simulated"]] += 1
    counts: tuple[dict[str, int], ...] = ({}, {}, {})
    simulated = 0
    for (*values, is_simulated_), count in sorted(every.items()):
        for value, counted in zip(values, counts, strict=True):
            counted[value] = counted.get(value, 0) + count
        simulated += count if is_simulated_ else 0
    kept = [dict(sorted(sorted(counted.items(), key=lambda item: -item[1])[:_CHOICES])) for counted in counts]
    return Choices(kept[0], kept[1], kept[2], simulated)


def _where(connection: Connection, wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """A condition on lines, and the values that it names."""
    values: dict[str, Any] = {
        name: value
        for name, value in (("status", wanted.status), ("strategy", wanted.strategy), ("models", wanted.model))
        if value is not None
    }
    conditions = [f"{unindexed(connection, name)} = :{name}" for name in values]  # most fit: none finds them faster
    if wanted.simulated is not None:
        values["simulated"] = int(wanted.simulated)
        conditions.append("is_simulated = :simulated")
    if wanted.search is not None:
        # As SQLite compares: upper and lower case of ASCII are the same, other letters are not.
        lower = wanted.search.encode().lower().decode()
        escaped = lower.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values["search"] = f"%{escaped}%"
        searched = (f"lower({name}) LIKE :search ESCAPE '\\'" for name in ("run", "directory", "models"))
        conditions.append(f"({' OR '.join(searched)})")
    return " AND ".join(conditions) or "true", values


def _source(connection: Connection, size: int) -> tuple[str, dict[str, int]]:
    """The kept lines as of a size, to select from, and the values that it names."""
    _bring_up_to_date(connection)
    newest = connection.exec_driver_sql(f"SELECT max(last) FROM {LINES.name}").scalar()
    if newest is None or newest < size:
        return LINES.name, {}
    columns = ", ".join(_SOUGHT)  # no others: SQLite reads all that are named
    connection.exec_driver_sql(f"CREATE TEMP TABLE IF NOT EXISTS then_lines AS SELECT * FROM {LINES.name} LIMIT 0")
    connection.exec_driver_sql("DELETE FROM then_lines")
    add_rows(connection, "then_lines", _kept(_then(connection, size)))
    return (
        f"(SELECT {columns} FROM {LINES.name} WHERE {unindexed(connection, 'last')} < :size "
        f"UNION ALL SELECT {columns} FROM then_lines) l",
        {"size": size},
    )


def _then(connection: Connection, size: int) -> Iterator[tuple[int, Found]]:
    """The lines as of a size of the runs that began before it and went on after it."""
    newer = connection.exec_driver_sql(f"SELECT run FROM {LINES.name} WHERE seq < ? AND last >= ?", (size, size))
    return _derive(connection, [run for (run,) in newer], size)


def _bring_up_to_date(connection: Connection) -> None:
    """Derive the lines of the runs that have new rows."""
    prepare_lines(connection)
    changed = [run for (run,) in connection.exec_driver_sql("SELECT run FROM changed_runs")]
    if changed:
        lines = _kept(_derive(connection, changed))
        for start in range(0, len(changed), _AT_ONCE):
            some = changed[start : start + _AT_ONCE]
            connection.exec_driver_sql(f"DELETE FROM {LINES.name} WHERE run IN ({_places(some)})", tuple(some))
        add_rows(connection, LINES.name, lines)
        connection.exec_driver_sql("DELETE FROM changed_runs")
    connection.commit()  # what is kept is whole, whatever becomes of the reading


def _kept(lines: Iterable[tuple[int, Found]]) -> list[tuple[Any, ...]]:
    """What is kept of lines, in the order of the table's columns."""
    names = LINES.columns.keys()
    found = ([(said | {"last": last})[name] for name in names] for last, said in lines)
    return [tuple(int(value) if isinstance(value, bool) else value for value in values) for values in found]


def _derive(connection: Connection, runs: Sequence[str], size: int = _WHATEVER) -> Iterator[tuple[int, Found]]:
    """What the lines of these runs say by the rows of the first ``size`` entries, each after the seq of its newest."""
    for some in _some(runs):
        rows = {
            table.name: _by_run(connection, table, some, size)
            for table in (ENDINGS, EVALUATIONS, IMPORTS, ITERATIONS, PLANS)
        }
        calls = _calls(connection, some, size)
        for run, (started,) in _by_run(connection, RUNS, some, size).items():
            own = {name: found.get(run, []) for name, found in rows.items()}
            last = max(row["seq"] for found in ([started], *own.values()) for row in found)
            called = calls.get(run)
            yield last if called is None else max(last, called["last"]), _line(started, own, called)


def _some(runs: Sequence[str]) -> Iterator[Sequence[str]]:
    return (runs[start : start + _AT_ONCE] for start in range(0, len(runs), _AT_ONCE))


def _by_run(connection: Connection, table: Table, runs: Sequence[str], size: int) -> dict[str, list[Found]]:
    names = table.columns.keys()
    rows = connection.exec_driver_sql(
        f"SELECT {', '.join(names)} FROM {table.name} WHERE run IN ({_places(runs)}) AND seq < ? ORDER BY seq",
        (*runs, size),
    )
    found: dict[str, list[Found]] = {}
    for row in rows.all():
        found.setdefault(row[1], []).append(dict(zip(names, row, strict=True)))
    return found


def _places(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _calls(connection: Connection, runs: Sequence[str], size: int) -> dict[str, Found]:
    """What the recorded calls of each run sum up to; the view has them in order of run."""
    if not runs:
        return {}
    rows = connection.exec_driver_sql(
        "SELECT run, max(seq), sum(prompt_tokens + completion_tokens), sum(requested) > sum(1 - requested), "
        f"sum(not_counted) FROM calls WHERE run IN ({_places(runs)}) AND seq < ? GROUP BY run",
        (*runs, size),
    )
    names = ("last", "tokens", "in_flight", "not_counted")
    return {run: dict(zip(names, values, strict=True)) for run, *values in rows}


def _line(started: Found, own: dict[str, list[Found]], calls: Found | None) -> Found:
    """By the names of ``RunLine``, all but the ancestors."""
    ending: Found = own["endings"][-1] if own["endings"] else {}
    plan: Found = own["plans"][-1] if own["plans"] else {}
    iterations = own["iterations"]
    evaluations = {row["evaluation"]: row for row in own["evaluations"]}
    baseline = next((row for row in reversed(own["evaluations"]) if row["purpose"] == "baseline"), None)
    final = evaluations.get(ending.get("final_evaluation", -1))
    trained = [row for item in iterations if _score(row := evaluations.get(item["evaluation"], {})) is not None]
    means = [row for row in trained if row["kind"] == "mean"] or trained
    best_train = max(means, key=lambda row: _score(row) or 0.0, default=None)
    best = _best(ending, final, own["evaluations"]) if ending.get("status") == "completed" else (best_train, "train")
    duration = ending.get("duration_seconds")
    tokens, tokens_are_whole = _tokens(own["evaluations"], iterations, calls)
    return {
        "run": started["run"],
        "seq": started["seq"],
        "directory": started["directory"],
        "timestamp": started["timestamp"],
        "status": ending.get("status") or ("interrupted" if started["imported_from"] else "open"),
        "strategy": started["strategy"],
        "models": started["models"],
        "reasoning_model": started["reasoning_model"],
        "iterations": len(iterations),
        "max_iterations": started["max_iterations"],
        "baseline_score": _score(baseline),
        "best_train_score": _score(best_train),
        "final_score": _score(final),
        "best_score": _score(best[0]),
        "best_from": None if best[0] is None else best[1],
        "best_is_batch": best[0] is not None and best[0]["sample_set"] == "batch",
        "improvement": _improvement(baseline, final),
        "eval_tokens": sum(item["eval_tokens"] for item in iterations),
        "reasoning_tokens": sum(item["reasoning_tokens"] for item in iterations),
        "tokens": tokens,
        "tokens_are_whole": tokens_are_whole,
        "duration_seconds": None if duration is None else parse_number(duration),
        "held_out": held_out(bool(plan["held_out"]) if plan else None, started["test_samples"]),
        "is_simulated": any(map(is_simulated, [*started["models"].split(", "), started["reasoning_model"] or ""])),
        "parent_run": started["parent_run"],
        "parent_iteration": started["parent_iteration"],
        "imported_from": started["imported_from"],
        "findings": sum(row["findings"] for row in own["imports"]),
    }


def _score(evaluation: Found | None) -> float | None:
    score = None if evaluation is None else evaluation.get("score")
    return parse_number(score) if isinstance(score, str) else None


def _best(ending: Found, final: Found | None, evaluations: Sequence[Found]) -> tuple[Found | None, str]:
    """As ``scores.best_score`` has it."""
    if _score(final) is not None:
        return final, "final"
    for purpose in ("final", "val", "train"):
        for row in reversed(evaluations):
            if (row["prompt"], row["purpose"]) == (ending["best"], purpose) and _score(row) is not None:
                return row, purpose
    return None, ""


def _improvement(baseline: Found | None, final: Found | None) -> float | None:
    """As ``scores.gain_between`` has it."""
    before, after = _score(baseline), _score(final)
    if baseline is None or final is None or before is None or after is None:
        return None
    comparable = (baseline["kind"], baseline["metrics"]) == (final["kind"], final["metrics"])
    return after - before if comparable else None


def _tokens(evaluations: Sequence[Found], iterations: Sequence[Found], calls: Found | None) -> tuple[int, bool]:
    """As ``tokens.counted_tokens`` has it: evaluating and reasoning together, and whether nothing is missing."""
    if calls is not None:
        return calls["tokens"], not (calls["in_flight"] or calls["not_counted"])
    counts = [row["tokens"] for row in evaluations if row["purpose"] in ("baseline", "val", "final")]
    stated = sum(item["eval_tokens"] + item["reasoning_tokens"] for item in iterations)
    return stated + sum(count or 0 for count in counts), None not in counts
