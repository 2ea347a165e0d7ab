"""What a run came to and why, in one answer: what ``affidavit explain RUN`` prints.

Everything is derived from what is recorded. The baseline and the final prompt are compared on the samples that both
were scored on, pair by pair; scores of training samples are never set against those of held-out ones as if they were
of one kind. What the reasoning model says about the run is quoted as its words, and decides nothing here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...domain.event import Withheld
from ...domain.optimization.events import PromptEvaluated, Sample, sample_means
from ...domain.optimization.history import change_line
from ..simulated import simulated_models
from ..statistics.comparing import adjust
from ..statistics.figures import ALPHA
from ..statistics.gain import PairedComparison, paired_comparison, welch_interval
from ..text_table import score_or_dash
from ..withheld import shown
from .explanation_text import WIDTH, explanation_text, signed
from .prompt_diff import diff_prompts
from .record import Iteration, RunRecord, Text
from .rewrite_history import run_changes, true_json
from .scores import leading_iteration
from .summary import compare_ends, withheld_counts
from .tokens import counted_tokens

RATIONALE_CHARACTERS = 400
INPUT_CHARACTERS = 300
RESPONSE_CHARACTERS = 500
"""How much of a text is quoted; what is cut says so."""

_ENDS = {
    "max_iterations": "the planned number of iterations was done",
    "early_stopped": "the validation score had not improved for as many iterations as the patience allows",
    "no_scores": "an iteration had no sample that could be scored",
    "finished": "the strategy had nothing more to try",
    "baseline_failed": "no sample of the baseline could be scored",
    "targets_failed": "no target model answered any sample",
    "crashed": "the optimiser ended with an error",
}
_SOURCES = {
    "default": "the default",
    "threshold": "given for this run",
    "verdict_results": "taken from results of an evaluation",
    "target": "the best target model's score on the held-out samples",
}
_OUTCOMES = ("revised prompt", "summary of change", "selected examples", "instruction")
"""Headings behind which a reply no longer explains."""
_HEADING = re.compile(r"#{1,6}\s")

_REPORTED = ("improvement", "improvement_pct", "p_value", "is_significant")


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer as JSON data, and the same as text."""

    document: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The answer as JSON data; what was not recorded is null, what is withheld ``{"withheld": digest}``."""
        return self.document

    def text(self, width: int = WIDTH) -> str:
        """The answer for people, no wider than ``width`` but for tables.

        Quoted texts stand behind a bar, so that none can pass for a line of this page.
        """
        return explanation_text(self.document, width)


def explain(record: RunRecord, seed: int = 0) -> Explanation:
    """Explain a run as far as it is recorded: ended, open or imported. ``seed`` seeds the bootstrap intervals."""
    started, ends = record.started, compare_ends(record, seed)
    changed, tokens, threshold = _changes(record, seed), counted_tokens(record), _threshold(record)
    document: dict[str, Any] = {
        "run": record.run,
        "status": record.status,
        "strategy": started.strategy,
        "models": list(started.models),
        "reasoning_model": started.reasoning_model,
        "metrics": list(started.metrics),
        "parent_run": started.parent_run,
        "parent_iteration": started.parent_iteration,
        "imported_from": started.imported_from,
        "simulated": simulated_models(record),
        "stopped": _stopped(record, threshold),
        "threshold": threshold,
        "samples": _samples(record),
        "outcome": _outcome(record, ends),
        "targets": [_evaluation(found) for found in record.evaluations if found.purpose == "target"],
        "iterations": _iterations(record, tokens),
        "changes": changed,
        "changes_count": _counts(changed),
        "phases": [shown(phase) for phase in record.phases],
        "decisions": [
            {"kind": note.kind, "decision": note.decision} for note in record.notes if note.decision is not None
        ],
        "generalisation": _generalisation(record, ends, seed),
        "prompt": _prompt(record),
        "examples": _examples(record, ends),
        "calls": record.calls.as_json(),
        "tokens": tokens,
        "model_says": _model_says(record),
        "not_recorded": list(_gaps(record)),
        "withheld": withheld_counts(record),
    }
    document["warnings"] = list(_warnings(record, document))
    return Explanation(document)


def _stopped(record: RunRecord, threshold: dict[str, Any]) -> dict[str, Any]:
    ended = record.completed or record.failed
    reason = None if ended is None else ended.reason
    return {
        "reason": reason,
        "meaning": _convergence(record, threshold) if reason == "converged" else _ENDS.get(reason or ""),
        "message": None if record.failed is None else shown(record.failed.message),
        "duration_seconds": None if record.completed is None else record.completed.duration_seconds,
    }


def _threshold(record: RunRecord) -> dict[str, Any]:
    options = _options(record)
    source = options.get("threshold_source")
    value = record.started.threshold
    if source == "target":
        scores = [found.score for found in record.evaluations if found.purpose == "target" and found.score is not None]
        value = max(scores, default=None)
    return {
        "value": value,
        "source": source,
        "meaning": _SOURCES.get(str(source)),
        "reached_by": _reached_by(record, value),
        "converged": None if record.completed is None else record.completed.converged,
        "judged_by": "by the final score on the samples of the baseline"
        if record.planned is not None
        else "as whoever recorded the run judged it",
    }


def _reached_by(record: RunRecord, threshold: float | None) -> dict[str, Any] | None:
    """The newest iteration's score that is as high as the threshold, which is what ends a run."""
    if threshold is None:
        return None
    for item in reversed(record.iterations):
        scored = [("training", item.train), ("validation", item.val)]
        if item.train.sample_set == "batch":
            scored.reverse()
        for name, found in scored:
            if found is not None and found.kind == "mean" and found.score is not None and found.score >= threshold:
                return {"samples": name, "iteration": item.number, "score": found.score}
    return None


