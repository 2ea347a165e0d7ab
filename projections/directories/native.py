"""The ``native`` run directory: every recorded field of a run, as files that people and programs read.

::

    config.json           what was configured, with optimizer_config.strategy and .metrics
    baseline.json         the baseline's scores, sample by sample
    iterations/iter_001.json …
    rewrites.json         every change with its own effect, and the text of those that were never scored
    rewrite_history.txt   the same, one line a change
    checkpoint.json       how far the run has come
    result.json           what it came to; failure.json instead where it failed
    best_prompt.md        the winning prompt in plain text
    findings.json         what an import found wrong, missing or recovered
    manifest.json         the digest of each file above, and the last entry that they were made from

A number that was not recorded is null, never 0. Content that is withheld is ``{"withheld": "<digest>"}``.
"""

from __future__ import annotations

import json
from typing import Any

from ...domain.event import Withheld
from ...domain.optimization.effects import Effect
from ...domain.optimization.events import PromptEvaluated
from ...domain.optimization.history import Change
from ..runs.record import Iteration, RunRecord, Text
from ..runs.rewrite_history import effect_json, run_changes, true_json, true_text
from ..runs.scores import best_score, gain, leading_iteration
from ..runs.tokens import run_totals, token_account
from ..withheld import shown
from .manifest import manifest

NATIVE_VERSION = 1


def native_files(record: RunRecord) -> dict[str, bytes]:
    """The files of the ``native`` profile, version 1."""
    iterations, history = record.iterations, run_changes(record)
    effects = [change.effect for change in history]
    documents: dict[str, Any] = {"config.json": _config(record)}
    if record.baseline is not None:
        documents["baseline.json"] = _evaluation(record, record.baseline)
    for iteration in iterations:
        documents[f"iterations/iter_{iteration.number:03d}.json"] = _iteration(record, iteration, effects)
    documents["rewrites.json"] = _rewrites(record, history)
    documents["checkpoint.json"] = _checkpoint(record, iterations)
    if record.completed is not None:
        documents["result.json"] = _result(record, iterations)
    if record.failed is not None:
        documents["failure.json"] = shown(record.failed)
    if record.imported is not None:
        documents["findings.json"] = _findings(record)
    files = {name: _print(document) for name, document in documents.items()}
    files["rewrite_history.txt"] = "".join(f"{line}\n" for line in true_text(history).splitlines()).encode()
    best = _best_prompt(record)
    if isinstance(best, str):
        files["best_prompt.md"] = best.encode()
    elif best is not None:
        files["best_prompt.withheld.json"] = _print(shown(best))
    files["manifest.json"] = _print(_manifest(record, files))
    return files


def _print(document: Any) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _config(record: RunRecord) -> dict[str, Any]:
    started, config = record.started, record.started.config
    document = {
        "run_id": started.run,
        "directory": started.directory,
        "timestamp": started.timestamp,
        "dataset_path": shown(started.dataset),
        "initial_prompt": shown(started.system_prompt),
        "optimizer_config": _optimizer_config(record),
        "split": shown(started.split),
        "branched_from": None
        if started.parent_run is None
        else {"run_id": started.parent_run, "iteration": started.parent_iteration},
        "imported_from": started.imported_from,
        "seq": record.started_seq,
        "recorded_at": record.started_at,
    }
    beside = config if isinstance(config, dict) and "optimizer_config" in config else {}
    return {**document, **{name: value for name, value in beside.items() if name not in document}}


def _optimizer_config(record: RunRecord) -> dict[str, Any]:
    """The configuration as given, with what it leaves out from the open fields of the run's start."""
    started, config = record.started, record.started.config
    recorded = {
        "strategy": started.strategy,
        "metrics": list(started.metrics),
        "models": list(started.models),
        "reasoning_model": started.reasoning_model,
        "score_threshold": started.threshold,
        "max_iterations": started.max_iterations,
    }
    if isinstance(config, Withheld):
        return {**recorded, **shown(config)}
    given = config.get("optimizer_config", config)
    if not isinstance(given, dict):
        return recorded
    return {**recorded, **{name: value for name, value in given.items() if recorded.get(name) is None or value}}


def _evaluation(record: RunRecord, evaluation: PromptEvaluated) -> dict[str, Any]:
    return {
        "mean_score": evaluation.score,
        "std_score": evaluation.std,
        "kind": evaluation.kind,
        "n": evaluation.n,
        "failed": evaluation.failed,
        "passes": evaluation.passes,
        "scores_by_metric": evaluation.scores_by_metric,
        "system_prompt": shown(record.prompts[evaluation.prompt]),
        "prompt": evaluation.prompt,
        "total_tokens": evaluation.tokens,
        "elapsed_seconds": evaluation.elapsed_seconds,
        "timestamp": evaluation.timestamp,
        "recorded_at": record.evaluation_times[evaluation.evaluation],
        "samples": shown(evaluation.samples),
    }


