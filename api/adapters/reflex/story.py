"""One run as its files tell it: typed, bounded, and with every iteration that any file speaks of.

What a file gives in another type, size or range than reflex writes is read as not given, with a finding.
Open fields of events are short by nature (names, codes, times), so long text in their place is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ....domain.optimization.events import Sample
from .documents import RunDocuments
from .findings import Finding, finding

STRATEGIES = frozenset({"iterative", "structural", "fewshot", "pdo"})
MAX_OPEN_TEXT = 256
MAX_METRICS = 64
_MAX_INTEGER = 2**53 - 1
_AXIS = re.compile(r"\[(iterative|structural|fewshot|pdo)\] ", re.ASCII)
_NO_RESPONSE = "(no response)"
_ITERATION_KEYS = frozenset(
    {
        "iteration",
        "system_prompt",
        "score",
        "scores_by_metric",
        "reasoning",
        "eval_tokens",
        "reasoning_tokens",
        "timestamp",
        "val_score",
        "is_full_eval",
    }
)

Source = Literal["file", "result"]


@dataclass(slots=True)
class Iteration:
    """One iteration, from its file where there is one, else from result.json."""

    number: int
    prompt: str
    score: float | None
    val_score: float | None
    has_val: bool
    scores_by_metric: dict[str, float]
    reasoning: str
    eval_tokens: int
    reasoning_tokens: int
    timestamp: str | None
    full_evaluation: bool
    found_in: tuple[Source, ...]
    place: str

    @property
    def axis(self) -> str | None:
        """The axis that a run in phases writes before its rationale."""
        match = _AXIS.match(self.reasoning)
        return match[1] if match else None

    @property
    def reply(self) -> str:
        """The rationale without the axis before it."""
        return _AXIS.sub("", self.reasoning, count=1) if self.axis else self.reasoning


@dataclass(slots=True)
class Evaluation:
    """A baseline or final evaluation as told."""

    score: float | None
    scores_by_metric: dict[str, float]
    tokens: int | None
    passes: int
    std: float | None
    timestamp: str | None
    samples: tuple[Sample, ...]
    system_prompt: str | None = None


@dataclass(slots=True)
class Phase:
    """A phase with the iterations that belong to it; ``told`` is its item of the phase history."""

    axis: str
    numbers: list[int]
    told: dict[str, Any] | None


@dataclass(slots=True)
class RunStory:
    """Everything that the files of one run tell, ready to become events."""

    documents: RunDocuments
    findings: list[Finding]
    config: dict[str, Any]
    optimizer: Fields
    checkpoint: Fields
    result: Fields
    initial_prompt: str
    strategy: str
    iterations: list[Iteration]
    baseline: Evaluation | None
    final: Evaluation | None
    phases: list[Phase]
    parent: tuple[str, int | None] | None
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def completed(self) -> bool:
        return self.documents.object("result.json") is not None

    @property
    def error(self) -> str | None:
        return self.documents.text("error.txt")

    @property
    def inherits_baseline(self) -> bool:
        """Whether the baseline was copied from the run that this one branched from."""
        return self.parent is not None and self.baseline is not None and not self.baseline.samples


class Fields:
    """Typed reading of one JSON object; what does not fit is a finding and reads as not given."""

    def __init__(self, value: dict[str, Any] | None, place: str, findings: list[Finding], prefix: str = "") -> None:
        self.value = value or {}
        self.place = place
        self._findings = findings
        self._prefix = prefix

    def has(self, key: str) -> bool:
        return self.value.get(key) is not None

    def text(self, key: str, limit: int | None = None) -> str | None:
        """A string, of at most ``limit`` characters where it is to stand in the open."""
        value = self.value.get(key)
        if value is None or _is_redacted(value):
            return None
        if isinstance(value, str) and (limit is None or len(value) <= limit):
            return value
        self._refuse(key, f"text of at most {limit} characters" if limit else "text")
        return None

    def number(self, key: str) -> float | None:
        value = self.value.get(key)
        if value is None:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        self._refuse(key, "a number")
        return None

    def whole(self, key: str, least: int = 0) -> int | None:
        value = self.value.get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MAX_INTEGER:
            return value
        self._refuse(key, f"a whole number from {least}")
        return None

    def flag(self, key: str) -> bool:
        value = self.value.get(key)
        if isinstance(value, bool) or value is None:
            return bool(value)
        self._refuse(key, "true or false")
        return False

    def object(self, key: str) -> Fields:
        value = self.value.get(key)
        if value is not None and not isinstance(value, dict):
            self._refuse(key, "an object")
            value = None
        return Fields(value, self.place, self._findings, f"{self._prefix}{key}.")

    def objects(self, key: str) -> list[Fields]:
        """A list of objects; an item that is none is left out."""
        value = self.value.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self._refuse(key, "a list")
            return []
        if not all(isinstance(item, dict) for item in value):
            self._refuse(key, "a list of objects")
        return [
            Fields(item, self.place, self._findings, f"{self._prefix}{key}[{index}].")
            for index, item in enumerate(value)
            if isinstance(item, dict)
        ]

    def numbers(self, key: str) -> list[float | None]:
        value = self.value.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self._refuse(key, "a list of numbers")
            return []
        return [
            float(item) if isinstance(item, (int, float)) and not isinstance(item, bool) else None for item in value
        ]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of short names that may stand in the open."""
        value = self.value.get(key)
        if value is None:
            return ()
        if (
            isinstance(value, list)
            and len(value) <= MAX_METRICS
            and all(isinstance(item, str) and len(item) <= MAX_OPEN_TEXT for item in value)
        ):
            return tuple(value)
        self._refuse(key, "a list of short names")
        return ()

    def scores(self, key: str) -> dict[str, float]:
        """Metric to number."""
        value = self.value.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or len(value) > MAX_METRICS:
            self._refuse(key, f"at most {MAX_METRICS} metrics")
            return {}
        inner = self.object(key)
        named = {name: inner.number(name) for name in value if len(name) <= MAX_OPEN_TEXT}
        return {name: score for name, score in named.items() if score is not None}

    def _refuse(self, key: str, expected: str) -> None:
        self._findings.append(finding("value_refused", self.place, f"{self._prefix}{key[:64]}: expected {expected}"))


