"""Starting, resuming, branching and reproducing runs: what goes on record first, and driving them to their end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...domain.errors import Refused
from ...domain.event import Withheld
from ...domain.optimization.conversation import REASONER
from ...domain.optimization.events import Split
from ...domain.optimization.options import BRANCHABLE, Options
from ...domain.optimization.script import optimise
from ...projections.runs.record import RunRecord
from ..drive.run_loop import Observer, Outcome, drive
from ..models.chat import Model
from ..models.patience import Patience
from ..record import RecordingLedger
from .plan import Plan, branched, read_plan

_TARGET_SOURCES = {"threshold": "manual", "verdict_results": "verdict_json", "target": "verdict_run"}
"""Where a threshold is from, as aevyra-reflex calls it."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where things come from, for the record: files by their paths, models by their addresses.

    ``target`` is what a threshold was read from, ``pipeline`` the file that answers and its SHA-256, ``reproduces``
    the run that this one does again.
    """

    dataset: str | None = None
    prompt: str | None = None
    endpoints: Mapping[str, str] | None = None
    target: Mapping[str, Any] | None = None
    pipeline: Mapping[str, str] | None = None
    reproduces: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that was driven here, as it is on record: to be resumed, branched or done again."""

    record: RunRecord
    plan: Plan

    @property
    def endpoints(self) -> dict[str, str]:
        """Where it found its models."""
        found = self._config.get("endpoints")
        return dict(found) if isinstance(found, dict) else {}

    @property
    def pipeline(self) -> dict[str, str] | None:
        """The pipeline's file and its SHA-256."""
        found = self._config.get("pipeline")
        return found if isinstance(found, dict) else None

    @property
    def prompt_path(self) -> str | None:
        found = self._config.get("prompt_path")
        return found if isinstance(found, str) else None

    @property
    def dataset_path(self) -> str | None:
        found = self.record.started.dataset
        return found if isinstance(found, str) else None

    @property
    def _config(self) -> dict[str, Any]:
        found = self.record.started.config
        return {} if isinstance(found, Withheld) else found


def find_recorded(recording: RecordingLedger, run: str) -> PlannedRun:
    """A run with its plan; ``Refused`` where it is not on the ledger, or was not driven here."""
    record = recording.read_run(run)
    if record is None:
        raise Refused("run_known", f"run {run!r} is not on this ledger; `affidavit runs` lists those that are")
    return PlannedRun(record, read_plan(recording.read_stream, run))


def find_open(recording: RecordingLedger, run: str) -> PlannedRun:
    """A run that can be resumed: ``Refused`` (``run_ended``) where it has ended."""
    found = find_recorded(recording, run)
    if found.record.status != "open":
        raise Refused("run_ended", f"run {run}: it is {found.record.status}, there is nothing to resume")
    return found


def start(recording: RecordingLedger, plan: Plan, provenance: Provenance, parent: tuple[str, int] | None = None) -> str:
    """Put a run's start and plan on record, in one commit; its id. ``parent``: the run and iteration it leaves."""
    options = plan.options
    return recording.start_run(
        strategy=options.strategy,
        prompt=plan.prompt,
        config=_config(options, provenance),
        models=options.models,
        reasoning_model=options.reasoning_model,
        metrics=plan.metric_names,
        dataset=provenance.dataset,
        threshold=None if options.threshold_source == "target" else options.threshold,
        max_iterations=options.max_iterations,
        split=_sizes(plan),
        parent=parent,
        plan=plan.event(),
    ).run


def carry_out(
    recording: RecordingLedger, run: str, plan: Plan, models: Mapping[str, Model], observer: Observer | None = None
) -> Outcome:
    """Drive a run from where it stands to its end, and seal its folder; raises as ``drive`` does."""
    outcome = drive(
        recording.ledger,
        run,
        optimise(plan.task(), plan.strategies),
        models,
        max_workers=plan.options.max_workers,
        patience=Patience(tries=plan.options.tries),
        meta=recording.meta,
        observer=observer,
    )
    if outcome.ended_by is not None:
        recording.seal((run,))
    return outcome


