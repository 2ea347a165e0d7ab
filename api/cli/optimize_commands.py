"""Commands that drive a run, or do one again: optimize, resume, branch, replay, reproduce, explain."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any

from ...domain.errors import AffidavitError, Refused
from ...domain.optimization.script import optimise
from ...domain.strict_json import STRICT_JSON
from ...ledger.application import Ledger
from ...ledger.errors import Unavailable
from ...projections.directories.reflex import reflex_result
from ...projections.runs.cost import cost_of
from ...projections.runs.explanation import explain
from ...projections.runs.explanation_text import WIDTH, comparison_lines
from ...projections.runs.record import RunRecord
from ...projections.runs.reproduction import MARGIN, compare_runs
from ...projections.runs.run_list import list_runs
from ...projections.simulated import is_simulated
from ..drive.run_equality import Diverged
from ..drive.run_replay import ReplayReport, replay
from ..models.pipeline import PipelineModel
from ..optimize.connecting import Addresses, endpoints, open_models
from ..optimize.given import Asked, Given, plan_from, read_material, require_same
from ..optimize.pipelines import open_pipeline, require_same_pipeline
from ..optimize.plan import Plan, read_plan
from ..optimize.running import (
    PlannedRun,
    Provenance,
    branch_from,
    carry_out,
    find_open,
    find_recorded,
    known_endpoints,
    parent_of,
    start,
)
from ..reading import OpenLedger, open_for_reading
from ..record import RecordingLedger, open_ledger
from ..settings import keys_root, ledger_place
from .interruption import INTERRUPTED, require_uninterrupted
from .output import base64, count_answers, print_json, safe, say, score, write_file
from .run_commands import read_prices
from .run_progress import shown_progress

_VERDICT_CODES = {"reproduced": 0, "same_scores": 0, "differs": 1}
_CANNOT_SAY = 3
_NAMED_CHANGES = 5
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What every command that drives a run is given: the ledger, where models are, and what is wanted at the end."""

    ledger: str | None
    base_url: str | None = None
    reasoning_base_url: str | None = None
    judge_base_url: str | None = None
    reasoning_api_key: str | None = None
    pipeline_file: Path | None = None
    best_prompt: Path | None = None
    results: Path | None = None
    as_json: bool = False
    verbose: bool = False

    @property
    def addresses(self) -> Addresses:
        return Addresses(self.base_url, self.reasoning_base_url, self.judge_base_url, self.reasoning_api_key)

    def tell(self, line: str) -> None:
        """Print a line, unless a program reads."""
        if not self.as_json:
            say(line)

    def command(self, run: str) -> str:
        """The command that resumes a run, all but a key that stood on the command line."""
        words = ["affidavit", *(["--ledger", self.ledger] if self.ledger else []), "resume", run]
        given = {
            "--base-url": self.base_url,
            "--reasoning-base-url": self.reasoning_base_url,
            "--judge-base-url": self.judge_base_url,
            "--pipeline-file": self.pipeline_file,
            "--output": self.best_prompt,
            "--results-json": self.results,
        }
        for flag, value in given.items():
            words += [] if value is None else [flag, str(value)]
        words += ["--json"] if self.as_json else []
        return shlex.join(words)

    def require_writable(self) -> None:
        """``Unavailable`` where a file that is wanted at the end could not be written; found out before it costs."""
        for path in (self.best_prompt, self.results):
            if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
                raise Unavailable(f"{path}: expected a file that can be written there")


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """The pipeline of the command line; both None where there is none."""

    model: PipelineModel | None = None
    recorded: dict[str, str] | None = None


def settings_of(strategy_options: Sequence[str] | None = None, **settings: Any) -> dict[str, Any]:
    """Fields of ``Options`` out of flags: those that were given."""
    found = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if value is not None and value != []
    }
    if strategy_options:
        found["extra"] = dict(map(_strategy_option, strategy_options))
    return found