def tell(documents: RunDocuments) -> RunStory:
    """Read the files of one run into its story; findings of reading them are in ``story.findings``."""
    findings: list[Finding] = []

    def fields(path: str) -> Fields:
        return Fields(documents.object(path), documents.place(path), findings)

    config, checkpoint, result = fields("config.json"), fields("checkpoint.json"), fields("result.json")
    kept: dict[str, Any] = {}
    iterations = _iterations(documents, result, findings, kept)
    optimizer = config.object("optimizer_config")
    strategy = optimizer.text("strategy", 64) or result.text("strategy_name", 64) or "unknown"
    told = result.objects("phase_history") or checkpoint.object("strategy_state").objects("phase_history")
    return RunStory(
        documents,
        findings,
        documents.object("config.json") or {},
        optimizer,
        checkpoint,
        result,
        _initial_prompt(config, checkpoint, result, iterations),
        strategy,
        iterations,
        _baseline(documents, fields("baseline.json"), checkpoint, result, findings),
        _evaluation(result.object("final"), documents, findings) if result.has("final") else None,
        _phases(iterations, told) if strategy == "auto" else [],
        _parent(config),
        kept,
    )


def _initial_prompt(config: Fields, checkpoint: Fields, result: Fields, iterations: list[Iteration]) -> str:
    for told in (config.text("initial_prompt"), checkpoint.text("initial_prompt")):
        if told is not None:
            return told
    told = result.object("baseline").text("system_prompt")
    if told is not None:
        return told
    return iterations[0].prompt if iterations and iterations[0].number == 1 else ""


def _parent(config: Fields) -> tuple[str, int | None] | None:
    branched = config.object("branched_from")
    run = branched.text("run_id", 128)
    return None if run is None else (run, branched.whole("iteration"))


def _baseline(
    documents: RunDocuments, own: Fields, checkpoint: Fields, result: Fields, findings: list[Finding]
) -> Evaluation | None:
    """The baseline from its own file, with the passes and deviation that only result.json has."""
    reported = result.object("baseline")
    source = next((told for told in (own, reported, checkpoint.object("baseline")) if told.value), None)
    if source is None:
        return None
    baseline = _evaluation(source, documents, findings)
    if source is own and reported.value:
        baseline.passes = reported.whole("n_runs", 1) or 1
        baseline.std = reported.number("std_score") if baseline.passes > 1 else None
    baseline.system_prompt = reported.text("system_prompt")
    return baseline


def _evaluation(told: Fields, documents: RunDocuments, findings: list[Finding]) -> Evaluation:
    score = told.number("mean_score")
    path = told.place.removeprefix(documents.place("") + "/")
    if score is None and documents.has_nan(path):
        findings.append(finding("nan_score", told.place, "mean_score"))
    passes = told.whole("n_runs", 1) or 1
    return Evaluation(
        score,
        told.scores("scores_by_metric"),
        told.whole("total_tokens"),
        passes,
        told.number("std_score") if passes > 1 else None,
        told.text("timestamp", 64),
        tuple(_sample(index, sample) for index, sample in enumerate(told.objects("samples"))),
        told.text("system_prompt"),
    )


