"""Auto: a few phases, each one strategy (axis) for some iterations, from the best prompt that is known.

The first phase is structural; later axes are chosen by the reasoning model among those not used yet, and a used one
comes back only when none is left. A phase hands on the prompt of its best iteration, if that scored better in training
than the prompt that the phase began with; else that one. Both scores of a phase are means over the same rows: those
that have a score in both evaluations, of the whole training set. Where iterations score batches, the whole set is
scored for the purpose. Only fewshot's prompts are compared on fewshot's own rows: elsewhere they show the answers.
For the same reason nothing follows fewshot: later phases would train on rows whose answers the prompt shows.

Differences from aevyra-reflex 0.2: no phase hands on a worse prompt than it was given; a win rate is never compared
with a mean; every option of the run holds inside of phases, mini-batches too; a phase that is stopped is closed.

``extra``: ``max_phases``, ``min_phases`` (before convergence ends the run), ``phase_budgets`` (iterations by axis),
``start_structural``, and ``pdo_kwargs``, the settings of pdo.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import Refused
from ...model_calls import Ask
from ..conversation import (
    BeginPhase,
    Complete,
    Consult,
    Conversation,
    EndPhase,
    Progress,
    Request,
    Score,
    Scored,
)
from ..options import Options
from ..requests import Shown, ask, compose, failing_samples, label_free, noted, read_object, score_text, unusable
from ..study import Strategy, Study
from .comparing import shared_means, uses_batches
from .fewshot import fewshot
from .iterative import iterative
from .pdo import pdo
from .pdo import settings_of as pdo_settings_of
from .structural import structural

TEMPERATURE = 0.3
PHASE_BUDGET = "phase_budget"
"""Why a strategy inside of a phase has to stop when its iterations are used up."""
NO_PHASES = "(no phases yet)"

AXES: dict[str, Strategy] = {"structural": structural, "iterative": iterative, "pdo": pdo, "fewshot": fewshot}
"""The strategies of phases, in the order in which they are taken where nobody chooses."""
OWN_ROWS = ("fewshot",)
"""The strategies whose prompts have a fair score only on rows that the strategy itself chose: no phase follows them."""
BUDGETS = {"structural": 3, "iterative": 4, "fewshot": 3, "pdo": 15}
_ABOUT = {
    "structural": "lays the same content out in other ways: order, headers, tags, emphasis",
    "iterative": "rewrites the wording from the answers that fail, step by step",
    "fewshot": "adds examples of good answers to the prompt; it is the last phase, whenever it comes",
    "pdo": "lets many different prompts duel, and breeds from the winners",
}
_CHOOSE = (
    "A system prompt is being optimised in phases. Each phase works along one axis. From the phases so far and the "
    "answers that score lowest, choose the axis of the next phase: the one that promises most now."
)
_FORMAT = (
    'Reply with one JSON object and nothing else: {"axis": "<name>", "reasoning": "<why, in one or two sentences>"}'
)


class Settings(BaseModel):
    """This strategy's own settings, as the module says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_phases: int = Field(default=4, ge=1)
    min_phases: int = Field(default=2, ge=1)
    phase_budgets: dict[str, int] = Field(default_factory=dict)
    start_structural: bool = True
    pdo_kwargs: dict[str, Any] = Field(default_factory=dict)

    def budget(self, axis: str) -> int:
        return self.phase_budgets.get(axis, BUDGETS[axis])


@dataclass(slots=True)
class _Phase:
    """What came of a phase. ``outcomes`` are by prompt what iterations ended with, of the whole set where possible."""

    outcomes: dict[str, Scored]
    converged: bool = False
    stopped: bool = False


def auto(study: Study) -> Conversation:
    """Phases until the run converges, is stopped or has had its phases. ``Refused`` as ``settings_of``, at once."""
    return _phases(study, settings_of(study.options))


def settings_of(options: Options) -> Settings:
    """The settings in ``options.extra``; ``Refused`` (``strategy_options``) names the first that does not serve."""
    pdo_settings_of(options)
    try:
        settings = Settings.model_validate(options.extra)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused("strategy_options", f"strategy auto, option {where}: {first['msg']}") from error
    for axis, budget in settings.phase_budgets.items():
        if axis not in AXES or budget < 1:
            raise Refused(
                "strategy_options",
                f"strategy auto, option phase_budgets: expected whole numbers from 1 for {', '.join(AXES)}, "
                f"found {budget} for {axis!r:.80}",
            )
    return settings


