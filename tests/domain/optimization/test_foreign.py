"""What is recorded of other optimisers: which recording may go on, and summaries that contradict their files."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, Withheld
from affidavit.domain.optimization.events import RunCompleted, RunStarted, SourceKept
from affidavit.domain.optimization.foreign import (
    EVENTS,
    CheckpointSaved,
    FileSaved,
    IterationSaved,
    LogSaved,
    RecordingClosed,
    RecordingOpened,
    Recordings,
)
from affidavit.domain.optimization.run import RunState, decide, evolve
from affidavit.projections.registry import REGISTRY

STARTED = RunStarted(
    run="001", directory="001_x", timestamp="t", strategy="iterative", system_prompt="Answer.", config={}
)


def after(*events: Event) -> Recordings:
    recordings = Recordings()
    for event in events:
        recordings.apply(event)
    return recordings


OPENED = RecordingOpened(recording=1, system="aevyra-reflex")
SUPERSEDING = RecordingOpened(recording=2, system="aevyra-reflex", supersedes=1)
CLOSED = RecordingClosed(recording=1, reason="completed")


def test_recordings_count_and_name_what_they_supersede() -> None:
    assert after().open_next("aevyra-reflex") == OPENED
    assert after(OPENED).open_next("aevyra-reflex") == SUPERSEDING
    assert after(OPENED, CLOSED).open_next("x") == RecordingOpened(recording=2, system="x")


@pytest.mark.parametrize(
    ("events", "recording", "rule"),
    [
        ((), None, None),
        ((OPENED,), 1, None),
        ((OPENED,), None, "recording_open"),
        ((OPENED, CLOSED), None, None),
        ((OPENED, SUPERSEDING), 2, None),
        ((OPENED, SUPERSEDING), 1, "recording_superseded"),
        ((OPENED, SUPERSEDING, RecordingClosed(recording=2, reason="stopped")), 1, "recording_superseded"),
        ((OPENED, SUPERSEDING, CLOSED), 2, None),
    ],
)
def test_only_the_newest_recording_goes_on(events: tuple[Event, ...], recording: int | None, rule: str | None) -> None:
    if rule is None:
        after(*events).require("001", recording)
        return
    with pytest.raises(Refused) as refused:
        after(*events).require("001", recording)
    assert refused.value.rule == rule


@pytest.mark.parametrize(
    ("event", "agrees"),
    [
        (CheckpointSaved(name="c", revision=0, completed_iterations=2, content={"completed_iterations": 2}), True),
        (CheckpointSaved(name="c", revision=0, completed_iterations=3, content={"completed_iterations": 2}), False),
        (CheckpointSaved(name="c", revision=0, completed_iterations=3, content=Withheld("d")), True),
        (LogSaved(name="l", revision=0, lines=2, content=[{}, {}]), True),
        (LogSaved(name="l", revision=0, lines=1, content=[{}, {}]), False),
        (LogSaved(name="l", revision=0, lines=1, content=Withheld("d")), True),
        (IterationSaved(name="i", revision=0, iteration=1, content={"iteration": 1}), True),
        (IterationSaved(name="i", revision=0, iteration=2, content={"iteration": 1}), False),
        (FileSaved(name="f", revision=0, content="text"), True),
    ],
)
def test_a_summary_that_contradicts_its_file_is_told(event: Event, agrees: bool) -> None:
    assert (event.disagreement() is None) is agrees


def test_every_event_is_registered_and_belongs_to_a_run_also_after_its_end() -> None:
    state = RunState()
    evolve(state, decide(state, STARTED))
    evolve(state, decide(state, RunCompleted(reason="stopped", converged=False)))
    known: dict[str, Any] = {"name": "f", "revision": 0, "content": {}, "iteration": 1, "lines": 0, "hook": "h"}
    known |= {"recording": 1, "system": "s", "reason": "r"}
    for kind in EVENTS:
        event = kind(**{name: value for name, value in known.items() if name in kind.model_fields})
        assert decide(state, event) is event
        assert kind.type_name in REGISTRY
        with pytest.raises(Refused):
            decide(RunState(), event)


def test_files_are_kept_where_other_sources_are() -> None:
    """Readers of kept sources, such as the rebuilt directory, read these without knowing them."""
    assert {kind.type_name for kind in EVENTS if not issubclass(kind, SourceKept)} == {
        "recording.opened.v1",
        "recording.closed.v1",
    }
    assert FileSaved.sealed_fields == ("content",)
    assert IterationSaved.sealed_fields == ("content", "change_summary")