def _sample(index: int, told: Fields) -> Sample:
    score, response = told.number("score"), told.text("response") or ""
    # A call that failed for good leaves this text and the score 0 behind.
    failed = response == _NO_RESPONSE and score == 0
    return Sample(
        id=f"test-{index}",
        input=told.text("input") or "",
        response=response,
        ideal=told.text("ideal") or "",
        score=None if failed else score,
        failed=failed,
    )


def _iterations(
    documents: RunDocuments, result: Fields, findings: list[Finding], kept: dict[str, Any]
) -> list[Iteration]:
    """Every iteration that a file or result.json tells, by number."""
    found: dict[int, Iteration] = {}
    for path in documents.iteration_paths():
        content = documents.object(path)
        if content is None:
            continue
        place = documents.place(path)
        told = _iteration(Fields(content, place, findings), documents.has_nan(path), "file", findings)
        named = int(path.rpartition("/")[2].removesuffix(".json"))
        if told is not None and told.number != named:
            findings.append(finding("iteration_mismatch", place, f"file {named}, content {told.number}"))
        if told is None or told.number in found:
            if told is not None:
                findings.append(finding("iteration_repeated", place, f"iteration {told.number}"))
            kept[path] = content
            continue
        if unknown := sorted(content.keys() - _ITERATION_KEYS):
            findings.append(finding("unknown_field", place, ", ".join(unknown)))
            kept[path] = content
        found[told.number] = told
    for item in result.objects("iterations"):
        told = _iteration(item, documents.has_nan("result.json"), "result", findings)
        if told is None:
            continue
        other = found.get(told.number)
        if other is None:
            found[told.number] = told
        elif other.found_in == ("file",):
            other.found_in = ("file", "result")
            if differing := list(_differences(other, told)):
                detail = f"iteration {told.number}: {', '.join(differing)}"
                findings.append(finding("iteration_differs", other.place, detail))
        else:
            findings.append(finding("iteration_repeated", told.place, f"iteration {told.number}"))
    return [found[number] for number in sorted(found)]


def _iteration(told: Fields, has_nan: bool, source: Source, findings: list[Finding]) -> Iteration | None:
    """One iteration, or None without a number or a prompt, which nothing can stand for."""
    number, prompt = told.whole("iteration", 1), told.text("system_prompt")
    if number is None or prompt is None:
        findings.append(finding("event_refused", told.place, "an iteration without its number or prompt"))
        return None
    score, val_score = told.number("score"), told.number("val_score")
    has_val = told.has("val_score")
    if has_nan and score is None:
        findings.append(finding("nan_score", told.place, f"iteration {number}: score"))
    if has_nan and "val_score" in told.value and val_score is None:
        has_val = True
        findings.append(finding("nan_score", told.place, f"iteration {number}: val_score"))
    return Iteration(
        number,
        prompt,
        score,
        val_score,
        has_val,
        told.scores("scores_by_metric"),
        told.text("reasoning") or "",
        told.whole("eval_tokens") or 0,
        told.whole("reasoning_tokens") or 0,
        told.text("timestamp", 64),
        told.flag("is_full_eval"),
        (source,),
        told.place,
    )


def _differences(own: Iteration, reported: Iteration) -> Iterable[str]:
    names = ("prompt", "score", "val_score", "reasoning", "eval_tokens", "reasoning_tokens", "full_evaluation")
    return (name for name in names if getattr(own, name) != getattr(reported, name))


def _phases(iterations: list[Iteration], told: list[Fields]) -> list[Phase]:
    """The phases of a run, by the axis before each rationale and, where there is one, the phase history.

    Two phases in a row may have one axis, and a resumed phase may be told as empty though its files are
    there: so a phase takes the iterations of its axis, up to its told length only where the next has it too.
    """
    phases: list[Phase] = []
    rest = list(iterations)
    for index, item in enumerate(told):
        axis = item.text("axis", 64)
        if axis is None:
            continue
        following = told[index + 1].text("axis", 64) if index + 1 < len(told) else None
        limit = (item.whole("iterations_used") or 0) if following == axis else len(rest)
        taken = 0
        while taken < min(limit, len(rest)) and rest[taken].axis in (axis, None):
            taken += 1
        phases.append(Phase(axis, [iteration.number for iteration in rest[:taken]], item.value))
        rest = rest[taken:]
    for iteration in rest:
        if iteration.axis is not None and (not phases or phases[-1].told or phases[-1].axis != iteration.axis):
            phases.append(Phase(iteration.axis, [], None))
        if phases:
            phases[-1].numbers.append(iteration.number)
    return phases


def _is_redacted(value: Any) -> bool:
    return isinstance(value, dict) and "redacted" in value
