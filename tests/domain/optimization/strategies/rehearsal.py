"""A desk that also knows batches, validation, phases and reasons to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from affidavit.domain.model_calls import Ask
from affidavit.domain.optimization.conversation import BeginPhase, Complete, EndPhase, Progress, Request, Score, Scored
from affidavit.domain.optimization.events import PromptEvaluated, Sample

from .driving import Desk


@dataclass
class Rehearsal(Desk):
    """``stops`` are reasons to stop by iteration. Batches walk through the rows; ``validate`` scores a prompt."""

    stops: dict[int, str] = field(default_factory=dict)
    validate: Callable[[str], float] | None = None
    begun: int = 0

    def _answer(self, request: Request) -> Any:
        match request:
            case BeginPhase():
                assert self.study.phase is None
                self.begun += 1
                self.study.phase, self.study.axis = self.begun, request.axis
            case EndPhase():
                self.study.phases, self.study.phase, self.study.axis = self.begun, None, None
        return super()._answer(request)

    def _score(self, prompt: str, request: Score) -> Scored:
        study, size = self.study, self.study.options.batch_size
        if request.samples is None and 0 < size < len(study.rows):
            first = (study.iteration - 1) * size
            ids = tuple(study.rows[place % len(study.rows)].id for place in range(first, first + size))
            request = replace(request, samples=ids)
        return super()._score(prompt, request)

    def _complete(self, scored: Scored) -> Progress:
        progress = super()._complete(scored)
        if self.validate is not None:
            val_score = self.validate(scored.prompt)
            self.study.iterations[-1] = replace(
                self.study.iterations[-1], val_score=val_score, val_scores={"v": val_score}
            )
            progress = replace(progress, val_score=val_score)
        return replace(progress, stop=self.stops.get(progress.iteration, progress.stop))

    def at(self, site: str) -> list[str]:
        """The texts of the questions asked at ``site``."""
        return [text_of(ask) for ask in self.asks if ask.site == site]

    def scored_prompts(self) -> list[str]:
        return [request.scored.prompt for request in self.of(Complete)]


def text_of(ask: Ask) -> str:
    (message,) = ask.messages
    return message["content"]


def samples_of(evaluation: PromptEvaluated) -> tuple[Sample, ...]:
    assert isinstance(evaluation.samples, tuple)
    return evaluation.samples


def revision(prompt: str, summary: str = "changed it") -> str:
    return f"## Analysis\nIt fails.\n\n## Summary of change\n{summary}\n\n## Revised prompt\n{prompt}\n"
