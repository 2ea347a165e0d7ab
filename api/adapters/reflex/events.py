"""One run's story as domain events, in the order in which things caused each other.

run.started, then the baseline, then for each iteration its training score, its validation score, the
iteration, and the rewrite that came out of it; phases around them; the final score and the end; then the
sources that no event stands for. Each goes through ``decide``; what is refused becomes a finding, and what
depends on it is left out with it.

The peer's ``reasoning`` is a reply about the *next* prompt, so a rewrite follows its iteration and names it
as parent. Only its few-shot axis writes down how it made the prompt that the iteration scored.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from ....domain.errors import Refused
from ....domain.event import Event
from ....domain.optimization.events import (
    IterationCompleted,
    PhaseCompleted,
    PhaseStarted,
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunStarted,
    Sample,
    SampleSet,
    ScoreKind,
    SourceKept,
    Split,
    mean_score,
)
from ....domain.optimization.run import RunState, decide, evolve
from .findings import Finding, finding
from .replies import proposed_prompt, summary_of, winner_of
from .story import STRATEGIES, Evaluation, Fields, Iteration, Phase, RunStory

SYSTEM = "reflex-0.2"
SPLIT_SEED = 42
"""The seed of the peer's shuffle, which is a constant of its program."""

_TIMESTAMP = re.compile(r"Run crashed at (\S{10,40})")


