"""Examining a prompt: models answer samples under it, metrics and the judge score the answers.

A call that fails, an answer that a metric fails on and a judgement that cannot be read leave a sample without a
score, and with a reason code; none of them becomes a number.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import stdev
from typing import Any

from ..model_calls import Ask, Reply
from .conversation import JUDGE, Calls, Question, Step
from .dataset import DataRow
from .events import Purpose, Sample, mean_score
from .metrics import (
    JUDGE_NAME,
    JUDGE_PROMPT_VERSION,
    JUDGE_SCHEMA,
    Metric,
    MetricFailed,
    judge_question,
    read_judgement,
)
from .options import Options

_JUDGE_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Examined:
    """One prompt's samples in the order of the rows, each as often as models and passes answered it.

    ``replies`` are the seqs behind each sample: the model's answer, then the judge's if it was asked. ``std`` is the
    sample standard deviation of the passes' means, None for one pass.
    """

    samples: tuple[Sample, ...]
    replies: tuple[tuple[int, ...], ...]
    std: float | None
    tokens: int


@dataclass(frozen=True, slots=True)
class _Trial:
    prompt: int
    row: DataRow
    model: str
    turn: int


@dataclass(frozen=True, slots=True)
class Examiner:
    """Scores by ``metrics`` and, where there are ``criteria``, by the judge; a sample's score is the mean of all."""

    metrics: tuple[Metric, ...]
    criteria: str | None = None

    def examine(
        self,
        prompts: Sequence[str],
        rows: Sequence[DataRow],
        purpose: Purpose,
        options: Options,
        models: Sequence[str],
        *,
        passes: int = 1,
        iteration: int | None = None,
        phase: int | None = None,
    ) -> Generator[Step, Any, tuple[Examined, ...]]:
        """Examine several prompts on the same rows, side by side; one result a prompt, in their order."""
        trials = [
            _Trial(prompt, row, model, turn)
            for prompt in range(len(prompts))
            for row in rows
            for model in models
            for turn in range(passes)
        ]
        answers: tuple[Reply, ...] = yield Calls(
            tuple(
                Question(
                    trial.model,
                    purpose,
                    Ask(
                        f"eval.{purpose}",
                        _messages(prompts[trial.prompt], trial.row),
                        temperature=options.eval_temperature,
                        max_tokens=options.max_tokens,
                    ),
                    iteration,
                    phase,
                )
                for trial in trials
            )
        )
        judged = yield from self._judge(trials, answers, purpose, iteration, phase)
        found = []
        for number in range(len(prompts)):
            mine = [index for index, trial in enumerate(trials) if trial.prompt == number]
            samples = tuple(self._sample(trials[at], answers[at], judged.get(at), len(models) > 1) for at in mine)
            replies = [(answers[at], judged[at]) if at in judged else (answers[at],) for at in mine]
            turns = [
                [sample for at, sample in zip(mine, samples, strict=True) if trials[at].turn == turn]
                for turn in range(passes)
            ]
            found.append(
                Examined(
                    samples,
                    tuple(tuple(reply.seq for reply in both if reply.seq is not None) for both in replies),
                    _spread(turns),
                    sum(reply.tokens for both in replies for reply in both),
                )
            )
        return tuple(found)

    def _judge(
        self,
        trials: Sequence[_Trial],
        answers: Sequence[Reply],
        purpose: Purpose,
        iteration: int | None,
        phase: int | None,
    ) -> Generator[Step, Any, dict[int, Reply]]:
        """The judge's replies by the place of the answer that they are about."""
        if self.criteria is None:
            return {}
        asked = {
            at: judge_question(self.criteria, trial.row.input, answer.text, trial.row.ideal or "")
            for at, (trial, answer) in enumerate(zip(trials, answers, strict=True))
            if answer.text is not None
        }
        questions = tuple(
            Question(
                JUDGE,
                "judge",
                Ask(
                    f"judge.{purpose}",
                    ({"role": "user", "content": question},),
                    JUDGE_SCHEMA,
                    temperature=0.0,
                    max_tokens=_JUDGE_TOKENS,
                ),
                iteration,
                phase,
                JUDGE_PROMPT_VERSION,
            )
            for question in asked.values()
        )
        replies: tuple[Reply, ...] = yield Calls(questions)
        return dict(zip(asked, replies, strict=True))

    def _sample(self, trial: _Trial, answer: Reply, judged: Reply | None, several: bool) -> Sample:
        row = trial.row
        scores: dict[str, float] = {}
        reason = rationale = None
        if answer.text is None:
            reason = answer.reason or "no_reply"
        else:
            try:
                for metric in self.metrics:
                    scores[metric.name] = metric.score(answer.text, row.ideal or "")
            except MetricFailed as error:
                reason, rationale = "metric_failed", str(error)
            if judged is not None:
                judgement = None if judged.text is None else read_judgement(judged.text)
                if judgement is None:
                    reason, rationale = reason or "judge_undecided", rationale or judged.text
                else:
                    scores[JUDGE_NAME], rationale = judgement.score, rationale or judgement.reason
        failed = reason is not None
        return Sample(
            id=row.id,
            input=row.input,
            response=answer.text or "",
            ideal=row.ideal or "",
            score=None if failed or not scores else fsum(scores.values()) / len(scores),
            scores=scores,
            failed=failed,
            reason=reason or answer.reason or None,
            model=trial.model if several else None,
            rationale=rationale,
        )


def _messages(prompt: str, row: DataRow) -> tuple[dict[str, str], ...]:
    """The row's conversation under the prompt, which takes the place of a system message that it begins with."""
    said = list(row.messages)
    if said and said[0]["role"] == "system":
        said = said[1:]
    return ({"role": "system", "content": prompt}, *said)


def _spread(turns: Sequence[Sequence[Sample]]) -> float | None:
    means = [mean for mean in (mean_score(tuple(turn)) for turn in turns) if mean is not None]
    return stdev(means) if len(turns) > 1 and len(means) > 1 else None


def metric_means(samples: Sequence[Sample]) -> dict[str, float]:
    """The mean of each metric over the samples that it scored."""
    found: dict[str, list[float]] = {}
    for sample in samples:
        for name, score in sample.scores.items():
            found.setdefault(name, []).append(score)
    return {name: fsum(scores) / len(scores) for name, scores in found.items()}
