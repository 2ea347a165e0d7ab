"""What every store promises: durable, chained, in order, shared fairly, and never half."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from affidavit.domain.optimization.events import SourceKept
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Conflict, Malformed, Unavailable
from affidavit.ledger.events import ClockSteppedBack, ProjectionSealed
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import check, noted, together
from affidavit.tests.stores import every_store

pytestmark = every_store
SECOND = 1_000_000


def test_events_are_acknowledged_with_their_place_and_leaf_hash(ledger: Ledger) -> None:
    found = ledger.record(noted(0), noted(1), noted(0, "run/2"))
    with ledger.recorder.reading() as reader:
        rows = list(reader.entries(1))
    assert [(place.seq, place.leaf_hash) for place in found] == [(row.seq, leaf_hash(row.raw)) for row in rows]
    assert [(row.stream, row.pos) for row in rows] == [("run/1", 0), ("run/1", 1), ("run/2", 0)]
    check(ledger)


def test_tiles_fill_across_batches(ledger: Ledger) -> None:
    for start, stop in [(0, 250), (250, 260), (260, 800)]:
        ledger.record(*(noted(pos) for pos in range(start, stop)))
    assert len(check(ledger)) == 801
    with ledger.recorder.reading() as reader:
        assert [(level, n) for level, n, _, _ in reader.tiles()] == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("positions", [[1], [-1], [0, 2], [0, 0]])
def test_a_position_that_is_not_the_next_is_a_conflict_and_nothing_is_recorded(
    ledger: Ledger, positions: list[int]
) -> None:
    with pytest.raises(Conflict) as conflict:
        ledger.record(*(noted(pos) for pos in positions))
    assert conflict.value.stream == "run/1"
    assert len(check(ledger)) == 1


def test_a_conflict_says_what_was_expected_and_what_is(ledger: Ledger) -> None:
    ledger.record(noted(0))
    with pytest.raises(Conflict, match="stream run/1: expected next position 0, found 1"):
        ledger.record(noted(0))


def test_appenders_that_wait_share_one_commit_and_a_conflict_fails_alone(ledger: Ledger) -> None:
    """While one commit is under way, others gather; the next commit takes all of them."""
    answers = together(ledger, [[noted(0, "a/1")], [noted(5, "b/1")], [noted(0, "c/1"), noted(1, "c/1")]])
    assert [len(answer) if isinstance(answer, list) else type(answer) for answer in answers] == [1, Conflict, 2]
    events = check(ledger)
    assert {event.stream for event in events[2:]} == {"a/1", "c/1"}
    assert len({event.at for event in events[2:]}) == 1  # one commit, one time


def test_of_two_that_want_one_position_in_a_shared_commit_the_first_has_it(ledger: Ledger) -> None:
    answers = together(ledger, [[noted(0, "a/1")], [noted(0, "a/1")], [noted(1, "a/1")]])
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "list", "list"]
    assert len(check(ledger)) == 4


def test_notifications_are_numbered_from_one(ledger: Ledger) -> None:
    ledger.record(noted(0), noted(1))
    found = ledger.recorder.select_notifications(start=1, limit=10)
    assert [notification.id for notification in found] == [1, 2, 3]
    assert [notification.topic for notification in found][:2] == ["ledger.opened.v1", "projection.sealed.v1"]
    assert ledger.recorder.max_notification_id() == 3


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"start": None, "limit": 2}, [1, 2]),
        ({"start": 2, "limit": 9}, [2, 3, 4]),
        ({"start": 2, "limit": 9, "inclusive_of_start": False}, [3, 4]),
        ({"start": 1, "limit": 9, "stop": 3}, [1, 2, 3]),
        ({"start": 1, "limit": 9, "topics": ["source.kept.v1"]}, [4]),
        ({"start": 5, "limit": 9}, []),
    ],
)
def test_notifications_are_selected_as_the_library_asks(ledger: Ledger, options: Any, ids: list[int]) -> None:
    ledger.record(noted(0), noted(1), noted(2, event=SourceKept(name="n", content="c")))
    assert [notification.id for notification in ledger.recorder.select_notifications(**options)] == ids


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        ({}, [0, 1, 2, 3]),
        ({"gt": 1}, [2, 3]),
        ({"lte": 1}, [0, 1]),
        ({"gt": 0, "lte": 2, "desc": True}, [2, 1]),
        ({"desc": True, "limit": 1}, [3]),
    ],
)
def test_events_of_a_stream_are_selected_as_the_library_asks(
    ledger: Ledger, options: Any, positions: list[int]
) -> None:
    ledger.record(*(noted(pos) for pos in range(4)), noted(0, "run/2"))
    found = ledger.recorder.select_events("run/1", **options)
    assert [event.originator_version for event in found] == positions


def test_a_follower_sees_what_is_there_and_what_others_append_and_stops(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(noted(0))
    with (
        ledger.recorder.subscribe(gt=1) as follower,
        Ledger(ledger.place, tmp_path / "keys", REGISTRY, edge=ledger._edge, sign_in_background=False) as other,
    ):
        assert next(follower).id == 2
        waiting = threading.Thread(target=other.record, args=(noted(1), noted(2)))
        waiting.start()
        assert [next(follower).id, next(follower).id] == [3, 4]
        waiting.join()
        follower.stop()
        assert list(follower) == []


def test_a_follower_that_waits_is_woken_by_stop(ledger: Ledger) -> None:
    with ledger.recorder.subscribe(gt=1) as follower:
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.extend(follower))
        waiting.start()
        follower.stop()
        waiting.join(timeout=30)
        assert (waiting.is_alive(), found) == (False, [])


def test_who_waits_for_the_log_to_grow_is_told_of_what_is_there_and_of_what_others_append(
    ledger: Ledger, tmp_path: Path
) -> None:
    with (
        ledger.recorder.growing() as growth,
        Ledger(ledger.place, tmp_path / "keys", REGISTRY, edge=ledger._edge, sign_in_background=False) as other,
    ):
        assert growth.wait_past(0)
        waiting = threading.Thread(target=other.record, args=(noted(0),))
        waiting.start()
        assert growth.wait_past(1)
        waiting.join()
        assert growth.wait_past(1)  # as often as it is asked
        stopping = threading.Thread(target=growth.stop)
        stopping.start()
        assert not growth.wait_past(2)
        stopping.join()


def test_a_clock_that_steps_back_is_one_finding_until_it_catches_up(ledger: Ledger, now: list[int]) -> None:
    ledger.record(noted(0))
    last = now[0]
    now[0] -= 10 * SECOND
    ledger.record(noted(1))
    ledger.record(noted(2))
    now[0] = last + SECOND
    ledger.record(noted(3))
    now[0] -= 5 * SECOND
    ledger.record(noted(4))
    events = check(ledger)
    findings = [event.event for event in events if event.stream == "clock"]
    assert [event.seq for event in events if event.stream == "clock"] == [2, 6]
    assert findings == [ClockSteppedBack(behind=9.999999), ClockSteppedBack(behind=4.999999)]
    times = [event.at for event in events]
    assert times == sorted(times)
    assert len({event.at for event in events[1:5]}) == 1


def test_what_is_acknowledged_is_not_the_finding_before_it(ledger: Ledger, now: list[int]) -> None:
    now[0] -= SECOND
    (found,) = ledger.record(noted(0))
    assert found.seq == 2
    check(ledger)


def test_a_conflict_leaves_the_head_as_it_was(ledger: Ledger) -> None:
    """Its time too, which verify compares with the last entry's."""
    with ledger.recorder.reading() as reader:
        before = reader.head()
    with pytest.raises(Conflict):
        ledger.record(noted(7))
    with ledger.recorder.reading() as reader:
        assert reader.head() == before


