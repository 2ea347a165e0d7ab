"""Rebuilt run directories read back, under the names that aevyra-reflex's own reader uses.

::

    store = RunStore(".reflex/runs")        # or RunStore(".reflex")
    run = store.get_run("043")
    print(run.load_result()["best_score"])
    for it in run.load_iterations():
        print(it.iteration, it.score, it.change_summary)

It reads both profiles and writes nothing. What was withheld when the folder was built stands in place of a
text as ``{"withheld": "<digest>"}``. Nothing is verified here: that is what the ledger is for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

_ITERATION_FILE = re.compile(r"(?:iter_)?([0-9]+)\.json")


@dataclass(frozen=True, slots=True)
class IterationState:
    """One iteration's file. The last four fields are in ``native`` folders only.

    ``reasoning`` and ``change_summary`` are of the change that made this prompt in ``native``, of the reply
    about the next prompt in ``reflex-0.2``. Text fields are ``str`` unless withheld; None is "not recorded".
    """

    iteration: int
    system_prompt: Any
    score: Any
    scores_by_metric: dict[str, float] = field(default_factory=dict)
    reasoning: Any = ""
    eval_tokens: int = 0
    reasoning_tokens: int = 0
    change_summary: Any = ""
    val_score: float | None = None
    is_full_eval: bool = False
    elapsed_seconds: float | None = None
    timestamp: str | None = ""
    seq: int | None = None
    rewrite_history: Any = None
    effect: dict[str, Any] | None = None
    samples: Any = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list. ``best_score`` is the result's, or the checkpoint's as long as there is none."""

    run_id: str
    run_dir: str
    timestamp: str
    status: str
    strategy: str
    model: str
    dataset: Any
    baseline_score: float | None
    best_score: float | None
    final_score: float | None
    iterations_completed: int
    duration_seconds: float | None = None
    parent_run_id: str | None = None
    parent_iteration: int | None = None
    config: dict[str, Any] = field(default_factory=dict)


class RunStore:
    """The run directories under ``root``, or under ``root/runs`` where that exists."""

    def __init__(self, root: str | Path = ".reflex") -> None:
        self.root = Path(root)
        self.runs_dir = self.root / "runs" if (self.root / "runs").is_dir() else self.root

    def get_run(self, run_id: str) -> Run | None:
        """The run with this id: the part of its directory's name before the first underscore."""
        return next((run for run in self._runs() if run.run_id == run_id), None)

    def get_latest_run(self) -> Run | None:
        """The run with the highest number; None where there is no run."""
        return max(self._runs(), key=lambda run: _order(run.run_dir.name), default=None)

    def list_runs(self) -> list[RunSummary]:
        """Every run in order of number."""
        return [run.summary() for run in self._runs()]

    def _runs(self) -> list[Run]:
        if not self.runs_dir.is_dir():
            return []
        found = [path for path in self.runs_dir.iterdir() if _is_run(path)]
        return [Run(path.name.partition("_")[0], path) for path in sorted(found, key=lambda path: _order(path.name))]


@dataclass(frozen=True, slots=True)
class Run:
    """One run's directory."""

    run_id: str
    run_dir: Path

    @property
    def is_complete(self) -> bool:
        return (self.run_dir / "result.json").exists()

    def load_config(self) -> dict[str, Any]:
        return _read(self.run_dir / "config.json") or {}

    def load_baseline(self) -> dict[str, Any] | None:
        return _read(self.run_dir / "baseline.json")

    def load_checkpoint(self) -> dict[str, Any] | None:
        return _read(self.run_dir / "checkpoint.json")

    def load_result(self) -> dict[str, Any] | None:
        """The result; None before the run's end."""
        return _read(self.run_dir / "result.json")

    def load_iterations(self) -> list[IterationState]:
        """Every iteration in order of number."""
        numbered = {}
        for path in (self.run_dir / "iterations").glob("*.json"):
            match = _ITERATION_FILE.fullmatch(path.name)
            if match:
                numbered[int(match[1])] = path
        return [_iteration(_read(numbered[number]) or {}) for number in sorted(numbered)]

    def summary(self) -> RunSummary:
        """What the list shows of this run."""
        config, result = self.load_config(), self.load_result()
        checkpoint, baseline = self.load_checkpoint() or {}, self.load_baseline() or {}
        options, branch = config.get("optimizer_config", {}), config.get("branched_from") or {}
        ended = checkpoint if result is None else result
        return RunSummary(
            self.run_id,
            str(self.run_dir),
            config.get("timestamp", ""),
            self._status(checkpoint),
            options.get("strategy", ""),
            ", ".join(options.get("models") or options.get("_cli_models", [])),
            config.get("dataset_path", ""),
            baseline.get("mean_score"),
            ended.get("best_score"),
            ((result or {}).get("final") or {}).get("mean_score"),
            checkpoint.get("completed_iterations", len(self.load_iterations())),
            (result or {}).get("duration_seconds"),
            branch.get("run_id"),
            branch.get("iteration"),
            options,
        )

    def _status(self, checkpoint: dict[str, Any]) -> str:
        if self.is_complete:
            return "completed"
        status: str = checkpoint.get("status", "interrupted" if checkpoint else "running")
        return status


def _is_run(path: Path) -> bool:
    """Whether a folder is a run's: what else lies in the root is passed over."""
    try:
        document = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and "run_id" in document and "optimizer_config" in document


def _order(name: str) -> tuple[int, str]:
    """By number first: as text, run 1000 would stand before run 999."""
    number = re.match(r"[0-9]+", name)
    return (int(number[0]) if number else 0, name)


def _iteration(document: dict[str, Any]) -> IterationState:
    known = {item.name: document[item.name] for item in fields(IterationState) if item.name in document}
    known.setdefault("is_full_eval", document.get("full_evaluation", False))
    return IterationState(**known)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