def _convergence(record: RunRecord, threshold: dict[str, Any]) -> str:
    """Which score reached the threshold, and whether the final one did."""
    value, reached = threshold["value"], threshold["reached_by"]
    if value is None:
        return "the run says that its threshold was reached; the threshold is not recorded"
    if reached is None:
        told = f"the run says that the threshold {value:g} was reached; no recorded score of an iteration reaches it"
    else:
        told = (
            f"the {reached['samples']} score of iteration {reached['iteration']}, {score_or_dash(reached['score'])}, "
            f"reached the threshold {value:g}"
        )
    if record.final is None or record.final.score is None:
        return told
    does = record.final.score >= value
    words = {
        (True, True): "did, too",
        (True, False): "did not",
        (False, True): "does",
        (False, False): "does not, either",
    }
    return f"{told}; the final score, {score_or_dash(record.final.score)}, {words[reached is not None, does]}"


def _samples(record: RunRecord) -> dict[str, Any]:
    split = record.started.split
    return {
        "train": None if split is None else split.train,
        "val": None if split is None else split.val,
        "test": None if split is None else split.test,
        "held_out": None if record.planned is None else record.planned.held_out,
    }


def _outcome(record: RunRecord, compared: PairedComparison | str) -> dict[str, Any]:
    baseline, final = record.baseline, record.final
    reported = None if record.completed is None else record.completed.reported
    return {
        "baseline": None if baseline is None else _evaluation(baseline),
        "final": None if final is None else _evaluation(final),
        "not_compared": compared if isinstance(compared, str) else None,
        "paired": None if isinstance(compared, str) else compared.as_json(),
        "reported": {name: reported.get(name) for name in _REPORTED} if isinstance(reported, dict) else None,
    }


def _evaluation(found: PromptEvaluated) -> dict[str, Any]:
    """``answers`` counts each model's and pass's; ``samples`` each sample once; ``scored`` those with a score.

    ``failed`` counts answers without a score, whatever failed: call, pipeline, judge or metric; ``reasons`` by code.
    """
    samples = _open(found.samples)
    is_open = isinstance(found.samples, tuple)
    return {
        "score": found.score,
        "kind": found.kind,
        "std": found.std,
        "passes": found.passes,
        "model": found.model,
        "answers": found.n,
        "samples": len({sample.id for sample in samples}) if is_open else None,
        "scored": len(sample_means(samples)) if is_open else None,
        "failed": found.failed,
        "reasons": dict(Counter(sample.reason or "reason not recorded" for sample in samples if sample.failed)),
        "scores_by_metric": found.scores_by_metric,
    }


