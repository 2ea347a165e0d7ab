"""What a strategy may look at while it works: settings, training rows, and what the run has learnt so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import fsum

from .conversation import Conversation
from .dataset import DataRow
from .effects import Effect, effect_of
from .events import IterationCompleted, PromptEvaluated, RewriteProposed
from .history import changes, history_text
from .options import Options
from .randomness import RunRandom


@dataclass(frozen=True, slots=True)
class Finished:
    """A completed iteration: the prompt that it ended with, its training and validation scores, and what was recorded.

    ``scores`` and ``val_scores`` are those of the samples that have one, by id.
    """

    event: IterationCompleted
    prompt: str
    val_score: float | None
    whole: bool
    score: float | None
    scores: dict[str, float]
    val_scores: dict[str, float]

    @property
    def iteration(self) -> int:
        return self.event.iteration


def outdoes(mine: dict[str, float], theirs: dict[str, float]) -> bool:
    """Whether one prompt's scores, by sample, are better than another's.

    Compared are the samples that both have, if they are half of either's or more. Else the one with more samples is
    the better: most calls of the other failed, or it was scored on a batch only. Of as many samples, batches without
    much in common, the means decide, which is noisy.
    """
    shared = sorted(mine.keys() & theirs.keys())
    if shared and 2 * len(shared) >= max(len(mine), len(theirs)):
        return fsum(mine[name] for name in shared) > fsum(theirs[name] for name in shared)
    return (len(mine), fsum(mine.values())) > (len(theirs), fsum(theirs.values()))


@dataclass(slots=True)
class Study:
    """The state of a run, kept by the script; strategies read it and draw from ``random``.

    ``rows`` are the training rows. ``prompts`` are all texts by number, 0 the one to start from. ``preamble`` goes
    before every question to the reasoning model. ``start`` is the prompt that the strategy begins with: the initial
    prompt, or that of the iteration a branch leaves from. ``options`` has the threshold that the targets set.
    """

    options: Options
    rows: tuple[DataRow, ...]
    start: str
    random: RunRandom
    preamble: str = ""
    prompts: list[str] = field(default_factory=list)
    evaluations: list[PromptEvaluated] = field(default_factory=list)
    rewrites: list[RewriteProposed] = field(default_factory=list)
    iterations: list[Finished] = field(default_factory=list)
    measured: dict[int, Effect] = field(default_factory=dict)
    phases: int = 0
    phase: int | None = None
    axis: str | None = None

    @property
    def has_ideals(self) -> bool:
        """Whether every training row has a reference."""
        return all(row.ideal is not None for row in self.rows)

    @property
    def iteration(self) -> int:
        """The number of the iteration at work, from 1."""
        return len(self.iterations) + 1

    @property
    def budget(self) -> int:
        """How many more iterations may be completed."""
        return max(0, self.options.max_iterations - len(self.iterations))

    def best(self, since: int = 0) -> Finished | None:
        """The best of the iterations after the first ``since``; None where none has a score.

        By validation where there is any, the newest of equals; else by training, the oldest of equals; both as
        ``outdoes`` compares.
        """
        best: Finished | None = None
        validated = [item for item in self.iterations[since:] if item.val_scores]
        for item in validated:
            if best is None or not outdoes(best.val_scores, item.val_scores):
                best = item
        for item in self.iterations[since:] if not validated else ():
            if item.scores and (best is None or outdoes(item.scores, best.scores)):
                best = item
        return best

    def history(self) -> str:
        """The rewrite history to show to the reasoning model: each change with its own effect, the newest in it."""
        effects = [self._effect(rewrite) for rewrite in self.rewrites]
        return history_text(changes(self.evaluations, self.rewrites, effects, [done.event for done in self.iterations]))

    def _effect(self, rewrite: RewriteProposed) -> Effect:
        found = self.measured.get(rewrite.rewrite) or effect_of(rewrite, self.evaluations)
        if found.delta is not None:
            self.measured[rewrite.rewrite] = found  # the first comparable evaluation counts, so it stays
        return found


Strategy = Callable[[Study], Conversation]
"""Makes a conversation for a study. It uses no clock, no network, and no randomness but the study's."""

Strategies = dict[str, Strategy]
