"""Structural: each round tries several ways to lay out the same prompt, side by side, and keeps the best.

The variants of a round are scored on the samples of the current prompt, in a fixed order; one wins that is strictly
better than the current prompt over the samples that both have scores for, and of equals the first in that order.
Differences from aevyra-reflex 0.2: order of arrival decides nothing; the winner is the outcome of its own round, the
last round's too; each variant is on record with its own effect. A layout whose reply is unusable is not asked for again
before the others have had their turn.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence

from ...model_calls import Ask, Reply
from ..conversation import Complete, Consult, Conversation, Progress, Propose, Request, Score, Scored
from ..effects import direction_of
from ..history import MARKS
from ..requests import (
    REVISION,
    UNCHANGED,
    Shown,
    ask,
    compose,
    failing_samples,
    label_free,
    noted,
    read_revision,
    score_text,
    unusable,
)
from ..study import Study
from .comparing import gain, uses_batches
from .settings import require_none

ANALYSIS_TEMPERATURE = 0.5
LAYOUT_TEMPERATURE = 0.7
FREE_TEMPERATURE = 0.8
LAYOUTS_PER_ROUND = 3
FREE = "agent_guided"
NO_ROUNDS = "(no rounds yet)"

LAYOUTS = {
    "section_reorder": "Reorder its parts: what matters most first, context next, the form of the answer last.",
    "markdown_structure": "Structure it with Markdown headers and lists.",
    "minimal_flat": "Flatten it into a few short plain sentences without headers or lists. Drop what repeats.",
    "xml_tags": "Put each of its parts into an XML tag that names it, such as <task>, <rules>, <output>.",
    "constraint_emphasis": "Gather its constraints in one place, and make what must and must not be done stand out.",
    "task_decomposition": "Break the task down into numbered steps that the model follows in order.",
    "role_task_format": "Arrange it in three parts: the role of the model, its task, the format of its answer.",
    "input_anchored": "Organise it around the input: what it looks like, what to look for in it, what to answer.",
}
"""The ways to lay out a prompt, in the order in which they are tried."""

_ANALYSE = (
    "The system prompt below is to be laid out better. From the answers that scored lowest, the history and the "
    "results of earlier rounds, say which properties of its layout (order, grouping, emphasis, length, form) hold it "
    "back and which help. Do not write a new prompt yet."
)
_LAY_OUT = (
    "Rewrite the system prompt below in another layout. Keep its meaning: lose no instruction and add no new one."
)
_LAY_OUT_FREELY = (
    "Rewrite the system prompt below in the layout that the analysis and the results call for; you are free in its "
    "form. Keep its meaning: lose no instruction."
)


def structural(study: Study) -> Conversation:
    """One round of variants per iteration. ``Refused`` (``strategy_options``) at once for options."""
    require_none("structural", study.options)
    return _rounds(study)


def _rounds(study: Study) -> Conversation:
    prompt = study.start
    parent: Scored | None = None
    current: Scored | None = None
    tried: list[str] = []
    rounds: list[str] = []
    while study.budget > 0:
        first = current is None
        if current is None or uses_batches(study):
            (current,) = yield Score((prompt,), parent=parent)
        if current.score is None or (first and _is_reached(study, current)):
            progress: Progress = yield Complete(current)
            if progress.converged or progress.stop is not None:
                return
            continue
        history = study.history()
        (analysis,) = yield Consult((_analysis(study, current, history, rounds),))
        yield unusable("analysis", analysis) if analysis.text is None else noted("analysis", analysis)
        layouts = _next(tried)
        replies = yield Consult(tuple(_variants(study, current, history, layouts, analysis)))
        variants = yield from _propose(current, history, layouts, replies)
        best = yield from _compete(current, variants)
        rounds.append(_round_line(study.iteration, current, best, variants))
        winner = current if best is None else best[1]
        progress = yield Complete(winner)
        if progress.converged or progress.stop is not None:
            return
        if winner is not current:
            prompt, parent, current = winner.prompt, current, winner


def _is_reached(study: Study, current: Scored) -> bool:
    return current.whole and current.score is not None and current.score >= study.options.threshold


def _next(tried: list[str]) -> list[str]:
    """The next layouts that were not asked for yet, all anew when all were; the free one last."""
    if len(tried) == len(LAYOUTS):
        tried.clear()
    chosen = [name for name in LAYOUTS if name not in tried][:LAYOUTS_PER_ROUND]
    tried.extend(chosen)
    return [*chosen, FREE]


def _analysis(study: Study, current: Scored, history: str, rounds: Sequence[str]) -> Ask:
    text = compose(
        _ANALYSE,
        f"Mean score {score_text(current.score)}, target {score_text(study.options.threshold)}.",
        *label_free(study),
        Shown("The current prompt:", current.prompt),
        Shown("The rounds so far:", "\n".join(rounds) or NO_ROUNDS),
        Shown("The rewrite history, each change beside its own effect:", history),
        *failing_samples(current),
    )
    return ask(study, "structural.analysis", text, ANALYSIS_TEMPERATURE)


def _variants(study: Study, current: Scored, history: str, layouts: Sequence[str], analysis: Reply) -> Iterator[Ask]:
    material = [
        Shown("The current prompt:", current.prompt),
        Shown("The rewrite history, each change beside its own effect:", history),
        *([] if analysis.text is None else [Shown("An analysis of it:", analysis.text)]),
    ]
    for name in layouts:
        if name == FREE:
            yield ask(study, "structural.free_form", compose(_LAY_OUT_FREELY, *material, REVISION), FREE_TEMPERATURE)
        else:
            text = compose(_LAY_OUT, f"The layout: {LAYOUTS[name]}", *material, REVISION)
            yield ask(study, "structural.layout", text, LAYOUT_TEMPERATURE)


def _propose(
    current: Scored, history: str, layouts: Sequence[str], replies: Sequence[Reply]
) -> Generator[Request, None, dict[str, str]]:
    """The usable variants of a round by layout."""
    variants = {}
    for name, reply in zip(layouts, replies, strict=True):
        revision = read_revision(reply.text)
        if revision is None:
            yield unusable("variant", reply)
        elif revision.prompt == current.prompt:
            yield noted("variant", reply, UNCHANGED)
        else:
            summary = f"{name}: {revision.change_summary}" if revision.change_summary else name
            yield Propose(current, revision.prompt, reply.text or "", summary, history, name, (reply,))
            variants[name] = revision.prompt
    return variants


def _compete(
    current: Scored, variants: dict[str, str]
) -> Generator[Request, tuple[Scored, ...], tuple[str, Scored] | None]:
    """Score the variants side by side; the best that is better than the current prompt, and its layout."""
    prompts = tuple(dict.fromkeys(variants.values()))
    scored = (yield Score(prompts, purpose="variant", parent=current)) if prompts else ()
    found = dict(zip(prompts, scored, strict=True))
    best, most = None, 0.0
    for name, prompt in variants.items():
        gained = gain(found[prompt], current)
        if gained is not None and gained > most:
            best, most = (name, found[prompt]), gained
    return best


def _round_line(iteration: int, current: Scored, best: tuple[str, Scored] | None, variants: Iterable[str]) -> str:
    """A round in one line: what it did to the score, over the samples that both prompts share."""
    tried = ", ".join(variants)
    if best is None:
        return f"Iter {iteration} (score: {score_text(current.score)}, no better variant): winner=none  tried=[{tried}]"
    name, winner = best
    gained = gain(winner, current) or 0.0
    told = f"score: {score_text(winner.score)}, Δ{gained:+.4f} — {MARKS[direction_of(gained)]}"
    return f"Iter {iteration} ({told}): winner={name}  tried=[{tried}]"
