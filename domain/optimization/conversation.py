"""What a strategy asks for and is sent back, and what a run's script yields to the loop that drives it.

A strategy is a generator of requests (``Score``, ``Consult``, ``Propose``, ``Complete`` …); each says below what it
is sent back. ``script.py`` turns them into ``Step``s: calls to make, and facts to record. Whoever drives a script
makes the calls, or feeds recorded replies; neither strategy nor script can tell which.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..event import Event
from ..model_calls import Ask, Reply
from .events import Purpose, Sample, sample_means

REASONER = "reasoner"
JUDGE = "judge"


@dataclass(frozen=True, slots=True)
class Question:
    """One call to make. ``to`` is ``reasoner``, ``judge`` or the name of a model; ``purpose`` is what it is for.

    ``judge_prompt_version`` goes into the metadata of the judge's calls.
    """

    to: str
    purpose: str
    ask: Ask
    iteration: int | None = None
    phase: int | None = None
    judge_prompt_version: str | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """Questions that may be asked side by side. Sent back: their replies as a tuple, in this order."""

    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """An event to record. ``because`` are the seqs of the calls that it follows from. Sent back: None.

    Fields that are measured (``MEASURED``) are None here; the loop fills them. ``judge_prompt_version`` goes into the
    metadata of what a judge scored.
    """

    event: Event
    because: tuple[int, ...] = ()
    judge_prompt_version: str | None = None


MEASURED = frozenset({"timestamp", "elapsed_seconds", "duration_seconds"})
"""Fields that no replay can repeat, and that no comparison looks at."""

Step = Calls | Fact
Script = Generator[Step, Any, None]


@dataclass(frozen=True)
class Scored:
    """An evaluation as a strategy sees it. ``score`` is None where no sample could be scored.

    ``samples`` are in the order of the data set, each as often as models and passes answered it; ``replies`` the
    seqs of the calls behind each.
    """

    evaluation: int
    prompt: str
    score: float | None
    samples: tuple[Sample, ...]
    replies: tuple[tuple[int, ...], ...] = ()
    whole: bool = True

    @cached_property
    def means(self) -> dict[str, float]:
        """Sample id to score, averaged over models and passes; samples without a score are left out."""
        return sample_means(self.samples)

    def failing(self, most: int = 10) -> list[Sample]:
        """The lowest scored samples, worst first, ties in the order of the data set; failed calls are left out."""
        scored = [(sample.score, sample) for sample in self.samples if sample.score is not None]
        return [sample for _, sample in sorted(scored, key=lambda pair: pair[0])[:most]]


@dataclass(frozen=True, slots=True)
class Score:
    """Score prompts on training samples, side by side. Sent back: a tuple of ``Scored``, in this order.

    ``samples`` names rows by id; None means those of the current iteration: the whole training set or its batch.
    ``parent`` is the evaluation that these prompts were derived from.
    """

    prompts: tuple[str, ...]
    purpose: Purpose = "train"
    samples: tuple[str, ...] | None = None
    parent: Scored | None = None


@dataclass(frozen=True, slots=True)
class Consult:
    """Ask the reasoning model, side by side. Sent back: the replies as a tuple, in this order."""

    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class Propose:
    """A new prompt, derived from ``parent``'s. Sent back: None.

    ``because`` are the replies it follows from, ``history`` the rewrite history that the model was shown, as shown.
    ``axis`` is what kind of change it is. A prompt may be proposed again, as a rewrite of its own.
    """

    parent: Scored
    prompt: str
    rationale: str
    change_summary: str = ""
    history: str | None = None
    axis: str | None = None
    because: tuple[Reply, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """Something else to record (``AnalysisNoted``, ``DuelJudged``). Sent back: None."""

    event: Event
    because: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Complete:
    """The iteration is over; ``scored`` is its outcome: the prompt that it ends with. Sent back: ``Progress``."""

    scored: Scored


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the run stands after iteration ``iteration`` (from 1, over all phases).

    ``converged``: the score reached the threshold (on the whole training set; for a batch, on validation),
    and at least half of the samples have one.
    ``stop`` is why no further iteration may follow, None to go on: ``max_iterations``, ``early_stopped``,
    ``no_scores``, ``branched``. A strategy that is told to stop returns.
    """

    iteration: int
    val_score: float | None
    converged: bool
    stop: str | None


@dataclass(frozen=True, slots=True)
class BeginPhase:
    """A phase of a run that works in phases begins. Sent back: None."""

    axis: str


@dataclass(frozen=True, slots=True)
class EndPhase:
    """The open phase is over; both scores are of the same kind and samples, or None. Sent back: None."""

    score_before: float | None
    score_after: float | None
    converged: bool


Request = Score | Consult | Propose | Note | Complete | BeginPhase | EndPhase
Conversation = Generator[Request, Any, None]
"""A strategy at work."""