def _iteration(record: RunRecord, iteration: Iteration, effects: list[Effect]) -> dict[str, Any]:
    event, rewrite = iteration.event, iteration.rewrite
    return {
        "iteration": event.iteration,
        "system_prompt": shown(iteration.prompt),
        "score": iteration.score,
        "val_score": None if iteration.val is None else iteration.val.score,
        "scores_by_metric": iteration.train.scores_by_metric,
        "reasoning": "" if rewrite is None else shown(rewrite.rationale),
        "change_summary": "" if rewrite is None else shown(rewrite.change_summary),
        "eval_tokens": event.eval_tokens,
        "reasoning_tokens": event.reasoning_tokens,
        "elapsed_seconds": event.elapsed_seconds,
        "timestamp": event.timestamp or _when_recorded(record, iteration),
        "rewrite_history": None if rewrite is None else shown(rewrite.history),
        "effect": None if rewrite is None else effect_json(effects[rewrite.rewrite]),
        "change": None if rewrite is None else rewrite.rewrite + 1,
        "prompt": iteration.train.prompt,
        "phase": event.phase,
        "full_evaluation": event.full_evaluation,
        "kind": iteration.train.kind,
        "found_in": list(event.found_in),
        "seq": iteration.seq,
        "recorded_at": iteration.at,
        "samples": shown(iteration.train.samples),
        "val_samples": None if iteration.val is None else shown(iteration.val.samples),
    }


def _when_recorded(record: RunRecord, iteration: Iteration) -> str | None:
    """An import is recorded long after the fact: its time of recording says nothing about the iteration."""
    return iteration.at if record.started.imported_from is None else None


def _rewrites(record: RunRecord, history: list[Change]) -> list[dict[str, Any]]:
    found = []
    for change, rewrite in zip(true_json(history), record.rewrites, strict=True):
        document = {
            **change,
            "reasoning": shown(rewrite.rationale),
            "rewrite_history": shown(rewrite.history),
            "prompt": rewrite.prompt,
            "tokens": rewrite.tokens,
            "timestamp": rewrite.timestamp,
        }
        if change["effect"]["basis"] == "never_measured" and rewrite.prompt is not None:
            document["system_prompt"] = shown(record.prompts[rewrite.prompt])
        found.append(document)
    return found


def _checkpoint(record: RunRecord, iterations: list[Iteration]) -> dict[str, Any]:
    leading = leading_iteration(record)
    validated = None if leading is None or leading.val is None else leading.val.score
    last = iterations[-1] if iterations else None
    proposed = None if last is None or last.proposal is None else last.proposal.prompt
    current = record.started.system_prompt if last is None else last.prompt
    return {
        "run_id": record.run,
        "status": record.status,
        "completed_iterations": len(iterations),
        "current_prompt": shown(current if proposed is None else record.prompts[proposed]),
        "best_prompt": None if leading is None else shown(leading.prompt),
        "best_score": None if leading is None else leading.score,
        "best_val_score": validated,
        "best_iteration": None if leading is None else leading.number,
        "score_trajectory": [iteration.score for iteration in iterations],
        "val_trajectory": [None if item.val is None else item.val.score for item in iterations],
        "open_phase": _open_phase(record),
    }


def _open_phase(record: RunRecord) -> dict[str, Any] | None:
    if len(record.phases_started) == len(record.phases):
        return None
    phase = record.phases_started[-1]
    return {"phase": phase.phase, "axis": phase.axis}


def _result(record: RunRecord, iterations: list[Iteration]) -> dict[str, Any]:
    completed = record.completed
    assert completed is not None
    best, difference = best_score(record), gain(record)
    evaluating, reasoning = run_totals(record)
    return {
        "run_id": record.run,
        "best_prompt": shown(record.best_prompt),
        "best_score": None if best is None else best[0],
        "best_score_from": None if best is None else best[1],
        "converged": completed.converged,
        "reason": completed.reason,
        "improvement": difference.delta,
        "improvement_pct": difference.percent,
        "not_comparable": difference.why_not,
        "baseline_score": None if record.baseline is None else record.baseline.score,
        "score_trajectory": [iteration.score for iteration in iterations],
        "val_trajectory": [None if item.val is None else item.val.score for item in iterations],
        "final": None if record.final is None else _evaluation(record, record.final),
        "phase_history": [shown(phase) for phase in record.phases],
        "total_eval_tokens": evaluating,
        "total_reasoning_tokens": reasoning,
        "tokens": token_account(record).as_json(),
        "duration_seconds": completed.duration_seconds,
        "timestamp": completed.timestamp,
        "reported": shown(completed.reported),
    }


def _findings(record: RunRecord) -> dict[str, Any]:
    imported = record.imported
    assert imported is not None
    return {
        "system": imported.system,
        "findings_by_kind": imported.findings,
        "detail": shown(imported.detail),
    }


def _best_prompt(record: RunRecord) -> Text | None:
    if record.completed is not None:
        return record.best_prompt
    leading = leading_iteration(record)
    return None if leading is None else leading.prompt


def _manifest(record: RunRecord, files: dict[str, bytes]) -> dict[str, Any]:
    found = manifest(files)
    return {
        "profile": "native",
        "version": NATIVE_VERSION,
        "run": record.run,
        "directory": record.started.directory,
        "status": record.status,
        "upto": record.last_seq + 1,
        "recorded_until": record.last_at,
        "h1": found.h1,
        "files": [{"path": path, "sha256": digest, "bytes": len(files[path])} for digest, path in found.lines],
    }
