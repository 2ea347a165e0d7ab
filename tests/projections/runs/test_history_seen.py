"""The rewrite history that a model saw: as recorded, rebuilt for an import, or not known."""

from __future__ import annotations

from collections.abc import Sequence

from affidavit.domain.event import Event, Withheld
from affidavit.domain.optimization.events import RewriteProposed, RunStarted
from affidavit.projections.runs.history_seen import history_seen
from affidavit.projections.runs.record import RunRecord
from affidavit.projections.runs.rewrite_history import NO_PEER_ENTRIES

from ..conftest import RecordOf


def _imported(events: Sequence[Event]) -> list[Event]:
    return [
        event.model_copy(update={"imported_from": "aevyra-reflex 0.2.0"}) if isinstance(event, RunStarted) else event
        for event in events
    ]


def _without_history(events: Sequence[Event]) -> list[Event]:
    return [
        event.model_copy(update={"history": None}) if isinstance(event, RewriteProposed) else event for event in events
    ]


def test_what_is_recorded_beside_the_rewrite_is_what_the_model_saw(run: RunRecord) -> None:
    rewrite = run.rewrites[0].model_copy(update={"history": "Change 1: …"})
    assert history_seen(run, rewrite).text == "Change 1: …"
    assert history_seen(run, rewrite).basis == "recorded"


def test_an_erased_history_stays_a_placeholder(run: RunRecord) -> None:
    hidden = Withheld("digest", "erased")
    assert history_seen(run, run.rewrites[0].model_copy(update={"history": hidden})).text is hidden


def test_a_run_that_was_driven_without_one_has_none(run_events: list[Event], record_of: RecordOf) -> None:
    record = record_of(_without_history(run_events))
    assert history_seen(record, record.rewrites[1]).basis == "unknown"


def test_an_import_is_shown_the_log_as_far_as_it_went_before_the_rewrite(
    run_events: list[Event], record_of: RecordOf
) -> None:
    record = record_of(_imported(_without_history(run_events)))
    seen = [history_seen(record, rewrite) for rewrite in record.rewrites]
    assert {found.basis for found in seen} == {"rebuilt"}
    assert seen[0].text == NO_PEER_ENTRIES
    told = [str(found.text).splitlines() for found in seen[1:]]
    assert [len(lines) for lines in told] == list(range(1, len(told) + 1))
    assert told[-1][0].startswith("Iter 1 (score: ")
