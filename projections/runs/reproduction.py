"""Did a run come out again? An original and its reproduction compared, sample by sample.

Both were made from the same plan by models that need not answer alike twice. Each comparison pairs the samples that
both runs scored. That a difference is not significant does not make two runs equal: they count as equal only where
the whole interval of the difference lies within a margin that is stated (two one-sided tests, Schuirmann 1987; by an
interval at 95 % where 90 % would do, so the claim is on the safe side).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from ...domain.event import Withheld
from ...domain.optimization.events import PromptEvaluated, Sample
from ..simulated import simulated_models
from ..statistics.figures import ALPHA, MINIMUM_N
from ..statistics.gain import PairedComparison, p_text, paired_comparison
from ..text_table import aligned, score_or_dash
from ..withheld import shown
from .explanation_text import comparison_lines, one_line, quoted, signed
from .prompt_diff import diff_prompts
from .record import RunRecord, Text
from .tokens import counted_tokens

MARGIN = 0.05
"""Mean differences of scores below this count as equal, unless somebody says otherwise."""

Verdict = Literal["reproduced", "same_scores", "differs", "inconclusive", "too_few", "not_comparable"]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A comparison as JSON data, and the same as text."""

    document: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON data; differences are the reproduction minus the original."""
        return self.document

    def text(self) -> str:
        """The comparison for people."""
        return "\n".join(_lines(self.document))


def compare_runs(original: RunRecord, again: RunRecord, seed: int = 0, margin: float = MARGIN) -> Reproduction:
    """Compare a run with its reproduction. ``margin`` is in score units; ``seed`` seeds the bootstrap intervals."""
    plan = _plan(original, again)
    same_rows = plan["same_rows"] is not False
    baseline = _compare(original, again, original.baseline, again.baseline, same_rows, seed, margin)
    final = _compare(original, again, original.final, again.final, same_rows, seed, margin)
    simulated = {*simulated_models(original), *simulated_models(again)}
    return Reproduction(
        {
            "original": original.run,
            "reproduction": again.run,
            "statuses": [original.status, again.status],
            "simulated": sorted(simulated),
            "margin": margin,
            "verdict": final["verdict"],
            "in_words": final["in_words"],
            "plan": plan,
            "baseline": baseline,
            "final": final,
            "best_prompt": _best_prompts(original.best_prompt, again.best_prompt),
            "iterations": _iterations(original, again),
            "tokens": [_tokens(original), _tokens(again)],
        }
    )


def judge_equality(found: PairedComparison, margin: float) -> tuple[Verdict, str]:
    """What a paired comparison says about two runs, in a word and in words."""
    if found.mean_difference is None:
        return "not_comparable", f"cannot say: {found.note}"
    if found.differing == 0:
        others = 1 - ALPHA ** (1 / found.n)
        return (
            "same_scores",
            f"reproduced on these samples: all {found.n} have the same score in both runs; "
            f"of others like them up to {100 * others:.0f} % may differ (95 %)",
        )
    difference = f"difference {signed(found.mean_difference)}"
    if found.interval is None or found.n < MINIMUM_N:
        if found.is_significant:
            return "differs", f"differs: {difference}, {p_text(found.p_value)}, n = {found.n}"
        return "too_few", f"cannot say: too few, {difference}, n = {found.n}; equality needs {MINIMUM_N} samples"
    low, high = found.interval
    told = f"{difference} [{signed(low)}, {signed(high)}], n = {found.n}"
    if -margin < low and high < margin:
        if found.is_significant:
            return "reproduced", f"reproduced within a margin of ±{margin:g}: {told}; small, but more than noise"
        return "reproduced", f"reproduced within noise: {told}, within a margin of ±{margin:g}"
    if found.is_significant:
        return "differs", f"differs: {told}, {p_text(found.p_value)}"
    return "inconclusive", f"cannot say: {told} reaches beyond a margin of ±{margin:g}, and may be chance"


def _compare(
    original: RunRecord,
    again: RunRecord,
    before: PromptEvaluated | None,
    after: PromptEvaluated | None,
    same_rows: bool,
    seed: int,
    margin: float,
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "scores": [None if found is None else found.score for found in (before, after)],
        "failed": [None if found is None else found.failed for found in (before, after)],
        "same_prompt": None,
        "same_responses": None,
        "responses": None,
        "paired": None,
    }
    why_not = _why_not(before, after) if same_rows else "the two ran on different data"
    if before is None or after is None or why_not is not None:
        return {**document, "verdict": "not_comparable", "in_words": f"cannot say: {why_not}"}
    assert isinstance(before.samples, tuple)
    assert isinstance(after.samples, tuple)
    found = paired_comparison(before.samples, after.samples, seed)
    verdict, words = judge_equality(found, margin)
    same, compared = _agreement(before.samples, after.samples)
    return {
        **document,
        "same_prompt": _same(original.prompts[before.prompt], again.prompts[after.prompt]),
        "same_responses": same,
        "responses": compared,
        "paired": found.as_json(),
        "verdict": verdict,
        "in_words": words,
    }


def _why_not(before: PromptEvaluated | None, after: PromptEvaluated | None) -> str | None:
    """Why two evaluations cannot be compared; None where they can."""
    if before is None or after is None:
        return f"the {'original' if before is None else 'reproduction'} has no such evaluation"
    if (before.kind, set(before.scores_by_metric)) != (after.kind, set(after.scores_by_metric)):
        return "the two were scored by different metrics"
    for samples, run in ((before.samples, "original"), (after.samples, "reproduction")):
        if not isinstance(samples, tuple):
            return f"the samples of the {run} are {'withheld' if isinstance(samples, Withheld) else 'not recorded'}"
    return None


def _agreement(before: Sequence[Sample], after: Sequence[Sample]) -> tuple[int, int]:
    """How many samples were answered alike, word for word by every model and pass, out of those in both."""
    old, new = _responses(before), _responses(after)
    shared = old.keys() & new.keys()
    return sum(old[sample] == new[sample] for sample in shared), len(shared)


def _responses(samples: Sequence[Sample]) -> dict[str, list[tuple[str | None, bool, str]]]:
    found: dict[str, list[tuple[str | None, bool, str]]] = {}
    for sample in samples:
        found.setdefault(sample.id, []).append((sample.model, sample.failed, sample.response))
    return found


def _plan(original: RunRecord, again: RunRecord) -> dict[str, Any]:
    """What the two were told to do. None where it is not recorded or not open: whether it is the same is not known."""
    first, second = original.planned, again.planned
    if first is None or second is None:
        return {"same_rows": None, "same_split": None, "same_seed": None, "options": None, "versions": None}
    options = (
        _differences(first.options, second.options)
        if isinstance(first.options, dict) and isinstance(second.options, dict)
        else None
    )
    return {
        "same_rows": _same(first.rows, second.rows),
        "same_split": _same(first.split, second.split),
        "same_seed": first.seed == second.seed,
        "options": options,
        "versions": _differences(first.versions, second.versions),
    }


def _differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    names = sorted(before.keys() | after.keys())
    return {name: [before.get(name), after.get(name)] for name in names if before.get(name) != after.get(name)}


def _same(one: Any, other: Any) -> bool | None:
    return None if isinstance(one, Withheld) or isinstance(other, Withheld) else bool(one == other)


def _best_prompts(before: Text | None, after: Text | None) -> dict[str, Any]:
    document: dict[str, Any] = {"original": shown(before), "reproduction": shown(after), "same": None, "diff": []}
    if isinstance(before, str) and isinstance(after, str):
        document["same"] = before == after
        document["diff"] = list(diff_prompts(before, after, "original", "reproduction").lines)
    return document


def _iterations(original: RunRecord, again: RunRecord) -> list[dict[str, Any]]:
    rows = zip_longest(_scores(original), _scores(again))
    same = [_same(one.prompt, other.prompt) for one, other in zip(original.iterations, again.iterations, strict=False)]
    return [
        {
            "iteration": number,
            "same_prompt": same[number - 1] if number <= len(same) else None,
            "original": one,
            "reproduction": other,
        }
        for number, (one, other) in enumerate(rows, start=1)
    ]


def _scores(record: RunRecord) -> list[dict[str, Any]]:
    return [
        {
            "iteration": item.number,
            "score": item.score,
            "val_score": None if item.val is None else item.val.score,
            "tokens": tokens["eval_tokens"] + tokens["reasoning_tokens"],
        }
        for item, tokens in zip(record.iterations, counted_tokens(record)["iterations"], strict=True)
    ]


def _tokens(record: RunRecord) -> dict[str, Any]:
    """``prompt`` and ``completion`` are null where no call is recorded; ``is_whole`` where nothing is unknown."""
    if not record.calls.has_calls:
        stated = counted_tokens(record)
        total = stated["eval_total"] + (stated["reasoning_total"] or 0)
        return {"total": total, "prompt": None, "completion": None, "is_whole": stated["is_whole"]}
    tally = record.calls.total()
    return {
        "total": tally.tokens,
        "prompt": tally.prompt_tokens,
        "completion": tally.completion_tokens,
        "is_whole": tally.is_whole,
    }


def _lines(document: dict[str, Any]) -> list[str]:
    lines = []
    if document["simulated"]:
        lines += [f"SIMULATED: {one_line(', '.join(document['simulated']))} — no language model", ""]
    names, statuses = (document["original"], document["reproduction"]), document["statuses"]
    lines.append(f"Run {names[1]} ({statuses[1]}) is a reproduction of run {names[0]} ({statuses[0]})")
    lines += [f"  {document['in_words']}", ""]
    lines += [*_plan_lines(document["plan"]), ""]
    for role in ("baseline", "final"):
        lines += [*_comparison(role, document[role]), ""]
    lines += [*_prompt_lines(document["best_prompt"]), ""]
    lines += [*_iteration_lines(document["iterations"]), ""]
    for run, tokens in zip(names, document["tokens"], strict=True):
        parts = "" if tokens["prompt"] is None else f": prompt {tokens['prompt']}, completion {tokens['completion']}"
        bound = "" if tokens["is_whole"] else "at least "
        lines.append(f"tokens of run {run}: {bound}{tokens['total']}{parts}")
    lines += [
        "",
        "n counts samples: it tells how other samples would do, and not how much the outcome varies from one run",
        "of the optimiser to the next. Two runs are too few for that.",
    ]
    return lines


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    words = {True: "the same", False: "DIFFERENT", None: "not known"}
    parts = (("data", "same_rows"), ("split", "same_split"), ("seed", "same_seed"))
    lines = ["plan: " + ", ".join(f"{name} {words[plan[key]]}" for name, key in parts)]
    for what in ("options", "versions"):
        if plan[what] is None:
            lines.append(f"  {what} not known")
        else:
            lines += [f"  {what}, {name}: {pair[0]!r} → {pair[1]!r}" for name, pair in plan[what].items()]
    return lines


def _comparison(role: str, found: dict[str, Any]) -> list[str]:
    before, after = (score_or_dash(score) for score in found["scores"])
    lines = [f"{role}: {before} → {after}"]
    if found["paired"] is None:
        return [*lines, f"  {found['in_words']}"]
    prompts = {True: "the same prompt", False: "different prompts", None: "the prompts are withheld"}
    lines.append(f"  {prompts[found['same_prompt']]}, {found['same_responses']} of {found['responses']} answers alike")
    if any(found["failed"]):
        lines.append(f"  without a score: {found['failed'][0]} → {found['failed'][1]}, left out")
    lines += [f"  {line}" for line in comparison_lines(found["paired"], "reproduction − original")]
    return [*lines, f"  {found['in_words']}"]


def _prompt_lines(found: dict[str, Any]) -> list[str]:
    words = {True: "the same text in both", False: "different texts", None: "not both are there"}
    diff = quoted("\n".join(found["diff"])) if found["diff"] else []
    return [f"best prompt: {words[found['same']]}", *(f"  {line}" for line in diff)]


def _iteration_lines(rows: list[dict[str, Any]]) -> list[str]:
    words = {True: "same", False: "different", None: None}
    columns = ("iteration", "prompt", "train", "train again", "val", "val again", "tokens", "tokens again")
    cells = []
    for row in rows:
        one, other = row["original"] or {}, row["reproduction"] or {}
        cells.append(
            (
                row["iteration"],
                words[row["same_prompt"]],
                *(score_or_dash(side.get(name)) for name in ("score", "val_score") for side in (one, other)),
                *(side.get("tokens") for side in (one, other)),
            )
        )
    return aligned(columns, cells, right=tuple(column for column in columns if column != "prompt"))
