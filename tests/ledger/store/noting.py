"""What the tests of a store record, and how they check all that is there."""

from __future__ import annotations

import threading
from collections.abc import Callable

from affidavit.domain.event import Event, Meta, NewEvent, Recorded
from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.chain import ChainedEntry
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.entries.mapper import PendingEntry
from affidavit.ledger.events import ProjectionSealed
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.tests.trees import root_of


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
