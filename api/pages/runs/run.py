"""The page of one run: what it came to, how its prompts came out of one another, and what that cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from ....domain.errors import Refused
from ....projections.reviews_view import count_reviews, newest_reviews
from ....projections.runs.config import compare_settings
from ....projections.runs.cost import Cost, cost_of
from ....projections.runs.flow import branches_of
from ....projections.runs.places import newest_runs
from ....projections.runs.record import RunRecord, Text
from ....projections.runs.scores import leading_iteration
from ...moment import Moment
from ...reviews import review_at
from ..formats import num, score, signed
from ..frame import Figure, Visit, VisitDep
from ..known_runs import KnownRun, known_run
from .pictures import beats_noise, run_differences, run_flow, run_scores
from .tiles import gain_words, is_held_out, run_tiles, silent_for

router = APIRouter(include_in_schema=False)

_MOST_SPANS = 60
_OTHERS = 30
_REVIEWS = 10
_PRICE = "price:"


@router.get("/runs/{run}")
def show_run(visit: VisitDep, run: str, against: str | None = None) -> Response:
    """One run as of the moment."""
    with visit.moment() as moment:
        known = known_run(visit, moment, run)
        record, told = known.record, known.explained
        branches, branch_count = branches_of(moment.views, moment.size, run)
        other, not_found = _other(visit, moment, run, against)
        prices, cost, not_priced = _cost(visit, record)
        return visit.render(
            "runs/run.html",
            moment,
            title=f"Run {run}",
            figures=lambda at: _figures(visit, at, run),
            run=run,
            signed=signed,
            record=record,
            told=told,
            steps=known.steps,
            branches=branches,
            branch_count=branch_count,
            tiles=list(run_tiles(visit.now, known)),
            flow=known.once("flow", (visit.as_of, *branches), lambda: run_flow(visit, known, branches)),
            scores=known.once("scores", None, lambda: run_scores(known)),
            differences=known.once("differences", None, lambda: run_differences(record, told)),
            changes=list(zip(told["changes"], record.rewrites, strict=True)),
            beats_noise=beats_noise,
            held_out=is_held_out(record),
            phases=_phases(record, told),
            metrics=_metrics(record),
            settings=compare_settings(record, other),
            other=None if other is None else other.run,
            not_found=not_found,
            others=_others(moment, record),
            priced_models=_priced_models(record),
            prices=prices,
            cost=cost,
            not_priced=not_priced,
            best_prompt=record.best_prompt if record.completed is not None else _leading_prompt(record),
            model_says=next((note.text for note in reversed(record.notes) if note.kind == "what_happened"), None),
            events=known.events,
            reviews=[
                review_at(moment.events, seq) for seq in newest_reviews(moment.views, moment.size, _REVIEWS, run=run)
            ],
            review_count=count_reviews(moment.views, moment.size, run=run),
            spans=_spans(known),
            started=_started(record),
            last_seconds=silent_for(visit.now, record),
        )


def _figures(visit: Visit, moment: Moment, run: str) -> list[Figure]:
    known = known_run(visit, moment, run)
    record, told = known.record, known.explained
    outcome = told["outcome"]
    best = max((step.score for step in known.steps if step.score is not None and step.kind == "mean"), default=None)
    return [
        Figure("status", record.status),
        Figure("iterations", num(len(known.steps))),
        Figure("baseline", score(None if outcome["baseline"] is None else outcome["baseline"]["score"])),
        Figure("highest training score", score(best)),
        Figure("final", score(None if outcome["final"] is None else outcome["final"]["score"])),
        Figure("gain", gain_words(outcome["paired"])),
        Figure("changes", num(told["changes_count"]["changes"])),
        Figure("tokens", num((told["tokens"]["eval_total"] or 0) + (told["tokens"]["reasoning_total"] or 0))),
        Figure("branches", num(branches_of(moment.views, moment.size, run)[1])),
        Figure("reviews", num(count_reviews(moment.views, moment.size, run=run))),
    ]


def _phases(record: RunRecord, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each phase with what it contributed; the last one is open where the run is."""
    spent = {} if told["calls"] is None else {row["phase"]: row["tokens"] for row in told["calls"]["by_phase"]}
    ended = {phase.phase: phase for phase in record.phases}
    found = []
    for phase in record.phases_started:
        end = ended.get(phase.phase)
        before = None if end is None else end.score_before
        after = None if end is None else end.score_after
        numbers = [item.number for item in record.iterations if item.event.phase == phase.phase]
        found.append(
            {
                "phase": phase.phase,
                "axis": phase.axis,
                "end": end,
                "numbers": numbers,
                "contribution": None if before is None or after is None else after - before,
                "tokens": spent.get(phase.phase),
            }
        )
    return found


def _metrics(record: RunRecord) -> list[tuple[str, float | None, float | None]]:
    """Each metric's score in the baseline and in the final evaluation."""
    baseline = {} if record.baseline is None else record.baseline.scores_by_metric
    final = {} if record.final is None else record.final.scores_by_metric
    return [(name, baseline.get(name), final.get(name)) for name in sorted(baseline.keys() | final.keys())]


def _other(visit: Visit, moment: Moment, run: str, against: str | None) -> tuple[RunRecord | None, str | None]:
    """The run whose settings are set beside these; or the name of one that is not there."""
    name = (against or "").strip()
    if not name or name == run:
        return None, None
    try:
        return known_run(visit, moment, name).record, None
    except Refused:
        return None, name


def _others(moment: Moment, record: RunRecord) -> list[str]:
    """Runs to compare with: where this one comes from, then the newest."""
    newest = newest_runs(moment.views, moment.size, _OTHERS)
    return [name for name in dict.fromkeys([record.started.parent_run, *newest]) if name not in (None, record.run)]


def _priced_models(record: RunRecord) -> list[tuple[str, tuple[str, str]]]:
    """The models that have a price, and the two kinds of tokens that it is of."""
    if record.calls.has_calls:
        return [(model, ("prompt", "completion")) for model in record.calls.by("model")]
    named = [*record.started.models, *([record.started.reasoning_model] if record.started.reasoning_model else [])]
    return [(model, ("eval", "reasoning")) for model in dict.fromkeys(named)]


def _cost(visit: Visit, record: RunRecord) -> tuple[dict[str, str], Cost | None, str | None]:
    """Prices as they were typed, what the run costs by them, and what was wrong with them."""
    typed = {name: value.strip() for name, value in visit.query.items() if name.startswith(_PRICE) and value.strip()}
    if not typed:
        return {}, None, None
    prices: dict[str, dict[str, float]] = {}
    try:
        for name, value in typed.items():
            kind, _, model = name.removeprefix(_PRICE).partition(":")
            prices.setdefault(model, {})[kind] = float(value.replace(",", "."))
        return typed, cost_of(record, prices), None
    except (ValueError, Refused) as error:
        return typed, None, str(error)


def _spans(known: KnownRun) -> str:
    """The entries that the page speaks of, for who checks them; of a run that is widely spread those that tell most."""
    spans = known.spans
    if len(spans) > _MOST_SPANS:
        record = known.record
        seqs = sorted({record.started_seq, record.last_seq, *(step.seq for step in known.steps[-_MOST_SPANS:])})
        spans = [(seq, seq) for seq in seqs]
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)


def _started(record: RunRecord) -> str:
    """When the run began: an import says so itself."""
    return record.started.timestamp or record.started_at


def _leading_prompt(record: RunRecord) -> Text | None:
    leading = leading_iteration(record)
    return None if leading is None else leading.prompt
