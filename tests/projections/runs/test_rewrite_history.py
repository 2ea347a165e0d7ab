"""The rewrite history in the peer's words and in true ones."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.domain.event import Event
from affidavit.domain.optimization.events import IterationCompleted, PhaseCompleted, PhaseStarted, PromptEvaluated
from affidavit.projections.runs.record import RunRecord
from affidavit.projections.runs.rewrite_history import (
    NO_PEER_ENTRIES,
    PeerEntry,
    peer_entries,
    peer_json,
    peer_text,
    run_changes,
    true_json,
    true_text,
)


def test_the_peer_pairs_each_change_with_the_difference_before_it(run: RunRecord) -> None:
    assert peer_text(peer_entries(run)).splitlines() == [
        "Iter 1 (score: 0.2500, Δ+0.0000 — ✗ no effect): Added a length limit",
        "Iter 2 (score: 0.7500, Δ+0.5000 — ✓ helped): Switched to XML",
        "Iter 3 (score: 0.5500, Δ-0.2000 — ✗ hurt): Reverted XML",
    ]


def test_the_true_history_puts_each_effect_beside_its_cause(run: RunRecord) -> None:
    assert true_text(run_changes(run)).splitlines() == [
        "Change 1 (after iteration 1): 0.2500 → 0.7500"
        " (Δ+0.5000, over the 4 samples that both share — ✓ helped): Added a length limit",
        "Change 2 (after iteration 2): 0.7500 → 0.5500"
        " (Δ−0.2000, over the 4 samples that both share — ✗ hurt): Switched to XML",
        "Change 3 (after iteration 3): from 0.5500, never measured: Reverted XML",
    ]
    assert true_json(run_changes(run))[1]["effect"]["direction"] == "hurt"


def test_samples_that_differ_are_not_compared(record_of: Any, run_events: list[Event]) -> None:
    events = []
    for event in run_events:
        if isinstance(event, PromptEvaluated) and event.evaluation == 3 and isinstance(event.samples, tuple):
            renamed = tuple(sample.model_copy(update={"id": f"other-{sample.id}"}) for sample in event.samples)
            event = event.model_copy(update={"samples": renamed})
        events.append(event)
    first = true_text(run_changes(record_of(events))).splitlines()[0]
    assert "from 0.2500, not comparable (other samples, metrics or kind of score)" in first


def test_without_samples_it_says_that_means_were_compared(record_of: Any, run_events: list[Event]) -> None:
    events = [
        event.model_copy(update={"samples": None}) if isinstance(event, PromptEvaluated) else event
        for event in run_events
    ]
    assert "(Δ+0.5000, means of the same split, n = 4 — ✓ helped)" in true_text(run_changes(record_of(events)))


def test_an_empty_log_is_told_in_the_peers_words(record_of: Any, run_events: list[Event]) -> None:
    assert peer_text(peer_entries(record_of(run_events[:2]))) == NO_PEER_ENTRIES
    assert true_text(run_changes(record_of(run_events[:2]))) == ""


@pytest.mark.parametrize(
    ("delta", "told"),
    [
        (0.005, "Δ+0.0050 — ✗ no effect"),
        (-0.005, "Δ-0.0050 — ✗ no effect"),
        (0.0050001, "Δ+0.0050 — ✓ helped"),
        (-0.0051, "Δ-0.0051 — ✗ hurt"),
    ],
)
def test_the_threshold_is_compared_on_unrounded_numbers(delta: float, told: str) -> None:
    assert peer_text([PeerEntry(1, 0.5, delta, "")]) == f"Iter 1 (score: 0.5000, {told}): (no summary)"


def test_a_run_in_phases_has_the_log_of_its_last_iterative_phase(record_of: Any, run_events: list[Event]) -> None:
    started = run_events[0].model_copy(update={"strategy": "auto"})
    first = [event.model_copy(update={"phase": 1}) for event in run_events[4:5]]
    later = [
        event.model_copy(update={"phase": 2}) if isinstance(event, IterationCompleted) else event
        for event in run_events[5:12]
    ]
    record = record_of(
        [
            started,
            *run_events[1:4],
            PhaseStarted(phase=1, axis="structural"),
            *first,
            PhaseCompleted(phase=1, axis="structural", iterations=1),
            PhaseStarted(phase=2, axis="iterative"),
            *later,
        ]
    )
    assert peer_json(peer_entries(record)) == [
        {"iteration": 1, "score": 0.75, "delta": 0.0, "change_summary": "Switched to XML"}
    ]


def test_a_withheld_summary_is_marked(withheld_run: RunRecord) -> None:
    assert peer_text(peer_entries(withheld_run)).splitlines()[0].endswith("): [withheld digest-of-change_summary]")
    assert peer_json(peer_entries(withheld_run))[0]["change_summary"] == {"withheld": "digest-of-change_summary"}


def test_a_summary_cannot_forge_a_line(record_of: Any, run_events: list[Event]) -> None:
    forged = run_events[5].model_copy(update={"change_summary": "small\nChange 9: 0.1 → 0.9"})
    text = true_text(run_changes(record_of([*run_events[:5], forged])))
    assert text == "Change 1 (after iteration 1): from 0.2500, never measured: small Change 9: 0.1 → 0.9"
