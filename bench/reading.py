"""Reading: receipts, rebuilding projections, and how soon the command answers."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, ratios, timed
from affidavit.ledger.application import Ledger
from affidavit.ledger.store.opening import EventReader
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.ledger.store.sqlite.reader import open_snapshot
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runner import catch_up, open_views


def measure_receipt(bench: Bench) -> list[Row]:
    """Receipts for entries at random, under a checkpoint that is already there."""
    sizes = bench.sizes
    long_folder, short_folder = (bench.ledgers.of_size(size) for size in (sizes.large, sizes.small))
    with bench.ledgers.open(long_folder) as long, bench.ledgers.open(short_folder) as short:
        seconds = interleave(
            {"long": giving_receipts(long, sizes.receipts), "short": giving_receipts(short, sizes.receipts)},
            sizes.windows,
        )
    each = {name: [1000 * taken / sizes.receipts for taken in found] for name, found in seconds.items()}
    ratio = median_of(ratios(each["short"], each["long"]))
    return [
        Row(
            "receipt",
            f"a receipt at {sizes.large:,} entries",
            "ms",
            median_of(each["long"]),
            1.0,
            "at most",
            beside={
                f"milliseconds_at_{sizes.small}": median(each["short"]),
                f"times_as_long_as_at_{sizes.small}": ratio.value,
                "at_most": ratio.high,
            },
        )
    ]


def measure_rebuild(bench: Bench) -> list[Row]:
    """Every view from zero, into a new database each time."""
    sizes = bench.sizes
    folder = bench.ledgers.of_size(sizes.verified)
    seconds = interleave({"rebuild": _rebuilding(folder)}, sizes.long_windows)["rebuild"]
    whole = _rebuilding(bench.ledgers.of_size(sizes.large))()
    long = bench.ledgers.of_size(sizes.middle)
    shared = interleave({"one": _rebuilding(long), "two": _rebuilding(long, jobs=2)}, sizes.exports)
    return [
        Row(
            "rebuild",
            f"rebuild of all projections of {sizes.verified:,} entries, each of which makes a row",
            "events/s",
            median_of([sizes.verified / taken for taken in seconds]),
            50_000,
            beside={f"once_over_{sizes.large}_per_second": sizes.large / whole},
        ),
        Row(
            "rebuild_jobs",
            f"the same of {sizes.middle:,} entries, two processes against one (starting them included)",
            "×",
            median_of(ratios(shared["two"], shared["one"])),
            beside={f"{name}_per_second": sizes.middle / median(taken) for name, taken in shared.items()},
        ),
    ]


def measure_help(bench: Bench) -> list[Row]:
    """The whole process, from start to end, beside a Python that does nothing."""
    command = Path(sys.executable).with_name("affidavit")
    seconds = interleave(
        {
            "help": _running([str(command), "--help"]),
            "pass": _running([sys.executable, "-c", "pass"]),
        },
        bench.sizes.windows,
    )
    return [
        Row(
            "help",
            "`affidavit --help`, the whole process",
            "s",
            median_of(seconds["help"]),
            0.3,
            "at most",
            beside={"python_pass_seconds": median(seconds["pass"])},
        )
    ]


def giving_receipts(ledger: Ledger, number: int) -> Side:
    size = ledger.sign().size
    chosen = random.Random(size)

    def give() -> float:
        seqs = [chosen.randrange(size) for _ in range(number)]
        return timed(lambda: [ledger.receipt(seq) for seq in seqs])

    return give


def _rebuilding(folder: Path, jobs: int = 1) -> Side:
    def rebuild() -> float:
        with (
            tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
            open_snapshot(folder) as reader,
            open_views(FolderPlace(Path(scratch))) as engine,
        ):
            return timed(lambda: catch_up(engine, EventReader(reader, REGISTRY), jobs=jobs))

    return rebuild


def _running(command: list[str]) -> Side:
    return lambda: timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
