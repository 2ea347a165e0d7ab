"""The pictures of a run's page: the flow graph, the scores, and the differences by sample; each in some layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ....domain.optimization.events import sample_means
from ....projections.runs.flow import Branch, Step
from ....projections.runs.record import RunRecord
from ....projections.statistics.figures import ALPHA
from ....projections.statistics.gain import verdict_words
from ..charts import scores as score_charts
from ..charts import significance
from ..charts.flow import DENSE, MIDDLE, NARROW, NARROW_DENSE, ROOMY, Card, Pill, brief, flow_graph
from ..charts.scores import Dot, HeldOut, Scores, Span, score_chart
from ..charts.significance import Differences, difference_plot
from ..formats import num, score, signed
from ..frame import Visit
from ..known_runs import KnownRun
from .tiles import gain_words, held_out_word, is_held_out, n_words

_MOST_ROOMY = 24
"""Runs of more iterations are drawn with smaller cards."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A picture in layouts for columns of some widths, of which a style sheet shows one."""

    layouts: Sequence[Markup]

    def __html__(self) -> str:
        return "".join(self.layouts)


def run_flow(visit: Visit, known: KnownRun, branches: Sequence[Branch]) -> Pictures:
    record = known.record
    cards = [_start_card(visit, known, branches)]
    most = max((step.score for step in known.steps if step.score is not None), default=0.0)
    tested = {change["change"] for change in known.explained["changes"] if beats_noise(change)}
    cards += [_card(visit, record.run, step, branches, max(1.0, most), step.change in tested) for step in known.steps]
    cards.append(_end_card(visit, known))
    title = f"The iterations of run {record.run} and what each was made from"
    layouts = [("wide-only", ROOMY), ("middle-only", MIDDLE), ("narrow-only", NARROW)]
    if len(known.steps) > _MOST_ROOMY:
        layouts = [("wide-only middle-only", DENSE), ("narrow-only", NARROW_DENSE)]
    return Pictures([flow_graph(cards, look, title, class_) for class_, look in layouts])


def _start_card(visit: Visit, known: KnownRun, branches: Sequence[Branch]) -> Card:
    record = known.record
    found, parent = record.baseline, record.started.parent_run
    pills = _pills(visit, [branch for branch in branches if not branch.after])
    if parent is not None:
        after = record.started.parent_iteration
        left = "" if after is None else f"/{after}"
        path = f"/runs/{parent}" if after is None else f"/runs/{parent}/iterations/{after}"
        told = f"This run is a branch of run {parent}" + (
            "" if after is None else f", left after its iteration {after}"
        )
        pills = [Pill(f"↰ of {parent}{left}", told, visit.link(path)), *pills]
    value = None if found is None else found.score
    where = held_out_word(record)
    told = f"Baseline: the initial prompt, score {score(value)}"
    if found is not None:
        told += f" on {_samples(record)}, n = {num(found.n)}"
    best = record.completed is not None and record.completed.best == 0
    return Card(
        number=0,
        head="baseline",
        told=told + ("; reported as the best prompt" if best else ""),
        href=visit.link(f"/runs/{record.run}/iterations/0"),
        score=value,
        no_delta=where if found is not None else "not recorded",
        cost=f"n = {num(found.n)}" if found is not None else "",
        role="end",
        is_best=best and not any(step.is_best for step in known.steps),
        pills=tuple(pills[:3]),
        more=_more(visit, record.run, len(pills) - 3),
    )


def beats_noise(change: Mapping[str, Any]) -> bool:
    """Whether what a change did is more than noise, with the number of tests allowed for."""
    paired, adjusted = change["paired"], change["adjusted_p"]
    return paired is not None and paired["is_significant"] and adjusted is not None and adjusted < ALPHA


def _samples(record: RunRecord) -> str:
    return "samples of a split not recorded" if is_held_out(record) is None else f"{held_out_word(record)} samples"


def _card(visit: Visit, run: str, step: Step, branches: Sequence[Branch], most: float, beats_noise: bool) -> Card:
    pills = _pills(visit, [branch for branch in branches if branch.after == step.number])
    tokens = ("" if step.tokens_are_whole else "≥ ") + brief(step.tokens)
    no_delta = {
        "never_measured": "never measured",
        "not_comparable": "no common samples",
    }.get(step.basis or "", "initial prompt" if step.made_from == 0 else "origin unknown")
    return Card(
        number=step.number,
        head=str(step.number),
        told=_step_told(step),
        href=visit.link(f"/runs/{run}/iterations/{step.number}"),
        score=step.score,
        delta=step.delta,
        beats_noise=beats_noise,
        no_delta=no_delta,
        val="" if step.val is None else f"val {step.val:.3f}",
        cost=f"{tokens} tok",
        size="" if step.n is None else f"{'batch of' if step.sample_set == 'batch' else 'n ='} {num(step.n)}",
        made_from=step.made_from,
        phase=step.phase,
        axis=step.axis,
        is_best=step.is_best,
        is_full=step.is_full,
        is_shared=step.is_shared,
        filled=None if step.score is None else max(0.0, step.score / most),
        pills=tuple(pills[:3]),
        more=_more(visit, run, len(pills) - 3),
    )