def ask_for(
    *,
    dataset: Path | None,
    prompt: Path | None,
    pipeline_file: Path | None,
    inputs_file: Path | None,
    input_field: str | None,
    output_field: str | None,
    judge_criteria: Path | None,
    verdict_results: Path | None,
    strategy_options: Sequence[str] | None,
    **settings: Any,
) -> Given:
    """What was asked for. With a pipeline, a file alone is the prompt."""
    if pipeline_file is not None and prompt is None:
        dataset, prompt = None, dataset
    return Given(
        prompt=prompt,
        dataset=dataset,
        settings=settings_of(strategy_options, **settings),
        judge_criteria=judge_criteria,
        verdict_results=verdict_results,
        input_field=input_field,
        output_field=output_field,
        inputs_file=inputs_file,
        pipeline=None if pipeline_file is None else pipeline_file.stem,
    )


def optimize(session: Session, given: Given) -> int:
    """Start a run and drive it to its end; the exit code."""
    session.require_writable()
    pipeline = _open_pipeline(session)
    asked = plan_from(given)
    plan = asked.plan
    with open_models(plan.options, session.addresses, pipeline=pipeline.model) as models:
        require_uninterrupted()
        with _open_or_make(session) as recording:
            provenance = Provenance(
                dataset=str(asked.source.resolve()),
                prompt=str(given.prompt.resolve()) if given.prompt is not None else None,
                endpoints=endpoints(models),
                target=asked.target,
                pipeline=pipeline.recorded,
            )
            run = start(recording, plan, provenance)
            _tell_threshold(session, given, asked)
            code = _drive(session, recording, run, plan, models)
        return code or _finish(session, run)


def _tell_threshold(session: Session, given: Given, asked: Asked) -> None:
    """Say which of several sources the threshold is from, and which results it was read in."""
    options = asked.plan.options
    unused = "--verdict-results" if given.verdict_results is not None else "--target"
    if asked.target is not None:
        metrics = ", ".join(asked.target["metrics"])
        session.tell(f"threshold {asked.target['score']:.4f}: {asked.target['model']}'s, by {metrics}")
    elif "threshold" in given.settings and (given.verdict_results is not None or "targets" in given.settings):
        session.tell(f"threshold {options.threshold:g} as given; {unused} is not looked at")


def resume(session: Session, run: str, given: Given | None = None) -> int:
    """Go on with a run that has not ended. ``given`` is what was asked for beside it, which must be as recorded."""
    session.require_writable()
    pipeline = _open_pipeline(session)
    with open_ledger(session.ledger) as recording:
        found = find_open(recording, run)
        if given is not None:
            require_same(given, found.plan, run)
        require_same_pipeline(pipeline.recorded, found.pipeline, run)
        with open_models(
            found.plan.options, session.addresses, pipeline=pipeline.model, known=found.endpoints
        ) as models:
            code = _drive(session, recording, run, found.plan, models)
    return code or _finish(session, run)


def take_up(session: Session, run: str | None, given: Given) -> int:
    """Resume a run, by default the newest that fits, all of whose recorded settings agree with what is given."""
    return resume(session, run or _newest_open(session, given), given)


def _newest_open(session: Session, given: Given) -> str:
    """The newest open run of this data set and prompt."""
    rows, prompt = read_material(given)
    with open_for_reading(ledger_place(session.ledger), keys_root()) as ledger:
        with ledger.views() as connection:
            lines = list_runs(connection, ledger.size)
        for line in reversed(lines):
            if line.status != "open":
                continue
            try:
                plan = _plan_of(ledger, line.run)
            except Refused:
                continue  # it was not driven here, or by a strategy that is not installed
            if (plan.rows, plan.prompt.strip()) == (rows, prompt):
                return line.run
    raise Refused(
        "run_known", "--resume: no open run has this data set and this prompt; `affidavit runs` lists all of them"
    )


