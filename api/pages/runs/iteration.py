"""The page of one iteration: what changed in the prompt and why, what it did, sample by sample, and its calls."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from starlette.responses import Response

from ....domain.errors import Refused
from ....domain.event import Withheld
from ....domain.optimization.effects import effect_of
from ....domain.optimization.events import PromptEvaluated, RewriteProposed
from ....projections.runs.calls_account import Tally
from ....projections.runs.diff_rows import SideBySide, side_by_side, unseen_characters
from ....projections.runs.flow import Step, best_iteration
from ....projections.runs.history_seen import history_seen
from ....projections.runs.places import RunPlaces, run_places
from ....projections.runs.prompt_diff import PromptDiff, diff_prompts
from ....projections.runs.record import Iteration, RunRecord, Text
from ....projections.runs.recorded_calls import iteration_stretch, read_calls
from ....projections.runs.sample_pairs import (
    OUTCOMES,
    Order,
    SamplePair,
    counterpart,
    metric_rows,
    ordered,
    pair_samples,
)
from ....projections.simulated import simulated_models
from ....projections.statistics.figures import ALPHA
from ....projections.statistics.gain import verdict_words
from ...moment import Moment
from ..asked import Whole
from ..charts.differences import delta_bar
from ..charts.significance import NARROW, Differences, difference_plot
from ..formats import num, p_value, score
from ..frame import Figure, Visit, VisitDep
from ..known_runs import KnownRun, known_run
from .calls import call_row
from .pictures import beats_noise
from .tiles import is_held_out

router = APIRouter(include_in_schema=False)

SAMPLES = 20
"""Samples on a page."""
CALLS = 10
"""Calls that stand on the page itself; all of them are a page of their own."""
_PLOT = 580
"""How wide the differences are drawn beside their figures."""

Show = Literal["all", "better", "worse", "same", "failed", "alone"]

_OUTCOME = re.compile(
    r"^#{1,6}[ \t]+(?:revised prompt|summary of change|selected examples|instruction)\b.*$", re.I | re.M
)
_FIRST_HEADING = re.compile(r"\A#{1,6}[ \t]+analysis[ \t]*:?[ \t]*\n", re.I)
_PURPOSES = {
    "baseline": "held-out samples, baseline",
    "final": "held-out samples, final",
    "train": "training samples",
    "variant": "training samples, as a variant",
    "val": "validation samples",
    "target": "another model, for the threshold",
}
"""What an evaluation was for, as its row says it."""


@dataclass(frozen=True, slots=True)
class Scored:
    """An evaluation of the prompt, beside the one of the other prompt that it compares with."""

    event: PromptEvaluated
    seq: int
    what: str
    before: PromptEvaluated | None

    @property
    def delta(self) -> float | None:
        if self.before is None or self.before.score is None or self.event.score is None:
            return None
        return self.event.score - self.before.score


@router.get("/runs/{run}/iterations/{number}")
def show_iteration(
    visit: VisitDep,
    run: str,
    number: Annotated[Whole, PathParameter(ge=0)],
    against: Annotated[Whole | None, Query(ge=0)] = None,
    scored: Annotated[Whole | None, Query(ge=0)] = None,
    show: Show = "all",
    order: Order = "recorded",
    page: Annotated[Whole, Query(ge=1)] = 1,
) -> Response:
    """One iteration; ``number`` 0 is the baseline. What the run does not have of this is 404.

    ``against`` is the iteration that its prompt is compared with, without it the one that it was made from. ``scored``
    is the evaluation, of this iteration's prompt, whose samples are shown; of those ``show`` keeps one outcome, and
    ``order`` puts the largest losses, the largest gains or the lowest scores first. ``page`` counts from 1.
    """
    with visit.moment() as moment:
        known = known_run(visit, moment, run)
        record = known.record
        item = _iteration(record, number) if number else None
        step = known.steps[record.iterations.index(item)] if item is not None else None
        if against is None:
            against = step.made_from if step is not None and step.made_from is not None else max(0, number - 1)
        other = _iteration(record, against) if against else None
        places = run_places(moment.views, run, moment.size)
        evaluations = _evaluations(record, places, item, other)
        chosen = _chosen(evaluations, item, scored, run)
        stretch = iteration_stretch(moment.views, run, number, moment.size)
        calls = read_calls(moment.views, moment.events, run, moment.size, stretch=stretch, most=CALLS)
        return visit.render(
            "runs/iteration.html",
            moment,
            title=f"Iteration {number} of run {run}" if number else f"Baseline of run {run}",
            figures=lambda then: _figures(visit, then, run, number),
            record=record,
            known=known,
            number=number,
            item=item,
            step=step,
            against=against,
            other=other,
            made_from=None if step is None else step.made_from,
            neighbours=_neighbours(known.steps, number),
            places=places,
            prompt=_prompt(record, item),
            compared=known.once("compared", (number, against), lambda: _compared(record, item, other)),
            simulated_models=simulated_models(record),
            reported=best_iteration(record) == number and record.completed is not None,
            evaluations=evaluations,
            chosen=chosen,
            beats_noise=beats_noise,
            metrics=[] if chosen is None else metric_rows(chosen.before, chosen.event),
            samples=None if chosen is None else _samples(chosen, show, order, page),
            show=show,
            order=order,
            change=_change(known, moment, places, item),
            calls=calls,
            call_rows=[call_row(attempt) for attempt in calls.attempts],
            account=_account(record, number),
        )


def _figures(visit: Visit, moment: Moment, run: str, number: int) -> list[Figure]:
    known = known_run(visit, moment, run)
    record = known.record
    item = next((item for item in record.iterations if item.number == number), None)
    figures = [
        Figure("status of the run", record.status),
        Figure("iterations of the run", num(len(record.iterations))),
        Figure("evaluations of its prompts", num(len(record.evaluations))),
        Figure("iteration that leads or was reported", num(best_iteration(record))),
    ]
    if item is not None:
        figures.append(Figure("training score of this iteration", score(item.score)))
        figures.append(Figure("iteration that followed", "yes" if number < len(record.iterations) else "no"))
        if item.rewrite is not None:
            change = known.explained["changes"][item.rewrite.rewrite]
            figures.append(Figure("p of this change, adjusted for all changes", p_value(change["adjusted_p"])))
    return figures


def _iteration(record: RunRecord, number: int) -> Iteration:
    for item in record.iterations:
        if item.number == number:
            return item
    last = max((item.number for item in record.iterations), default=0)
    raise Refused("iteration_known", f"run {record.run} has no iteration {number} on record; the last is {last}")


def _prompt(record: RunRecord, item: Iteration | None) -> Text:
    return record.started.system_prompt if item is None else item.prompt


def _compared(record: RunRecord, item: Iteration | None, other: Iteration | None) -> dict[str, Any]:
    """The prompt beside another iteration's; of one that is withheld nothing is compared."""
    old, new = _prompt(record, other), _prompt(record, item)
    if isinstance(old, Withheld) or isinstance(new, Withheld):
        return {"old": old, "new": new, "sides": None, "diff": None}
    sides: SideBySide = side_by_side(old, new)
    diff: PromptDiff = diff_prompts(old, new, _name(other), _name(item))
    return {"old": old, "new": new, "sides": sides, "diff": diff, "unseen": unseen_characters(new)}


