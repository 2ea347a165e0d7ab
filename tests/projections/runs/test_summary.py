"""One run in one answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from affidavit.domain.event import Event
from affidavit.domain.optimization.events import RunCompleted
from affidavit.projections.runs.record import RunRecord
from affidavit.projections.runs.summary import summarise


def test_the_peers_numbers_and_the_paired_ones_stand_side_by_side(record_of: Any, run_events: list[Event]) -> None:
    events = [_same_samples(event) for event in run_events]
    found = summarise(record_of(events))
    assert found["improvement"] == pytest.approx(0.4)
    assert found["improvement_pct"] == pytest.approx(400 / 3)
    assert (found["p_value"], found["is_significant"]) == (0.25, False)
    assert (found["paired"]["n"], found["paired"]["direction"]) == (3, "gain")
    assert found["paired"]["note"].startswith("too few")
    json.dumps(found)


def test_what_an_import_reports_is_shown_as_reported(record_of: Any, run_events: list[Event]) -> None:
    ended = run_events[-1]
    assert isinstance(ended, RunCompleted)
    reported = ended.model_copy(update={"reported": {"improvement": 0.9, "p_value": 0.01, "is_significant": True}})
    found = summarise(record_of([*run_events[:-1], reported]))
    assert (found["improvement"], found["p_value"], found["is_significant"]) == (0.9, 0.01, True)


def test_scores_of_other_metrics_are_not_compared(record_of: Any, run_events: list[Event]) -> None:
    baseline = run_events[1].model_copy(update={"scores_by_metric": {"rouge": 0.3, "bleu": 0.3}})
    found = summarise(record_of([run_events[0], baseline, *run_events[2:]]))
    assert found["improvement"] is None
    assert found["paired"] == {
        "note": "not compared: the baseline was scored by bleu, rouge, the final prompt by rouge"
    }


def test_the_table_has_every_iteration_with_its_own_effect(run: RunRecord) -> None:
    rows = summarise(run)["iterations"]
    assert [(row["iteration"], row["change_summary"]) for row in rows] == [
        (1, None),
        (2, "Added a length limit"),
        (3, "Switched to XML"),
    ]
    assert rows[2]["effect"]["direction"] == "hurt"


def test_withheld_values_are_counted(run: RunRecord, withheld_run: RunRecord) -> None:
    assert summarise(run)["withheld"] == {}
    found = summarise(withheld_run)
    assert found["withheld"] == {
        "prompts": 4,
        "samples": 7,
        "rationales": 3,
        "change_summaries": 3,
        "histories": 2,
        "config": 2,
    }
    assert found["paired"] == {"note": "not compared: the samples are withheld"}
    json.dumps(found)


def test_a_run_under_way_has_nothing_to_report_yet(record_of: Any, run_events: list[Event]) -> None:
    found = summarise(record_of(run_events[:5]))
    assert (found["status"], found["best_score"], found["p_value"]) == ("open", None, None)
    assert found["paired"]["note"] == "not compared: there is no final evaluation"


def _same_samples(event: Event) -> Event:
    """Baseline and final evaluation of the same test samples."""
    found = getattr(event, "samples", None)
    if not isinstance(found, tuple):
        return event
    renamed = tuple(sample.model_copy(update={"id": f"s{index}"}) for index, sample in enumerate(found))
    return event.model_copy(update={"samples": renamed})