class RunEvents:
    """Builds the events of one run. ``events``, ``findings`` and ``state`` hold the outcome after ``build``."""

    def __init__(self, story: RunStory, run: str, parent_run: str | None, baseline_prompt: str | None) -> None:
        """``parent_run`` is the id under which the ledger knows the run that this one branched from;
        ``baseline_prompt`` the prompt that an inherited baseline scored, where it is known."""
        self.events: list[Event] = []
        self.findings: list[Finding] = []
        self._story = story
        self._run = run
        self._parent_run = parent_run
        self._baseline_prompt = baseline_prompt
        self.state = RunState()
        self._prompts: dict[str, int] = {}
        self._trained: dict[int, int] = {}
        self._made: dict[int, int] = {}
        self._summaries = _Summaries(story)

    def build(self) -> None:
        story = self._story
        self._start()
        self._evaluate_baseline()
        phases = {number: phase for phase in self._numbered_phases() for number in phase[1].numbers}
        empty = [phase for phase in self._numbered_phases() if not phase[1].numbers]
        opened: tuple[int, Phase] | None = None
        for index, iteration in enumerate(story.iterations):
            phase = phases.get(iteration.number, opened)
            if phase is not None and phase is not opened and (opened is None or phase[0] != opened[0]):
                self._close_phase(opened)
                empty = self._pass_empty_phases(empty, before=phase[0])
                self._open_phase(phase)
                opened = phase
            following = story.iterations[index + 1] if index + 1 < len(story.iterations) else None
            self._iterate(iteration, index, following, opened)
        if opened is not None and (opened[1].told is not None or story.completed):
            self._close_phase(opened)
            opened = None
        if opened is None:
            self._pass_empty_phases(empty, before=None)
        self._end()
        self._keep_sources()

    # The run's start and what it was compared with

    def _start(self) -> None:
        story, config = self._story, self._story.optimizer
        whole = Fields(story.config, story.documents.place("config.json"), story.findings)
        parent = story.parent
        self._add(
            RunStarted,
            run=self._run,
            directory=story.documents.directory,
            timestamp=whole.text("timestamp", 64) or story.documents.directory.partition("_")[2],
            strategy=story.strategy,
            models=config.texts("_cli_models"),
            reasoning_model=config.text("reasoning_model", 256),
            metrics=self._metrics(),
            threshold=config.number("score_threshold"),
            max_iterations=config.whole("max_iterations"),
            split=self._split(),
            parent_run=None if parent is None else self._parent_run or parent[0],
            parent_iteration=None if parent is None else parent[1],
            imported_from=SYSTEM,
            system_prompt=story.initial_prompt,
            config=story.config,
            dataset=whole.text("dataset_path"),
        )
        self._prompts[story.initial_prompt] = 0

    def _metrics(self) -> tuple[str, ...]:
        """The metrics' names from the scores, since the configuration does not say them."""
        story = self._story
        scored = story.final or (None if story.inherits_baseline else story.baseline)
        return tuple(scored.scores_by_metric) if scored else ()

    def _split(self) -> Split | None:
        config, result = self._story.optimizer, self._story.result
        ratio = config.number("train_ratio")
        if ratio is None or not 0 < ratio < 1:
            return None  # the peer then trains and tests on everything
        sizes = {name: result.whole(f"{name}_size") for name in ("train", "val", "test")}
        return Split(**sizes, seed=SPLIT_SEED)

    def _evaluate_baseline(self) -> None:
        baseline = self._story.baseline
        if baseline is None:
            return
        prompt: str | None = self._story.initial_prompt
        if self._story.inherits_baseline:
            prompt = self._baseline_prompt
        if prompt is None:
            return  # whose score it is, nobody can say here; the file is kept
        self._evaluate(prompt, "baseline", baseline.score, **_told(baseline, baseline.samples))

    # Iterations

    def _iterate(
        self, iteration: Iteration, index: int, following: Iteration | None, phase: tuple[int, Phase] | None
    ) -> None:
        story = self._story
        axis = iteration.axis or (story.strategy if story.strategy in STRATEGIES else None)
        before = story.iterations[index - 1] if index else None
        if axis == "fewshot":
            self._propose_selection(iteration, before)
        known = self._prompts.get(iteration.prompt)
        rewrite = None if known is None else self._made.get(known)
        trained = self._train(iteration, axis, rewrite)
        if trained is None:
            return
        self._trained[iteration.number] = trained
        validated = None
        if iteration.has_val:
            size = story.result.whole("val_size")
            validated = self._evaluate(iteration.prompt, "val", iteration.val_score, n=size)
        self._add(
            IterationCompleted,
            iteration=iteration.number,
            evaluation=trained,
            val_evaluation=validated,
            rewrite=rewrite,
            phase=None if phase is None else phase[0],
            full_evaluation=iteration.full_evaluation,
            eval_tokens=iteration.eval_tokens,
            reasoning_tokens=iteration.reasoning_tokens,
            timestamp=iteration.timestamp,
            found_in=iteration.found_in,
        )
        if axis != "fewshot":
            self._propose(iteration, before, following, phase, axis, trained)

    def _train(self, iteration: Iteration, axis: str | None, rewrite: int | None) -> int | None:
        config = self._story.optimizer
        pipeline = config.value.get("_cli_models") == []
        kind: ScoreKind = "win_rate" if axis == "pdo" and not pipeline else "mean"
        size = self._story.result.whole("train_size")
        n, samples = size, _sample_set(self._story, iteration, axis, size)
        if samples == "batch":
            n = config.whole("batch_size")
        elif samples == "unknown":
            n = None
        return self._evaluate(
            iteration.prompt,
            "train",
            iteration.score,
            kind=kind,
            n=n,
            sample_set=samples,
            scores_by_metric=iteration.scores_by_metric,
            parent=None if rewrite is None else self.state.rewrites[rewrite].parent,
        )

    def _propose(
        self,
        iteration: Iteration,
        before: Iteration | None,
        following: Iteration | None,
        phase: tuple[int, Phase] | None,
        axis: str | None,
        parent: int,
    ) -> None:
        """The rewrite that came out of an iteration."""
        if not iteration.reasoning:
            return
        if before is not None and iteration.reasoning == before.reasoning and not iteration.reasoning_tokens:
            self.findings.append(finding("rationale_repeated", iteration.place, f"iteration {iteration.number}"))
            return
        text = self._next_prompt(iteration, following, phase, axis)
        self._rewrite(iteration, axis, parent, text, self._summaries.of(iteration, axis, phase))

    def _next_prompt(
        self,
        iteration: Iteration,
        following: Iteration | None,
        phase: tuple[int, Phase] | None,
        axis: str | None,
    ) -> str | None:
        """The prompt that an iteration's rationale proposed, or None where nothing says it."""
        if axis == "pdo":
            return None  # the next champion comes out of duels, not out of this reply
        replied = proposed_prompt(iteration.reply) if axis in ("iterative", None) else None
        in_sequence = (
            following is not None
            and following.number == iteration.number + 1
            and (phase is None or following.number in phase[1].numbers)
        )
        if in_sequence and following is not None:
            if axis == "iterative" and (replied or "").strip() != following.prompt.strip():
                detail = f"iteration {iteration.number} to {following.number}"
                self.findings.append(finding("rewrite_not_as_replied", following.place, detail))
            return following.prompt
        if axis == "structural":
            return iteration.prompt if winner_of(iteration.reply) == "current" else None
        return replied

    def _propose_selection(self, iteration: Iteration, before: Iteration | None) -> None:
        """The rewrite that made the prompt of a few-shot iteration, out of the evaluation before it."""
        parent = None if before is None else self._trained.get(before.number)
        if parent is None and self.state.evaluations:
            parent = 0  # the baseline, which is all that was known
        if parent is not None and iteration.reasoning:
            self._rewrite(iteration, "fewshot", parent, iteration.prompt, None)

    def _rewrite(
        self, iteration: Iteration, axis: str | None, parent: int, text: str | None, summary: str | None
    ) -> None:
        number, introduced = self._name(text) if text is not None else (None, None)
        made = self._add(
            RewriteProposed,
            rewrite=len(self.state.rewrites),
            parent=parent,
            prompt=number,
            axis=axis,
            timestamp=iteration.timestamp,
            system_prompt=introduced,
            rationale=iteration.reasoning,
            change_summary=summary or None,
        )
        if made and text is not None and number is not None:
            self._prompts[text] = number
            self._made[number] = self.state.rewrites[-1].rewrite

    # Phases

    def _numbered_phases(self) -> list[tuple[int, Phase]]:
        return list(enumerate(self._story.phases, start=1))

    def _open_phase(self, phase: tuple[int, Phase]) -> None:
        self._add(PhaseStarted, phase=phase[0], axis=phase[1].axis)

    def _close_phase(self, phase: tuple[int, Phase] | None) -> None:
        if phase is None:
            return
        place = self._story.documents.place("result.json")
        told = Fields(phase[1].told, place, self._story.findings)
        used = told.whole("iterations_used")
        self._add(
            PhaseCompleted,
            phase=phase[0],
            axis=phase[1].axis,
            iterations=len(phase[1].numbers) if used is None else used,
            score_before=told.number("score_before"),
            score_after=told.number("score_after"),
            converged=told.flag("converged"),
            duration_seconds=told.number("duration_seconds"),
        )

    def _pass_empty_phases(self, empty: list[tuple[int, Phase]], before: int | None) -> list[tuple[int, Phase]]:
        """Record the phases without iterations that lie before phase ``before``; give back the others."""
        while empty and (before is None or empty[0][0] < before):
            self._open_phase(empty[0])
            self._close_phase(empty[0])
            empty = empty[1:]
        return empty

    # The end

    def _end(self) -> None:
        story = self._story
        if story.completed:
            self._complete()
        elif story.error is not None:
            crashed = _TIMESTAMP.match(story.error)
            timestamp = crashed[1] if crashed else None
            self._add(RunFailed, reason="crashed", timestamp=timestamp, message=story.error)

    def _complete(self) -> None:
        story, result = self._story, self._story.result
        reported = result.text("best_prompt")
        scored = really_scored(story)
        final = None
        if story.final is not None and scored is not None:
            final = self._evaluate_final(scored, story.final)
        best = self._prompts.get(reported) if reported is not None and reported == scored else None
        self._add(
            RunCompleted,
            reason=_reason(story),
            converged=result.flag("converged"),
            best=best if best is not None and self.state.has_evaluated(best) else None,
            final_evaluation=final,
            eval_tokens=result.whole("total_eval_tokens"),
            reasoning_tokens=result.whole("total_reasoning_tokens"),
            duration_seconds=result.number("duration_seconds"),
            timestamp=result.text("timestamp", 64),
            reported=result.value,
        )

    def _evaluate_final(self, prompt: str, final: Evaluation) -> int | None:
        baseline = self._story.baseline
        samples = pair_samples(baseline.samples if baseline else (), final.samples)
        return self._evaluate(prompt, "final", final.score, **_told(final, samples))

    def _keep_sources(self) -> None:
        story, documents = self._story, self._story.documents
        kept: dict[str, Any] = {
            "checkpoint.json": documents.object("checkpoint.json"),
            "run.log.jsonl": documents.log() or None,
            "error.txt": documents.text("error.txt"),
            **story.kept,
        }
        best = documents.text("best_prompt.md")
        if best is not None and best != story.checkpoint.text("best_prompt"):
            kept["best_prompt.md"] = best
        if documents.object("baseline.json") is not None and not any(
            evaluation.purpose == "baseline" for evaluation in self.state.evaluations
        ):
            kept["baseline.json"] = documents.object("baseline.json")
        for name, content in kept.items():
            if content is not None:
                self._add(SourceKept, name=name, content=content)

    # One event at a time

    def _evaluate(self, prompt: str, purpose: str, score: float | None, **told: Any) -> int | None:
        """Record an evaluation and return its number, or None where it was refused."""
        number, introduced = self._name(prompt)
        evaluation = len(self.state.evaluations)
        if not self._add(
            PromptEvaluated,
            evaluation=evaluation,
            prompt=number,
            purpose=purpose,
            score=score,
            system_prompt=introduced,
            **told,
        ):
            return None
        self._prompts[prompt] = number
        return evaluation

    def _name(self, prompt: str) -> tuple[int, str | None]:
        """A prompt's number, and its text where this is its first naming."""
        known = self._prompts.get(prompt)
        return (self.state.prompts, prompt) if known is None else (known, None)

    def _add(self, event_type: type[Event], /, **fields: Any) -> bool:
        place = self._story.documents.place("")
        try:
            event = decide(self.state, event_type(**fields))
        except Refused as refused:
            self.findings.append(finding("event_refused", place, f"{event_type.type_name}: {refused.rule}: {refused}"))
            return False
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            self.findings.append(finding("event_refused", place, f"{event_type.type_name}: {where}: {first['msg']}"))
            return False
        evolve(self.state, event)
        self.events.append(event)
        return True


