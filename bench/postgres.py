"""Appending to PostgreSQL: many clients, batches, and two ledgers at once, on a server that the measurement starts.

The server has its default settings and lies in /tmp. Clients are threads of one process, as those of a server of ours;
the two ledgers have a process each.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from eventsourcing.application import Application

from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, ratios, timed
from affidavit.bench.workload import BATCH, evaluations, library_event
from affidavit.domain.event import NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.store.postgres.connecting import parse_address
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.servers import VERSIONS, NotHere, Server, programs

CLIENTS = 16
RUNS_APART = 1_000_000
"""Each client records runs of its own."""


def newest_version() -> int | None:
    """The newest version of PostgreSQL that is on this machine."""
    for version in reversed(VERSIONS):
        try:
            programs(version)
        except NotHere:
            continue
        return version
    return None


def measure_postgres(bench: Bench) -> list[Row]:
    """Single appends from 16 clients and batches against plain ``eventsourcing``; two ledgers against one."""
    version = newest_version()
    if version is None:
        return []
    with running_server(version) as server:
        return [*_against_library(bench, server), _two_ledgers(bench, server)]


def _against_library(bench: Bench, server: Server) -> list[Row]:
    sizes = bench.sizes
    with (
        Ledger.create(place_of(server, "bench"), bench.ledgers.keys, REGISTRY, sign_in_background=False) as ledger,
        closing(_library(server)) as app,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        share = max(1, sizes.singles // CLIENTS)
        singles = interleave(
            {
                "affidavit": _from_all(clients, share, ledger.record, lambda event: event),
                "library": _from_all(clients, share, app.save, library_event),
            },
            sizes.windows,
        )
        ours, theirs = (evaluations(CLIENTS * RUNS_APART) for _ in range(2))
        batches = interleave(
            {"affidavit": _batches(ledger.record, ours), "library": _batches(app.save, map(library_event, theirs))},
            sizes.windows,
        )
    return [
        Row(
            f"postgres_{kind}",
            f"PostgreSQL {server.version}: {what}, against plain eventsourcing",
            "×",
            median_of(ratios(seconds["affidavit"], seconds["library"])),
            target,
            beside={
                "affidavit_per_second": events / median(seconds["affidavit"]),
                "library_per_second": events / median(seconds["library"]),
            },
        )
        for kind, what, events, seconds, target in (
            ("singles", f"one event at a time from {CLIENTS} clients", share * CLIENTS, singles, 3.0),
            ("batches", "batches of 1,000 from one client", BATCH, batches, 0.8),
        )
    ]


def _two_ledgers(bench: Bench, server: Server) -> Row:
    share = max(1, 2 * bench.sizes.singles // CLIENTS)
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(_Recording(server, bench.ledgers.keys, name, share)) for name in ("first", "second")
        )
        seconds = interleave(
            {"one": lambda: timed(lambda: first.run()), "two": lambda: timed(lambda: first.run(second))},
            4 * bench.sizes.windows,  # its ratios spread the most
        )
    return Row(
        "postgres_two_ledgers",
        f"PostgreSQL {server.version}: two ledgers together against one, a process with {CLIENTS // 2} clients each",
        "×",
        median_of([2 * one / two for one, two in zip(seconds["one"], seconds["two"], strict=True)]),
        1.6,
        beside={
            "one_per_second": share * CLIENTS // 2 / median(seconds["one"]),
            "two_per_second": share * CLIENTS / median(seconds["two"]),
        },
    )


def _from_all(
    clients: ThreadPoolExecutor, share: int, save: Callable[[Any], object], made: Callable[[NewEvent], Any]
) -> Side:
    streams = [evaluations(n * RUNS_APART) for n in range(CLIENTS)]

    def side() -> float:
        ready = [[made(event) for event in islice(stream, share)] for stream in streams]
        return timed(lambda: list(clients.map(lambda events: [save(event) for event in events], ready)))

    return side


def _batches(save: Callable[..., object], events: Iterator[Any]) -> Side:
    def side() -> float:
        batch = list(islice(events, BATCH))
        return timed(lambda: save(*batch))

    return side


def place_of(server: Server, name: str) -> PostgresPlace:
    return PostgresPlace(parse_address(f"{server.url()}&ledger={name}"))


def _library(server: Server) -> Application[str]:
    """Plain ``eventsourcing`` with its JSON mapper, as durable as ours, and as many connections as it has clients."""
    return Application(
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": "postgres",
            "POSTGRES_HOST": str(server.home),
            "POSTGRES_PORT": "5432",
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": "",
            "POSTGRES_POOL_SIZE": str(CLIENTS),
            "POSTGRES_CONNECT_TIMEOUT": "60",
            "ORIGINATOR_ID_TYPE": "text",
        }
    )


@contextmanager
def running_server(version: int) -> Iterator[Server]:
    server = Server(version)
    try:
        yield server.start()
    finally:
        server.delete()


class _Recording:
    """A process that appends to a ledger of its own whenever it is told to."""

    def __init__(self, server: Server, keys: Path, name: str, share: int) -> None:
        place = place_of(server, name)
        Ledger.create(place, keys, REGISTRY, sign_in_background=False).close()
        command = [sys.executable, "-m", "affidavit.bench.postgres", f"{server.url()}&ledger={name}", str(keys)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([*command, str(share)], stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> _Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, *others: _Recording) -> None:
        """Let it append once, and the others at the same time; returns when all are done."""
        for each in (self, *others):
            assert each._process.stdin is not None
            each._process.stdin.write("go\n")
            each._process.stdin.flush()
        for each in (self, *others):
            assert each._process.stdout is not None
            each._process.stdout.readline()


def _record_when_told(address: str, keys: Path, share: int) -> None:
    place = PostgresPlace(parse_address(address))
    with (
        Ledger(place, keys, REGISTRY, sign_in_background=False) as ledger,
        ThreadPoolExecutor(CLIENTS // 2) as clients,
    ):
        streams = [evaluations(n * RUNS_APART) for n in range(CLIENTS // 2)]
        for _ in sys.stdin:
            ready = [list(islice(stream, share)) for stream in streams]
            list(clients.map(lambda events: [ledger.record(event) for event in events], ready))
            print("done", flush=True)


if __name__ == "__main__":
    _record_when_told(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