def _step_told(step: Step) -> str:
    kind = "share of duels won" if step.kind == "win_rate" else "training score"
    parts = [f"Iteration {step.number}: {kind} {score(step.score)}"]
    if step.n is not None:
        parts[0] += f", n = {num(step.n)}" + (" of a batch" if step.sample_set == "batch" else "")
    if step.val is not None:
        parts.append(f"validation {score(step.val)}")
    if step.delta is not None:
        n = "" if step.delta_n is None else f" on {num(step.delta_n)} {'sample' if step.delta_n == 1 else 'samples'}"
        parts.append(f"its change {signed(step.delta)}{n}")
    if step.made_from is not None:
        parts.append("made from the initial prompt" if step.made_from == 0 else f"made from iteration {step.made_from}")
    if step.phase is not None:
        parts.append(f"phase {step.phase}{f', {step.axis}' if step.axis else ''}")
    parts.append(f"{'' if step.tokens_are_whole else 'at least '}{num(step.tokens)} tokens")
    parts += ["best: its prompt is the one reported"] * step.is_best + ["full evaluation"] * step.is_full
    parts += ["shared with the run that this one left"] * step.is_shared
    return "; ".join(parts)


def _end_card(visit: Visit, known: KnownRun) -> Card:
    record, told = known.record, known.explained
    paired, final = told["outcome"]["paired"], record.final
    where = held_out_word(record)
    if record.status in ("open", "failed", "interrupted"):
        head = {"open": "▶ open", "failed": "✕ failed", "interrupted": "‖ interrupted"}[record.status]
        reason = told["stopped"]["reason"] or ("goes on" if record.status == "open" else "never ended")
        return Card(None, head, f"The run is {record.status}", "#outcome", None, no_delta=reason, role="end")
    words = f"Final: score {score(None if final is None else final.score)} on {_samples(record)}; {gain_words(paired)}"
    return Card(
        None,
        "final",
        words,
        "#significance",
        None if final is None else final.score,
        delta=None if paired is None else paired["mean_difference"],
        beats_noise=paired is not None and paired["is_significant"],
        no_delta="not recorded" if final is None else where,
        cost="" if final is None else f"{where}, n = {num(final.n)}",
        role="end",
    )


def _pills(visit: Visit, branches: Sequence[Branch]) -> list[Pill]:
    return [
        Pill(
            f"⎇ {branch.run}" + ("" if branch.score is None else f" · {branch.score:.3f}"),
            f"Branch {branch.run}: {branch.strategy}, {branch.status}"
            + ("" if branch.score is None else f", final score {score(branch.score)}"),
            visit.link(f"/runs/{branch.run}"),
        )
        for branch in branches
    ]


def _more(visit: Visit, run: str, count: int) -> Pill | None:
    if count <= 0:
        return None
    return Pill(f"{count} more", f"{count} more branches left here", visit.link(f"/runs/lineage/{run}"))


def run_scores(known: KnownRun) -> Pictures | None:
    record, steps = known.record, known.steps
    train = list(_dots(steps, "training", [(step.score, step.n) for step in steps]))
    val = list(_dots(steps, "validation", [(step.val, step.val_n) for step in steps]))
    test = [
        HeldOut(name, found.score, f"{name}: {score(found.score)}, n = {num(found.n)}")
        for name, found in (("baseline", record.baseline), ("final", record.final))
        if found is not None and found.score is not None
    ]
    if not (train or val or test):
        return None
    found = Scores(
        train,
        val,
        test,
        f"training{n_words(step.n for step in steps)}",
        f"validation{n_words(step.val_n for step in steps)}",
        held_out_word(record) + n_words([item.n for item in (record.baseline, record.final) if item]),
        known.explained["threshold"]["value"],
        _spans_of_phases(steps),
    )
    return _pictures(lambda width, class_: score_chart(found, width, class_), score_charts.WIDE, score_charts.NARROW)


def _dots(steps: Sequence[Step], name: str, found: Sequence[tuple[float | None, int | None]]) -> Iterator[Dot]:
    before: tuple[str, str, int | None] | None = None
    for step, (value, n) in zip(steps, found, strict=True):
        if value is None:
            continue
        # Validation samples are the same throughout; of training samples batches differ.
        batch = step.sample_set != "whole" and name == "training"
        now = (step.kind, "batch" if batch else "whole", n if not batch else None)
        told = f"iteration {step.number}, {name}: {score(value)}, n = {num(n)}{' of a batch' if batch else ''}"
        yield Dot(step.number, value, told, before == now and not batch, batch or step.kind == "win_rate")
        before = now


def _spans_of_phases(steps: Sequence[Step]) -> list[Span]:
    found: list[Span] = []
    phase = None
    for step in steps:
        if step.phase is None:
            continue
        if step.phase != phase:
            found.append(Span(step.number, step.number, f"{step.phase} · {step.axis or 'phase'}"))
            phase = step.phase
        else:
            found[-1] = Span(found[-1].first, step.number, found[-1].label)
    return found


def run_differences(record: RunRecord, told: Mapping[str, Any]) -> Pictures | None:
    paired = told["outcome"]["paired"]
    baseline, final = record.baseline, record.final
    if paired is None or paired["mean_difference"] is None or baseline is None or final is None:
        return None
    if not isinstance(baseline.samples, tuple) or not isinstance(final.samples, tuple):
        return None
    old, new = sample_means(baseline.samples), sample_means(final.samples)
    values = [(name, new[name] - old[name]) for name in old if name in new]
    bounds = None if paired["interval"] is None else (paired["interval"][0], paired["interval"][1])
    verdict = verdict_words(paired["differing"], paired["direction"], paired["is_significant"])
    found = Differences(values, paired["mean_difference"], bounds, verdict)
    return _pictures(
        lambda width, class_: difference_plot(found, width, class_), significance.WIDE, significance.NARROW
    )


def _pictures(draw: Callable[[int, str], Markup], wide: int, narrow: int) -> Pictures:
    return Pictures([draw(wide, "wide-only middle-only"), draw(narrow, "narrow-only")])
