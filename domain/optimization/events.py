"""What happens in an optimisation run; stream ``run/<id>``.

Texts are sealed under the run. In the open a prompt is a number: 0 is the initial prompt, and each new
text takes the next number in the event that first names it, which is the one that seals the text.
Evaluations and rewrites are numbered from 0 too, iterations from 1. ``timestamp`` fields are ISO 8601
as the recorder or the imported file gave them; when an event was recorded is the entry's own ``at``.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..event import Event, Sealed, differing_counts
from ..number import Number

Purpose = Literal["baseline", "train", "val", "final", "variant", "target"]
ScoreKind = Literal["mean", "win_rate"]
SampleSet = Literal["whole", "batch", "unknown"]
FILE_NAME = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"
"""What a name must be that becomes the name of a file."""
CODE = "^[A-Za-z][A-Za-z0-9_.-]{0,63}$"
"""What stands as a reason in the open: a word that programs may branch on, and no sentence."""


class Sample(BaseModel):
    """One sample of an evaluation. ``id`` says which sample of the data set it is; the same id in two
    evaluations is the same sample, whichever of several ``model``s answered it. ``score`` is the mean over the
    metrics; a failed call has none, and ``reason`` is a code for why. ``rationale`` is what the judge said of
    it, or why a metric failed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str
    input: str
    response: str
    ideal: str = ""
    score: float | None = None
    scores: dict[str, float] = Field(default_factory=dict)
    failed: bool = False
    reason: str | None = None
    model: str | None = None
    rationale: str | None = None


