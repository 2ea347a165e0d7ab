"""What a run's own files show to be wrong with it: one small check for each defect.

The checks ask only what the tree can answer. Each says in its finding what it compared.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise

from ....domain.optimization.events import Sample
from .events import really_scored, rewrite_log
from .findings import Finding, finding
from .story import Evaluation, Fields, RunStory

_CLOSE = 1e-9
_REQUIRED = ("config.json", "baseline.json")


def find_defects(story: RunStory) -> list[Finding]:
    """Every defect that the files of a run show, in the order of the checks below."""
    return [found for check in _CHECKS for found in check(story)]


def _missing_files(story: RunStory) -> Iterator[Finding]:
    for path in _REQUIRED:
        if path not in story.documents.documents:
            yield finding("missing_file", story.documents.place(path))


def _interrupted(story: RunStory) -> Iterator[Finding]:
    if not story.completed and story.error is None:
        yield finding("interrupted", story.documents.place(""))


def _metrics_not_told(story: RunStory) -> Iterator[Finding]:
    if story.optimizer.value and not story.optimizer.has("metrics"):
        yield finding("config_without_metrics", story.documents.place("config.json"))


def _ids(story: RunStory) -> Iterator[Finding]:
    for path in ("config.json", "checkpoint.json", "result.json"):
        told = (story.documents.object(path) or {}).get("run_id")
        if told is not None and told != story.documents.number:
            detail = f"expected {story.documents.number}, found {str(told)[:64]!r}"
            yield finding("run_id_mismatch", story.documents.place(path), detail)


def _numbering(story: RunStory) -> Iterator[Finding]:
    numbers = [0, *(iteration.number for iteration in story.iterations)]
    for before, after in pairwise(numbers):
        if after > before + 1:
            missing = f"{before + 1}" if after == before + 2 else f"{before + 1} to {after - 1}"
            yield finding("iteration_gap", story.documents.place("iterations"), f"no iteration {missing}")


def _found_in(story: RunStory) -> Iterator[Finding]:
    for iteration in story.iterations:
        if iteration.found_in == ("result",):
            yield finding("iteration_without_file", iteration.place, f"iteration {iteration.number}")
    unlisted = [iteration.number for iteration in story.iterations if iteration.found_in == ("file",)]
    if story.completed and unlisted:
        detail = f"{len(unlisted)} of {len(story.iterations)} iterations are not listed, the first is {unlisted[0]}"
        yield finding("result_lists_fewer_iterations", story.documents.place("result.json"), detail)


def _written_in_order(story: RunStory) -> Iterator[Finding]:
    timed = [(it, _time(it.timestamp)) for it in story.iterations]
    known = [(it, at) for it, at in timed if at is not None]
    for (before, earlier), (after, later) in pairwise(known):
        if later < earlier:
            detail = f"iteration {after.number} was written before iteration {before.number}"
            yield finding("iterations_out_of_order", after.place, detail)


def _session(story: RunStory) -> Iterator[Finding]:
    started = _time(story.result.text("started_at", 64))
    measured = _time(story.baseline.timestamp) if story.baseline else None
    if started is not None and measured is not None and started > measured:
        yield finding("session_restarted", story.documents.place("result.json"))


def _best_prompt(story: RunStory) -> Iterator[Finding]:
    reported, place = story.result.text("best_prompt"), story.documents.place("result.json")
    if reported is None:
        return
    scored = really_scored(story)
    if story.final is not None and scored is not None and scored != reported:
        yield finding("final_prompt_not_reported", place)
        if all(iteration.prompt != reported for iteration in story.iterations):
            yield finding("best_prompt_not_evaluated", place)


def _checkpoint_best(story: RunStory) -> Iterator[Finding]:
    best, score = story.checkpoint.text("best_prompt"), story.checkpoint.number("best_score")
    place = story.documents.place("checkpoint.json")
    if best is not None and score is not None and story.checkpoint.whole("completed_iterations"):
        scores = [iteration.score for iteration in story.iterations if iteration.prompt == best]
        if not any(told is not None and _same(told, score) for told in scores):
            yield finding("checkpoint_best_mismatch", place)
    text = story.documents.text("best_prompt.md")
    if best is not None and text is not None and text != best:
        yield finding("best_prompt_file_differs", story.documents.place("best_prompt.md"))


def _rewrite_log(story: RunStory) -> Iterator[Finding]:
    place = story.documents.place("checkpoint.json")
    entries, seen = rewrite_log(story), set()
    for entry in entries:
        number = entry.whole("iteration")
        if number is not None and number in seen:
            yield finding("duplicate_rewrite_log_entry", place, f"iteration {number}")
        seen.add(number)
    shifted = [after.whole("iteration") for before, after in pairwise(entries) if _is_shifted(before, after)]
    if shifted:
        listed = ", ".join(map(str, shifted[:20]))
        detail = f"the difference at iteration {listed} is the effect of the change one entry earlier"
        yield finding("delta_on_wrong_change", place, detail)


def _is_shifted(before: Fields, after: Fields) -> bool:
    """Whether an entry's difference is that of its own score, which its change came after."""
    earlier, score, delta = before.number("score"), after.number("score"), after.number("delta")
    if earlier is None or score is None or delta is None or not after.text("change_summary"):
        return False
    return delta != 0 and _same(score - earlier, delta)


