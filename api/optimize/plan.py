"""A run's plan: all that it depends on, checked before anything is paid for, and read back to do it again."""

from __future__ import annotations

import hashlib
import inspect
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...domain.errors import Refused
from ...domain.event import Event, Recorded, Withheld
from ...domain.optimization.dataset import DataRow, Dataset
from ...domain.optimization.events import RunPlanned, RunStarted
from ...domain.optimization.language import detect_language, preamble
from ...domain.optimization.metrics import (
    DEFAULT_CRITERIA,
    JUDGE_NAME,
    CustomMetric,
    Metric,
    MetricFailed,
    ReferenceMetric,
)
from ...domain.optimization.options import Options
from ...domain.optimization.randomness import RunRandom, check_draws
from ...domain.optimization.script import Stretch, Task
from ...domain.optimization.splits import SplitIndices, split_rows
from ...domain.optimization.study import Strategies, Study
from .flags import make_options
from .registered import find_all_metrics, find_strategies

_PACKAGE = Path(__file__).parents[2]
_FOLDER = "domain/optimization"
_BESIDE_IT = (
    "api/drive/exchanges.py",
    "api/models/bodies.py",
    "domain/errors.py",
    "domain/event.py",
    "domain/material.py",
    "domain/model_calls.py",
    "domain/number.py",
    "domain/strict_json.py",
    "domain/text.py",
)
"""What scripts, strategies and metrics use, and what reads the replies that they are sent."""
_SAMPLES_FOR_LANGUAGE = 20
_WITHHELD = {"closed": "sealed under a key that is not at hand here", "erased": "erased, and cannot be followed"}

ReadStream = Callable[[str], Iterable[Recorded]]
"""Gives a run's events, opened, by the run's id."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does: its prompt, data, split, and settings by stretch; ``metrics`` and ``strategies`` are loaded.

    ``recorded`` is the plan as it went on record, None for one that has not.
    """

    prompt: str
    rows: tuple[DataRow, ...]
    split: SplitIndices
    stretches: tuple[Stretch, ...]
    metrics: tuple[Metric, ...]
    strategies: Strategies
    recorded: RunPlanned | None = None

    @property
    def options(self) -> Options:
        """The settings that hold at the run's end."""
        return self.stretches[-1].options

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What the scores are recorded under."""
        judge = () if self.options.judge is None else (JUDGE_NAME,)
        return (*(metric.name for metric in self.metrics), *judge)

    def task(self) -> Task:
        """The task of the run's script."""
        options = self.stretches[0].options
        texts = [self.rows[place].input for place in self.split.train[:_SAMPLES_FOR_LANGUAGE]]
        return Task(
            self.prompt,
            self.rows,
            self.split,
            self.stretches,
            self.metrics,
            None if options.judge is None else options.judge_criteria or DEFAULT_CRITERIA,
            preamble(detect_language(texts), options.source_model),
        )

    def versions(self) -> dict[str, str]:
        """The software that decides requests and scores."""
        return {
            "affidavit": version("affidavit"),
            "python": platform.python_version(),
            **_metric_versions(self.metrics),
        }

    def sources(self) -> dict[str, str]:
        """SHA-256 of every source file that decides, by its name.

        Of a registered strategy or metric it is the file that defines it, where that is Python.
        """
        code = _PACKAGE / _FOLDER
        found = {path.relative_to(_PACKAGE).as_posix(): path for path in code.rglob("*.py")}
        found |= {name: _PACKAGE / name for name in _BESIDE_IT}
        registered: dict[str, Callable[..., object]] = {
            f"strategy/{name}": strategy for name, strategy in self.strategies.items()
        }
        registered |= {f"metric/{one.name}": one.fn for one in self.metrics if isinstance(one, CustomMetric)}
        for name, called in registered.items():
            path = _source_of(called)
            if path is not None and code not in path.parents:
                found[name] = path
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(found.items())}

    def event(self) -> RunPlanned:
        """The plan as it goes on record."""
        options = self.options
        return RunPlanned(
            seed=options.seed,
            rows_count=len(self.rows),
            held_out=self.split.held_out,
            versions=self.versions(),
            draws=tuple(check_draws(options.seed)),
            branch_after=self.stretches[-2].until if len(self.stretches) > 1 else None,
            options=options.model_dump(mode="json"),
            rows=[row.model_dump(mode="json") for row in self.rows],
            split={"train": list(self.split.train), "val": list(self.split.val), "test": list(self.split.test)},
            sources=self.sources(),
        )


def make_plan(options: Options, dataset: Dataset, prompt: str) -> Plan:
    """Check what can be checked without a model; ``Refused`` says what is wrong with which setting or row."""
    if not prompt.strip():
        raise Refused("prompt_given", "the prompt: expected text, found none")
    metrics = find_all_metrics(options.metrics)
    if not metrics and options.judge is None:
        raise Refused("metric_given", "metrics: expected at least one, or a judge")
    _require_references(dataset, metrics)
    split = split_rows(dataset.rows, options.train_ratio, options.val_ratio, options.split_seed)
    strategies = find_strategies([options.strategy])
    plan = Plan(prompt, dataset.rows, split, (Stretch(options),), metrics, strategies)
    _require_workable(plan)
    return plan