def branch(session: Session, run: str, iteration: int, changes: Mapping[str, Any]) -> int:
    """Leave a run after an iteration and go on with some settings changed, as a run of its own."""
    session.require_writable()
    pipeline = _open_pipeline(session)
    with open_ledger(session.ledger) as recording:
        settings = dict(changes)
        if "threshold" in settings:
            settings["threshold_source"] = "threshold"
        left, plan = branch_from(recording, run, iteration, settings)
        require_same_pipeline(pipeline.recorded, left.pipeline, left.record.run)
        known = known_endpoints(left, settings)
        with open_models(plan.options, session.addresses, pipeline=pipeline.model, known=known) as models:
            provenance = _provenance_of(left, endpoints(models), pipeline)
            require_uninterrupted()
            made = start(recording, plan, provenance, parent=(left.record.run, iteration))
            session.tell(f"branch   of run {left.record.run}, after iteration {iteration}")
            code = _drive(session, recording, made, plan, models)
    return code or _finish(session, made)


def reproduce(session: Session, run: str, margin: float) -> int:
    """Do a run again with the same plan, and compare the two; the exit code says what came of it."""
    if not (math.isfinite(margin) and margin > 0):
        raise Refused("setting_valid", f"--margin {margin:g}: expected a number above 0")
    session.require_writable()
    pipeline = _open_pipeline(session)
    with open_ledger(session.ledger) as recording:
        found = find_recorded(recording, run)
        if found.record.status != "completed":
            raise Refused("run_completed", f"run {run}: it is {found.record.status}; only a whole run can be compared")
        require_same_pipeline(pipeline.recorded, found.pipeline, run)
        plan = found.plan
        with open_models(plan.options, session.addresses, pipeline=pipeline.model, known=found.endpoints) as models:
            provenance = _provenance_of(found, endpoints(models), pipeline, reproduces=run)
            require_uninterrupted()
            made = start(recording, plan, provenance, parent=parent_of(found))
            session.tell(f"reproduces run {run}")
            code = _drive(session, recording, made, plan, models)
    return code or _finish(session, made, margin)


def replay_run(given: str | None, run: str, verbose: bool, as_json: bool) -> int:
    """Do a run again on its recorded replies; 0 where it is identical, 1 where not."""
    with open_for_reading(ledger_place(given), keys_root()) as ledger:
        plan = _plan_of(ledger, run)
        report = replay(
            ledger.events,
            run,
            lambda: optimise(plan.task(), plan.strategies),
            sources=plan.sources(),
            versions=plan.versions(),
        )
        size, root = ledger.size, ledger.root
    if as_json:
        print_json({"size": size, "root": base64(root), **report.as_json()})
    else:
        _print_replay(report, size, verbose)
    return 0 if report.identical else 1


def explain_run(given: str | None, run: str, as_json: bool, as_of: str | None, prices: Path | None) -> None:
    """Print what a run came to and why."""
    with open_for_reading(ledger_place(given), keys_root()) as ledger:
        size = ledger.size_as_of(as_of)
        record, root = ledger.run(run, size), ledger.root_at(size)
        found = explain(record, ledger.run_seed(record))
    document = found.as_json()
    if prices is not None:
        document = {**document, "cost": asdict(cost_of(record, read_prices(prices)))}
    if as_json:
        print_json({"size": size, "root": base64(root), **document})
        return
    say(found.text(get_terminal_size().columns) if sys.stdout.isatty() else found.text())
    if prices is not None:
        say()
        say(f"Cost by {prices}")
        cost = document["cost"]
        bound = "at least " if cost["is_lower_bound"] else ""
        for name in ("eval", "reasoning", "total"):
            say(f"  {name:<11} {'not known' if cost[name] is None else f'{bound}{cost[name]:.6f}'}")
        for gap in cost["not_priced"]:
            say(f"  not priced: {gap}")


