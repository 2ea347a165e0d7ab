"""What somebody asks for: settings, files and addresses as they were given, and the plan that they make.

Everything is checked here or in ``plan.py``, before a model is called: what is wrong is ``Refused`` with the flag that
it was given by. A flag that would change nothing is refused too, for whoever gave it meant something by it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...domain.errors import Refused
from ...domain.optimization.dataset import DataRow, Dataset
from ...domain.optimization.metrics import JUDGE_NAME
from ...ledger.errors import Unavailable
from ..datasets import read_dataset, read_inputs
from .connecting import PIPELINE
from .flags import flag, make_options, shown
from .plan import Plan, make_plan
from .registered import find_all_metrics

MAX_TEXT_BYTES = 1_000_000
"""Of a prompt's file, and of one with criteria."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A run as it was asked for. ``settings`` are fields of ``Options``, only those that were given."""

    prompt: Path | None = None
    dataset: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    judge_criteria: Path | None = None
    verdict_results: Path | None = None
    input_field: str | None = None
    output_field: str | None = None
    inputs_file: Path | None = None
    pipeline: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A plan made from what was given. ``target`` says which results the threshold is from, None for other sources."""

    plan: Plan
    source: Path
    target: dict[str, Any] | None = None


def plan_from(given: Given) -> Asked:
    """The plan of a new run."""
    source, rows = _rows_of(given)
    if given.prompt is None:
        raise Refused("prompt_given", "PROMPT: expected the file of the initial prompt, found none")
    prompt = _read_prompt(given.prompt)
    if given.pipeline is None and "models" not in given.settings:
        raise Refused("model_given", "--model: expected the model to optimise for, found none")
    changes, target = _read_files(given, {})
    options = make_options(changes)
    return Asked(make_plan(options, rows(), prompt), source, target)


def require_same(given: Given, plan: Plan, run: str) -> None:
    """``Refused`` where something given is not what run ``run`` was planned with: it goes on as it was begun.

    What is not given is not compared.
    """
    if given.dataset is not None or given.inputs_file is not None:
        source, rows = _rows_of(given)
        if rows().rows != plan.rows:
            raise Refused("plan_kept", f"{source}: run {run} was begun with other rows")
    if given.prompt is not None and _read_prompt(given.prompt) != plan.prompt.strip():
        raise Refused("plan_kept", f"{given.prompt}: run {run} was begun with another prompt")
    planned = plan.options.model_dump()
    changes, _ = _read_files(given, planned)
    options = make_options({**planned, **changes})
    for name in changes:
        was, now = getattr(plan.options, name), getattr(options, name)
        if name == "threshold" and plan.options.threshold_source == "target":
            was = "that of its targets"
        if was != now and name != "threshold_source":  # which says how the threshold was given, not what it is
            raise Refused(
                "plan_kept",
                f"{flag(name)} {shown(now)}: run {run} was begun with {shown(was)} and goes on as it was begun; "
                f"`affidavit branch` changes settings",
            )


def read_material(given: Given) -> tuple[tuple[DataRow, ...], str]:
    """The rows and the prompt that were given."""
    _, rows = _rows_of(given)
    if given.prompt is None:
        raise Refused("prompt_given", "PROMPT: expected the file of the initial prompt, found none")
    return rows().rows, _read_prompt(given.prompt)


def read_text(path: Path, what: str) -> str:
    """A text file, as it is; ``Refused`` where it is empty, too long or not UTF-8, ``Unavailable`` where it is not."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"{what}, {path}: {error.strerror}") from error
    if len(data) > MAX_TEXT_BYTES:
        raise Refused("text_readable", f"{what}, {path}: expected at most {MAX_TEXT_BYTES} bytes, found more")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            "text_readable", f"{what}, {path}: expected UTF-8, found byte 0x{data[error.start]:02x}"
        ) from error
    if not text.strip():
        raise Refused("text_readable", f"{what}, {path}: expected text, found none")
    return text


def _read_prompt(path: Path) -> str:
    """Without the white space around it, as rewrites come: the same prompt is never taken for two."""
    return read_text(path, "the prompt").strip()