def _baselines(story: RunStory) -> Iterator[Finding]:
    if story.inherits_baseline:
        yield finding("branch_baseline_inherited", story.documents.place("baseline.json"))
    own = story.baseline.score if story.baseline else None
    for path, told in (("result.json", story.result), ("checkpoint.json", story.checkpoint)):
        other = told.object("baseline").number("mean_score")
        if own is not None and other is not None and not _same(own, other):
            yield finding("baseline_differs", story.documents.place(path), "mean_score")


def _means(story: RunStory) -> Iterator[Finding]:
    told = (("baseline.json", story.baseline), ("result.json", story.final))
    for path, evaluation in told:
        if evaluation is None or evaluation.score is None or not evaluation.samples:
            continue
        scores = [0.0 if sample.failed else sample.score for sample in evaluation.samples]
        if any(score is None for score in scores):
            continue  # a score that is no number has its own finding
        mean = math.fsum(score or 0.0 for score in scores) / len(scores)
        if not _same(mean, evaluation.score):
            failed = sum(sample.failed for sample in evaluation.samples)
            kind = "mean_excludes_failures" if failed else "mean_not_of_samples"
            yield finding(kind, story.documents.place(path), f"{failed} of {len(scores)} calls failed")


def _samples(story: RunStory) -> Iterator[Finding]:
    baseline = story.baseline.samples if story.baseline else ()
    final = story.final.samples if story.final else ()
    place = story.documents.place("result.json")
    differing = sum(mine.input != other.input for mine, other in zip(baseline, final, strict=False))
    if differing:
        yield finding("samples_not_paired", place, f"{differing} of {min(len(baseline), len(final))} positions")
    models = len(story.optimizer.texts("_cli_models"))
    if models > 1 and final and _inputs_repeat(final, models):
        yield finding("pseudo_replication", place, f"{len(final)} samples of {models} models")


def _inputs_repeat(samples: tuple[Sample, ...], models: int) -> bool:
    size, rest = divmod(len(samples), models)
    return rest == 0 and all(samples[i].input == samples[i % size].input for i in range(len(samples)))


def _significance(story: RunStory) -> Iterator[Finding]:
    if not story.completed:
        return
    reported = story.result.number("p_value")
    told = story.result.has("p_value") or story.documents.has_nan("result.json")
    recomputed = recompute_p_value(story.baseline, story.final)
    place = story.documents.place("result.json")
    if reported is None and recomputed is None:
        return
    if reported is None:
        reason = "is no number" if told and "p_value" in story.result.value else "is not given"
        yield finding("significance_not_recomputable", place, f"p {reason}; from the samples it is {recomputed:.6g}")
    elif recomputed is None:
        yield finding("significance_not_recomputable", place, f"p is {reported:.6g}; the samples give none")
    elif not math.isclose(reported, recomputed, rel_tol=1e-6, abs_tol=1e-12):
        detail = f"p is {reported:.6g}; from the samples it is {recomputed:.6g}"
        yield finding("significance_not_recomputable", place, detail)


def recompute_p_value(baseline: Evaluation | None, final: Evaluation | None) -> float | None:
    """The peer's p-value by its own formula: scipy's Wilcoxon signed-rank test, all defaults, paired by
    position, failed calls as 0. None where it gives none: fewer than two pairs, or no difference."""
    if baseline is None or final is None:
        return None
    pairs = [
        (0.0 if mine.failed else mine.score, 0.0 if other.failed else other.score)
        for mine, other in zip(baseline.samples, final.samples, strict=False)
    ]
    known = [(mine, other) for mine, other in pairs if mine is not None and other is not None]
    if len(known) < max(2, len(pairs)) or all(mine == other for mine, other in known):
        return None
    from scipy.stats import wilcoxon  # takes a second to load, and only completed runs ask

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            p = float(wilcoxon([mine for mine, _ in known], [other for _, other in known]).pvalue)
        except (ArithmeticError, ValueError):
            return None
    return p if math.isfinite(p) else None


