"""The tiles of a run's page: what it came to, in figures with their n."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ....domain.optimization.effects import THRESHOLD
from ....projections.runs.flow import Step
from ....projections.runs.record import RunRecord
from ....projections.runs.scores import held_out
from ....projections.statistics.gain import INTERVAL_FROM, verdict_words
from ..formats import interval, num, p_value, score, seconds, signed
from ..known_runs import KnownRun
from ..tiles import Tile


def run_tiles(now: int, known: KnownRun) -> Iterator[Tile]:
    """The tiles of a run; ``now`` in seconds since 1970."""
    record, told, steps = known.record, known.explained, known.steps
    outcome, counted = told["outcome"], told["changes_count"]["changes"]
    where = {
        True: "test samples",
        False: "training samples: none were held out",
        None: "the split is not recorded",
    }[is_held_out(record)]
    for role, label in (("baseline", "Baseline"), ("final", "Final")):
        found = outcome[role]
        note = "no evaluation is recorded" if found is None else f"{where}, {_n(found)}"
        yield Tile(label, score(None if found is None else found["score"]), note)
    yield _gain_tile(outcome)
    yield from _best_tiles(steps)
    planned = record.started.max_iterations
    done = "" if planned is None else f"of at most {planned:,}; "
    yield Tile("Iterations", num(len(steps)), f"{done}{counted:,} {'change' if counted == 1 else 'changes'} proposed")
    yield from _threshold_tiles(told["threshold"])
    yield _time_tile(now, record)
    yield from _cost_tiles(told)
    sizes = [told["samples"][name] for name in ("train", "val", "test")]
    if any(size is not None for size in sizes):
        yield Tile("Samples", " / ".join(map(num, sizes)), "to train, validate and test on")


def _gain_tile(outcome: Mapping[str, Any]) -> Tile:
    paired = outcome["paired"]
    if paired is None or paired["mean_difference"] is None:
        return Tile("Gain", "—", f"not compared: {outcome['not_compared'] or paired['note']}")
    verdict, tone = verdict_words(paired["differing"], paired["direction"], paired["is_significant"]), "warn"
    sign = within(paired["mean_difference"])
    if paired["is_significant"]:
        tone = "good" if paired["direction"] == "gain" else "bad"
    bounds = "too few samples for an interval" if paired["n"] < INTERVAL_FROM else "no interval"
    if paired["interval"] is not None:
        bounds = f"95 % interval {interval(paired['interval'], signed)}"
    p = "" if paired["p_value"] is None else f", {p_value(paired['p_value'])} (Wilcoxon signed-rank)"
    note = f"{bounds}, n = {paired['n']:,} paired; {verdict}{p}"
    return Tile("Gain", f"{sign} {signed(paired['mean_difference'])}", note, tone)


def _best_tiles(steps: Sequence[Step]) -> Iterator[Tile]:
    means = [step for step in steps if step.kind == "mean"] or list(steps)
    trained = [(step.score, -step.number, step) for step in means if step.score is not None]
    if trained:
        _, _, step = max(trained)
        batch = "a batch of training samples" if step.sample_set == "batch" else "training samples"
        yield Tile("Best training", score(step.score), f"iteration {step.number}; {batch}{n_words([step.n])}")
    validated = [(step.val, step.number, step) for step in means if step.val is not None]
    if validated:
        _, _, step = max(validated)
        yield Tile("Best validation", score(step.val), f"iteration {step.number}{n_words([step.val_n])}")


def _threshold_tiles(threshold: Mapping[str, Any]) -> Iterator[Tile]:
    if threshold["value"] is None:
        return
    reached = threshold["reached_by"]
    note = "no iteration reached it"
    if reached is not None:
        note = f"reached in iteration {reached['iteration']}, by its {reached['samples']} score"
    yield Tile("Threshold", num(threshold["value"], 4), note)


def _time_tile(now: int, record: RunRecord) -> Tile:
    if record.status == "open":
        told = f"last entry {seconds(silent_for(now, record))} ago"
        return Tile("Open for", seconds(max(0, now - _at(record.started_at))), told)
    duration = None if record.completed is None else record.completed.duration_seconds
    return Tile("Duration", seconds(duration), "not recorded" if duration is None else "wall time of the whole run")


def _cost_tiles(told: Mapping[str, Any]) -> Iterator[Tile]:
    tokens = told["tokens"]
    note = "counted by call" if tokens["source"] == "calls" else "as the run states them"
    if not tokens["is_whole"]:
        note = f"at least; {note}"
    yield Tile("Tokens for evaluation", num(tokens["eval_total"]), note)
    yield Tile("Tokens for reasoning", num(tokens["reasoning_total"]), note)
    if told["calls"] is not None:
        total = told["calls"]["total"]
        yield Tile("Model calls", num(total["calls"]), f"{total['retries']:,} tried again, {total['gave_up']:,} failed")


def is_held_out(record: RunRecord) -> bool | None:
    """Whether baseline and final score are of samples that nothing was optimised on; None where nothing says so."""
    split = record.started.split
    return held_out(None if record.planned is None else record.planned.held_out, None if split is None else split.test)


def held_out_word(record: RunRecord) -> str:
    """The samples of the baseline and the final score, in a word."""
    return {True: "test", False: "training", None: "split not recorded"}[is_held_out(record)]


def within(delta: float) -> str:
    """The sign of a difference, which is no test."""
    return "▲" if delta > THRESHOLD else "▼" if delta < -THRESHOLD else "●"


def gain_words(paired: Mapping[str, Any] | None) -> str:
    """The gain with its interval and n."""
    if paired is None or paired["mean_difference"] is None:
        return "—"
    bounds = "no interval" if paired["interval"] is None else interval(paired["interval"], signed)
    return f"{signed(paired['mean_difference'])}, {bounds}, n = {paired['n']}"


def n_words(counts: Iterable[int | None]) -> str:
    """``, n = 27`` or ``, n = 8 to 27``; nothing where no count is known."""
    known = sorted({count for count in counts if count is not None})
    if not known:
        return ""
    return f", n = {num(known[0])}" if len(known) == 1 else f", n = {num(known[0])} to {num(known[-1])}"


def silent_for(now: int, record: RunRecord) -> float:
    """How many seconds ago the last entry of a run was recorded."""
    return max(0, now - _at(record.last_at))


def _n(found: Mapping[str, Any]) -> str:
    return f"n = {num(found['answers'])}" + (f", {found['failed']:,} without a score" if found["failed"] else "")


def _at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())
