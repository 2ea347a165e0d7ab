"""Whether a long ledger is slower than a short one: appends, receipts, overviews, and the memory they take.

Ledgers of 1,000 entries, ten times as many, and so on up to the large one are open at once and take turns, on SQLite
and on a server of PostgreSQL that the measurement starts. Each row is the speed of the largest against the smallest;
beside it stand the times at each size, and the factor by which a time grows with each tenfold, fitted to each window by
least squares over the logarithms. What is appended while it is measured makes the small ledgers longer: ``at_end`` says
how long they are then.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from math import log10
from pathlib import Path
from random import Random
from statistics import linear_regression, median

from affidavit.api.moment import LiveLedger
from affidavit.api.settings import ledger_place
from affidavit.bench.evaluating import APPENDED, DAYS, Session, overview, random_request, record, sessions
from affidavit.bench.postgres import newest_version, running_server
from affidavit.bench.reading import giving_receipts
from affidavit.bench.recording import recording_batches, recording_singly
from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, ratios, timed
from affidavit.bench.workload import BATCH, evaluations, fill
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY

NEW_RUNS = 900_000
"""The number of a run that no ledger has that was filled."""
_OTHER_RUNS = 800_000
_OTHER_SESSIONS = 50_000_000
_HIGH_WATER = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def measure_growth(bench: Bench) -> list[Row]:
    """On SQLite, and on PostgreSQL where it is on this machine."""
    rows = _rows(bench, "", "SQLite", lambda size: str(bench.folder / f"growth-{size}"))
    version = newest_version()
    if version is not None:
        with running_server(version) as server:
            rows += _rows(
                bench, "postgres_", f"PostgreSQL {version}", lambda size: f"{server.url()}&ledger=growth{size}"
            )
    return rows


def rungs(smallest: int, largest: int) -> list[int]:
    """From the smallest size to the largest, each ten times the one before but for the last."""
    found = [smallest]
    while found[-1] * 10 < largest:
        found.append(found[-1] * 10)
    return [*found, largest]


def per_tenfold(seconds: Mapping[int, Sequence[float]]) -> list[float]:
    """In each window, the factor by which the time grows with each tenfold of the size."""
    sizes = [log10(size) for size in seconds]
    return [
        10 ** linear_regression(sizes, [log10(taken) for taken in window]).slope
        for window in zip(*seconds.values(), strict=True)
    ]


def _rows(bench: Bench, prefix: str, where: str, address_of: Callable[[int], str]) -> list[Row]:
    addresses = {size: address_of(size) for size in rungs(bench.sizes.small, bench.sizes.large)}
    for size, address in addresses.items():
        grow(bench, address, size)
    return measured(bench, prefix, where, addresses)


def grow(bench: Bench, address: str, size: int) -> None:
    """Make a ledger of ``size`` entries, and some more: the sessions that the overviews are of."""
    drawn = _drawn(bench)
    with Ledger.create(ledger_place(address), bench.ledgers.keys, REGISTRY, sign_in_background=False) as ledger:
        fill(ledger, size)
        for start in range(0, len(drawn), 500):
            record(ledger, drawn[start : start + 500])


def _drawn(bench: Bench) -> list[Session]:
    return list(sessions(0, max(APPENDED, bench.sizes.sessions // 100), DAYS, 100))


def measured(bench: Bench, prefix: str, where: str, addresses: Mapping[int, str]) -> list[Row]:
    """The rows of ledgers that were grown: ``addresses`` from the smallest size to the largest."""
    sizes, keys, recorded = bench.sizes, bench.ledgers.keys, len(_drawn(bench))
    with ExitStack() as opened:
        ledgers = {
            size: opened.enter_context(Ledger(ledger_place(address), keys, REGISTRY, sign_in_background=False))
            for size, address in addresses.items()
        }
        events = {size: evaluations(NEW_RUNS) for size in ledgers}
        made: dict[str, tuple[str, int, dict[int, Side], int]] = {
            "singles": (
                "one event per commit",
                sizes.singles,
                {size: recording_singly(ledger, events[size], sizes.singles) for size, ledger in ledgers.items()},
                sizes.windows,
            ),
            "receipts": (
                "receipts",
                sizes.receipts,
                {size: giving_receipts(ledger, sizes.receipts) for size, ledger in ledgers.items()},
                sizes.windows,
            ),
            "overviews": (
                f"an overview of {recorded:,} sessions, with appends between",
                1,
                {
                    size: opened.enter_context(_asking(ledger, recorded, sizes.long_windows))
                    for size, ledger in ledgers.items()
                },
                sizes.long_windows,
            ),
            "batches": (
                "batches of 1,000",
                BATCH,
                {size: recording_batches(ledger, events[size]) for size, ledger in ledgers.items()},
                sizes.windows,
            ),
        }
        rows = []
        for name, (what, number, sides, windows) in made.items():
            found = interleave({str(size): side for size, side in sides.items()}, windows)
            rows.append(_row(f"{prefix}growth_{name}", f"{where}: {what}", number, found))
        at_end = {f"at_end_{size}": float(each.recorder.max_notification_id() or 0) for size, each in ledgers.items()}
    rows[-1].beside.update(at_end)
    return [*rows, _memory(bench, prefix, where, addresses)]


def _row(name: str, what: str, number: int, seconds: Mapping[str, Sequence[float]]) -> Row:
    smallest, *_, largest = seconds
    trend = median_of(per_tenfold({int(size): taken for size, taken in seconds.items()}))
    return Row(
        name,
        f"speed at {int(largest):,} entries against {int(smallest):,}, {what}",
        "×",
        median_of(ratios(seconds[largest], seconds[smallest])),
        1.0,
        "not below",
        beside={
            **{f"milliseconds_at_{size}": 1000 * median(taken) / number for size, taken in seconds.items()},
            "time_per_tenfold": trend.value,
            "at_least": trend.low,
            "at_most": trend.high,
        },
    )


@contextmanager
def _asking(ledger: Ledger, recorded: int, windows: int) -> Iterator[Side]:
    """Overviews of random windows, the same for every ledger; the read models are up to date before the first."""
    live = LiveLedger(ledger)
    fresh = count(recorded, APPENDED)
    asked = iter([random_request(Random(seed)) for seed in range(windows + 1)])

    def ask() -> float:
        record(ledger, list(sessions(next(fresh), APPENDED, 1, 1000)))
        request = {**next(asked), "session_lists": False}
        return timed(lambda: overview(live, request))

    try:
        overview(live, random_request(Random(0)))
        yield ask
    finally:
        live.close()


def _memory(bench: Bench, prefix: str, where: str, addresses: Mapping[int, str]) -> Row:
    """The kernel's high-water mark of a process that does all of it on one ledger, views already made."""
    smallest, *_, largest = addresses
    peaks = {}
    for size in (smallest, largest):
        command = [sys.executable, "-m", "affidavit.bench.growth", addresses[size], str(bench.ledgers.keys)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[size] = json.loads(done.stdout)["peak"] / 1_000_000
    return Row(
        f"{prefix}growth_memory",
        f"{where}: peak memory of a process that appends, proves and asks, at {largest:,} entries against {smallest:,}",
        "×",
        median_of([peaks[largest] / peaks[smallest]]),
        1.1,
        "at most",
        beside={f"megabytes_at_{size}": peak for size, peak in peaks.items()},
    )


def _work(address: str, keys: Path) -> None:
    with Ledger(ledger_place(address), keys, REGISTRY, sign_in_background=False) as ledger:
        events = evaluations(_OTHER_RUNS)
        for _ in range(5):
            ledger.record(*islice(events, BATCH))
        for event in islice(events, 50):
            ledger.record(event)
        giving_receipts(ledger, 20)()
        with _asking(ledger, _OTHER_SESSIONS, 3) as ask:
            ask()
    found = _HIGH_WATER.search(Path("/proc/self/status").read_text())
    print(json.dumps({"peak": 1024 * int(found[1]) if found else 0}))


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]))