def _figures(story: RunStory) -> Iterator[Finding]:
    result, place = story.result, story.documents.place("result.json")
    if not story.completed or story.final is None or story.final.score is None:
        return
    best = result.number("best_score")
    if best is not None and not _same(best, story.final.score):
        yield finding("reported_figure_differs", place, "best_score is not the final mean")
    improvement = result.number("improvement")
    before = story.result.object("baseline").number("mean_score")
    if improvement is not None and before is not None and not _same(improvement, story.final.score - before):
        yield finding("reported_figure_differs", place, "improvement is not final less baseline")
    p, significant = result.number("p_value"), result.value.get("is_significant")
    if p is not None and isinstance(significant, bool) and significant != (p < 0.05):
        yield finding("reported_figure_differs", place, "is_significant does not follow from p_value")
    threshold = story.optimizer.number("score_threshold")
    if threshold is not None and result.flag("converged") != (story.final.score >= threshold):
        yield finding("reported_figure_differs", place, "converged does not follow from the final mean")


def _tokens(story: RunStory) -> Iterator[Finding]:
    result, place = story.result, story.documents.place("result.json")
    total, reasoning = result.whole("total_eval_tokens"), result.whole("total_reasoning_tokens")
    if story.baseline is None or story.final is None:
        return
    counted = (story.baseline.tokens or 0) + (story.final.tokens or 0)
    counted += sum(iteration.eval_tokens for iteration in story.iterations)
    if total is not None and total != counted:
        yield finding("token_totals_differ", place, f"evaluation: total {total}, sum {counted}")
    spent = sum(iteration.reasoning_tokens for iteration in story.iterations)
    if reasoning is not None and reasoning < spent:
        yield finding("token_totals_differ", place, f"reasoning: total {reasoning}, iterations alone {spent}")


def _trajectory(story: RunStory) -> Iterator[Finding]:
    told = story.result.numbers("val_trajectory")
    validated = [iteration.val_score for iteration in story.iterations if iteration.has_val]
    if told and told != validated:
        detail = f"{len(told)} told, {len(validated)} from the iterations"
        yield finding("val_trajectory_differs", story.documents.place("result.json"), detail)


def _phases(story: RunStory) -> Iterator[Finding]:
    place = story.documents.place("result.json" if story.completed else "checkpoint.json")
    for number, phase in enumerate(story.phases, start=1):
        if phase.told is not None and phase.told.get("iterations_used") == 0:
            yield finding("phase_resumed_empty", place, f"phase {number} ({phase.axis})")
    if story.strategy == "auto" and story.completed and not story.result.has("phase_history"):
        yield finding("phase_history_missing", place)


def _score_kinds(story: RunStory) -> Iterator[Finding]:
    duelled = [it.number for it in story.iterations if (it.axis or story.strategy) == "pdo"]
    if duelled and story.optimizer.value.get("_cli_models") != []:
        yield finding("mixed_score_kinds", story.documents.place(""), f"{len(duelled)} iterations scored by duels")


def _run_log(story: RunStory) -> Iterator[Finding]:
    place = story.documents.place("run.log.jsonl")
    for line in story.documents.log():
        if not isinstance(line, dict):
            continue
        told = line.get("run_id")
        if line.get("type") == "complete" and told is not None and told != story.documents.number:
            yield finding("log_of_another_run", place, f"it tells run {str(told)[:64]!r}")
        elif line.get("type") == "error" and story.completed:
            yield finding("log_of_another_run", place, "it tells a failure, and the run completed")


_CHECKS: tuple[Callable[[RunStory], Iterator[Finding]], ...] = (
    _missing_files,
    _interrupted,
    _metrics_not_told,
    _ids,
    _numbering,
    _found_in,
    _written_in_order,
    _session,
    _best_prompt,
    _checkpoint_best,
    _rewrite_log,
    _baselines,
    _means,
    _samples,
    _significance,
    _figures,
    _tokens,
    _trajectory,
    _phases,
    _score_kinds,
    _run_log,
)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)


def _time(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None
