"""A whole run as one generator: what it asks, and what it puts on record, as a function of the replies alone.

In order: the targets' scores, where the threshold comes from them; the baseline on held-out samples; the initial prompt
on validation samples; the strategy, with validation after each iteration; the final evaluation, on the samples of the
baseline, of the very prompt that the run reports; the reasoning model's account of what happened. Whoever drives the
script makes the calls or feeds what was recorded, so that a live run, its resumption, a replay and a branch are the
same code.

Where this departs from aevyra-reflex 0.2: every iteration is recorded, the converging one too; the initial prompt
competes in validation with what came of it; a failed call has no score and is counted, never a silent 0; the threshold
is compared on the whole training set or on validation, never on a batch; mini-batches go by the iteration's number in
the run, so that no phase repeats them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..model_calls import Ask, Reply
from .conversation import (
    REASONER,
    BeginPhase,
    Calls,
    Complete,
    Consult,
    EndPhase,
    Fact,
    Note,
    Progress,
    Propose,
    Question,
    Request,
    Score,
    Scored,
    Script,
    Step,
)
from .dataset import DataRow
from .events import (
    AnalysisNoted,
    IterationCompleted,
    PhaseCompleted,
    PhaseStarted,
    PromptEvaluated,
    Purpose,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    mean_score,
)
from .examining import Examiner, metric_means
from .metrics import JUDGE_PROMPT_VERSION, Metric
from .options import Options
from .randomness import RunRandom
from .retrospect import retrospect
from .splits import SplitIndices, batch_indices, is_full_evaluation, should_stop
from .study import Finished, Strategies, Study, outdoes


@dataclass(frozen=True, slots=True)
class Stretch:
    """Settings that hold up to and with iteration ``until``; None for the last stretch. A branch adds a stretch."""

    options: Options
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What a script works on. All stretches have the same rows, split, metrics and criteria.

    ``criteria`` are for the judge, None where no judge scores. ``preamble`` goes before questions to the reasoner.
    """

    prompt: str
    rows: tuple[DataRow, ...]
    split: SplitIndices
    stretches: tuple[Stretch, ...]
    metrics: tuple[Metric, ...]
    criteria: str | None = None
    preamble: str = ""


def optimise(task: Task, strategies: Strategies) -> Script:
    """The script of a run; every stretch's strategy is one of ``strategies``."""
    return _Run(task, strategies).play()


Scoring = Generator[Step, Any, tuple[Scored, ...]]