def _rows_of(given: Given) -> tuple[Path, Callable[[], Dataset]]:
    """Where the rows are, and how to read them."""
    if given.pipeline is not None:
        if given.dataset is not None:
            raise Refused("one_source", f"{given.dataset}: a pipeline takes --inputs-file, and no data set beside it")
        if given.inputs_file is None:
            raise Refused("inputs_given", "--pipeline-file: expected --inputs-file with it, found none")
        for name in ("input_field", "output_field"):
            if getattr(given, name) is not None:
                raise Refused("flag_serves", f"{flag(name)}: the inputs of a pipeline have no fields")
        if "models" in given.settings:
            raise Refused("flag_serves", "--model: the pipeline stands where the model would")
        inputs = given.inputs_file
        return inputs, lambda: read_inputs(inputs)
    if given.inputs_file is not None:
        raise Refused("flag_serves", "--inputs-file: expected --pipeline-file with it, found none")
    if given.dataset is None:
        raise Refused("dataset_given", "DATASET: expected the file of a data set, found none")
    dataset = given.dataset
    return dataset, lambda: read_dataset(dataset, given.input_field, given.output_field)


def _read_files(given: Given, beside: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The settings that were given, with those that files hold; and where a threshold comes from.

    ``beside`` are settings that hold where none are given.
    """
    changes = dict(given.settings)
    if given.pipeline is not None:
        changes["models"] = (PIPELINE + given.pipeline,)
    if changes.get("judge") is not None:
        changes.setdefault("metrics", ())
    _require_useful(given, changes, beside)
    if given.judge_criteria is not None:
        changes["judge_criteria"] = read_text(given.judge_criteria, "the judge's criteria")
    if changes.get("targets") and given.verdict_results is not None:
        raise Refused(
            "one_threshold", "--target and --verdict-results: expected one source of the threshold, found two"
        )
    if "threshold" in changes:
        changes["threshold_source"] = "threshold"
        changes.pop("targets", None)
        return changes, None
    if changes.get("targets"):
        changes["threshold_source"] = "target"
        return changes, None
    if given.verdict_results is None:
        return changes, None
    options = make_options({**beside, **changes})
    names = [metric.name for metric in find_all_metrics(options.metrics)]
    target = read_verdict_results(given.verdict_results, names + ([JUDGE_NAME] if options.judge else []))
    return {**changes, "threshold": target["score"], "threshold_source": "verdict_results"}, target


def _require_useful(given: Given, changes: Mapping[str, Any], beside: Mapping[str, Any]) -> None:
    """Refuse what is given and would change nothing; what holds ``beside`` it was not given."""
    settings = {**beside, **changes}
    useless = {
        "--judge-criteria: expected --judge with it, found none": given.judge_criteria is not None
        and settings.get("judge") is None,
        "--full-eval-steps: expected --batch-size with it, found none": changes.get("full_eval_steps", 0) > 0
        and not settings.get("batch_size"),
        "--val-split: with --train-split 1 nothing is held out": settings.get("train_ratio") == 1
        and changes.get("val_ratio", 0) > 0,
        "--early-stopping-patience: it looks at validation scores, and --val-split 0 leaves none": settings.get(
            "val_ratio"
        )
        == 0
        and changes.get("early_stopping_patience", 0) > 0,
    }
    for message, holds in useless.items():
        if holds:
            raise Refused("flag_serves", message)


def read_verdict_results(path: Path, metrics: list[str]) -> dict[str, Any]:
    """The best model's score in a results file of aevyra-verdict, over the metrics that the run scores by.

    ``{"metrics": ["rouge"], "models": {"label": {"rouge_mean": 0.81}}}``. ``Refused`` where the file lacks one of
    ``metrics`` (the score of another metric would be no threshold), or a model with a mean of each.
    """
    text = read_text(path, "verdict results")
    try:
        document = json.loads(text)
        known, models = list(document["metrics"]), dict(document["models"])
        scores = {
            str(label): [found.get(f"{name}_mean") for name in metrics] for label, found in sorted(models.items())
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Refused("verdict_results", f"{path}: expected JSON with metrics and models, found {error}") from error
    for name in metrics:
        if name not in known:
            listed = ", ".join(map(str, known)) or "none"
            raise Refused(
                "verdict_results", f"{path}: expected the metric {name}, which scores this run, found {listed}"
            )
    whole = {
        label: math.fsum(found) / len(found) for label, found in scores.items() if all(_is_score(one) for one in found)
    }
    if not whole:
        names = ", ".join(f"{name}_mean" for name in metrics)
        raise Refused("verdict_results", f"{path}: expected a model with {names} from 0 to 1, found none")
    best = max(whole, key=lambda label: whole[label])
    return {"file": str(path), "model": best, "metrics": metrics, "score": whole[best]}


def _is_score(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
