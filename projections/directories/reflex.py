"""The ``reflex-0.2`` run directory: the files of aevyra-reflex 0.2.0, which its own readers accept.

For a run that was imported from it, every file is the original's bytes but for what was redacted. For any
other run, and where sealed content is withheld, a file is made from what the events say, by the peer's
rules: its numbers keep the peer's meaning, wrong ones included (the rewrite log). There is never a
``running`` file, because nothing runs here, and never a p-value of our own.

JSON is the peer's: two spaces, ASCII-escaped, keys in order of insertion, no line end after the last line.
"""

from __future__ import annotations

import json
from typing import Any

from ...domain.event import Withheld
from ...domain.optimization.events import PromptEvaluated
from ..runs.record import Iteration, RunRecord
from ..runs.rewrite_history import peer_entries, peer_json
from ..runs.tokens import run_totals
from ..withheld import shown

REFLEX_VERSION = 1

_OPTIMIZER_DEFAULTS: dict[str, Any] = {
    "max_iterations": 10,
    "score_threshold": 0.85,
    "strategy": "iterative",
    "reasoning_model": "claude-sonnet-4-20250514",
    "reasoning_provider": None,
    "reasoning_api_key": None,
    "reasoning_base_url": None,
    "source_model": None,
    "temperature": 1.0,
    "eval_temperature": 0.0,
    "max_tokens": 1024,
    "max_workers": 4,
    "eval_runs": 1,
    "extra_kwargs": {},
    "train_ratio": 0.8,
    "val_ratio": 0.1,
    "early_stopping_patience": 3,
    "batch_size": 0,
    "batch_seed": 42,
    "full_eval_steps": 0,
    "target_model": None,
    "target_source": None,
}
"""The peer's options in its order; a native run's own settings stand in for those that it has."""


def reflex_files(record: RunRecord) -> dict[str, bytes]:
    """The files of the ``reflex-0.2`` profile."""
    files = {"config.json": _print(reflex_config(record))}
    documents = {
        "baseline.json": reflex_baseline(record),
        "checkpoint.json": reflex_checkpoint(record),
        "result.json": reflex_result(record),
    }
    files |= {name: _print(document) for name, document in documents.items() if document is not None}
    for iteration in record.iterations:
        if _has_file(record, iteration):
            files[f"iterations/{iteration.number:03d}.json"] = _print(_iteration_file(record, iteration))
    for name, text in _texts(record).items():
        if isinstance(text, Withheld):
            files[f"{name.rpartition('.')[0]}.withheld.json"] = _print(shown(text))
        else:
            files[name] = text.encode()
    for name, kept in record.kept.items():
        if isinstance(kept.content, dict):
            files[name] = _print(kept.content)
    if "run.log.jsonl" in record.kept:
        files["run.log.jsonl"] = _lines(record.kept["run.log.jsonl"].content)
    return files


def reflex_config(record: RunRecord) -> dict[str, Any]:
    """config.json: as found for an import, otherwise what the run's start says."""
    started = record.started
    if isinstance(started.config, dict) and _is_import(record):
        return started.config
    withheld = isinstance(started.dataset, Withheld)
    document = {
        "run_id": started.run,
        "timestamp": started.directory.partition("_")[2] or started.timestamp,
        # its readers make a path of this, so no placeholder may stand here
        "dataset_path": "" if withheld else started.dataset or "unknown",
        "prompt_path": "",
        "initial_prompt": shown(started.system_prompt),
        "optimizer_config": _optimizer_config(record),
    }
    if started.parent_run is not None:
        document["branched_from"] = {"run_id": started.parent_run, "iteration": started.parent_iteration}
    if withheld:
        document["withheld"] = {"dataset_path": shown(started.dataset)["withheld"]}
    return document


def reflex_baseline(record: RunRecord) -> dict[str, Any] | None:
    """baseline.json, None where the run has no baseline file."""
    baseline = record.baseline
    if baseline is None or not _was_found(record, "baseline.json", baseline.timestamp is not None):
        return None
    timestamp = baseline.timestamp or _iso(record.evaluation_times[baseline.evaluation])
    return {**_baseline(baseline), "timestamp": timestamp}


def reflex_checkpoint(record: RunRecord) -> dict[str, Any] | None:
    """checkpoint.json: as found for an import, otherwise what the peer would have written by now."""
    kept = record.kept.get("checkpoint.json")
    if kept is not None and isinstance(kept.content, dict):
        return kept.content
    if (record.baseline is None and not record.iterations) or (_is_import(record) and kept is None):
        return None
    return _derived_checkpoint(record)


