"""How far read models lag behind, at half the rate at which entries can be appended at most.

Both in one process, as a server of ours has it: clients that append, and the follower that brings the read models up to
date as they do. First the clients append as fast as they can, and nothing follows. Then they append at half that rate
on a schedule that does not wait for them: who is late begins the next at once. Meanwhile the database is asked again
and again how far every read model has come, and an entry's lag is the time from its acknowledgement to the first
answer that is past it.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from statistics import median

from affidavit.api.following import Following
from affidavit.api.moment import LiveLedger
from affidavit.bench.postgres import CLIENTS, RUNS_APART, newest_version, place_of, running_server
from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import quantile_of
from affidavit.bench.workload import BATCH, evaluations
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runner import VIEWS, views_engine
from affidavit.tests.servers import Server

_WINDOWS = 3
_WINDOW_SECONDS = 3.0
_POLL_SECONDS = 0.005
_PATIENCE_SECONDS = 120
_SAMPLES = 300
_QUANTILE = 0.95

Append = Callable[[], int]
"""Appends once, and returns how many entries the log has with it."""


def measure_lag(bench: Bench) -> list[Row]:
    """Single events of 16 clients, and batches of one."""
    version = newest_version()
    if version is None:
        return []
    with running_server(version) as server:
        return [
            _lag(bench, server, "singles", f"one event at a time from {CLIENTS} clients", CLIENTS, 1),
            _lag(bench, server, "batches", f"batches of {BATCH:,} from one client", 1, BATCH),
        ]


def _lag(bench: Bench, server: Server, kind: str, what: str, clients: int, batch: int) -> Row:
    seconds = bench.sizes.lag_seconds
    with (
        Ledger.create(place_of(server, f"lag_{kind}"), bench.ledgers.keys, REGISTRY) as ledger,
        closing(LiveLedger(ledger)) as live,
        ThreadPoolExecutor(clients) as pool,
    ):
        appends = [_appending(ledger, number, batch) for number in range(clients)]
        most = median(_rate(pool, appends, min(_WINDOW_SECONDS, seconds)) for _ in range(_WINDOWS)) * batch
        live.catch_up()  # with what the windows left
        seen, following = _Seen(ledger), Following(live)
        seen.start()
        following.start()
        try:
            begun = time.monotonic()
            acknowledged, latest = _paced(pool, appends, most / 2 / batch, seconds)
            taken = time.monotonic() - begun
            seen.wait_for(max(size for _, size in acknowledged))
        finally:
            following.stop()
            seen.stop()
    lags = [seen.reached_at(size) - at for at, size in acknowledged]
    every = max(1, len(lags) // _SAMPLES)
    return Row(
        f"projections_lag_{kind}",
        f"PostgreSQL {server.version}: 95th percentile of the read models' lag at half the maximum rate, {what}",
        "s",
        quantile_of(lags[::every], _QUANTILE),
        1.0,
        "at most",
        beside={
            "median_seconds": median(lags),
            "longest_seconds": max(lags),
            "acknowledgements": float(len(lags)),
            "maximum_per_second": most,
            "reached_per_second": len(acknowledged) * batch / taken,
            "longest_behind_schedule_seconds": latest,
        },
    )


def _appending(ledger: Ledger, number: int, batch: int) -> Append:
    events = evaluations(number * RUNS_APART)
    return lambda: ledger.record(*islice(events, batch))[-1].seq + 1


def _rate(pool: ThreadPoolExecutor, appends: Sequence[Append], seconds: float) -> float:
    """How often a second all together append when nobody waits."""
    begun = time.monotonic()

    def run(append: Append) -> int:
        done = 0
        while time.monotonic() - begun < seconds:
            append()
            done += 1
        return done

    return sum(pool.map(run, appends)) / (time.monotonic() - begun)


def _paced(
    pool: ThreadPoolExecutor, appends: Sequence[Append], rate: float, seconds: float
) -> tuple[list[tuple[float, int]], float]:
    """When each was acknowledged and how many entries there were by then, in order; how late one began at worst."""
    begun = time.monotonic()
    own_pause = len(appends) / rate

    def run(number: int) -> tuple[list[tuple[float, int]], float]:
        due = begun + number / rate
        acknowledged, latest = [], 0.0
        while due - begun < seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            latest = max(latest, time.monotonic() - due)
            size = appends[number]()
            acknowledged.append((time.monotonic(), size))
            due += own_pause
        return acknowledged, latest

    parts = list(pool.map(run, range(len(appends))))
    return sorted(each for part, _ in parts for each in part), max(latest for _, latest in parts)


@dataclass
class _Reached:
    at: float
    size: int


class _Seen:
    """Asks how far the read models have come, and notes when it was further than before."""

    def __init__(self, ledger: Ledger) -> None:
        self._engine = views_engine(ledger.place.views)
        self._reached: list[_Reached] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._engine.dispose()

    def wait_for(self, size: int) -> None:
        """Until all of them have come so far; an error where they do not in time."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while not self._reached or self._reached[-1].size < size:
            if time.monotonic() > until or not self._thread.is_alive():
                raise RuntimeError(f"the read models did not reach {size} entries")
            time.sleep(_POLL_SECONDS)

    def reached_at(self, size: int) -> float:
        """When it was first seen that they had come so far."""
        return self._reached[bisect_right(self._reached, size - 1, key=lambda each: each.size)].at

    def _look(self) -> None:
        with self._engine.connect() as connection:
            while not self._stopped.wait(_POLL_SECONDS):
                count, size = connection.exec_driver_sql("SELECT count(*), min(size) FROM tracking").one()
                connection.rollback()
                now = time.monotonic()
                if count == len(VIEWS) and (not self._reached or size > self._reached[-1].size):
                    self._reached.append(_Reached(now, size))