def _iterations(record: RunRecord, counted: dict[str, Any]) -> list[dict[str, Any]]:
    def row(item: Iteration, tokens: dict[str, Any]) -> dict[str, Any]:
        return {
            "iteration": item.number,
            "phase": item.event.phase,
            "score": item.score,
            "kind": item.train.kind,
            "sample_set": item.train.sample_set,
            "n": item.train.n,
            "failed": item.train.failed,
            "val_score": None if item.val is None else item.val.score,
            "change": None if item.rewrite is None else item.rewrite.rewrite + 1,
            "tokens": tokens["eval_tokens"] + tokens["reasoning_tokens"],
            "tokens_are_whole": tokens.get("is_whole", True),
            "elapsed_seconds": item.event.elapsed_seconds,
        }

    return [row(item, tokens) for item, tokens in zip(record.iterations, counted["iterations"], strict=True)]


def _changes(record: RunRecord, seed: int) -> list[dict[str, Any]]:
    """Every change with its effect and, where samples are paired, the test of it alone and among all changes."""
    found = run_changes(record)
    tested = [
        _paired(record.evaluations[rewrite.parent], record.evaluations[change.effect.measured_by], seed)
        if change.effect.basis == "paired" and change.effect.measured_by is not None
        else None
        for change, rewrite in zip(found, record.rewrites, strict=True)
    ]
    adjusted = adjust([None if test is None else test.p_value for test in tested])
    return [
        {
            **row,
            "line": change_line(change),
            "rationale": _analysis(rewrite.rationale, rewrite.system_prompt),
            "paired": None if test is None else test.as_json(),
            "adjusted_p": p,
        }
        for row, change, rewrite, test, p in zip(
            true_json(found), found, record.rewrites, tested, adjusted, strict=True
        )
    ]


def _counts(changed: list[dict[str, Any]]) -> dict[str, int]:
    directions = [row["effect"]["direction"] for row in changed]
    tested = [row for row in changed if row["adjusted_p"] is not None]
    return {
        "changes": len(changed),
        "helped": directions.count("helped"),
        "no_effect": directions.count("no effect"),
        "hurt": directions.count("hurt"),
        "unknown": directions.count(None),
        "tested": len(tested),
        "significant_alone": sum(row["paired"]["is_significant"] for row in tested),
        "significant": sum(row["paired"]["is_significant"] and row["adjusted_p"] < ALPHA for row in tested),
    }


def _paired(before: PromptEvaluated, after: PromptEvaluated, seed: int) -> PairedComparison | None:
    if not isinstance(before.samples, tuple) or not isinstance(after.samples, tuple):
        return None
    return paired_comparison(before.samples, after.samples, seed)


def _generalisation(record: RunRecord, held_out: PairedComparison | str, seed: int) -> dict[str, Any] | None:
    """How the reported prompt does on the training samples that it was made on, and on others.

    ``gap`` is its training score minus its final one, which is on held-out samples, or minus its validation score
    where there is no final evaluation; None where the two do not compare, or nothing was held out. None as a whole
    for a run that reports no prompt of its own, or one that was never scored on all training samples.
    """
    if record.completed is None or record.completed.best in (None, 0):
        return None
    whole = [found for found in record.evaluations if found.purpose in ("train", "variant")]
    whole = [found for found in whole if found.sample_set == "whole" and found.kind == "mean"]
    before = next((found for found in whole if found.prompt == 0), None)
    after = next((found for found in whole if found.prompt == record.completed.best), None)
    if after is None:
        return None
    trained = None if before is None else _paired(before, after, seed)
    val = next((found for found in record.evaluations if _validates(found, record.completed.best)), None)
    final = record.final
    against, other = ("validation", val) if final is None else ("held-out", final)
    if record.planned is not None and not record.planned.held_out:
        other = None  # the final score is of training samples
    return {
        "train_score": after.score,
        "val_score": None if val is None else val.score,
        "held_out_score": None if final is None else final.score,
        "train_gain": None if trained is None else trained.as_json(),
        "held_out_gain": None if isinstance(held_out, str) else held_out.as_json(),
        "gap": None if other is None else _gap(after, other, against),
    }


