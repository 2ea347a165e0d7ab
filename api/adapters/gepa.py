"""Recording what ``gepa.optimize`` does, through its callbacks.

::

    with open_ledger(".affidavit", create=True) as ledger, GepaRecorder(ledger) as recorder:
        gepa.optimize(seed_candidate={"prompt": "Answer."}, …, callbacks=[recorder])

Written against gepa 0.1.4; nothing of it is imported. What becomes of its 22 hooks:

* the seed's validation score is the baseline; every other validation is an evaluation ``val``
* each minibatch is an evaluation ``train`` with the inputs, outputs and scores of its samples
* each reflection is a rewrite out of its parent's evaluation on the same minibatch, the raw output its rationale
* a merge is a rewrite with the axis ``merge``, its trial an evaluation ``variant``
* an iteration is complete with the candidate it made, accepted or not, or with its parent where it made none
* everything else (prompts sent to the reflection model, reflective data sets, parents, rejections, the front, the
  budget, errors) is kept as told, as ``hook.called``

**Candidates** are texts by component. One component is the prompt as it is. Several are printed in order of their
names, each under a line ``## component NAME``; a line of a text that looks like one gets a backslash before it, so
that no two candidates print alike.

**A recording failure stops the optimisation.** gepa logs what a callback raises and goes on; a run would then end with
part of its record missing and nobody told. So a failure leaves gepa as ``RecordingStopped``, which it does not catch,
and leaves this recorder's block as the failure itself. With ``on_failure="continue"`` the optimisation goes on
unrecorded, and the failure is raised at the end of the block. Either way the run is recorded as failed if the ledger
still serves.
"""

from __future__ import annotations

import json
import logging
import math
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from ...domain.errors import AffidavitError
from ...domain.optimization.events import Purpose, Sample, SampleSet, Split
from ...domain.optimization.foreign import HookCalled
from ...domain.redaction import redact
from ..record import Ack, RecordingLedger, RunRecorder