def branch_from(
    recording: RecordingLedger, run: str, iteration: int, changes: Mapping[str, Any]
) -> tuple[PlannedRun, Plan]:
    """The run that a branch leaves, and the branch's plan.

    Where ``run`` is a branch that was fed this iteration itself, the branch leaves the run that went through it.
    ``Refused`` where the iteration is not recorded, and for a change that would make scores incomparable.
    """
    for name in changes:
        if name not in BRANCHABLE:
            raise Refused("branch_changes", f"{name}: a branch keeps what scores depend on; start a new run instead")
    while True:
        found = find_recorded(recording, run)
        numbers = [item.number for item in found.record.iterations]
        if iteration not in numbers:
            known = f"1 to {max(numbers)}" if numbers else "none"
            raise Refused("iteration_known", f"run {run}, iteration {iteration}: its iterations are {known}")
        fed = None if found.plan.recorded is None else found.plan.recorded.branch_after
        parent = found.record.started.parent_run
        if fed is None or iteration > fed or parent is None:
            break
        run = parent
    plan = branched(found.plan, iteration, changes)
    if plan.options.max_iterations <= iteration:
        raise Refused(
            "branch_goes_on",
            f"--max-iterations {plan.options.max_iterations}: it counts from the run's start, and a branch after "
            f"iteration {iteration} would have nothing left to do",
        )
    return found, plan


def known_endpoints(found: PlannedRun, changes: Mapping[str, Any]) -> dict[str, str]:
    """Where a run found the models that its branch asks, too."""
    kept = dict(found.endpoints)
    if changes.get("reasoning_model", found.plan.options.reasoning_model) != found.plan.options.reasoning_model:
        kept.pop(REASONER, None)
    return kept


def parent_of(found: PlannedRun) -> tuple[str, int] | None:
    """The run and iteration that a branch left, None for a run that is none."""
    started = found.record.started
    if started.parent_run is None or started.parent_iteration is None:
        return None
    return started.parent_run, started.parent_iteration


def _sizes(plan: Plan) -> Split:
    split = plan.split
    return Split(train=len(split.train), val=len(split.val), test=len(split.test), seed=plan.options.split_seed)


def _config(options: Options, provenance: Provenance) -> dict[str, Any]:
    """The configuration snapshot: under ``optimizer_config`` the names that aevyra-reflex uses, and ours beside."""
    beside = {
        "endpoints": provenance.endpoints,
        "threshold_from": provenance.target,
        "pipeline": provenance.pipeline,
        "reproduces": provenance.reproduces,
    }
    target = None if provenance.target is None else str(provenance.target["model"])
    return {
        "prompt_path": provenance.prompt or "",
        **{name: value for name, value in beside.items() if value is not None},
        "optimizer_config": {
            "max_iterations": options.max_iterations,
            "score_threshold": options.threshold,
            "threshold_source": options.threshold_source,
            "strategy": options.strategy,
            "reasoning_model": options.reasoning_model,
            "source_model": options.source_model,
            "temperature": options.temperature,
            "eval_temperature": options.eval_temperature,
            "max_tokens": options.max_tokens,
            "max_workers": options.max_workers,
            "eval_runs": options.eval_runs,
            "extra_kwargs": options.extra,
            "train_ratio": options.train_ratio,
            "val_ratio": options.val_ratio,
            "split_seed": options.split_seed,
            "early_stopping_patience": options.early_stopping_patience,
            "batch_size": options.batch_size,
            "batch_seed": options.batch_seed,
            "full_eval_steps": options.full_eval_steps,
            "target_model": ", ".join(options.targets) or target,
            "target_source": _TARGET_SOURCES.get(options.threshold_source),
            "metrics": list(options.metrics),
            "judge": options.judge,
            "judge_criteria": options.judge_criteria,
            "tries": options.tries,
            "seed": options.seed,
            "_cli_models": list(options.models),
        },
    }