@dataclass(slots=True)
class _Run:
    task: Task
    strategies: Strategies
    study: Study = field(init=False)
    examiner: Examiner = field(init=False)
    stretch: int = 0
    phase_iterations: int = 0
    validated: dict[int, Scored] = field(default_factory=dict)
    validation: list[float | None] = field(default_factory=list)
    iteration_eval_tokens: int = 0
    iteration_reasoning_tokens: int = 0
    numbers: dict[str, int] = field(default_factory=dict)
    reason: str = "finished"

    def __post_init__(self) -> None:
        task = self.task
        options = task.stretches[0].options
        self.numbers[task.prompt] = 0
        self.examiner = Examiner(task.metrics, task.criteria)
        self.study = Study(
            options=options,
            rows=tuple(task.rows[place] for place in task.split.train),
            start=task.prompt,
            random=RunRandom(options.seed),
            preamble=task.preamble,
            prompts=[task.prompt],
        )

    def play(self) -> Script:
        task = self.task
        if not (yield from self._set_threshold()):
            return
        (baseline,) = yield from self._evaluate((task.prompt,), self._rows(task.split.test), "baseline")
        if baseline.score is None:
            yield Fact(RunFailed(reason="baseline_failed", message=_why_none(baseline)), _all_of(baseline))
            return
        if task.split.val and self.study.budget > 0:
            self.validation.append((yield from self._validate(task.prompt)).score)
        yield from self._iterate()
        prompt = self._best()
        (final,) = yield from self._evaluate((prompt,), self._rows(task.split.test), "final")
        yield from self._look_back(baseline, final)
        yield Fact(
            RunCompleted(
                reason=self.reason,
                converged=self._reaches(final),
                best=self.numbers[prompt],
                final_evaluation=final.evaluation,
            )
        )

    def _best(self) -> str:
        """The prompt to report: the best iteration's, unless the initial one did better in validation."""
        best = self.study.best()
        if best is None:
            return self.study.start
        if 0 in self.validated and best.val_scores and outdoes(self.validated[0].means, best.val_scores):
            return self.task.prompt
        return best.prompt

    def _reaches(self, scored: Scored) -> bool:
        """Whether the score is as high as the threshold; one that stands for less than half of the samples is not."""
        scorable = 2 * sum(sample.failed for sample in scored.samples) <= len(scored.samples)
        return scored.score is not None and scorable and scored.score >= self.study.options.threshold

    def _set_threshold(self) -> Generator[Step, Any, bool]:
        """Benchmark the targets, if there are any; whether the run may go on."""
        options = self.study.options
        if options.threshold_source != "target":
            return True
        scores = []
        for target in options.targets:
            rows = self._rows(self.task.split.test)
            (scored,) = yield from self._evaluate((self.task.prompt,), rows, "target", model=target)
            scores.append(scored.score)
        reached = [score for score in scores if score is not None]
        if not reached:
            yield Fact(RunFailed(reason="targets_failed", message="no target model answered any sample"))
            return False
        self.study.options = options.model_copy(update={"threshold": max(reached)})
        return True

    def _iterate(self) -> Script:
        """Run the strategies, one stretch's after another's, until one is told to stop or returns."""
        if self.study.budget == 0:
            self.reason = "max_iterations"
            return
        while True:
            branched = yield from self._converse(self.study.options.strategy)
            if self.study.phase is not None:
                yield from self._end_phase(EndPhase(None, None, converged=False))
            if not branched:
                return

    def _converse(self, name: str) -> Generator[Step, Any, bool]:
        """Hold one strategy's conversation; whether another strategy takes over."""
        conversation = self.strategies[name](self.study)
        answer: Any = None
        told_to_stop = False
        while True:
            try:
                request = conversation.send(answer)
            except StopIteration:
                return False
            if told_to_stop and not isinstance(request, EndPhase):
                conversation.close()  # it goes on all the same
                return False
            answer = yield from self._answer(request)
            if isinstance(answer, Progress):
                if answer.stop == "branched":
                    conversation.close()
                    return True
                told_to_stop = answer.stop is not None

    def _answer(self, request: Request) -> Generator[Step, Any, Any]:
        match request:
            case Score():
                return (yield from self._score(request))
            case Consult():
                return (yield from self._consult(request.asks))
            case Propose():
                return (yield from self._propose(request))
            case Note():
                return (yield Fact(request.event, request.because))
            case Complete():
                return (yield from self._complete(request.scored))
            case BeginPhase():
                return (yield from self._begin_phase(request))
            case EndPhase():
                return (yield from self._end_phase(request))
            case _:
                raise TypeError(f"a strategy yields requests, found {request!r:.80}")

    def _score(self, request: Score) -> Scoring:
        if request.samples is None:
            places, whole = self._iteration_places()
            rows = self._rows(places)
        else:
            wanted = set(request.samples)
            rows = tuple(row for row in self.study.rows if row.id in wanted)
            whole = len(rows) == len(self.study.rows)
        return (yield from self._evaluate(request.prompts, rows, request.purpose, parent=request.parent, whole=whole))

    def _iteration_places(self) -> tuple[tuple[int, ...], bool]:
        """The training rows of the iteration at work, as positions, and whether they are all of them."""
        options, train = self.study.options, self.task.split.train
        if not 0 < options.batch_size < len(train) or is_full_evaluation(self.study.iteration, options.full_eval_steps):
            return train, True
        return batch_indices(train, options.batch_size, options.batch_seed, self.study.iteration - 1), False

    def _consult(self, asks: Sequence[Ask]) -> Generator[Step, Any, tuple[Reply, ...]]:
        study = self.study
        questions = tuple(Question(REASONER, "reasoning", ask, study.iteration, study.phase) for ask in asks)
        replies: tuple[Reply, ...] = yield Calls(questions)
        self.iteration_reasoning_tokens += sum(reply.tokens for reply in replies)
        return replies

    def _propose(self, request: Propose) -> Script:
        number, text = self._prompt(request.prompt)
        event = RewriteProposed(
            rewrite=len(self.study.rewrites),
            parent=request.parent.evaluation,
            prompt=number,
            axis=request.axis,
            tokens=sum(reply.tokens for reply in request.because),
            system_prompt=text,
            rationale=request.rationale,
            change_summary=request.change_summary,
            history=request.history,
        )
        self.study.rewrites.append(event)
        yield Fact(event, tuple(reply.seq for reply in request.because if reply.seq is not None))

    def _complete(self, scored: Scored) -> Generator[Step, Any, Progress]:
        study, options = self.study, self.study.options
        number, prompt = study.iteration, self.numbers[scored.prompt]
        val = (yield from self._validate(scored.prompt)) if self.task.split.val else None
        val_score = None if val is None else val.score
        event = IterationCompleted(
            iteration=number,
            evaluation=scored.evaluation,
            val_evaluation=None if val is None else val.evaluation,
            rewrite=next((made.rewrite for made in reversed(study.rewrites) if made.prompt == prompt), None),
            phase=study.phase,
            full_evaluation=scored.whole and 0 < options.batch_size < len(study.rows),
            eval_tokens=self.iteration_eval_tokens,
            reasoning_tokens=self.iteration_reasoning_tokens,
        )
        self.iteration_eval_tokens = self.iteration_reasoning_tokens = 0
        self.phase_iterations += 1
        val_means = {} if val is None else val.means
        study.iterations.append(
            Finished(event, scored.prompt, val_score, scored.whole, scored.score, scored.means, val_means)
        )
        if val is not None:
            self.validation.append(val_score)
        yield Fact(event)
        branched = self._next_stretch(number)
        judged = scored if scored.whole else val
        converged = judged is not None and self._reaches(judged)
        stop = "branched" if branched else self._stop(scored)
        self.reason = stop or ("converged" if converged else "finished")
        return Progress(number, val_score, converged, stop)

    def _validate(self, prompt: str) -> Generator[Step, Any, Scored]:
        """The prompt on the validation samples; a text is validated once."""
        number = self.numbers[prompt]
        if number not in self.validated:
            (self.validated[number],) = yield from self._evaluate((prompt,), self._rows(self.task.split.val), "val")
        return self.validated[number]

    def _stop(self, scored: Scored) -> str | None:
        options = self.study.options
        if scored.score is None:
            return "no_scores"
        known = [score for score in self.validation if score is not None]
        if should_stop(known, options.early_stopping_patience):
            return "early_stopped"
        return "max_iterations" if self.study.budget == 0 else None

    def _next_stretch(self, iteration: int) -> bool:
        """Where a stretch ends here, take the next one's settings; whether its strategy has to begin anew."""
        stretches = self.task.stretches
        if stretches[self.stretch].until != iteration:
            return False
        before = stretches[self.stretch].options
        self.stretch += 1
        after = stretches[self.stretch].options
        if after.threshold_source == "target":
            after = after.model_copy(update={"threshold": self.study.options.threshold})
        self.study.options = after
        if (after.seed, after.strategy) != (before.seed, before.strategy):
            self.study.random = RunRandom(after.seed)
        if (after.strategy, after.extra) == (before.strategy, before.extra):
            return False
        self.study.start = self.study.iterations[-1].prompt
        return self.study.budget > 0

    def _begin_phase(self, request: BeginPhase) -> Script:
        self.study.phase = self.study.phases + 1
        self.study.axis, self.phase_iterations = request.axis, 0
        yield Fact(PhaseStarted(phase=self.study.phase, axis=request.axis))

    def _end_phase(self, request: EndPhase) -> Script:
        study = self.study
        event = PhaseCompleted(
            phase=study.phase or 1,
            axis=study.axis or "",
            iterations=self.phase_iterations,
            score_before=request.score_before,
            score_after=request.score_after,
            converged=request.converged,
        )
        study.phases, study.phase, study.axis = event.phase, None, None
        yield Fact(event)

    def _evaluate(
        self,
        prompts: Sequence[str],
        rows: Sequence[DataRow],
        purpose: Purpose,
        *,
        parent: Scored | None = None,
        whole: bool = True,
        model: str | None = None,
    ) -> Scoring:
        """Examine ``rows`` under each of ``prompts``, all side by side; one fact a prompt."""
        study, options = self.study, self.study.options
        at_work = purpose in ("train", "variant", "val")
        examined = yield from self.examiner.examine(
            prompts,
            rows,
            purpose,
            options,
            options.models if model is None else (model,),
            passes=options.eval_runs if purpose in ("baseline", "final") else 1,
            iteration=study.iteration if at_work else None,
            phase=study.phase if at_work else None,
        )
        scored = []
        for prompt, found in zip(prompts, examined, strict=True):
            number, text = self._prompt(prompt)
            mean = mean_score(found.samples)
            event = PromptEvaluated(
                evaluation=len(study.evaluations),
                prompt=number,
                purpose=purpose,
                score=mean,
                n=len(found.samples),
                failed=sum(sample.failed for sample in found.samples),
                passes=options.eval_runs if purpose in ("baseline", "final") else 1,
                std=found.std,
                scores_by_metric=metric_means(found.samples),
                sample_set="whole" if whole else "batch",
                parent=None if parent is None else parent.evaluation,
                model=model,
                tokens=found.tokens,
                detail_mean=mean,
                system_prompt=text,
                samples=found.samples,
            )
            study.evaluations.append(event)
            if purpose in ("train", "variant"):
                self.iteration_eval_tokens += found.tokens
            because = tuple(seq for seqs in found.replies for seq in seqs)
            yield Fact(event, because, None if self.task.criteria is None else JUDGE_PROMPT_VERSION)
            scored.append(Scored(event.evaluation, prompt, mean, found.samples, found.replies, whole))
        return tuple(scored)

    def _rows(self, places: Sequence[int]) -> tuple[DataRow, ...]:
        return tuple(self.task.rows[place] for place in places)

    def _prompt(self, text: str) -> tuple[int, str | None]:
        """The number of a prompt, with its text where it is new: the event that first names it seals it."""
        if text in self.numbers:
            return self.numbers[text], None
        self.numbers[text] = len(self.study.prompts)
        self.study.prompts.append(text)
        return self.numbers[text], text

    def _look_back(self, baseline: Scored, final: Scored) -> Script:
        """Ask the reasoning model what happened. Its words decide nothing."""
        if not self.study.iterations:
            return
        ask = retrospect(self.study, baseline, final)
        (reply,) = yield Calls((Question(REASONER, "reasoning", ask),))
        seqs = () if reply.seq is None else (reply.seq,)
        yield Fact(AnalysisNoted(kind="what_happened", text=reply.text), seqs)


def _all_of(scored: Scored) -> tuple[int, ...]:
    return tuple(seq for seqs in scored.replies for seq in seqs)


def _why_none(scored: Scored) -> str:
    """Why no sample has a score, as counts of the reasons."""
    counts = Counter(sample.reason or "no_metric" for sample in scored.samples)
    told = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
    first = next((f"; sample {sample.id}: {sample.rationale}" for sample in scored.samples if sample.rationale), "")
    return f"none of {len(scored.samples)} samples was scored: {told}{first}"
