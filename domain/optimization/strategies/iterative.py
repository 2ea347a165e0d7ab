"""Iterative: score the prompt, ask why it fails, take the rewrite, go on.

Differences from aevyra-reflex 0.2: the history that the reasoning model sees has every change beside its own effect,
the newest included; a reply without a revised prompt is no prompt; no rewrite is proposed that no iteration is left to
score. The peer goes on from a rewrite however much it lost. Here a rewrite that clearly scored lower than the best so
far is given up, and the next one starts from the best: a loss beyond the noise of the paired differences
(``is_clearly_lower``) seldom reverses by itself, and the reasoning model still sees it in the history as a change that
hurt. A smaller loss is no reason to turn back, since the best of several noisy scores is partly luck. Only scores of
the whole training set are compared; between batches the strategy goes on from the newest prompt.
"""

from __future__ import annotations

from ...model_calls import Reply
from ..conversation import Complete, Consult, Conversation, Progress, Propose, Score, Scored
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
from .comparing import gain, is_clearly_lower, uses_batches
from .settings import require_none

TEMPERATURE = 0.7

_DIAGNOSE = (
    "You improve the system prompt of a language model. Below are its current prompt and the answers that scored "
    "lowest under it. Find out why they fail, and rewrite the prompt so that the model does better on new inputs of "
    "this kind. Change what the evidence calls for. Do not copy inputs or answers of the samples into the prompt."
)
_REFINE = (
    "You improve the system prompt of a language model, step by step. Below are its current prompt, what each earlier "
    "change did, and the answers that score lowest now. Keep what helped, do not repeat what hurt or had no effect, "
    "and make the one change that promises most on new inputs of this kind. Do not copy inputs or answers of the "
    "samples into the prompt."
)
_TURNED_BACK = (
    "The last rewrite scored clearly lower than the best prompt so far. The current prompt below is that best one "
    "again: improve on it in another way."
)


def iterative(study: Study) -> Conversation:
    """One rewrite per iteration, each scored in the next. ``Refused`` (``strategy_options``) at once for options."""
    require_none("iterative", study.options)
    return _climb(study)


def _climb(study: Study) -> Conversation:
    prompt = study.start
    origins: dict[str, Scored] = {}
    trajectory: list[Scored] = []
    scored: Scored | None = None
    best: Scored | None = None
    previous: Reply | None = None
    while study.budget > 0:
        if scored is None or scored.prompt != prompt or uses_batches(study):
            (scored,) = yield Score((prompt,), parent=origins.get(prompt))
        progress: Progress = yield Complete(scored)
        if progress.converged or progress.stop is not None:
            return
        trajectory.append(scored)
        if scored.whole and (best is None or (gain(scored, best) or 0.0) > 0):
            best = scored
        base = best if best is not None and scored.whole and is_clearly_lower(scored, best) else scored
        history = study.history()
        if previous is None:
            question = ask(study, "iterative.diagnose", _diagnose(study, base, history), TEMPERATURE)
        else:
            refine = _refine(study, base, history, trajectory, _outcome(scored, origins), previous)
            question = ask(study, "iterative.refine", refine, TEMPERATURE)
        (reply,) = yield Consult((question,))
        revision = read_revision(reply.text)
        if revision is None:
            yield unusable("rewrite", reply)
            prompt, scored = base.prompt, base
        elif revision.prompt == base.prompt:
            yield noted("rewrite", reply, UNCHANGED)
            prompt, scored = base.prompt, base
        else:
            rationale = reply.text or ""
            yield Propose(base, revision.prompt, rationale, revision.change_summary, history, None, (reply,))
            prompt, previous = revision.prompt, reply
            origins[prompt] = base


def _diagnose(study: Study, base: Scored, history: str) -> str:
    return compose(
        _DIAGNOSE,
        f"Mean score {score_text(base.score)}, target {score_text(study.options.threshold)}.",
        *label_free(study),
        Shown("The current prompt:", base.prompt),
        Shown("The rewrite history:", history),
        *failing_samples(base),
        REVISION,
    )


def _refine(
    study: Study, base: Scored, history: str, trajectory: list[Scored], outcome: list[str], previous: Reply
) -> str:
    scores = " → ".join("no score" if item.score is None else f"{item.score:.3f}" for item in trajectory)
    return compose(
        _REFINE,
        f"Mean score {score_text(base.score)}, target {score_text(study.options.threshold)}.",
        f"Scores so far: {scores}.",
        *outcome,
        *([] if base is trajectory[-1] else [_TURNED_BACK]),
        *label_free(study),
        Shown("The current prompt:", base.prompt),
        Shown("The rewrite history, each change beside its own effect:", history),
        *failing_samples(base),
        Shown("Your previous reply:", previous.text or ""),
        REVISION,
    )


def _outcome(scored: Scored, origins: dict[str, Scored]) -> list[str]:
    """What the rewrite that led to this evaluation did, measured against the evaluation that it started from."""
    origin = origins.get(scored.prompt)
    if origin is None:
        return []
    change = gain(scored, origin)
    if change is None:
        return ["Whether the last rewrite improved the score cannot be told: the two share no scored sample."]
    return [f"The last rewrite {'improved' if change > 0 else 'did not improve'} the score."]
