"""What the SQLite store promises: durable, chained, in order, shared fairly, and never half."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from affidavit.domain.event import Event, Meta, NewEvent, Recorded
from affidavit.domain.optimization.events import SourceKept
from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.chain import ChainedEntry
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.entries.mapper import PendingEntry
from affidavit.ledger.errors import Conflict, Malformed, Unavailable, UnsupportedFormat
from affidavit.ledger.events import ClockSteppedBack, ProjectionSealed
from affidavit.ledger.store.reader import LedgerReader
from affidavit.ledger.store.sqlite.reader import SqliteReader
from affidavit.ledger.store.sqlite.recorder import Follower, open_datastore
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.projections.registry import REGISTRY
from affidavit.tests.trees import root_of

TABLES = ("ledger", "entries", "boxes", "tiles", "checkpoints")
SECOND = 1_000_000


def noted(pos: int, stream: str = "run/1", event: Event | None = None) -> NewEvent:
    return NewEvent(
        stream, pos, event or ProjectionSealed(name="n", version=1, upto=max(pos, 0), digest="0" * 64), Meta()
    )


def check(ledger: Ledger) -> list[Recorded]:
    """Derive everything again from the stored bytes, and return the events."""
    with ledger.recorder.reading() as reader:
        rows, head = list(reader.entries()), reader.head()
        prev = bytes(32)
        for seq, row in enumerate(rows):
            entry = parse_entry(row.raw)
            assert (row.seq, entry["seq"], entry["prev"], row.leaf) == (seq, seq, prev.hex(), leaf_hash(row.raw))
            assert (row.stream, row.pos, row.type_name) == (entry["stream"], entry["pos"], entry["type"])
            prev = row.leaf
        assert (head.size, head.leaf, head.root()) == (len(rows), prev, root_of(row.leaf for row in rows))
        for level, n, root, hashes in reader.tiles():
            assert (level, hashes) == (0, b"".join(row.leaf for row in rows[n * 256 : n * 256 + 256]))
            assert root == root_of(row.leaf for row in rows[n * 256 : n * 256 + 256])
        return list(ledger.event_reader(reader).events())


def database_of(reader: LedgerReader) -> sqlite3.Connection:
    assert isinstance(reader, SqliteReader)
    return reader._db


def database(ledger: Ledger) -> Path:
    return ledger.folder / "ledger.db"


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
        Ledger(ledger.folder, tmp_path / "keys", REGISTRY, edge=ledger._edge, sign_in_background=False) as other,
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
        assert isinstance(follower, Follower)
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.extend(follower))
        waiting.start()
        follower.stop()
        waiting.join(timeout=30)
        assert (waiting.is_alive(), found) == (False, [])


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET {}={}"])
def test_the_tables_of_evidence_refuse_to_change(ledger: Ledger, table: str, statement: str) -> None:
    ledger.record(*(noted(pos) for pos in range(256)), noted(256, event=SourceKept(name="n", content="c")))
    ledger.sign()
    with closing(sqlite3.connect(database(ledger))) as db:
        column = db.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
        with pytest.raises(sqlite3.IntegrityError, match=f"{table} only grows"):
            db.execute(statement.format(table, column, column))


def test_every_connection_is_set_for_durability(ledger: Ledger) -> None:
    with ledger.recorder.reading() as one, ledger.recorder.reading() as two:
        for reader in (one, two):
            found = [
                database_of(reader).execute(f"PRAGMA {pragma}").fetchone()[0]
                for pragma in ("journal_mode", "synchronous", "secure_delete", "trusted_schema", "mmap_size")
            ]
            assert found == ["wal", 2, 1, 0, 0]


def test_an_append_begins_with_a_write(ledger: Ledger) -> None:
    """A read first could not be upgraded once another process has committed."""
    statements: list[str] = []
    with ledger.recorder.reading() as reader:
        connection = database_of(reader)
    connection.set_trace_callback(statements.append)
    ledger.record(noted(0))
    connection.set_trace_callback(None)
    assert statements[:2] == ["BEGIN", "UPDATE head SET size=size RETURNING size, leaf, at, frontier, held"]
    assert statements[-1] == "COMMIT"


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


def test_a_full_disk_is_said_and_nothing_is_recorded(ledger: Ledger) -> None:
    with ledger.recorder.reading() as reader:
        pages = database_of(reader).execute("PRAGMA page_count").fetchone()[0]
        database_of(reader).execute(f"PRAGMA max_page_count={pages}")
        connection = database_of(reader)
    with pytest.raises(Unavailable, match="full"):
        ledger.record(*(noted(pos) for pos in range(200)))
    assert len(check(ledger)) == 1
    connection.execute("PRAGMA max_page_count=1000000")
    ledger.record(noted(0))
    assert len(check(ledger)) == 2


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


def test_an_entry_that_is_too_long_is_refused_and_nothing_is_recorded(ledger: Ledger) -> None:
    long = ProjectionSealed(name="x" * 65_535, version=1, upto=0, digest="0" * 64)
    with pytest.raises(Malformed, match="at most 65535"):
        ledger.record(noted(0), noted(1, event=long))
    assert len(check(ledger)) == 1


def test_events_of_another_mapper_are_a_slip_of_the_developer(ledger: Ledger) -> None:
    stored = ledger.recorder.select_events("ledger")
    with pytest.raises(TypeError, match="the ledger's own mapper"):
        ledger.recorder.insert_events(stored)


def damage(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def test_a_newer_schema_is_not_opened(ledger: Ledger) -> None:
    ledger.close()
    damage(database(ledger), "PRAGMA user_version=2")
    with pytest.raises(UnsupportedFormat, match="ledger format 2"):
        open_datastore(database(ledger))


def test_another_database_is_refused_and_not_one_byte_of_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    damage(path, "CREATE TABLE accounts (id)")
    before = path.read_bytes()
    with pytest.raises(Unavailable, match="not an Affidavit ledger"):
        open_datastore(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["ledger.db"]


@pytest.mark.parametrize("content", [b"", b"no database at all, but text" * 100])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"ledger\.db"):
        open_datastore(path)
    assert path.read_bytes() == content


def test_a_database_that_may_only_be_read_is_said_to_be_so(ledger: Ledger) -> None:
    """As root a file's mode forbids nothing, so the connection itself is told."""
    with ledger.recorder.reading() as reader:
        database_of(reader).execute("PRAGMA query_only=ON")
        connection = database_of(reader)
    with pytest.raises(Unavailable, match="readonly"):
        ledger.record(noted(0))
    connection.execute("PRAGMA query_only=OFF")
    assert len(check(ledger)) == 1