def _drive(session: Session, recording: RecordingLedger, run: str, plan: Plan, models: Mapping[str, Any]) -> int:
    """Drive a run, showing how it goes; 0, or the exit code after ctrl-C. What ends it otherwise is raised."""
    options, split = plan.options, plan.split
    simulated = [name for name in dict.fromkeys(model.model for model in models.values()) if is_simulated(name)]
    if simulated:
        session.tell(f"SIMULATED {', '.join(simulated)}: no language model; scores say nothing about any model")
    held_out = "" if split.held_out else "; nothing is held out"
    session.tell(f"run      {run}, {options.strategy}, {', '.join(options.models)}")
    session.tell(f"samples  {len(split.train)} train, {len(split.val)} validation, {len(split.test)} test{held_out}")
    n = len(split.test)
    least = 2 ** (1 - n)
    if least >= _SIGNIFICANT and not session.as_json:
        _caution(f"with n = {n} no p below {_SIGNIFICANT} is possible, whatever comes of it; the least is {least:g}")
    try:
        with shown_progress(
            options.max_iterations, bool(simulated), quiet=session.as_json, verbose=session.verbose
        ) as progress:
            require_uninterrupted()  # the last moment at which nothing has been sent
            outcome = carry_out(recording, run, plan, models, progress)
    except KeyboardInterrupt:
        _tell_how_to_resume(session, run, "interrupted")
        return INTERRUPTED
    except (AffidavitError, OSError) as error:
        if not isinstance(error, Diverged) and getattr(error, "rule", None) != "run_busy":  # resuming would not help
            _tell_how_to_resume(session, run, "stopped")
        raise
    if outcome.fed:
        session.tell(f"fed      {outcome.fed} replies from the ledger, none of them bought again")
    return 0


def _tell_how_to_resume(session: Session, run: str, what: str) -> None:
    """On standard error, since standard output may be read by a program."""
    lines = [f"run {run} was {what}; what came back is on record. To go on:", f"  {session.command(run)}"]
    key = session.reasoning_api_key
    if key is not None and key != os.environ.get("REFLEX_REASONING_API_KEY"):
        lines.append("  and --reasoning-api-key as before: it is recorded nowhere")
    for line in lines:
        print(safe(line), file=sys.stderr, flush=True)


def _finish(session: Session, run: str, margin: float = MARGIN) -> int:
    """Print what came of a run and write what is wanted of it; the exit code."""
    with open_for_reading(ledger_place(session.ledger), keys_root()) as ledger:
        record, size, root = ledger.run(run), ledger.size, ledger.root
        config = record.started.config
        reproduced = config.get("reproduces") if isinstance(config, dict) else None
        original = ledger.run(reproduced) if isinstance(reproduced, str) else None
        found = explain(record, ledger.run_seed(record))
        compared = None
        if original is not None:
            compared = compare_runs(original, record, ledger.run_seed(original, record), margin)
    _write_results(session, record)
    if session.as_json:
        document = {"size": size, "root": base64(root), **found.as_json()}
        print_json(document if compared is None else {**document, "reproduction": compared.as_json()})
    else:
        _print_ending(session, found.as_json())
        if compared is not None:
            say()
            say(compared.text())
    if record.status != "completed":
        return 1
    return 0 if compared is None else _VERDICT_CODES.get(compared.as_json()["verdict"], _CANNOT_SAY)


def _write_results(session: Session, record: RunRecord) -> None:
    best = record.best_prompt
    if session.best_prompt is not None and isinstance(best, str):
        write_file(session.best_prompt, best.encode())
        session.tell(f"best     {session.best_prompt}")
    result = reflex_result(record)
    if session.results is not None and result is not None:
        write_file(session.results, f"{json.dumps(result, ensure_ascii=False, indent=2)}\n".encode())
        session.tell(f"results  {session.results}")


