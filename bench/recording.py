"""Appending: single commits and batches."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from statistics import median

from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, ratios, timed
from affidavit.bench.workload import BATCH, TEXT, evaluations, library_application, library_event
from affidavit.domain.event import NewEvent
from affidavit.ledger.application import Ledger


def measure_append(bench: Bench) -> list[Row]:
    """One event per commit against bare sqlite3 commits of an entry's bytes."""
    sizes = bench.sizes
    with bench.ledgers.create("append") as ledger, closing(bare_table(bench.folder / "bare.db")) as bare:
        events = evaluations()
        ledger.record(*islice(events, sizes.singles))
        with ledger.recorder.reading() as reader:
            raws = [row.raw for row in reader.entries(1)]  # the bytes that the bare side commits
        seqs = count()
        seconds = interleave(
            {
                "affidavit": recording_singly(ledger, events, sizes.singles),
                "bare": lambda: timed(lambda: commit_each(bare, raws, seqs)),
                "sync": _syncing(bench.folder / "synced", sizes.singles),
            },
            sizes.windows,
        )
    return [
        Row(
            "append",
            "durable append, one event per commit, against bare sqlite3 commits of as many bytes",
            "×",
            median_of(ratios(seconds["affidavit"], seconds["bare"])),
            0.7,
            beside={
                "affidavit_per_second": sizes.singles / median(seconds["affidavit"]),
                "bare_per_second": sizes.singles / median(seconds["bare"]),
                "fdatasync_microseconds": 1e6 * median(seconds["sync"]) / sizes.singles,
                "bytes_per_entry": sum(map(len, raws)) / len(raws),
            },
        )
    ]


def measure_batch(bench: Bench) -> list[Row]:
    """1,000 events in one commit against plain ``eventsourcing``, without and with a sealed field."""
    return [
        _batch_row(bench, "batch", "durable append, batches of 1,000, against plain eventsourcing", None, 0.9),
        _batch_row(bench, "batch_sealed", "the same, with one sealed field of 450 bytes", TEXT, 0.7),
    ]


def _batch_row(bench: Bench, name: str, what: str, text: str | None, target: float) -> Row:
    app = library_application(bench.folder / f"{name}-library.db")
    with app, bench.ledgers.create(name) as ledger:
        ours, theirs = evaluations(text=text), map(library_event, evaluations(text=text))

        def save() -> float:
            batch = list(islice(theirs, BATCH))
            return timed(lambda: app.save(*batch))

        seconds = interleave({"affidavit": recording_batches(ledger, ours), "library": save}, bench.sizes.windows)
        beside = {
            "affidavit_per_second": BATCH / median(seconds["affidavit"]),
            "library_per_second": BATCH / median(seconds["library"]),
        }
        if text is not None:
            # The windows go on with runs that have their keys; a run's first sealed field costs this besides.
            beside["new_scope_milliseconds"] = 1000 * median(_seconds_per_new_scope(ledger, bench.sizes.windows))
    return Row(name, what, "×", median_of(ratios(seconds["affidavit"], seconds["library"])), target, beside=beside)


def recording_batches(ledger: Ledger, events: Iterator[NewEvent]) -> Side:
    def record() -> float:
        batch = list(islice(events, BATCH))
        return timed(lambda: ledger.record(*batch))

    return record


def recording_singly(ledger: Ledger, events: Iterator[NewEvent], number: int) -> Side:
    def record() -> float:
        ready = list(islice(events, number))
        return timed(lambda: [ledger.record(event) for event in ready])

    return record


def bare_table(path: Path) -> sqlite3.Connection:
    """What ours is held against: a table in WAL mode, each INSERT durable by itself."""
    db = sqlite3.connect(path, isolation_level=None)  # each INSERT is its own transaction
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, entry BLOB)")
    return db


def commit_each(db: sqlite3.Connection, raws: Sequence[bytes], seqs: Iterator[int]) -> None:
    """One commit for each of ``raws``."""
    for raw in raws:
        db.execute("INSERT INTO entries VALUES (?, ?)", (next(seqs), raw))


def _syncing(path: Path, number: int) -> Side:
    """What the disk alone takes: a page overwritten and made durable, which every commit waits for."""

    def sync() -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            for _ in range(number):
                os.pwrite(descriptor, bytes(4096), 0)
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    return lambda: timed(sync)


def _seconds_per_new_scope(ledger: Ledger, number: int) -> list[float]:
    def make(scope: str) -> Callable[[], object]:
        return lambda: ledger.scopes.cipher_for_sealing(scope)

    return [timed(make(f"run/new-{n}")) for n in range(number)]