def together(ledger: Ledger, batches: list[list[NewEvent]]) -> list[list[ChainedEntry] | Exception]:
    """Append each batch from its own thread, all gathered behind a commit that is held up on purpose."""
    recorder = ledger.recorder
    pending: list[list[PendingEntry]] = [[ledger.mapper.to_stored_event(event) for event in batch] for batch in batches]
    answers: dict[int, list[ChainedEntry] | Exception] = {}
    held, release = threading.Event(), threading.Event()
    clock: Callable[[], int] = recorder._clock

    def slow_clock() -> int:
        held.set()
        release.wait(timeout=30)
        return clock()

    def append(n: int) -> None:
        try:
            answers[n] = recorder.append(pending[n])
        except Exception as error:
            answers[n] = error

    recorder._clock = slow_clock
    first = threading.Thread(target=recorder.append, args=([ledger.mapper.to_stored_event(noted(0, "first/1"))],))
    first.start()
    assert held.wait(timeout=30)
    threads = [threading.Thread(target=append, args=(n,)) for n in range(len(batches))]
    for thread in threads:
        thread.start()
    while len(recorder._waiting) < len(batches):
        threading.Event().wait(0.001)  # until all have queued; there is nothing to wait on but the queue
    release.set()
    for thread in (first, *threads):
        thread.join(timeout=30)
    return [answers[n] for n in range(len(batches))]
