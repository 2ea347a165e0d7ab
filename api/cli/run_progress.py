"""How a run is going: lines as things happen, and on a terminal below them what is happening now.

All of it goes to standard error. In a pipe there are only the lines; ``NO_COLOR`` is kept to by what draws.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...domain.event import Event
from ...domain.model_calls import ModelAnswered, ModelRequested
from ...domain.optimization.events import (
    DuelJudged,
    IterationCompleted,
    PhaseStarted,
    PromptEvaluated,
    RewriteProposed,
)
from ..drive.run_loop import Observer
from .output import count_answers, safe

if TYPE_CHECKING:
    from rich.text import Text

Print = Callable[[str], None]

_ROLES = {"judge": "judge", "reasoning": "reasoner"}
_ANSWERS = "answers"
_SUMMARY_CHARACTERS = 100


@dataclass(slots=True)
class RunProgress(Observer):
    """Follows a run. ``put`` prints a line; ``verbose`` has failed attempts and variants printed, too.

    Tokens are those bought in this session: what is fed from the ledger was paid for before.
    """

    max_iterations: int
    simulated: bool
    put: Print
    verbose: bool = False
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    phase: str | None = None
    iteration: int = 0
    baseline: float | None = None
    train: float | None = None
    val: float | None = None
    best: tuple[float, str] | None = None
    done: int = 0
    fed: int = 0
    retried: int = 0
    in_flight: int = 0
    prompt_tokens: Counter[str] = field(default_factory=Counter)
    completion_tokens: Counter[str] = field(default_factory=Counter)
    _evaluations: list[PromptEvaluated] = field(default_factory=list)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def fact(self, event: Event, seq: int, *, fed: bool) -> None:
        with self._mutex:
            line = self._take(event)
        if line is not None and not fed:
            self.put(line)

    def sent(self, requested: ModelRequested) -> None:
        with self._mutex:
            self.in_flight += 1
            self.retried += requested.attempt > 1
            if requested.iteration is not None:
                self.iteration = requested.iteration

    def answered(self, requested: ModelRequested, answered: ModelAnswered, *, fed: bool) -> None:
        role = _ROLES.get(requested.purpose or "", _ANSWERS)
        with self._mutex:
            if fed:
                self.fed += 1
                return
            self.in_flight -= 1
            self.done += answered.outcome == "replied" or bool(answered.gave_up)
            self.prompt_tokens[role] += answered.prompt_tokens or 0
            self.completion_tokens[role] += answered.completion_tokens or 0
        if self.verbose and answered.outcome != "replied":
            ending = ", given up" if answered.gave_up else ""
            place = f"{requested.site} {requested.occurrence}, attempt {requested.attempt}"
            self.put(f"  {place}: {answered.reason or answered.outcome}{ending}")

    def lines(self) -> list[str]:
        """What is happening now."""
        with self._mutex:
            elapsed = int(self.clock() - self.began)
            at_work = [f"phase {self.phase}"] if self.phase is not None else []
            at_work.append(f"iteration {self.iteration} of at most {self.max_iterations}")
            at_work.append(f"{elapsed // 60}:{elapsed % 60:02d}")
            named = {"baseline": self.baseline, "train": self.train, "validation": self.val}
            scores = [f"{name} {_score(value)}" for name, value in named.items() if value is not None]
            scores += [] if self.best is None else [f"best {_score(self.best[0])} ({self.best[1]})"]
            calls = [f"{self.done} done", f"{self.in_flight} in flight"]
            calls += [f"{self.retried} tried again"] if self.retried else []
            calls += [f"{self.fed} fed from the ledger"] if self.fed else []
            roles = [role for role in (_ANSWERS, "judge", "reasoner") if self.prompt_tokens[role]]
            tokens = [f"{role} {self.prompt_tokens[role]:,} + {self.completion_tokens[role]:,}" for role in roles]
        return [
            *(["SIMULATED: no language model"] if self.simulated else []),
            " · ".join(at_work),
            "scores " + (" · ".join(scores) or "none yet"),
            "calls  " + " · ".join(calls),
            "tokens " + (" · ".join(tokens) or "none yet"),
        ]

    def _take(self, event: Event) -> str | None:
        """Note a fact; the line that tells it."""
        match event:
            case PromptEvaluated():
                return self._take_evaluation(event)
            case PhaseStarted():
                self.phase = f"{event.phase} {event.axis}"
                return f"phase {event.phase}: {event.axis}"
            case RewriteProposed():
                summary = event.change_summary if isinstance(event.change_summary, str) else ""
                said = " ".join(summary.split()) or "(no summary)"
                return f"  change {event.rewrite + 1}: {said[:_SUMMARY_CHARACTERS]}"
            case DuelJudged() if self.verbose:
                return f"  round {event.round}: prompt {event.a} against {event.b}, {event.wins_a} to {event.wins_b}"
            case IterationCompleted():
                return self._take_iteration(event)
        return None

    def _take_evaluation(self, event: PromptEvaluated) -> str | None:
        self._evaluations.append(event)
        if event.purpose == "baseline":
            self.baseline = event.score
        if event.purpose in ("train", "variant") and not (self.verbose and event.purpose == "variant"):
            return None  # the iteration tells it
        name = f"target {event.model}" if event.purpose == "target" else event.purpose
        if event.purpose == "val":
            return None
        samples = len({sample.id for sample in event.samples}) if isinstance(event.samples, tuple) else None
        counted = count_answers(samples, event.n, event.failed)
        return f"{'  ' if event.purpose == 'variant' else ''}{name} {_score(event.score)} ({counted})"

    def _take_iteration(self, event: IterationCompleted) -> str:
        self.iteration = event.iteration
        scored = self._evaluations[event.evaluation]
        validated = None if event.val_evaluation is None else self._evaluations[event.val_evaluation]
        self.train, self.val = scored.score, None if validated is None else validated.score
        score, kind = (self.train, "train") if validated is None else (self.val, "validation")
        if score is not None and (self.best is None or score > self.best[0]):
            self.best = score, kind
        parts = [f"train {_score(self.train)}"]
        if validated is not None:
            parts.append(f"validation {_score(self.val)}")
        failed = (scored.failed or 0) + (0 if validated is None else validated.failed or 0)
        if failed:
            parts.append("1 sample has no score" if failed == 1 else f"{failed} samples have no score")
        if scored.sample_set == "batch":
            parts.append("on a batch")
        return f"iteration {event.iteration}: {', '.join(parts)}"


@contextmanager
def shown_progress(max_iterations: int, simulated: bool, *, quiet: bool, verbose: bool) -> Iterator[RunProgress]:
    """Follow a run on standard error; ``quiet`` prints nothing."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if quiet or not console.is_terminal or console.is_dumb_terminal:
        yield RunProgress(max_iterations, simulated, _ignore if quiet else _print, verbose)
        return
    from rich.live import Live

    def put(line: str) -> None:
        console.print(safe(line))
        live.refresh()  # a panel that is drawn again by the clock alone tells less than the line above it

    progress = RunProgress(max_iterations, simulated, put, verbose)
    live = Live(console=console, get_renderable=lambda: _drawn(progress), refresh_per_second=4, transient=True)
    with live:
        yield progress


def _drawn(progress: RunProgress) -> Text:
    from rich.text import Text

    return Text("\n".join(progress.lines()), no_wrap=True, overflow="ellipsis")


def _print(line: str) -> None:
    print(safe(line), file=sys.stderr, flush=True)


def _ignore(_: str) -> None:
    pass


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