def _print_ending(session: Session, document: Mapping[str, Any]) -> None:
    """The run in a few lines; ``explain`` has the rest."""
    stopped, outcome = document["stopped"], document["outcome"]
    meaning = f": {stopped['meaning']}" if stopped["meaning"] else ""
    say(f"ended    {document['status']}, {stopped['reason']}{meaning}")
    if isinstance(stopped["message"], str):
        say(f"         {stopped['message'].strip().splitlines()[-1]}")
    for role in ("baseline", "final"):
        found = outcome[role]
        if found is not None:
            counted = count_answers(found["samples"], found["answers"], found["failed"])
            say(f"{role:<8} {score(found['score']) or 'none'} ({counted})")
    if outcome["paired"] is not None:
        for line in comparison_lines(outcome["paired"], "gain"):
            say(line)
    for warning in document["warnings"]:
        _caution(warning)
    calls = document["calls"]
    if calls is not None:
        total = calls["total"]
        bound = "" if total["is_whole"] else "at least "
        tokens = f"{bound}{total['prompt_tokens']} prompt, {bound}{total['completion_tokens']} completion"
        say(f"calls    {total['calls']}, {total['retries']} tried again; tokens {tokens}")
        if total["in_flight"]:
            say(f"         attempts that were never answered: {total['in_flight']}; what they cost is not known")
    ledger = f"--ledger {shlex.quote(session.ledger)} " if session.ledger else ""
    say(f"more     affidavit {ledger}explain {document['run']}")


def _caution(text: str) -> None:
    for line in wrap(f"caution  {text}", WIDTH, subsequent_indent=" " * 9, break_on_hyphens=False):
        say(line)


def _print_replay(report: ReplayReport, size: int, verbose: bool) -> None:
    extent = f"{report.calls} calls and {report.facts} facts compared, from {size} entries"
    if report.identical:
        whole = "" if report.complete else ", as far as it is recorded"
        say(f"run {report.run}: identical{whole}; {extent}")
        if report.ended_at is not None:
            say(f"  it is open: {report.ended_at} would be next")
    else:
        say(f"run {report.run}: differs; {extent}")
    difference = report.difference
    if difference is not None:
        say(f"  first at  {difference.place}: {difference.kind}")
        say(f"  {difference.field}: recorded {difference.recorded}, replayed {difference.replayed}")
        for call in difference.calls:
            say(f"  behind it {call}")
        say(f"  why       {_WHY[difference.why]} ({difference.why})")
    for call in report.in_flight:
        say(f"  in flight {call}: it was never answered, its cost is not known")
    if report.changed:
        named = report.changed if verbose else report.changed[:_NAMED_CHANGES]
        rest = len(report.changed) - len(named)
        more = f" and {rest} more, which -v names" if rest else ""
        text = f"not as recorded, {len(report.changed)}: {', '.join(named)}{more}"
        for line in wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False):
            say(line)


_WHY = {
    "metric_drift": "the same answer has another score by a metric",
    "random_numbers": "the same seed gives other numbers here",
    "code_version": "the code or its libraries are not those of the record",
    "reply_changed": "a recorded reply leads to something else than is recorded",
    "unknown": "the strategy does not do the same again on the same replies",
}


def _strategy_option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise Refused("setting_valid", f"--strategy-option {text!r:.80}: expected NAME=JSON")
    try:
        return name, STRICT_JSON.decode(value)
    except (ValueError, RecursionError):
        return name, value  # a word needs no quotes


def _plan_of(ledger: OpenLedger, run: str) -> Plan:
    return read_plan(lambda name: ledger.events.stream(f"run/{name}"), run)


def _provenance_of(
    found: PlannedRun, addresses: Mapping[str, str], pipeline: _Pipeline, reproduces: str | None = None
) -> Provenance:
    return Provenance(
        dataset=found.dataset_path,
        prompt=found.prompt_path,
        endpoints=addresses,
        pipeline=pipeline.recorded,
        reproduces=reproduces,
    )


def _open_pipeline(session: Session) -> _Pipeline:
    return _Pipeline() if session.pipeline_file is None else _Pipeline(*open_pipeline(session.pipeline_file))


@contextmanager
def _open_or_make(session: Session) -> Iterator[RecordingLedger]:
    """The ledger, made first where there is none, which is said."""
    made = not ledger_place(session.ledger).exists()
    with open_ledger(session.ledger, create=True) as recording:
        if made:
            _tell_of_new(session, recording.ledger)
        yield recording


def _tell_of_new(session: Session, ledger: Ledger) -> None:
    session.tell(f"ledger   {ledger.place}, made now; its keys are in {ledger.keys.path}")
    session.tell(f"origin   {ledger.origin}")
