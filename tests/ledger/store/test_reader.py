"""Queries that pages ask: each by itself, bounded, and as of a size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Malformed
from affidavit.ledger.events import ClockSteppedBack, RetentionDeclared
from affidavit.ledger.store.reader import LedgerReader
from affidavit.tests.stores import every_store

pytestmark = every_store
META = Meta(recorder="test")


@pytest.fixture
def reader(ledger: Ledger) -> Iterator[LedgerReader]:
    """Entry 0 opens the log; 1 to 30 are in turn of the streams a/0 to a/2 and of b; 31 is in the stream retention."""
    for n in range(30):
        stream = ("run/0", "run/1", "run/2", "run_b")[n % 4]
        ledger.record(NewEvent(stream, n // 4, ClockSteppedBack(behind=n + 1), META))
        if n == 9:
            ledger.sign()
    ledger.record(NewEvent("retention", 0, RetentionDeclared(days={"run": 1}), META))
    ledger.sign()
    with ledger.place.beside() as opened:
        yield opened


def test_the_newest_come_first(reader: LedgerReader) -> None:
    assert [row.seq for row in reader.newest(32, 3)] == [31, 30, 29]
    assert [row.seq for row in reader.newest(2, 3)] == [1, 0]
    assert [(row.seq, row.pos) for row in reader.newest_of_stream("run/1", 3, 2)] == [(10, 2), (6, 1)]


def test_looking_back_is_bounded_and_says_how_far_it_looked(reader: LedgerReader) -> None:
    found, low = reader.look_back(32, 5, 10, type_name="retention.declared.v1")
    assert ([row.seq for row in found], low) == ([31], 22)
    assert reader.look_back(22, 5, 10, type_name="retention.declared.v1") == ([], 12)
    found, low = reader.look_back(32, 3, 100, category="run")
    assert ([row.seq for row in found], low) == ([30, 29, 27], 27)
    assert {row.stream for row in reader.look_back(32, 50, 100, category="run_b")[0]} == {"run_b"}
    assert reader.look_back(32, 50, 100, category="ledger")[0][0].seq == 0


def test_entries_are_counted_by_category_and_type(reader: LedgerReader) -> None:
    assert reader.count_types(1, 32) == [
        ("run", "clock.stepped_back.v1", 23),
        ("run_b", "clock.stepped_back.v1", 7),
        ("retention", "retention.declared.v1", 1),
    ]


def test_streams_are_listed_category_by_category(reader: LedgerReader) -> None:
    assert reader.categories() == ["ledger", "retention", "run", "run_b"]
    assert reader.stream_names("run", "", 2) == ["run/0", "run/1"]
    assert reader.stream_names("run", "run/1", 2) == ["run/2"]
    assert reader.stream_names("run_b", "", 9) == ["run_b"]
    assert reader.stream_names("nothing", "", 9) == []


def test_positions_and_seqs_lead_to_each_other(reader: LedgerReader) -> None:
    assert [reader.events_before("run/0", before) for before in (0, 1, 2, 5, 6, 1000)] == [0, 0, 1, 1, 2, 8]
    assert reader.events_before("nothing", 1000) == 0
    assert reader.seq_of("run/0", 2) == 9
    with pytest.raises(Malformed, match="position 99"):
        reader.seq_of("run/0", 99)


def test_checkpoints_are_found_by_their_size(reader: LedgerReader) -> None:
    assert [size for size, _ in reader.newest_checkpoints(32, 5)] == [32, 11, 1]
    assert [size for size, _ in reader.newest_checkpoints(31, 1)] == [11]
    assert reader.newest_checkpoints(0, 5) == []
    for least, size in ((0, 1), (2, 11), (11, 11), (12, 32)):
        found = reader.next_checkpoint(least)
        assert found is not None
        assert found[0] == size
    assert reader.next_checkpoint(33) is None


def test_what_is_read_beside_a_writer_is_one_state(ledger: Ledger, reader: LedgerReader) -> None:
    ledger.record(NewEvent("run/0", 8, ClockSteppedBack(behind=1), META))
    assert reader.head().size == 32
    with ledger.place.beside() as later:
        assert later.head().size == 33