def _name(item: Iteration | None) -> str:
    return "initial prompt" if item is None else f"iteration {item.number}"


def _evaluations(record: RunRecord, places: RunPlaces, item: Iteration | None, other: Iteration | None) -> list[Scored]:
    """Every evaluation of the iteration's prompt, each beside that of the other prompt."""
    prompt = 0 if item is None else item.train.prompt
    is_same = item is other or (0 if other is None else other.train.prompt) == prompt
    found = []
    for event in record.evaluations:
        if event.prompt != prompt:
            continue
        first = None
        if other is not None:
            first = other.event.val_evaluation if event.purpose == "val" else other.event.evaluation
        before = None if is_same else counterpart(record, event, 0 if other is None else other.train.prompt, first)
        found.append(Scored(event, places.evaluations[event.evaluation], _what(record, event.purpose), before))
    return found


def _what(record: RunRecord, purpose: str) -> str:
    ends = {True: "held-out samples", False: "training samples", None: "samples of a split not recorded"}
    return _PURPOSES[purpose].replace("held-out samples", ends[is_held_out(record)])


def _chosen(evaluations: list[Scored], item: Iteration | None, wanted: int | None, run: str) -> Scored | None:
    own = item.event.evaluation if item is not None else None
    if wanted is None:
        return next((found for found in evaluations if found.event.evaluation == own), next(iter(evaluations), None))
    for found in evaluations:
        if found.event.evaluation == wanted:
            return found
    raise Refused("iteration_known", f"run {run}: evaluation {wanted} did not score the prompt of this iteration")