def reflex_result(record: RunRecord) -> dict[str, Any] | None:
    """result.json: as found for an import, otherwise what the run's end says; None before the end."""
    completed = record.completed
    if completed is None:
        return None
    if isinstance(completed.reported, dict) and _is_import(record):
        return completed.reported
    return _derived_result(record)


def reflex_list_row(record: RunRecord) -> dict[str, Any]:
    """A run under the names of the peer's ``RunSummary``, each with the peer's meaning.

    ``best_score`` is the final score of a completed run, the best training score before; ``status`` is the
    peer's: a run that failed is ``interrupted``, an open one ``running``.
    """
    config, result = reflex_config(record), reflex_result(record)
    baseline, checkpoint = reflex_baseline(record) or {}, reflex_checkpoint(record) or {}
    options, branch = config.get("optimizer_config", {}), config.get("branched_from") or {}
    ended = result or {}
    return {
        "run_id": record.run,
        "run_dir": f"runs/{record.started.directory}",
        "timestamp": config.get("timestamp", ""),
        "status": {"completed": "completed", "open": "running"}.get(record.status, "interrupted"),
        "strategy": options.get("strategy", ""),
        "model": ", ".join(options.get("_cli_models", [])),
        "dataset": config.get("dataset_path", ""),
        "baseline_score": baseline.get("mean_score"),
        "best_score": (checkpoint if result is None else result).get("best_score"),
        "final_score": ended.get("final", {}).get("mean_score"),
        "iterations_completed": checkpoint.get("completed_iterations", 0)
        if result is None
        else len(result.get("iterations", [])),
        "duration_seconds": ended.get("duration_seconds"),
        "parent_run_id": branch.get("run_id"),
        "parent_iteration": branch.get("iteration"),
        "config": options,
    }


def _print(document: Any) -> bytes:
    return json.dumps(document, indent=2).encode()


def _lines(entries: Any) -> bytes:
    found = entries if isinstance(entries, (list, tuple)) else [shown(entries)]
    return "".join(json.dumps(entry) + "\n" for entry in found).encode()


def _is_import(record: RunRecord) -> bool:
    return record.started.imported_from is not None


def _was_found(record: RunRecord, path: str, otherwise: bool) -> bool:
    """Whether an imported run had this file; ``otherwise`` where the list of its files is withheld."""
    if not _is_import(record):
        return True
    if record.imported is None or not isinstance(record.imported.detail, dict):
        return otherwise
    return any(file["path"] == path for file in record.imported.detail["files"])


def _has_file(record: RunRecord, iteration: Iteration) -> bool:
    found = iteration.event.found_in
    return "file" in found or (not found and not _is_import(record))


def _iso(at: str) -> str:
    """A time of recording as the peer writes times."""
    return at.removesuffix("Z") + "+00:00" if at.endswith("Z") else at


def _optimizer_config(record: RunRecord) -> dict[str, Any]:
    started, given = record.started, record.started.config
    recorded = {
        "max_iterations": started.max_iterations,
        "score_threshold": started.threshold,
        "reasoning_model": started.reasoning_model,
    }
    stated: dict[str, Any] = {name: value for name, value in recorded.items() if value is not None}
    stated |= {"strategy": started.strategy, "_cli_models": list(started.models)}
    if isinstance(given, Withheld):
        return {**stated, **shown(given)}  # a default would pass for what was set
    nested = given.get("optimizer_config", given)
    own = nested if isinstance(nested, dict) else {}
    known = {name: own[name] for name in _OPTIMIZER_DEFAULTS if name in own}
    return {**_OPTIMIZER_DEFAULTS, **known, **stated}


def _samples(evaluation: PromptEvaluated) -> Any:
    if not isinstance(evaluation.samples, tuple):
        return [] if evaluation.samples is None else shown(evaluation.samples)
    return [
        {
            "input": sample.input,
            "response": sample.response,
            "ideal": sample.ideal,
            "score": 0.0 if sample.score is None else sample.score,
        }
        for sample in evaluation.samples
    ]


def _baseline(evaluation: PromptEvaluated) -> dict[str, Any]:
    return {
        "mean_score": evaluation.score,
        "scores_by_metric": evaluation.scores_by_metric,
        "total_tokens": evaluation.tokens or 0,
        "samples": _samples(evaluation),
    }