def really_scored(story: RunStory) -> str | None:
    """The prompt that the final score belongs to.

    With validation scores the peer scores the prompt with the best of them, the latest where they tie,
    whatever it then reports; without any it scores the prompt that it reports.
    """
    validated = [it for it in story.iterations if it.val_score is not None]
    remembered = _remembered_best(story)
    if not validated and remembered is None:
        return story.result.text("best_prompt")
    best = max(validated, key=lambda it: (it.val_score or 0.0, it.number), default=None)
    if remembered is not None and (best is None or remembered[0] > (best.val_score or 0.0)):
        return remembered[1]  # its iteration is one that no file tells any more
    return best.prompt if best is not None else None


def _remembered_best(story: RunStory) -> tuple[float, str] | None:
    for prefix in ("global_best_val", "best_val"):
        score, prompt = story.checkpoint.number(f"{prefix}_score"), story.checkpoint.text(f"{prefix}_prompt")
        if score is not None and prompt is not None:
            return score, prompt
    return None


def pair_samples(baseline: tuple[Sample, ...], final: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """The final samples under the ids that the baseline's have.

    The peer pairs by position. Where the inputs at a position differ (its pipeline mode sorts by score) the
    sample is found by its input, and where that is not unique it is nobody's pair.
    """
    by_input: dict[str, list[str]] = {}
    for sample in baseline:
        by_input.setdefault(sample.input, []).append(sample.id)
    aligned = all(mine.input == other.input for mine, other in zip(baseline, final, strict=False))
    paired, used = [], set()
    for index, sample in enumerate(final):
        same = by_input.get(sample.input, [])
        sample_id = sample.id if aligned else same[0] if len(same) == 1 else f"final-{index}"
        if sample_id in used:
            sample_id = f"final-{index}"
        used.add(sample_id)
        paired.append(sample.model_copy(update={"id": sample_id}))
    return tuple(paired)


def _told(evaluation: Evaluation, samples: tuple[Sample, ...]) -> dict[str, Any]:
    told = replace(evaluation, samples=samples)
    return {
        "scores_by_metric": told.scores_by_metric,
        "tokens": told.tokens,
        "passes": told.passes,
        "std": told.std,
        "timestamp": told.timestamp,
        "n": len(samples) if samples else None,
        "failed": sum(sample.failed for sample in samples) if samples else None,
        "detail_mean": mean_score(samples),
        "samples": samples or None,
    }


def _sample_set(story: RunStory, iteration: Iteration, axis: str | None, size: int | None) -> SampleSet:
    """Whole or batch; the peer's phases and its duels ignore the batch size."""
    batch = story.optimizer.whole("batch_size") or 0
    if axis == "pdo":
        return "unknown"
    if story.strategy == "auto" or batch <= 0 or iteration.full_evaluation:
        return "whole"
    if size is None:
        return "unknown"
    return "batch" if batch < size else "whole"


def _reason(story: RunStory) -> str:
    """Why a completed run stopped, as far as its files tell."""
    if story.result.flag("early_stopped"):
        return "early_stopped"
    if not story.iterations:
        return "no_iterations"
    last, threshold = story.iterations[-1], story.optimizer.number("score_threshold")
    if threshold is not None and last.score is not None and last.score >= threshold:
        return "converged"
    most = story.optimizer.whole("max_iterations")
    return "max_iterations" if most is not None and last.number >= most else "unknown"


class _Summaries:
    """The one line of each change, which the peer drops from its iteration files."""

    def __init__(self, story: RunStory) -> None:
        self._log: dict[int, list[Fields]] = {}
        self._lines: dict[int, list[Fields]] = {}
        for entry in rewrite_log(story):
            number = entry.whole("iteration")
            if number is not None:
                self._log.setdefault(number, []).append(entry)
        place = story.documents.place("run.log.jsonl")
        for line in story.documents.log():
            if isinstance(line, dict) and line.get("type") == "iteration":
                told = Fields(line, place, [])
                number = told.whole("iteration")
                if number is not None:
                    self._lines.setdefault(number, []).append(told)

    def of(self, iteration: Iteration, axis: str | None, phase: tuple[int, Phase] | None) -> str | None:
        """From the checkpoint's rewrite log, else from the run's log, else from the reply itself."""
        within = iteration.number
        if phase is not None and iteration.number in phase[1].numbers:
            within = phase[1].numbers.index(iteration.number) + 1  # the log counts inside its phase
        candidates: list[Fields] = [*self._log.get(within, []), *self._lines.get(iteration.number, [])]
        for told in candidates:
            summary = told.text("change_summary")
            if summary and told.number("score") == iteration.score:
                return summary
        if axis == "structural":
            winner = winner_of(iteration.reply)
            return None if winner == "current" else winner
        return summary_of(iteration.reply)


def rewrite_log(story: RunStory) -> list[Fields]:
    """The checkpoint's rewrite log, which a run in phases keeps inside its phase's state."""
    state = story.checkpoint.object("strategy_state")
    return state.objects("rewrite_log") or state.object("sub_strategy_state").objects("rewrite_log")