def _gap(train: PromptEvaluated, other: PromptEvaluated, against: str) -> dict[str, Any] | None:
    metrics = [set(found.scores_by_metric) for found in (train, other) if found.scores_by_metric]
    if train.score is None or other.score is None or other.kind != train.kind or metrics[1:] not in ([], metrics[:1]):
        return None
    return {
        "against": against,
        "train": train.score,
        "other": other.score,
        "interval": _unpaired(_open(train.samples), _open(other.samples)),
    }


def _validates(found: PromptEvaluated, prompt: int | None) -> bool:
    return found.purpose == "val" and found.prompt == prompt and found.score is not None


def _unpaired(one: Iterable[Sample], other: Iterable[Sample]) -> list[float] | None:
    bounds = welch_interval(list(sample_means(one).values()), list(sample_means(other).values()))
    return None if bounds is None else list(bounds)


def _prompt(record: RunRecord) -> dict[str, Any]:
    """``iteration`` and ``change`` say where the prompt is from; both are null for the initial one."""
    before, after = record.started.system_prompt, _last_prompt(record)
    leading = leading_iteration(record)
    number = (
        record.completed.best if record.completed is not None else None if leading is None else leading.train.prompt
    )
    document = {
        "before": shown(before),
        "after": shown(after),
        "is_final": record.completed is not None,
        "iteration": next((item.number for item in record.iterations if number and item.train.prompt == number), None),
        "change": next((made.rewrite + 1 for made in record.rewrites if number and made.prompt == number), None),
    }
    if after is None or isinstance(before, Withheld) or isinstance(after, Withheld):
        return {**document, "unchanged": None, "diff": [], "limits": []}
    diff = diff_prompts(before, after, "initial prompt", "best prompt")
    return {**document, "unchanged": before == after, "diff": list(diff.lines), "limits": list(diff.limits)}


def _last_prompt(record: RunRecord) -> Text | None:
    """The prompt that the run ended with, or the one that is ahead so far."""
    if record.completed is not None:
        return record.best_prompt
    leading = leading_iteration(record)
    return None if leading is None else leading.prompt


def _examples(record: RunRecord, compared: PairedComparison | str) -> dict[str, Any]:
    """The samples that gained and lost most from the baseline to the final prompt; the first of equals."""
    if record.baseline is None or record.final is None or isinstance(compared, str):
        return {"largest_gain": None, "largest_loss": None}
    before, after = _open(record.baseline.samples), _open(record.final.samples)
    old, new = sample_means(before), sample_means(after)
    differences = {name: new[name] - old[name] for name in old if name in new}
    largest = max(differences, key=lambda name: differences[name], default=None)
    smallest = min(differences, key=lambda name: differences[name], default=None)

    def example(name: str | None, sign: int) -> dict[str, Any] | None:
        if name is None or differences[name] * sign <= 0:
            return None
        asked = next(sample for sample in before if sample.id == name)
        return {
            "id": name,
            "difference": differences[name],
            "input": _cut(asked.input, INPUT_CHARACTERS),
            "ideal": _cut(asked.ideal, INPUT_CHARACTERS),
            "before": {"score": old[name], **_answer(before, name)},
            "after": {"score": new[name], **_answer(after, name)},
        }

    return {"largest_gain": example(largest, 1), "largest_loss": example(smallest, -1)}


def _answer(samples: tuple[Sample, ...], name: str) -> dict[str, Any]:
    """The first answer to a sample that has a score, and how many there are."""
    found = [sample for sample in samples if sample.id == name and sample.score is not None]
    return {"response": _cut(found[0].response, RESPONSE_CHARACTERS), "answers": len(found)}


def _model_says(record: RunRecord) -> dict[str, Any] | None:
    told = [note for note in record.notes if note.kind == "what_happened"]
    if not told:
        return None
    return {"model": record.started.reasoning_model, "text": shown(told[-1].text)}


