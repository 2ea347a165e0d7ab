"""Drives one strategy by hand: scores, replies and progress come from functions, every request is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from affidavit.domain.model_calls import Ask, Reply
from affidavit.domain.optimization.conversation import (
    Complete,
    Consult,
    Note,
    Progress,
    Propose,
    Request,
    Score,
    Scored,
)
from affidavit.domain.optimization.dataset import DataRow
from affidavit.domain.optimization.events import (
    AnalysisNoted,
    DuelJudged,
    IterationCompleted,
    PromptEvaluated,
    RewriteProposed,
    Sample,
    mean_score,
)
from affidavit.domain.optimization.options import Options
from affidavit.domain.optimization.randomness import RunRandom
from affidavit.domain.optimization.study import Finished, Strategy, Study

Scoring = Callable[[str, DataRow], float | None]
Reasoner = Callable[[Ask, int], str | None]


def rows(count: int, *, ideals: bool = True) -> tuple[DataRow, ...]:
    return tuple(
        DataRow(
            id=f"r{number}",
            messages=({"role": "user", "content": f"question {number}?"},),
            ideal=f"ideal {number}" if ideals else None,
        )
        for number in range(count)
    )


def make_study(data: tuple[DataRow, ...], *, strategy: str, seed: int = 7, **more: Any) -> Study:
    options = Options(models=("sandbox/echo",), strategy=strategy, seed=seed, **more)
    return Study(options, data, "Answer.", RunRandom(seed), prompts=["Answer."])


def even(prompt: str, row: DataRow) -> float | None:
    """A score for everything, the same in every process."""
    return (len(prompt) * 7 + len(row.id) + int(row.id[1:]) * 3) % 10 / 20


@dataclass
class Desk:
    """What stands in for script and models. ``reply`` is given the question and its number in the run, from 0."""

    study: Study
    reply: Reasoner
    score: Scoring = even
    answer: Callable[[str, DataRow], str] = lambda prompt, row: f"{row.input} under {prompt}"
    converge_at: float = 2.0
    models: tuple[str | None, ...] = (None,)
    requests: list[Request] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)

    def play(self, strategy: Strategy, most_requests: int = 10_000) -> list[Request]:
        conversation = strategy(self.study)
        found: Any = None
        for _ in range(most_requests):
            try:
                request = conversation.send(found)
            except StopIteration:
                return self.requests
            self.requests.append(request)
            found = self._answer(request)
        conversation.close()
        return self.requests

    def of(self, kind: type[Any]) -> list[Any]:
        return [request for request in self.requests if isinstance(request, kind)]

    def notes(self) -> list[AnalysisNoted]:
        return [note.event for note in self.of(Note) if isinstance(note.event, AnalysisNoted)]

    def duels(self) -> list[DuelJudged]:
        return [note.event for note in self.of(Note) if isinstance(note.event, DuelJudged)]

    def _answer(self, request: Request) -> Any:
        match request:
            case Score():
                return tuple(self._score(prompt, request) for prompt in request.prompts)
            case Consult():
                return tuple(self._reply(ask) for ask in request.asks)
            case Propose():
                self._propose(request)
            case Complete():
                return self._complete(request.scored)
        return None

    def _score(self, prompt: str, request: Score) -> Scored:
        study = self.study
        wanted = [row for row in study.rows if request.samples is None or row.id in request.samples]
        if request.samples is None and study.options.batch_size:
            wanted = [wanted[(study.iteration + place) % len(wanted)] for place in range(study.options.batch_size)]
        samples = tuple(self._sample(prompt, row, model) for row in wanted for model in self.models)
        event = PromptEvaluated(
            evaluation=len(study.evaluations),
            prompt=self._number(prompt),
            purpose=request.purpose,
            score=mean_score(samples),
            samples=samples,
        )
        study.evaluations.append(event)
        return Scored(event.evaluation, prompt, event.score, samples, whole=len(wanted) == len(study.rows))

    def _sample(self, prompt: str, row: DataRow, model: str | None) -> Sample:
        score = self.score(prompt, row)
        failed = score is None
        response = "" if failed else self.answer(prompt, row) + (f" ({model})" if model else "")
        return Sample(
            id=row.id,
            input=row.input,
            response=response,
            ideal=row.ideal or "",
            score=score,
            failed=failed,
            reason="timed_out" if failed else None,
            model=model,
        )

    def _reply(self, ask: Ask) -> Reply:
        self.asks.append(ask)
        text = self.reply(ask, len(self.asks) - 1)
        seq = 1000 + len(self.asks)
        self.seqs.append(seq)
        return Reply(text, "" if text is not None else "timed_out", seq)

    def _propose(self, request: Propose) -> None:
        event = RewriteProposed(
            rewrite=len(self.study.rewrites),
            parent=request.parent.evaluation,
            prompt=self._number(request.prompt),
            rationale=request.rationale,
            change_summary=request.change_summary,
        )
        self.study.rewrites.append(event)

    def _number(self, prompt: str) -> int:
        if prompt not in self.study.prompts:
            self.study.prompts.append(prompt)
        return self.study.prompts.index(prompt)

    def _complete(self, scored: Scored) -> Progress:
        study, number = self.study, self.study.iteration
        scores = {sample.id: sample.score for sample in scored.samples if sample.score is not None}
        study.iterations.append(
            Finished(
                event=IterationCompleted(iteration=number, evaluation=scored.evaluation),
                prompt=scored.prompt,
                score=scored.score,
                val_score=None,
                whole=scored.whole,
                scores=scores,
                val_scores={},
            )
        )
        stop = "no_scores" if scored.score is None else "max_iterations" if study.budget == 0 else None
        return Progress(number, None, scored.score is not None and scored.score >= self.converge_at, stop)


def samples_of(event: PromptEvaluated) -> tuple[Sample, ...]:
    """The samples of an evaluation, which has them."""
    assert isinstance(event.samples, tuple)
    return event.samples


def named(request: Propose | Note) -> tuple[int, ...]:
    """The calls that a fact names."""
    if isinstance(request, Propose):
        return tuple(reply.seq for reply in request.because if reply.seq is not None)
    return request.because