def _phases(study: Study, settings: Settings) -> Conversation:
    known: dict[str, Scored] = {}
    used: list[str] = []
    lines: list[str] = []
    prompt, converged = study.start, False
    while study.budget > 0 and len(used) < settings.max_phases:
        if not used and settings.start_structural:
            axis = "structural"
        else:
            axis = yield from _choose(study, known.get(prompt), prompt, used, lines)
        used.append(axis)
        yield BeginPhase(axis)
        before = known.get(prompt)
        if before is None:
            before = yield from _measure(study, prompt)
        done = len(study.iterations)
        phase = yield from _pursue(study, axis, settings.budget(axis), before)
        best = study.best(since=done)
        phase.outcomes[prompt] = before
        after = None if best is None else phase.outcomes.get(best.prompt)
        if after is not None and not (after.whole or phase.stopped or axis in OWN_ROWS):
            after = phase.outcomes[after.prompt] = yield from _measure(study, after.prompt)
        means = None if after is None else shared_means(after, before)
        score_after, score_before = means or (None, before.score)
        yield EndPhase(score_before, score_after, phase.converged)
        converged = converged or phase.converged
        if phase.stopped or axis in OWN_ROWS or (converged and len(used) >= settings.min_phases):
            return
        if after is not None and means is not None and means[0] > means[1]:
            prompt = after.prompt
        known = {text: scored for text, scored in phase.outcomes.items() if scored.whole}
        lines.append(_line(len(used), axis, len(study.iterations) - done, before, means, phase.converged))


def _pursue(study: Study, axis: str, budget: int, start: Scored) -> Generator[Request, Any, _Phase]:
    """Hold one strategy's conversation, as if the run had no more iterations than the phase.

    Its first request for the score of the starting prompt alone is answered with ``start``, where that is of the
    samples that it asks for.
    """
    phase = _Phase({})
    until = len(study.iterations) + budget
    view = replace(study, start=start.prompt)
    _update(view, study, until)
    conversation = AXES[axis](view)
    opening: Score | None = Score((start.prompt,))
    answer: Any = None
    while True:
        _update(view, study, until)
        try:
            request = conversation.send(answer)
        except StopIteration:
            return phase
        if opening is not None and request == opening and not uses_batches(study):
            answer, opening = (start,), None
            continue
        answer = yield request
        if isinstance(request, Complete):
            progress: Progress = answer
            scored = request.scored
            if scored.whole or scored.prompt not in phase.outcomes:
                phase.outcomes[scored.prompt] = scored
            phase.converged = phase.converged or progress.converged
            phase.stopped = progress.stop is not None
            if progress.stop is None and len(study.iterations) >= until:
                answer = replace(progress, stop=PHASE_BUDGET)


def _update(view: Study, study: Study, until: int) -> None:
    """Bring ``view`` up to ``study``, whose settings change where a branch begins."""
    most = min(study.options.max_iterations, until)
    view.options = study.options.model_copy(update={"max_iterations": most})
    view.random = study.random
    view.phases, view.phase, view.axis = study.phases, study.phase, study.axis


def _measure(study: Study, prompt: str) -> Generator[Request, tuple[Scored, ...], Scored]:
    """Score ``prompt`` on the whole training set."""
    samples = tuple(row.id for row in study.rows) if uses_batches(study) else None
    (scored,) = yield Score((prompt,), samples=samples)
    return scored


def _choose(
    study: Study, scored: Scored | None, prompt: str, used: Sequence[str], lines: Sequence[str]
) -> Generator[Request, Any, str]:
    """The axis of the next phase: the reasoning model's choice, or the first where it makes none."""
    axes = [axis for axis in AXES if axis != "fewshot" or study.has_ideals]
    free = [axis for axis in axes if axis not in used] or axes
    if len(free) == 1:
        return free[0]
    (reply,) = yield Consult((_question(study, scored, prompt, free, lines),))
    found = read_object(reply.text) or {}
    chosen = found.get("axis")
    if chosen in free:
        yield noted("axis", reply, chosen)
        return str(chosen)
    yield unusable("axis", reply)
    return free[0]


def _question(study: Study, scored: Scored | None, prompt: str, free: Sequence[str], lines: Sequence[str]) -> Ask:
    score = None if scored is None else scored.score
    text = compose(
        _CHOOSE,
        f"Mean score {score_text(score)}, target {score_text(study.options.threshold)}. "
        f"{study.budget} more iterations may follow.",
        "The axes to choose from:\n" + "\n".join(f"{axis}: {_ABOUT[axis]}" for axis in free),
        "The phases so far:\n" + ("\n".join(lines) or NO_PHASES),
        *label_free(study),
        Shown("The current prompt:", prompt),
        *([] if scored is None else failing_samples(scored)),
        _FORMAT,
    )
    return ask(study, "auto.axis", text, TEMPERATURE)


def _line(
    number: int, axis: str, iterations: int, start: Scored, means: tuple[float, float] | None, converged: bool
) -> str:
    """A phase in one line."""
    after, before = means or (None, start.score)
    change = "" if after is None or before is None else f" ({after - before:+.4f})"
    scores = f"score {score_text(before)} → {score_text(after)}{change}"
    return f"Phase {number} ({axis}): {iterations} iterations, {scores}, converged={converged}"