def _gaps(record: RunRecord) -> Iterable[str]:
    """What an answer would have to know and the record does not hold, in words."""
    if record.planned is None:
        yield "the seed, the software's versions, which samples were held out"
    if not record.calls.has_calls:
        yield "model calls: the tokens are those that the run states, prompt and completion together"
    bare = sum(found.samples is None for found in record.evaluations)
    if bare:
        yield f"the samples of {bare} of {len(record.evaluations)} evaluations: their changes have no test"
    nameless = sum(rewrite.prompt is None for rewrite in record.rewrites)
    if nameless:
        yield f"the text of {nameless} of {len(record.rewrites)} proposed prompts"
    if record.completed is not None and record.final is None:
        yield "a final evaluation"
    if record.baseline is None:
        yield "a baseline"
    yield from counted_tokens(record)["not_recorded"]


def _warnings(record: RunRecord, document: dict[str, Any]) -> Iterable[str]:
    if record.planned is not None and not record.planned.held_out:
        yield (
            "nothing was held out: the final prompt was scored on samples that it was optimised on, "
            "so the gain says little about others"
        )
    if document["prompt"]["unchanged"] and document["outcome"]["paired"] is not None:
        yield "the final prompt is the initial one: any difference to the baseline is noise of the models"
    yield from _failures(document["outcome"])
    yield from _overfitting(document)
    if document["stopped"]["reason"] == "early_stopped":
        looks = sum(row["val_score"] is not None for row in document["iterations"])
        yield (
            f"the run was stopped early by the validation score, which was looked at {looks} times: "
            "the best of them is too high on average"
        )
    if record.started.parent_run is not None:
        yield (
            f"this is a branch of run {record.started.parent_run}: where the best of several runs or branches is "
            "picked by the same held-out samples, each one's p is too small and its gain too large"
        )
    kinds = {row["kind"] for row in document["iterations"]}
    if "win_rate" in kinds:
        yield "scores of iterations marked win_rate are shares of duels won, not comparable with mean scores"
    if any(row["sample_set"] == "batch" for row in document["iterations"]):
        yield "iterations were scored on different batches: their scores differ by the samples, too"


def _failures(outcome: dict[str, Any]) -> Iterable[str]:
    for role in ("baseline", "final"):
        found = outcome[role]
        if found is not None and found["failed"]:
            counted = "" if found["answers"] is None else f" of {found['answers']}"
            what = "samples" if found["samples"] in (None, found["answers"]) else "answers"
            reasons = ", ".join(f"{code} × {count}" for code, count in found["reasons"].items())
            yield (
                f"{role}: {found['failed']}{counted} {what} have no score{f' ({reasons})' if reasons else ''}; "
                "figures speak of the others, which need not resemble them"
            )


def _overfitting(document: dict[str, Any]) -> Iterable[str]:
    """Said only where the training score is higher by more than chance explains."""
    found = document["generalisation"]
    gap = None if found is None else found["gap"]
    if gap is None or gap["interval"] is None or gap["interval"][0] <= 0:
        return
    low, high = map(signed, gap["interval"])
    yield (
        f"possible overfitting: the reported prompt scores {score_or_dash(gap['train'])} on training samples and "
        f"{score_or_dash(gap['other'])} on {gap['against']} ones. The difference lies in [{low}, {high}] (95 %, Welch "
        "1947; these are different samples): more than chance explains"
    )


def _options(record: RunRecord) -> dict[str, Any]:
    planned = record.planned
    return planned.options if planned is not None and isinstance(planned.options, dict) else {}


def _open(samples: tuple[Sample, ...] | Withheld | None) -> tuple[Sample, ...]:
    return samples if isinstance(samples, tuple) else ()


def _analysis(rationale: Text, prompt: Text | None) -> Any:
    """How the reasoning model's explanation begins: without headings, and without the prompt that it proposes."""
    if isinstance(rationale, Withheld):
        return shown(rationale)
    if rationale == prompt:
        return ""
    told: list[str] = []
    for line in map(str.strip, rationale.splitlines()):
        if _HEADING.match(line):
            if told or line.lstrip("# ").lower().startswith(_OUTCOMES):
                break
        elif line:
            told.append(line)
    return _cut(" ".join(told), RATIONALE_CHARACTERS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… (cut, {len(text)} characters)"