def test_an_interrupted_commit_is_no_acknowledgement_for_who_shared_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger.recorder, "_seal", interrupted)
    appender = ledger.mapper.to_stored_event(noted(0))
    with pytest.raises(KeyboardInterrupt):
        ledger.recorder.append([appender])
    monkeypatch.undo()
    assert len(check(ledger)) == 1


def test_nobody_waits_for_one_who_was_interrupted_before_the_commit(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def __enter__(self) -> None:
            raise KeyboardInterrupt

        def __exit__(self, *_: object) -> None:
            """Never entered."""

    monkeypatch.setattr(ledger.recorder, "_commit_mutex", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        ledger.record(noted(0))
    monkeypatch.undo()
    later = threading.Thread(target=ledger.record, args=(noted(0),), daemon=True)
    later.start()
    later.join(timeout=30)
    assert not later.is_alive()
    assert len(check(ledger)) == 2


def test_closing_waits_for_who_commits_and_signs_it_and_nothing_comes_after(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = ledger.recorder._seal
    within, go_on = threading.Event(), threading.Event()
    acknowledged: list[int] = []

    def sealing(*given: Any) -> Any:
        within.set()
        go_on.wait()
        return seal(*given)

    monkeypatch.setattr(ledger.recorder, "_seal", sealing)
    appending = threading.Thread(target=lambda: acknowledged.extend(place.seq for place in ledger.record(noted(0))))
    appending.start()
    within.wait()
    closing = threading.Thread(target=ledger.close)
    closing.start()
    ledger.closing.wait()
    go_on.set()
    appending.join()
    closing.join()
    assert acknowledged == [1]
    with ledger.place.glance() as reader:
        latest = reader.latest_checkpoint()
        assert latest is not None
        assert latest[0] == 2
    with pytest.raises(Unavailable, match="closed here"):
        ledger.record(noted(1))


def test_an_entry_that_is_too_long_is_refused_and_nothing_is_recorded(ledger: Ledger) -> None:
    long = ProjectionSealed(name="x" * 65_535, version=1, upto=0, digest="0" * 64)
    with pytest.raises(Malformed, match="at most 65535"):
        ledger.record(noted(0), noted(1, event=long))
    assert len(check(ledger)) == 1


def test_events_of_another_mapper_are_a_slip_of_the_developer(ledger: Ledger) -> None:
    stored = ledger.recorder.select_events("ledger")
    with pytest.raises(TypeError, match="the ledger's own mapper"):
        ledger.recorder.insert_events(stored)
