"""What a run's next event may be: its state, how each event changes it, and what is refused.

``decide`` takes the event that somebody wants recorded, and gives it back or raises ``Refused``;
``evolve`` folds a recorded event into the state. Both are pure but for the state, which ``evolve``
changes in place, so that a long run stays linear.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import Refused
from ..event import Event, Withheld
from ..model_calls import ModelAnswered, ModelRequested
from .events import (
    AnalysisNoted,
    DuelJudged,
    IterationCompleted,
    PhaseCompleted,
    PhaseStarted,
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunImported,
    RunPlanned,
    RunSealed,
    RunStarted,
    SourceKept,
)
from .foreign import RecordingClosed, RecordingOpened

ABOUT_THE_RECORD: tuple[type[Event], ...] = (RunSealed, RunImported, SourceKept, RecordingOpened, RecordingClosed)
"""Events that anybody may append to a run beside its script, before it ends and after."""

_TEXT = Withheld("")
"""Stands where a decision needs no text."""


@dataclass(slots=True)
class RunState:
    """What later decisions need to know of a run: evaluations and rewrites without their texts and samples."""

    run: str = ""
    prompts: int = 0
    evaluations: list[PromptEvaluated] = field(default_factory=list)
    rewrites: list[RewriteProposed] = field(default_factory=list)
    iterations: set[int] = field(default_factory=set)
    phases: int = 0
    open_phase: int | None = None
    ended: bool = False

    @property
    def started(self) -> bool:
        return self.prompts > 0

    def has_evaluated(self, prompt: int) -> bool:
        return any(evaluation.prompt == prompt for evaluation in self.evaluations)


def evolve(state: RunState, event: Event) -> RunState:
    """Fold one recorded event into the state."""
    match event:
        case RunStarted():
            state.run = event.run
            state.prompts = 1
        case PromptEvaluated():
            state.evaluations.append(event.model_copy(update={"system_prompt": None, "samples": None}))
            state.prompts = max(state.prompts, event.prompt + 1)
        case RewriteProposed():
            state.rewrites.append(
                event.model_copy(
                    update={"system_prompt": None, "rationale": _TEXT, "change_summary": None, "history": None}
                )
            )
            if event.prompt is not None:
                state.prompts = max(state.prompts, event.prompt + 1)
        case IterationCompleted():
            state.iterations.add(event.iteration)
        case PhaseStarted():
            state.phases = state.open_phase = event.phase
        case PhaseCompleted():
            state.open_phase = None
        case RunCompleted() | RunFailed():
            state.ended = True
    return state


def decide(state: RunState, event: Event) -> Event:
    """Give ``event`` back if it may follow ``state``; ``Refused`` says which rule it breaks."""
    if isinstance(event, RunStarted):
        _require(not state.started, "run_started_once", f"run {state.run} has started already")
        return event
    _require(state.started, "run_not_started", "the run has not started; its first event is run.started")
    if isinstance(event, ABOUT_THE_RECORD):
        return event
    _require(not state.ended, "run_ended", f"run {state.run} has ended; no {event.type_name} may follow")
    match event:
        case PromptEvaluated():
            _decide_evaluation(state, event)
        case RewriteProposed():
            _decide_rewrite(state, event)
        case IterationCompleted():
            _decide_iteration(state, event)
        case PhaseStarted():
            _require(state.open_phase is None, "phase_open", f"phase {state.open_phase} has not been completed")
            _require_next("phase", event.phase, state.phases + 1)
        case PhaseCompleted():
            _require(
                state.open_phase == event.phase,
                "phase_not_open",
                f"phase {event.phase}: expected the open phase, which is {state.open_phase}",
            )
        case RunCompleted():
            _decide_completion(state, event)
        case DuelJudged():
            _require(
                max(event.a, event.b) < state.prompts,
                "prompt_known",
                f"duel of prompts {event.a} and {event.b}: expected two of the {state.prompts} that were named",
            )
        case RunFailed() | RunPlanned() | AnalysisNoted() | ModelRequested() | ModelAnswered():
            pass
        case _:
            raise Refused("not_a_run_event", f"{event.type_name} does not belong to a run")
    return event


def _decide_evaluation(state: RunState, event: PromptEvaluated) -> None:
    _require_next("evaluation", event.evaluation, len(state.evaluations))
    _require_prompt(state, event.prompt, introduced=event.system_prompt is not None)
    if event.parent is not None:
        _evaluation(state, event.parent, "parent")


def _decide_rewrite(state: RunState, event: RewriteProposed) -> None:
    _require_next("rewrite", event.rewrite, len(state.rewrites))
    _evaluation(state, event.parent, "parent")
    if event.prompt is not None:
        _require_prompt(state, event.prompt, introduced=event.system_prompt is not None)


def _decide_iteration(state: RunState, event: IterationCompleted) -> None:
    _require(
        event.iteration not in state.iterations,
        "iteration_once",
        f"iteration {event.iteration} of run {state.run} is recorded already",
    )
    scored = _evaluation(state, event.evaluation, "evaluation")
    _require_purpose(scored, ("train", "variant"), f"iteration {event.iteration}")
    if event.val_evaluation is not None:
        validated = _evaluation(state, event.val_evaluation, "val_evaluation")
        _require_purpose(validated, ("val",), f"iteration {event.iteration}")
        _require(
            validated.prompt == scored.prompt,
            "one_prompt_per_iteration",
            f"iteration {event.iteration}: trained prompt {scored.prompt}, validated prompt {validated.prompt}",
        )
    if event.rewrite is not None:
        _require(
            0 <= event.rewrite < len(state.rewrites) and state.rewrites[event.rewrite].prompt == scored.prompt,
            "rewrite_made_this_prompt",
            f"iteration {event.iteration}: rewrite {event.rewrite} did not produce prompt {scored.prompt}",
        )


def _decide_completion(state: RunState, event: RunCompleted) -> None:
    if event.best is not None:
        _require(state.has_evaluated(event.best), "best_was_evaluated", f"best prompt {event.best} was never evaluated")
    if event.final_evaluation is not None:
        final = _evaluation(state, event.final_evaluation, "final_evaluation")
        _require_purpose(final, ("final",), "the run's end")
        _require(
            event.best is None or final.prompt == event.best,
            "best_is_what_was_scored",
            f"best prompt is {event.best}, the final evaluation scored prompt {final.prompt}",
        )


def _require(holds: bool, rule: str, message: str) -> None:
    if not holds:
        raise Refused(rule, message)


def _require_next(what: str, found: int, expected: int) -> None:
    _require(found == expected, f"{what}_in_order", f"{what} {found}: expected {expected}, the next number")


def _require_prompt(state: RunState, prompt: int, *, introduced: bool) -> None:
    known = prompt < state.prompts
    _require(prompt <= state.prompts, "prompt_in_order", f"prompt {prompt}: expected at most {state.prompts}")
    _require(known != introduced, "prompt_text_once", f"prompt {prompt}: its text goes with its first naming only")


def _evaluation(state: RunState, number: int, role: str) -> PromptEvaluated:
    _require(
        0 <= number < len(state.evaluations),
        "evaluation_known",
        f"{role} {number}: expected one of the {len(state.evaluations)} recorded evaluations",
    )
    return state.evaluations[number]


def _require_purpose(evaluation: PromptEvaluated, purposes: tuple[str, ...], where: str) -> None:
    _require(
        evaluation.purpose in purposes,
        "evaluation_purpose",
        f"{where}: evaluation {evaluation.evaluation} is {evaluation.purpose}, expected {' or '.join(purposes)}",
    )