def branched(plan: Plan, iteration: int, changes: Mapping[str, Any]) -> Plan:
    """The plan of a branch that leaves ``plan``'s run after ``iteration`` and goes on with some settings changed."""
    if "strategy" in changes and changes["strategy"] != plan.options.strategy:
        changes = {"extra": {}, **changes}  # options of a strategy mean nothing to another
    options = make_options({**plan.options.model_dump(), **changes})
    before = tuple(replace(part, until=iteration if part.until is None else part.until) for part in plan.stretches)
    if len(before) > 1 and (before[-2].until or 0) >= iteration:
        raise Refused(
            "branch_after_parent",
            f"iteration {iteration}: this run is a branch itself and left its parent after iteration "
            f"{before[-2].until}; branch the parent instead",
        )
    strategies = {**plan.strategies, **find_strategies([options.strategy])}
    made = replace(plan, stretches=(*before, Stretch(options)), strategies=strategies, recorded=None)
    _require_workable(made)
    return made


def read_plan(read: ReadStream, run: str) -> Plan:
    """The plan of a recorded run, over those of the runs it branched from; ``Refused`` where there is none."""
    started, planned = _first_events(read, run)
    try:
        return _planned(read, started, planned)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(
            "plan_readable", f"run {run}: its plan is of another version than this software: {where}: {first['msg']}"
        ) from error


def _planned(read: ReadStream, started: RunStarted, planned: RunPlanned) -> Plan:
    prompt, rows, split = started.system_prompt, planned.rows, planned.split
    for sealed in (prompt, rows, split, planned.options):
        if isinstance(sealed, Withheld):
            raise Refused("plan_open", f"run {started.run}: its plan is {_WITHHELD[sealed.why]}")
    assert isinstance(prompt, str)
    assert isinstance(rows, list)
    assert isinstance(split, dict)
    options = Options.model_validate(planned.options)
    if started.parent_run is not None and planned.branch_after is not None:
        parent = read_plan(read, started.parent_run)
        made = branched(parent, planned.branch_after, options.model_dump())
        return replace(made, recorded=planned)
    parts = SplitIndices(tuple(split["train"]), tuple(split["val"]), tuple(split["test"]), planned.held_out)
    return Plan(
        prompt,
        tuple(DataRow.model_validate(row) for row in rows),
        parts,
        (Stretch(options),),
        find_all_metrics(options.metrics),
        find_strategies([options.strategy]),
        planned,
    )


def _first_events(read: ReadStream, run: str) -> tuple[RunStarted, RunPlanned]:
    events: list[Event] = []
    for recorded in read(run):
        if isinstance(recorded.event, Event):
            events.append(recorded.event)
        if len(events) == 2:
            break
    if not events:
        raise Refused("run_known", f"run {run!r} is not on this ledger; `affidavit runs` lists those that are")
    match events:
        case [RunStarted() as started, RunPlanned() as planned]:
            return started, planned
    raise Refused(
        "run_planned", f"run {run}: it was recorded or imported, and not driven here, so there is no plan to follow"
    )


def _metric_versions(metrics: Iterable[Metric]) -> dict[str, str]:
    """The installed versions of the libraries that decide the numbers of the built-in ones among ``metrics``."""
    named = {library for metric in metrics if isinstance(metric, ReferenceMetric) for library in metric.libraries}
    try:
        return {library: version(library) for library in sorted(named)}
    except PackageNotFoundError as error:
        raise Refused("metric_installed", f"metric: the package {error.name} is not installed") from error


def _source_of(called: Callable[..., object]) -> Path | None:
    """The file that defines a callable: its function's, or its class's where it is an object."""
    while isinstance(called, partial):
        called = called.func
    called = inspect.unwrap(called)
    for defined in (called, type(called)):
        try:
            file = inspect.getsourcefile(defined)
        except (TypeError, OSError):  # built in, or neither function nor class
            continue
        if file is not None and Path(file).is_file():
            return Path(file)
    return None


def _require_workable(plan: Plan) -> None:
    """Begin the strategy's conversation, and ask it nothing: a strategy checks its own settings when it is called."""
    options = plan.options
    rows = tuple(plan.rows[place] for place in plan.split.train)
    plan.strategies[options.strategy](Study(options, rows, plan.prompt, RunRandom(options.seed))).close()


def _require_references(dataset: Dataset, metrics: Iterable[Metric]) -> None:
    """Each row must be scorable by each metric before anything is paid for."""
    needing = [metric for metric in metrics if metric.needs_reference]
    for metric in needing:
        if dataset.missing_ideals:
            names = ", ".join(dataset.missing_ideals[:5])
            raise Refused(
                "references_given",
                f"metric {metric.name}: it compares with references, and {len(dataset.missing_ideals)} of "
                f"{len(dataset.rows)} rows have none: {names}",
            )
        if not isinstance(metric, ReferenceMetric):
            continue  # a user's own code is run on answers only
        for row in dataset.rows:
            try:
                metric.score("", row.ideal or "")
            except MetricFailed as error:
                raise Refused("reference_scorable", f"row {row.id}: {error}") from error
