"""What a pack shows of a run: everything computed from the entries that the evidence carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...domain.errors import Refused
from ...domain.event import Withheld
from ...domain.optimization.events import IterationCompleted, PromptEvaluated, RewriteProposed, RunStarted, Sample
from ...domain.optimization.history import Change
from ...ledger.store.opening import EventReader
from ...projections.runs.explanation import explain
from ...projections.runs.explanation_text import comparison_lines
from ...projections.runs.prompt_diff import WordOp, diff_prompts
from ...projections.runs.record import Iteration, RunRecord, Text, fold_run
from ...projections.runs.rewrite_history import run_changes
from ...projections.statistics.gain import p_text

_UNFOLDED = 10_000
"""A width that folds no line: a page folds them itself."""

SAMPLES_SHOWN = 200
"""Samples of one evaluation that stand in the page; the disclosure has all of them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something shown is recorded: an entry, and which of its sealed fields."""

    seq: int
    field: str = ""


@dataclass(slots=True)
class Places:
    """Where prompts, evaluations, rewrites and iterations of a run are recorded, by their numbers."""

    started: int = 0
    prompts: list[Place] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    rewrites: list[int] = field(default_factory=list)
    iterations: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, events: EventReader, stream: str) -> Places:
        found = cls()
        for recorded in events.stream(stream):
            match recorded.event:
                case RunStarted():
                    found.started = recorded.seq
                    found.prompts.append(Place(recorded.seq, "system_prompt"))
                case PromptEvaluated() as event:
                    found._introduce(event.prompt, event.system_prompt, recorded.seq)
                    found.evaluations.append(recorded.seq)
                case RewriteProposed() as event:
                    if event.prompt is not None:
                        found._introduce(event.prompt, event.system_prompt, recorded.seq)
                    found.rewrites.append(recorded.seq)
                case IterationCompleted() as event:
                    found.iterations[event.iteration] = recorded.seq
        return found

    def _introduce(self, prompt: int, text: Text | None, seq: int) -> None:
        if prompt == len(self.prompts) and text is not None:
            self.prompts.append(Place(seq, "system_prompt"))


@dataclass(frozen=True, slots=True)
class ShownIteration:
    """An iteration: its prompt, how it differs from the one that it came from, its scores and what became of it."""

    iteration: Iteration
    seq: int
    prompt: Place
    diff: tuple[tuple[WordOp, str], ...]
    train: int
    val: int | None
    rewrite: int | None
    change: Change | None
    effect: tuple[str, ...]
    samples: tuple[Sample, ...]
    samples_left_out: int


@dataclass(frozen=True, slots=True)
class RunPage:
    """What the template of a run reads."""

    record: RunRecord
    places: Places
    document: dict[str, Any]
    iterations: tuple[ShownIteration, ...]
    comparison: tuple[str, ...]
    config: Any


def run_page(events: EventReader, run: str, seed: int) -> RunPage:
    """The page of a run; ``seed`` seeds the intervals. ``Refused`` where the events are not those of a run."""
    stream = f"run/{run}"
    record = fold_run(events.stream(stream))
    if record is None:
        raise Refused("run_carried", f"run {run!r}: the evidence does not carry its beginning")
    places = Places.of(events, stream)
    document = explain(record, seed).as_json()
    changes = {change.number: change for change in run_changes(record)}
    paired = document["outcome"]["paired"]
    return RunPage(
        record,
        places,
        document,
        tuple(_iteration(record, places, document, changes, item) for item in record.iterations),
        tuple(comparison_lines(paired, "Mean difference per sample", _UNFOLDED)) if paired else (),
        record.started.config,
    )


def _iteration(
    record: RunRecord, places: Places, document: dict[str, Any], changes: dict[int, Change], item: Iteration
) -> ShownIteration:
    rewrite = item.rewrite
    before = None if rewrite is None else record.prompts[record.evaluations[rewrite.parent].prompt]
    samples = item.train.samples if isinstance(item.train.samples, tuple) else ()
    return ShownIteration(
        item,
        item.seq,
        places.prompts[item.train.prompt],
        _diff(before, item.prompt),
        places.evaluations[item.event.evaluation],
        None if item.event.val_evaluation is None else places.evaluations[item.event.val_evaluation],
        None if rewrite is None else places.rewrites[rewrite.rewrite],
        None if rewrite is None else changes.get(rewrite.rewrite + 1),
        () if rewrite is None else _effect(document["changes"][rewrite.rewrite]),
        samples[:SAMPLES_SHOWN],
        max(0, len(samples) - SAMPLES_SHOWN),
    )


def _effect(change: dict[str, Any]) -> tuple[str, ...]:
    """What a change did, in words: its effect, and the paired comparison where its samples are shared."""
    paired = change["paired"]
    if paired is None:
        return (change["line"],)
    adjusted = change["adjusted_p"]
    told = (
        ()
        if adjusted is None
        else (f"adjusted for all changes that were tested (Benjamini–Hochberg): {p_text(adjusted)}",)
    )
    return (change["line"], *comparison_lines(paired, "Mean difference per sample", _UNFOLDED), *told)


def _diff(before: Text | None, after: Text) -> tuple[tuple[WordOp, str], ...]:
    if before is None or isinstance(before, Withheld) or isinstance(after, Withheld):
        return ()
    return diff_prompts(before, after).words
