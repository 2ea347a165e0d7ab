"""What a run was configured with, as a flat list of settings; and which of them another run has otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..withheld import shown
from .record import RunRecord

_LONGEST = 200
_REPEATING = "config.optimizer_config."
_SET_TWICE = ("initial_prompt", "system_prompt", "prompt", "run_id", "timestamp")
"""What a run's start says by itself, and an import's configuration repeats."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting by its path, with its value as JSON. None stands for a setting that the run does not have."""

    name: str
    value: str | None
    other: str | None = None

    @property
    def differs(self) -> bool:
        return self.value != self.other


def run_settings(record: RunRecord) -> dict[str, str]:
    """Every recorded setting of a run, by its path; texts of prompts are not among them.

    A value is JSON, cut after ``_LONGEST`` characters; content that is withheld is ``{"withheld": digest}``.
    """
    started, planned = record.started, record.planned
    document: dict[str, Any] = {
        "strategy": started.strategy,
        "models": list(started.models),
        "reasoning_model": started.reasoning_model,
        "metrics": list(started.metrics),
        "threshold": started.threshold,
        "max_iterations": started.max_iterations,
        "dataset": shown(started.dataset),
        "split": shown(started.split),
        "branched_from": None
        if started.parent_run is None
        else {"run": started.parent_run, "iteration": started.parent_iteration},
    }
    if planned is not None:
        document |= {
            "seed": planned.seed,
            "rows": planned.rows_count,
            "held_out": planned.held_out,
            "options": shown(planned.options),
            "versions": planned.versions,
        }
    config = shown(started.config)
    document["config"] = {name: value for name, value in config.items() if name not in _SET_TWICE}
    found = {name: value for name, value in _flat(document) if value != "null"}
    return {name: value for name, value in found.items() if not _said_before(name, value, found)}


def compare_settings(record: RunRecord, other: RunRecord | None) -> list[Setting]:
    """The settings of a run; beside another run's, where there is one, those that differ first."""
    mine = run_settings(record)
    if other is None:
        return [Setting(name, value, value) for name, value in mine.items()]
    theirs = run_settings(other)
    names = [*mine, *(name for name in theirs if name not in mine)]
    found = [Setting(name, mine.get(name), theirs.get(name)) for name in names]
    return sorted(found, key=lambda setting: not setting.differs)


def _said_before(name: str, value: str, found: dict[str, str]) -> bool:
    """Whether the configuration only repeats what the run's start or its options say."""
    if not name.startswith(_REPEATING):
        return False
    last = name.removeprefix(_REPEATING)
    return value in (found.get(last), found.get(f"options.{last}"))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value and "withheld" not in value:
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else f"{name}")
    else:
        printed = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield path, printed if len(printed) <= _LONGEST else f"{printed[:_LONGEST]}… ({len(printed)} characters)"