SYSTEM = "gepa"
_HEADING = re.compile(r"^(\\*## component )", re.MULTILINE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_INTEGER = 2**53 - 1
_MAX_DEPTH = 24

Candidate = Mapping[str, str]
Hooked = Mapping[str, Any]
"""What gepa passes to a hook: one dictionary."""


class RecordingStopped(BaseException):
    """Recording failed, so the optimisation is stopped. Not an ``Exception``: gepa would log it and go on."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A candidate scored in the current iteration; ``rewrite`` made it, None for a parent."""

    prompt: str
    evaluation: Ack
    rewrite: Ack | None = None


@dataclass(frozen=True, slots=True)
class _Parent:
    """A candidate scored on a minibatch that its children are scored on too; ``ids`` are those of its examples."""

    candidate: int
    inputs: Sequence[Any]
    ids: list[str]
    trial: _Trial


@dataclass(slots=True)
class _Iteration:
    """What the current iteration has told so far. Lists are queues in the order of the hooks."""

    number: int
    inputs: list[Sequence[Any]] = field(default_factory=list)
    minibatches: list[Sequence[Any]] = field(default_factory=list)
    proposals: list[Hooked] = field(default_factory=list)
    proposed: list[tuple[str, Ack | None]] = field(default_factory=list)
    """Prompts whose evaluation has begun, with the rewrite that made each."""
    parents: list[_Parent] = field(default_factory=list)
    trials: list[_Trial] = field(default_factory=list)
    merge: Hooked | None = None
    accepted: dict[str, Ack] = field(default_factory=dict)
    """The validation of each prompt that entered the pool."""

    def parent(self, candidate: int, inputs: Sequence[Any]) -> _Parent | None:
        """The evaluation of a candidate on this very minibatch."""
        found = (known for known in self.parents if known.candidate == candidate and known.inputs is inputs)
        return next(found, None)


class GepaRecorder:
    """Records one ``gepa.optimize`` as one run. Pass it in ``callbacks`` inside its own ``with`` block.

    ``config`` is snapshot with what gepa tells of its own; secrets in it are redacted. ``models``, ``reasoning_model``,
    ``metrics`` and ``dataset`` are as for ``start_run``. ``valset`` are the validation examples, whose inputs gepa does
    not tell: a list by position, or a mapping by id.
    """

    def __init__(
        self,
        recording: RecordingLedger,
        *,
        config: Mapping[str, Any] | None = None,
        models: Sequence[str] = (),
        reasoning_model: str | None = None,
        metrics: Sequence[str] = (),
        dataset: str | None = None,
        valset: Sequence[Any] | Mapping[Any, Any] = (),
        on_failure: Literal["stop", "continue"] = "stop",
    ) -> None:
        self.failure: Exception | None = None
        self._recording = recording
        self._config = dict(config or {})
        self._told: dict[str, Any] = {
            "models": models,
            "reasoning_model": reasoning_model,
            "metrics": metrics,
            "dataset": dataset,
        }
        self._valset = valset if isinstance(valset, Mapping) else dict(enumerate(valset))
        self._on_failure = on_failure
        self._run: _GepaRun | None = None
        self._ended = False
        self._candidates: dict[int, dict[str, str]] = {}
        self._validated: dict[int, Ack] = {}
        self._current = _Iteration(0)

    @property
    def run(self) -> str | None:
        """The run's id, None before gepa has started."""
        return None if self._run is None else self._run.run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cause = self.failure or error
        if cause is not None and self._run is not None and not self._ended:
            reason = "recording_failed" if self.failure is not None else type(cause).__name__
            with suppress(AffidavitError):  # the ledger that failed may serve again, or not
                self._run.fail(reason, "".join(traceback.format_exception(cause)))
        if self.failure is not None and (error is None or isinstance(error, RecordingStopped)):
            raise self.failure

    # The hooks, in the order in which gepa calls them

    def on_optimization_start(self, event: Hooked) -> None:
        self._record(self._start, event)

    def on_iteration_start(self, event: Hooked) -> None:
        self._record(self._begin, event)

    def on_candidate_selected(self, event: Hooked) -> None:
        self._record(self._select, event)

    def on_minibatch_sampled(self, event: Hooked) -> None:
        self._record(lambda told: self._current.minibatches.append(told["minibatch_ids"]), event)

    def on_evaluation_start(self, event: Hooked) -> None:
        self._record(self._begin_evaluation, event)

    def on_evaluation_end(self, event: Hooked) -> None:
        self._record(self._evaluate, event)

    def on_evaluation_skipped(self, event: Hooked) -> None:
        self._keep("evaluation_skipped", event)

    def on_reflective_dataset_built(self, event: Hooked) -> None:
        """Nothing: ``on_proposal_start``, which follows at once, tells the same data set."""

    def on_proposal_start(self, event: Hooked) -> None:
        self._keep("proposal_start", event)

    def on_proposal_end(self, event: Hooked) -> None:
        self._keep("proposal_end", event)
        self._record(self._current.proposals.append, event)

    def on_candidate_rejected(self, event: Hooked) -> None:
        self._keep("candidate_rejected", event)

    def on_merge_attempted(self, event: Hooked) -> None:
        self._keep("merge_attempted", event)
        self._record(self._merge, event)

    def on_pareto_front_updated(self, event: Hooked) -> None:
        self._keep("pareto_front_updated", event)

    def on_valset_evaluated(self, event: Hooked) -> None:
        self._record(self._validate, event)

    def on_candidate_accepted(self, event: Hooked) -> None:
        self._keep("candidate_accepted", event)

    def on_merge_accepted(self, event: Hooked) -> None:
        self._keep("merge_accepted", event)

    def on_merge_rejected(self, event: Hooked) -> None:
        self._keep("merge_rejected", event)

    def on_budget_updated(self, event: Hooked) -> None:
        self._keep("budget_updated", event)

    def on_state_saved(self, event: Hooked) -> None:
        self._keep("state_saved", event)

    def on_error(self, event: Hooked) -> None:
        told = {**event, "exception": "".join(traceback.format_exception(event["exception"]))}
        self._keep("error", told)

    def on_iteration_end(self, event: Hooked) -> None:
        self._record(self._complete_iteration, event)

    def on_optimization_end(self, event: Hooked) -> None:
        self._record(self._complete, event)

    # What they record

    def _start(self, event: Hooked) -> None:
        seed = dict(event["seed_candidate"])
        config = _plain({**self._config, **event["config"], "components": sorted(seed)})
        split = Split(train=event["trainset_size"], val=event["valset_size"], seed=event["config"].get("seed"))
        started = self._recording.start_run(
            strategy=SYSTEM, prompt=render_candidate(seed), config=config, split=split, **self._told
        )
        self._run = _GepaRun(self._recording, started.run, started.started)
        self._candidates[0] = seed

    def _begin(self, event: Hooked) -> None:
        self._current = _Iteration(event["iteration"])

    def _select(self, event: Hooked) -> None:
        self._candidates[event["candidate_idx"]] = dict(event["candidate"])
        self._call("candidate_selected", event)

    def _begin_evaluation(self, event: Hooked) -> None:
        """What is about to be scored; a child's rewrite is recorded here, before it costs anything."""
        current = self._current
        current.inputs.append(event["inputs"])
        if event["candidate_idx"] is None and current.proposals:
            current.proposed.append(self._propose(current.proposals.pop(0), event["parent_ids"][0], event["inputs"]))

    def _propose(self, proposal: Hooked, parent: int, inputs: Sequence[Any]) -> tuple[str, Ack | None]:
        prompt = render_candidate({**self._candidates[parent], **proposal["new_instructions"]})
        came_from = self._current.parent(parent, inputs)
        if came_from is None:
            return prompt, None
        rationale = render_candidate(proposal["raw_lm_outputs"] or proposal["new_instructions"])
        made = self._started.record_rewrite(came_from.trial.evaluation, prompt, rationale=rationale, axis="reflection")
        return prompt, made

    def _evaluate(self, event: Hooked) -> None:
        current, index = self._current, event["candidate_idx"]
        inputs = current.inputs.pop(0)
        if index is None and not current.proposed:
            current.merge = {**event, "inputs": inputs}  # whose text the next hook tells
            return
        if index is None:
            prompt, made = current.proposed.pop(0)
            parent = current.parent(event["parent_ids"][0], inputs)
            names = self._ids(inputs) if parent is None else parent.ids
            origin = None if parent is None else parent.trial.evaluation
            ack = self._score(prompt, "train", _samples(event, inputs, names), "batch", origin)
            current.trials.append(_Trial(prompt, ack, made))
            return
        names = [f"train-{name}" for name in current.minibatches.pop(0)] if current.minibatches else self._ids(inputs)
        prompt = render_candidate(self._candidates[index])
        ack = self._score(prompt, "train", _samples(event, inputs, names), "batch")
        current.parents.append(_Parent(index, inputs, names, _Trial(prompt, ack)))

    def _merge(self, event: Hooked) -> None:
        """A merged candidate, whose trial gepa tells before it tells the candidate."""
        current = self._current
        prompt = render_candidate(event["merged_candidate"])
        parents = list(event["parent_ids"])
        origin = next((self._validated[parent] for parent in parents if parent in self._validated), None)
        made = None
        if origin is not None:
            rationale = f"Merged out of candidates {' and '.join(map(str, parents))}."
            made = self._started.record_rewrite(origin, prompt, rationale=rationale, axis="merge")
        if current.merge is not None:
            tried, current.merge = current.merge, None
            names = [f"merge-{current.number}-{place}" for place in range(len(tried["scores"]))]
            ack = self._score(prompt, "variant", _samples(tried, tried["inputs"], names), "batch", origin)
            current.trials.append(_Trial(prompt, ack, made))

    def _validate(self, event: Hooked) -> None:
        index, candidate = event["candidate_idx"], dict(event["candidate"])
        self._candidates[index] = candidate
        prompt = render_candidate(candidate)
        outputs = event["outputs_by_val_id"] or {}
        samples = [
            _sample(f"val-{name}", self._valset.get(name, ""), outputs.get(name, ""), score)
            for name, score in event["scores_by_val_id"].items()
        ]
        whole = event["num_examples_evaluated"] == event["total_valset_size"]
        parent = next((self._validated[one] for one in event["parent_ids"] if one in self._validated), None)
        purpose: Purpose = "val" if event["iteration"] else "baseline"
        ack = self._score(prompt, purpose, samples, "whole" if whole else "batch", parent, event["average_score"])
        self._validated[index] = ack
        if event["iteration"]:
            self._current.accepted[prompt] = ack

    def _complete_iteration(self, event: Hooked) -> None:
        current = self._current
        if current.merge is not None:
            self._call("evaluation_end", current.merge)
        for proposal in current.proposals:
            self._call("proposal_unused", proposal)
        tried = current.trials or [parent.trial for parent in current.parents]
        if not tried:
            return
        trial = next((one for one in tried if one.prompt in current.accepted), tried[-1])
        self._started.record_iteration(
            trial.evaluation,
            iteration=event["iteration"],
            val=current.accepted.get(trial.prompt),
            rewrite=trial.rewrite,
        )

    def _complete(self, event: Hooked) -> None:
        told = {name: item for name, item in event.items() if name != "final_state"}
        self._call("optimization_end", told)
        index = event["best_candidate_idx"]
        seen = index in self._validated  # not so where gepa went on from an earlier run's folder
        self._started.complete(reason="stopped", best=render_candidate(self._candidates[index]) if seen else None)
        self._ended = True

    def _score(
        self,
        prompt: str,
        purpose: Purpose,
        samples: Sequence[Sample],
        sample_set: SampleSet,
        parent: Ack | None = None,
        score: float | None = None,
    ) -> Ack:
        given = score if score is not None and math.isfinite(score) else None
        return self._started.record_evaluation(
            prompt, purpose=purpose, samples=samples, sample_set=sample_set, parent=parent, score=given
        )

    def _ids(self, inputs: Sequence[Any]) -> list[str]:
        """Ids for examples that gepa gave none: no other evaluation shares them."""
        return [f"{len(self._current.trials)}-{self._current.number}-{place}" for place in range(len(inputs))]

    @property
    def _started(self) -> _GepaRun:
        if self._run is None:
            raise RuntimeError("gepa called a hook before on_optimization_start")
        return self._run

    def _call(self, hook: str, event: Hooked) -> None:
        self._started.keep(hook, event)

    def _keep(self, hook: str, event: Hooked) -> None:
        self._record(lambda told: self._call(hook, told), event)

    def _record(self, record: Callable[[Hooked], None], event: Hooked) -> None:
        """Nothing is recorded after a failure: a record with a hole in it would pass for whole."""
        if self.failure is not None:
            return
        try:
            record(event)
        except Exception as error:
            self.failure = error
            if self._on_failure == "stop":
                raise RecordingStopped(f"recording failed: {error}") from error
            logging.getLogger(__name__).exception("recording failed; the optimisation goes on unrecorded")


class _GepaRun(RunRecorder):
    """A run that also keeps what no event of a run stands for."""

    def keep(self, hook: str, event: Hooked) -> None:
        iteration = event.get("iteration")
        name = f"{SYSTEM}/{iteration:06d}_{hook}.json" if isinstance(iteration, int) else f"{SYSTEM}/{hook}.json"
        content = redact(_plain(dict(event))).value
        self._record(lambda _: HookCalled(name=name, hook=hook, iteration=iteration, content=content))


def render_candidate(candidate: Candidate) -> str:
    """A candidate as one text: its only component, or every component under a heading, by name."""
    if len(candidate) == 1:
        return _text(*candidate.values())
    parts = [(_text(name), _HEADING.sub(r"\\\1", _text(candidate[name]))) for name in sorted(candidate)]
    return "\n\n".join(f"## component {json.dumps(name, ensure_ascii=False)}\n{text}" for name, text in parts)


def _samples(event: Hooked, inputs: Sequence[Any], names: Sequence[str]) -> list[Sample]:
    outputs, objectives = event["outputs"], event["objective_scores"] or [{}] * len(names)
    return [
        _sample(name, inputs[place], outputs[place], event["scores"][place], objectives[place])
        for place, name in enumerate(names)
    ]


def _sample(
    name: str, given: Any, output: Any, score: float | None, objectives: Mapping[str, float] | None = None
) -> Sample:
    """A score that is no number is a failed call."""
    failed = score is None or not math.isfinite(score)
    return Sample(
        id=name,
        input=_text(given),
        response=_text(output),
        score=None if failed else score,
        scores={key: value for key, value in (objectives or {}).items() if math.isfinite(value)},
        failed=failed,
    )


def _text(value: Any) -> str:
    """A text as it is; anything else as JSON with its keys in order."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)


def _plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it: no number that is none, no lone surrogate; an object of a program as it prints itself."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, int):
        return int(value) if abs(value) <= _MAX_INTEGER else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {_SURROGATE.sub("\ufffd", str(key)): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth + 1) for item in value]
    return _SURROGATE.sub("\ufffd", str(value))
