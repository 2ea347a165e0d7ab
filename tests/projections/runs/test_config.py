"""Settings as a flat list, and set beside those of another run."""

from __future__ import annotations

from typing import Any

from affidavit.domain.event import Event, Withheld
from affidavit.domain.optimization.events import RunStarted
from affidavit.projections.runs.config import compare_settings, run_settings
from affidavit.projections.runs.record import RunRecord


def test_settings_have_paths_and_prompts_are_not_among_them(run: RunRecord) -> None:
    found = run_settings(run)
    assert found["strategy"] == "iterative"
    assert found["split.train"] == "4"
    assert found["models"] == '["local/target"]'
    assert found["config.eval_temperature"] == "0.0"
    assert "Answer." not in found.values()


def test_what_differs_comes_first(record_of: Any, run_events: list[Event], run: RunRecord) -> None:
    started = run_events[0]
    assert isinstance(started, RunStarted)
    changed = started.model_copy(update={"threshold": 0.5, "config": {"more": {"deep": [1]}}})
    rows = compare_settings(run, record_of([changed, *run_events[1:]]))
    differing = [row for row in rows if row.differs]
    assert rows[: len(differing)] == differing
    assert {row.name: (row.value, row.other) for row in differing} == {
        "threshold": ("0.9", "0.5"),
        "config.eval_temperature": ("0.0", None),
        "config.reasoning_api_key.redacted": ("reasoning_api_key", None),
        "config.more.deep": (None, "[1]"),
    }


def test_alone_nothing_differs(run: RunRecord) -> None:
    assert not any(row.differs for row in compare_settings(run, None))


def test_withheld_settings_are_their_digest(record_of: Any, run_events: list[Event]) -> None:
    hidden = run_events[0].model_copy(update={"config": Withheld("digest", "erased")})
    assert run_settings(record_of([hidden, *run_events[1:]]))["config"] == '{"withheld": "digest"}'


def test_long_values_are_cut_and_say_so(record_of: Any, run_events: list[Event]) -> None:
    long = run_events[0].model_copy(update={"config": {"text": "x" * 5000}})
    assert run_settings(record_of([long, *run_events[1:]]))["config.text"].endswith("… (5000 characters)")


def test_what_the_configuration_repeats_is_there_once(record_of: Any, run_events: list[Event]) -> None:
    config = {"optimizer_config": {"strategy": "iterative", "max_iterations": 9, "eval_runs": 1}}
    found = run_settings(record_of([run_events[0].model_copy(update={"config": config}), *run_events[1:]]))
    assert found["max_iterations"] == "4"
    assert {name: value for name, value in found.items() if name.startswith("config.")} == {
        "config.optimizer_config.max_iterations": "9",
        "config.optimizer_config.eval_runs": "1",
    }