def _samples(chosen: Scored, show: Show, order: Order, page: int) -> dict[str, Any]:
    pairs = pair_samples(chosen.before, chosen.event)
    counts = Counter(pair.outcome for pair in pairs)
    found = ordered([pair for pair in pairs if show in ("all", pair.outcome)], order)
    start = (page - 1) * SAMPLES
    reach = max((abs(pair.delta) for pair in pairs if pair.delta is not None), default=0.0)
    shown: list[SamplePair] = found[start : start + SAMPLES]
    return {
        "all": len(pairs),
        "counts": [(outcome, counts[outcome]) for outcome in OUTCOMES if counts[outcome]],
        "found": len(found),
        "rows": [(pair, delta_bar(pair.delta, reach)) for pair in shown],
        "first": start + 1,
        "newer": page - 1 if page > 1 else None,
        "older": page + 1 if start + SAMPLES < len(found) else None,
        "withheld": chosen.event.samples if isinstance(chosen.event.samples, Withheld) else None,
        "recorded": chosen.event.samples is not None,
    }


def _change(known: KnownRun, moment: Moment, places: RunPlaces, item: Iteration | None) -> dict[str, Any] | None:
    """The change that made the prompt: what was proposed, seeing what, and what it did."""
    if item is None or item.rewrite is None:
        return None
    rewrite, record = item.rewrite, known.record
    told = known.explained["changes"][rewrite.rewrite]
    asked = moment.events.event(places.rewrites[rewrite.rewrite])
    return {
        "event": rewrite,
        "told": told,
        "reasons": _reasons(rewrite),
        "history": history_seen(record, rewrite),
        "call": None if asked is None else asked.meta.get("cause"),
        "pictures": _pictures(record, rewrite, told),
        "parent": record.evaluations[rewrite.parent],
        "changes": known.explained["changes"],
        "scored_in": [step for step in known.steps if step.change == rewrite.rewrite + 1],
    }


def _reasons(rewrite: RewriteProposed) -> str | None:
    """What a reply says before it comes to the new prompt; None where nothing of the kind can be told apart."""
    if isinstance(rewrite.rationale, Withheld) or rewrite.rationale == rewrite.system_prompt:
        return None
    told = _OUTCOME.split(rewrite.rationale, maxsplit=1)[0].strip()
    return _FIRST_HEADING.sub("", told).strip() or None


def _pictures(record: RunRecord, rewrite: RewriteProposed, told: dict[str, Any]) -> tuple[Any, Any] | None:
    """The paired differences of the change, for a wide and a narrow window."""
    measured, paired = effect_of(rewrite, record.evaluations).measured_by, told["paired"]
    if measured is None or paired is None or paired["mean_difference"] is None:
        return None
    pairs = pair_samples(record.evaluations[rewrite.parent], record.evaluations[measured])
    values = [(pair.id, pair.delta) for pair in pairs if pair.delta is not None]
    verdict = verdict_words(paired["differing"], paired["direction"], paired["is_significant"])
    if paired["is_significant"] and told["adjusted_p"] is not None and told["adjusted_p"] >= ALPHA:
        verdict = "significant taken alone only"
    found = Differences(values, paired["mean_difference"], paired["interval"], verdict)
    return difference_plot(found, _PLOT, "roomy"), difference_plot(found, NARROW, "tight")


def _account(record: RunRecord, number: int) -> list[tuple[str, str, Tally]]:
    """(purpose, model, counts) of the calls that count towards the iteration; 0 is what came before all of them."""
    found: dict[tuple[str, str], Tally] = {}
    for place, tally in record.calls.places():
        before = place.iteration is None and place.purpose in ("baseline", "target")
        if before if number == 0 else place.iteration == number:
            found.setdefault((place.purpose or "", place.model), Tally()).add(tally)
    return [(purpose, model, tally) for (purpose, model), tally in found.items()]


def _neighbours(steps: list[Step], number: int) -> tuple[int | None, int | None]:
    """The iterations before and after one; 0 is the baseline."""
    numbers = [0, *(step.number for step in steps)]
    place = numbers.index(number)
    return (numbers[place - 1] if place else None), (numbers[place + 1] if place + 1 < len(numbers) else None)
