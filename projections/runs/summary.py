"""One run in one answer: what ``affidavit show RUN --json`` prints.

What the peer reports stands under the peer's names (``improvement``, ``p_value``, ``is_significant``); the
comparison that pairs samples, and says which way and how sure, stands beside it under ``paired``.
"""

from __future__ import annotations

from typing import Any

from ...domain.event import Withheld
from ...domain.optimization.events import PromptEvaluated
from ..statistics.gain import PairedComparison, peer_significance
from ..withheld import shown
from .comparisons import compare_evaluations
from .record import Iteration, RunRecord
from .rewrite_history import effect_json, run_changes, true_json
from .scores import best_score, gain, leading_iteration
from .tokens import counted_tokens

_REPORTED = ("improvement", "improvement_pct", "p_value", "is_significant")


def summarise(record: RunRecord, seed: int = 0) -> dict[str, Any]:
    """Everything about a run but its texts, as JSON data. ``seed`` seeds the bootstrap interval."""
    started, completed = record.started, record.completed
    best, leading = best_score(record), leading_iteration(record)
    tokens = counted_tokens(record)
    return {
        "run": record.run,
        "directory": started.directory,
        "status": record.status,
        "reason": completed.reason if completed else record.failed.reason if record.failed else None,
        "timestamp": started.timestamp,
        "imported_from": started.imported_from,
        "parent_run": started.parent_run,
        "parent_iteration": started.parent_iteration,
        "strategy": started.strategy,
        "models": list(started.models),
        "reasoning_model": started.reasoning_model,
        "metrics": list(started.metrics),
        "threshold": started.threshold,
        "max_iterations": started.max_iterations,
        "split": shown(started.split),
        "baseline": _evaluation(record.baseline),
        "final": _evaluation(record.final),
        "best_score": None if best is None else best[0],
        "best_score_from": None if best is None else best[1],
        "leading_iteration": None if leading is None else leading.number,
        "converged": None if completed is None else completed.converged,
        **_reported(record),
        "paired": _paired(record, seed),
        "iterations": _iterations(record, tokens["iterations"]),
        "changes": true_json(run_changes(record)),
        "phases": [shown(phase) for phase in record.phases],
        "tokens": tokens,
        "calls": record.calls.as_json(),
        "duration_seconds": None if completed is None else completed.duration_seconds,
        "findings": {} if record.imported is None else record.imported.findings,
        "withheld": withheld_counts(record),
        "first_seq": record.started_seq,
        "last_seq": record.last_seq,
        "recorded_at": record.started_at,
    }


def _reported(record: RunRecord) -> dict[str, Any]:
    """The peer's four numbers: as an import reports them, otherwise by its formulas."""
    reported = None if record.completed is None else record.completed.reported
    if isinstance(reported, dict):
        return {name: reported.get(name) for name in _REPORTED}
    difference = gain(record)
    p_value, significant = peer_significance(_positional(record.baseline), _positional(record.final))
    return {
        "improvement": difference.delta,
        "improvement_pct": difference.percent,
        "p_value": p_value,
        "is_significant": significant,
    }


def _positional(evaluation: PromptEvaluated | None) -> list[float]:
    """Scores as the peer pairs them: in order, a failed sample as 0."""
    if evaluation is None or not isinstance(evaluation.samples, tuple):
        return []
    return [sample.score or 0.0 for sample in evaluation.samples]


def _paired(record: RunRecord, seed: int) -> dict[str, Any]:
    found = compare_ends(record, seed)
    return {"note": f"not compared: {found}"} if isinstance(found, str) else found.as_json()


def compare_ends(record: RunRecord, seed: int) -> PairedComparison | str:
    """The final evaluation against the baseline, paired by sample; or why the two do not compare."""
    return compare_evaluations(record.baseline, record.final, seed)


def _evaluation(evaluation: PromptEvaluated | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    left_out = {"system_prompt", "samples", "detail_mean"}
    return evaluation.model_dump(exclude=left_out)


def _iterations(record: RunRecord, counted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    effects = record.effects()

    def row(item: Iteration, tokens: dict[str, Any]) -> dict[str, Any]:
        rewrite = item.rewrite
        return {
            "iteration": item.number,
            "phase": item.event.phase,
            "score": item.score,
            "val_score": None if item.val is None else item.val.score,
            "kind": item.train.kind,
            "change": None if rewrite is None else rewrite.rewrite + 1,
            "change_summary": None if rewrite is None else shown(rewrite.change_summary),
            "effect": None if rewrite is None else effect_json(effects[rewrite.rewrite]),
            "eval_tokens": tokens["eval_tokens"],
            "reasoning_tokens": tokens["reasoning_tokens"],
            "elapsed_seconds": item.event.elapsed_seconds,
            "timestamp": item.event.timestamp,
            "found_in": list(item.event.found_in),
            "seq": item.seq,
        }

    return [row(item, tokens) for item, tokens in zip(record.iterations, counted, strict=True)]


def withheld_counts(record: RunRecord) -> dict[str, int]:
    """How many sealed values of the run are not open here, by what they hold."""
    started, completed = record.started, record.completed
    values: dict[str, list[Any]] = {
        "prompts": list(record.prompts),
        "samples": [evaluation.samples for evaluation in record.evaluations],
        "rationales": [rewrite.rationale for rewrite in record.rewrites],
        "change_summaries": [rewrite.change_summary for rewrite in record.rewrites],
        "histories": [rewrite.history for rewrite in record.rewrites],
        "analyses": [note.text for note in record.notes],
        "config": [started.config, started.dataset],
        "result": [None if completed is None else completed.reported],
        "failure": [None if record.failed is None else record.failed.message],
        "source_files": [kept.content for kept in record.kept.values()],
        "findings": [None if record.imported is None else record.imported.detail],
    }
    counts = {name: sum(isinstance(value, Withheld) for value in found) for name, found in values.items()}
    return {name: count for name, count in counts.items() if count}