class Split(BaseModel):
    """How the data set was divided: sizes in samples, where known, and the seed of the shuffle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int | None = None
    val: int | None = None
    test: int | None = None
    seed: int | None = None


class RunStarted(Event):
    """A run began with this configuration. ``directory`` is the name of its run directory.

    ``max_iterations`` is the upper bound of what is planned. ``imported_from`` names the system whose
    files the run was read from.
    """

    type_name = "run.started.v1"
    run: str = Field(pattern=FILE_NAME)
    directory: str = Field(pattern=FILE_NAME)
    timestamp: str
    strategy: str
    models: tuple[str, ...] = ()
    reasoning_model: str | None = None
    metrics: tuple[str, ...] = ()
    threshold: Number | None = None
    max_iterations: int | None = None
    split: Split | None = None
    parent_run: str | None = None
    parent_iteration: int | None = None
    imported_from: str | None = None
    system_prompt: Sealed[str]
    config: Sealed[dict[str, Any]]
    dataset: Sealed[str] | None = None


class RunPlanned(Event):
    """What a run that is driven here depends on, beside its configuration: enough to do it again.

    ``options`` are the settings, ``rows`` the data set, in order. ``train``, ``val`` and ``test`` are positions in
    it. ``draws`` are the first numbers of the run's seed (``randomness.check_draws``), ``versions`` those of the
    software, ``sources`` the SHA-256 of the source files that decide, by module. ``branch_after`` is the
    iteration up to which a branch is fed its parent's replies.
    """

    type_name = "run.planned.v1"
    seed: int
    rows_count: int = Field(ge=1)
    held_out: bool
    versions: dict[str, str]
    draws: tuple[str, ...]
    branch_after: int | None = Field(default=None, ge=1)
    options: Sealed[dict[str, Any]]
    rows: Sealed[list[dict[str, Any]]]
    split: Sealed[dict[str, list[int]]]
    sources: Sealed[dict[str, str]]

    def disagreement(self) -> str | None:
        if not isinstance(self.rows, list) or len(self.rows) == self.rows_count:
            return None
        return f"rows_count is {self.rows_count}, the sealed data set has {len(self.rows)} rows"


class PromptEvaluated(Event):
    """A prompt was scored on samples.

    ``score`` is what the evaluator reported over ``n`` samples and ``passes`` passes, None where it
    reported no number; ``std`` is the sample standard deviation of the passes' means. ``failed`` counts
    samples whose call failed. ``detail_mean`` is the mean of the sealed samples' scores, failed ones left
    out, so that a report which disagrees with its own detail shows. ``sample_set`` says whether the whole
    split was scored or a batch of it. ``parent`` is the evaluation whose prompt this one was derived from.
    ``model`` is who answered where it is not the run's own (purpose ``target``).
    """

    type_name = "prompt.evaluated.v1"
    evaluation: int = Field(ge=0)
    prompt: int = Field(ge=0)
    purpose: Purpose
    kind: ScoreKind = "mean"
    score: Number | None = None
    n: int | None = Field(default=None, ge=0)
    failed: int | None = Field(default=None, ge=0)
    passes: int = Field(default=1, ge=1)
    std: Number | None = None
    scores_by_metric: dict[str, Number] = Field(default_factory=dict)
    sample_set: SampleSet = "whole"
    parent: int | None = None
    model: str | None = None
    tokens: int | None = Field(default=None, ge=0)
    elapsed_seconds: Number | None = None
    timestamp: str | None = None
    detail_mean: Number | None = None
    system_prompt: Sealed[str] | None = None
    samples: Sealed[tuple[Sample, ...]] | None = None

    def disagreement(self) -> str | None:
        if not isinstance(self.samples, tuple):
            return None
        found = (len(self.samples), sum(sample.failed for sample in self.samples), mean_score(self.samples))
        stated = (self.n, self.failed, self.detail_mean)
        if found != stated:
            return f"n, failed, detail_mean are {stated}, the sealed samples give {found}"
        return None


class RewriteProposed(Event):
    """A new prompt was proposed after seeing the evaluation ``parent``.

    ``rationale`` is the reasoning model's whole explanation, ``change_summary`` its one line, ``history``
    the rewrite history that it was shown. ``prompt`` is None where the proposed text is not known.
    """

    type_name = "rewrite.proposed.v1"
    rewrite: int = Field(ge=0)
    parent: int = Field(ge=0)
    prompt: int | None = Field(default=None, ge=0)
    axis: str | None = None
    tokens: int | None = Field(default=None, ge=0)
    timestamp: str | None = None
    system_prompt: Sealed[str] | None = None
    rationale: Sealed[str]
    change_summary: Sealed[str] | None = None
    history: Sealed[str] | None = None


class IterationCompleted(Event):
    """Iteration ``iteration`` scored the prompt of ``evaluation``, which ``rewrite`` had produced.

    ``rewrite`` is None where the prompt is the initial one or its origin is not known. Tokens are what
    this iteration cost; ``elapsed_seconds`` is the wall time since the run began. ``found_in`` says, for a run that
    another system drove, which of its files spoke of the iteration.
    """

    type_name = "iteration.completed.v1"
    iteration: int = Field(ge=1)
    evaluation: int = Field(ge=0)
    val_evaluation: int | None = None
    rewrite: int | None = None
    phase: int | None = None
    full_evaluation: bool = False
    eval_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)
    elapsed_seconds: Number | None = None
    timestamp: str | None = None
    found_in: tuple[Literal["file", "result"], ...] = ()


class PhaseStarted(Event):
    """A phase of a run that works in phases began; ``phase`` counts from 1."""

    type_name = "phase.started.v1"
    phase: int = Field(ge=1)
    axis: str
    timestamp: str | None = None


class PhaseCompleted(Event):
    """A phase ended after ``iterations`` iterations; the scores are what the strategy compared."""

    type_name = "phase.completed.v1"
    phase: int = Field(ge=1)
    axis: str
    iterations: int = Field(ge=0)
    score_before: Number | None = None
    score_after: Number | None = None
    converged: bool = False
    duration_seconds: Number | None = None


class AnalysisNoted(Event):
    """The reasoning model said something that decided what came next and is no prompt: ``kind`` says what.

    ``decision`` is what was made of it, a code, where there is one; ``text`` is the whole of it, None where no
    reply came.
    """

    type_name = "analysis.noted.v1"
    kind: str = Field(pattern=CODE)
    decision: str | None = Field(default=None, pattern=CODE)
    text: Sealed[str] | None = None


class DuelJudged(Event):
    """Two prompts' answers to the same samples were compared in pairs by the reasoning model.

    ``a`` and ``b`` are prompts. ``wins_a``, ``wins_b``, ``ties`` and ``undecided`` count samples. ``winner`` is the
    prompt with more wins, None for a tie. ``pairs`` has per sample its id, which prompt's answer was shown first,
    whether the model was asked, the verdict and its reason.
    """

    type_name = "duel.judged.v1"
    round: int = Field(ge=1)
    a: int = Field(ge=0)
    b: int = Field(ge=0)
    wins_a: int = Field(ge=0)
    wins_b: int = Field(ge=0)
    ties: int = Field(ge=0)
    undecided: int = Field(ge=0)
    winner: int | None = None
    pairs: Sealed[list[dict[str, Any]]]

    def disagreement(self) -> str | None:
        if not isinstance(self.pairs, list):
            return None
        stated = self.wins_a + self.wins_b + self.ties + self.undecided
        return None if stated == len(self.pairs) else f"{stated} verdicts are counted, {len(self.pairs)} pairs sealed"


class RunCompleted(Event):
    """The run came to its end. ``reason`` is why it stopped: a code such as ``converged``.

    ``best`` is the prompt it reports, which has been evaluated; ``final_evaluation`` its score on the held-out
    samples. Token totals are as another system stated them; those of a run with recorded calls are sums over these.
    ``reported`` keeps, for an import, the result as found.
    """

    type_name = "run.completed.v1"
    reason: str = Field(pattern=CODE)
    converged: bool
    best: int | None = None
    final_evaluation: int | None = None
    eval_tokens: int | None = Field(default=None, ge=0)
    reasoning_tokens: int | None = Field(default=None, ge=0)
    duration_seconds: Number | None = None
    timestamp: str | None = None
    reported: Sealed[dict[str, Any]] | None = None


class RunFailed(Event):
    """The run ended without a result. ``reason`` is a code, ``message`` the whole error."""

    type_name = "run.failed.v1"
    reason: str = Field(pattern=CODE)
    timestamp: str | None = None
    message: Sealed[str] | None = None


class RunSealed(Event):
    """The run directory rebuilt from the first ``upto`` entries has these files and bytes.

    ``manifest`` is ``{"h1": …, "files": [[sha256 hex, relative path], …]}`` (Go's dirhash).
    """

    type_name = "run.sealed.v1"
    profile: str
    version: int = Field(ge=1)
    upto: int = Field(ge=0)
    files: int = Field(ge=0)
    bytes: int = Field(ge=0)
    manifest: Sealed[dict[str, Any]]


class RunImported(Event):
    """The run above was read from another system's files.

    ``findings`` counts what was found wrong, missing or recovered, by kind. ``detail`` is
    ``{"directory": …, "files": [{"path", "sha256", "bytes"}], "findings": [{"kind", "place", "detail"}]}``;
    the digests are of the bytes after redaction.
    """

    type_name = "run.imported.v1"
    system: str
    files: int = Field(ge=0)
    findings: dict[str, int]
    detail: Sealed[dict[str, Any]]

    def disagreement(self) -> str | None:
        return differing_counts(self.files, self.findings, self.detail)


class SourceKept(Event):
    """A file of another system that no event here stands for, kept as found, after redaction."""

    type_name = "source.kept.v1"
    name: str
    content: Sealed[Any]


EVENTS: tuple[type[Event], ...] = (
    RunStarted,
    RunPlanned,
    PromptEvaluated,
    RewriteProposed,
    IterationCompleted,
    PhaseStarted,
    PhaseCompleted,
    AnalysisNoted,
    DuelJudged,
    RunCompleted,
    RunFailed,
    RunSealed,
    RunImported,
    SourceKept,
)


def mean_score(samples: tuple[Sample, ...]) -> float | None:
    """The mean score of the samples that have one, or None: exact summation, one rounding, one division."""
    scores = [sample.score for sample in samples if sample.score is not None]
    return fsum(scores) / len(scores) if scores else None


def sample_means(samples: Iterable[Sample]) -> dict[str, float]:
    """Sample id to score, averaged over the models and passes that answered it; failed ones are left out."""
    found: dict[str, list[float]] = {}
    for sample in samples:
        if sample.score is not None:
            found.setdefault(sample.id, []).append(sample.score)
    return {name: fsum(scores) / len(scores) for name, scores in found.items()}
