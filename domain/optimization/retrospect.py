"""The last question of a run: what happened? The answer is the reasoning model's, and is shown as such."""

from __future__ import annotations

from ..model_calls import Ask
from .conversation import Scored
from .requests import Shown, ask, compose, failing_samples, score_text
from .study import Study

SITE = "run.retrospect"

_TASK = (
    "A system prompt was optimised. Say in at most 150 words, for the people who have to decide whether to use the "
    "result, which changes helped, which hurt, and what still goes wrong. Claim nothing that the figures do not show."
)


def retrospect(study: Study, baseline: Scored, final: Scored) -> Ask:
    """Ask for an account of the run: scores, every change with its own effect, and the worst samples at the end."""
    scores = "\n".join(
        f"Iteration {done.iteration}: training {score_text(done.score)}, validation {score_text(done.val_score)}"
        for done in study.iterations
    )
    text = compose(
        _TASK,
        f"Held-out score before: {score_text(baseline.score)}; after: {score_text(final.score)}.\n{scores}",
        Shown("The changes, each beside its own effect:", study.history()),
        Shown("The prompt before:", baseline.prompt),
        Shown("The prompt after:", final.prompt),
        *failing_samples(final, 3),
    )
    return ask(study, SITE, text, 0.3)