def _iteration_file(record: RunRecord, iteration: Iteration) -> dict[str, Any]:
    event = iteration.event
    document = {
        "iteration": event.iteration,
        "system_prompt": shown(iteration.prompt),
        "score": iteration.score,
        "scores_by_metric": iteration.train.scores_by_metric,
        "reasoning": _reply(record, iteration),
        "eval_tokens": event.eval_tokens,
        "reasoning_tokens": event.reasoning_tokens,
        "timestamp": event.timestamp or ("" if _is_import(record) else _iso(iteration.at)),
    }
    return {**document, **_optional(iteration)}


def _result_iteration(record: RunRecord, iteration: Iteration) -> dict[str, Any]:
    event = iteration.event
    document = {
        "iteration": event.iteration,
        "score": iteration.score,
        "scores_by_metric": iteration.train.scores_by_metric,
        "system_prompt": shown(iteration.prompt),
        "reasoning": _reply(record, iteration),
        "eval_tokens": event.eval_tokens,
        "reasoning_tokens": event.reasoning_tokens,
    }
    return {**document, **_optional(iteration)}


def _reply(record: RunRecord, iteration: Iteration) -> Any:
    """The peer files under an iteration the reply that came out of it, about the next prompt.

    Its few-shot axis is the exception: the reply that made the iteration's own prompt. An iteration that asked
    for nothing repeats the reply of the one before it, which an import has as a finding.
    """
    if iteration.rewrite is not None and iteration.rewrite.axis == "fewshot":
        return shown(iteration.rewrite.rationale)
    if iteration.proposal is not None and iteration.proposal.axis != "fewshot":
        return shown(iteration.proposal.rationale)
    if f"iteration {iteration.number}" in _repeating(record):
        before = [item for item in record.iterations if item.number < iteration.number]
        return _reply(record, before[-1]) if before else ""
    return ""


def _repeating(record: RunRecord) -> set[str]:
    detail = None if record.imported is None else record.imported.detail
    if not isinstance(detail, dict):
        return set()
    return {found["detail"] for found in detail["findings"] if found["kind"] == "rationale_repeated"}


def _optional(iteration: Iteration) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if iteration.val is not None and iteration.val.score is not None:
        document["val_score"] = iteration.val.score
    if iteration.event.full_evaluation:
        document["is_full_eval"] = True
    return document


def _derived_checkpoint(record: RunRecord) -> dict[str, Any]:
    iterations = record.iterations
    last = iterations[-1] if iterations else None
    best_prompt, best = record.started.system_prompt, 0.0
    for iteration in iterations:
        if iteration.score is not None and iteration.score >= best:
            best_prompt, best = iteration.prompt, iteration.score
    document = {
        "run_id": record.run,
        "initial_prompt": shown(record.started.system_prompt),
        "current_prompt": shown(best_prompt),
        "completed_iterations": 0 if last is None else last.number,
        "best_prompt": shown(best_prompt),
        "best_score": best,
        "score_trajectory": [iteration.score for iteration in iterations],
        "previous_reasoning": "" if last is None else _reply(record, last),
        "strategy_state": _strategy_state(record, iterations),
        "baseline": None if record.baseline is None else _baseline(record.baseline),
        "accumulated_duration_seconds": _duration(record, last),
        "timestamp": _iso(record.started_at if last is None else last.at),
    }
    return {**document, **_best_validated(iterations)}


def _strategy_state(record: RunRecord, iterations: list[Iteration]) -> dict[str, Any]:
    entries = peer_entries(record)
    if not entries:
        return {}
    last = iterations[-1]
    proposed = None if last.proposal is None else last.proposal.prompt
    return {
        "iters_done": len(entries),
        "current_prompt": shown(last.prompt if proposed is None else record.prompts[proposed]),
        "previous_reasoning": _reply(record, last),
        "rewrite_log": peer_json(entries),
        "score_trajectory": [entry.score for entry in entries],
        "iterative_iter_state": {},
    }


def _duration(record: RunRecord, last: Iteration | None) -> float:
    completed = None if record.completed is None else record.completed.duration_seconds
    return completed or (None if last is None else last.event.elapsed_seconds) or 0.0


def _best_validated(iterations: list[Iteration]) -> dict[str, Any]:
    best: tuple[float, Iteration] | None = None
    for iteration in iterations:
        score = None if iteration.val is None else iteration.val.score
        if score is not None and (best is None or score >= best[0]):
            best = score, iteration
    if best is None:
        return {}
    found = {
        "best_val_prompt": shown(best[1].prompt),
        "best_val_score": best[0],
        "best_val_iter": best[1].number,
    }
    return {**found, **{f"global_{name}": value for name, value in found.items()}}


def _derived_result(record: RunRecord) -> dict[str, Any]:
    completed, started = record.completed, record.started
    assert completed is not None
    iterations = [item for item in record.iterations if not _is_import(record) or "result" in item.event.found_in]
    final, baseline = record.final, record.baseline
    evaluating, reasoning = run_totals(record)
    document: dict[str, Any] = {
        "best_prompt": shown(record.best_prompt),
        "best_score": None if final is None else final.score,
        "converged": completed.converged,
        "iterations": [_result_iteration(record, iteration) for iteration in iterations],
        "total_eval_tokens": evaluating or 0,
        "total_reasoning_tokens": reasoning or 0,
    }
    if baseline is not None:
        document["baseline"] = _snapshot(record, baseline)
    if final is not None:
        document["final"] = _snapshot(record, final)
    document |= _sizes(record)
    document |= _improvement(baseline, final)
    if started.strategy:
        document["strategy_name"] = started.strategy
    if record.phases:
        document["phase_history"] = _phase_history(record)
    if completed.duration_seconds is not None:
        document["duration_seconds"] = completed.duration_seconds
    document["started_at"] = started.timestamp
    document["timestamp"] = completed.timestamp or _iso(record.last_at)
    document["run_id"] = record.run
    return document


def _snapshot(record: RunRecord, evaluation: PromptEvaluated) -> dict[str, Any]:
    return {
        "mean_score": evaluation.score,
        "std_score": evaluation.std or 0.0,
        "n_runs": evaluation.passes,
        "scores_by_metric": evaluation.scores_by_metric,
        "system_prompt": shown(record.prompts[evaluation.prompt]),
        "total_tokens": evaluation.tokens or 0,
        "samples": _samples(evaluation),
    }


def _sizes(record: RunRecord) -> dict[str, Any]:
    split = record.started.split
    sizes = {} if split is None else {"train": split.train, "test": split.test, "val": split.val}
    document: dict[str, Any] = {f"{name}_size": size for name, size in sizes.items() if size}
    validated = [item.val.score for item in record.iterations if item.val is not None]
    if validated:
        document["val_trajectory"] = validated
    return document


def _improvement(baseline: PromptEvaluated | None, final: PromptEvaluated | None) -> dict[str, Any]:
    """The peer subtracts whatever the two scores are; where they are not comparable ``native`` says so."""
    if baseline is None or final is None or baseline.score is None or final.score is None:
        return {}
    delta = final.score - baseline.score
    percent = delta / baseline.score * 100 if baseline.score > 0 else None
    return {"improvement": delta, "improvement_pct": percent}


def _phase_history(record: RunRecord) -> list[dict[str, Any]]:
    return [
        {
            "phase": phase.phase,
            "axis": phase.axis,
            "iterations_used": phase.iterations,
            "score_before": phase.score_before,
            "score_after": phase.score_after,
            "improvement": None
            if phase.score_before is None or phase.score_after is None
            else phase.score_after - phase.score_before,
            "converged": phase.converged,
            "duration_seconds": phase.duration_seconds,
        }
        for phase in record.phases
    ]


def _texts(record: RunRecord) -> dict[str, str | Withheld]:
    """The plain-text files: the best prompt, and the error of a run that failed."""
    texts: dict[str, str | Withheld] = {}
    best, failed = _best_prompt(record), record.failed
    if best is not None and _was_found(record, "best_prompt.md", True):
        texts["best_prompt.md"] = best
    for name in ("best_prompt.md", "error.txt"):
        content = record.kept[name].content if name in record.kept else None
        if isinstance(content, (str, Withheld)):
            texts[name] = content
    if "error.txt" in texts:
        return texts
    if failed is not None and not _is_import(record):
        message = failed.reason if failed.message is None else failed.message
        heading = f"Run crashed at {failed.timestamp or _iso(record.last_at)}"
        texts["error.txt"] = message if isinstance(message, Withheld) else f"{heading}\n\n{message}"
    return texts


def _best_prompt(record: RunRecord) -> str | Withheld | None:
    """The peer writes the best prompt of each checkpoint; a native run's own choice wins over that."""
    if not _is_import(record) and record.best_prompt is not None:
        return record.best_prompt
    checkpoint = reflex_checkpoint(record)
    if checkpoint is None:
        return None
    best = checkpoint.get("best_prompt")
    if isinstance(best, dict) and "withheld" in best:
        return Withheld(best["withheld"])
    return best if isinstance(best, str) else None
