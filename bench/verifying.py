"""Verifying: against bare hashing, with more processes, and in how much memory."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from statistics import median

from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, ratios, timed
from affidavit.ledger.audit import audit as audit_module
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.store.sqlite.reader import connect, open_snapshot
from affidavit.ledger.store.sqlite.schema import LEDGER_FILE
from affidavit.projections.registry import REGISTRY

MEGABYTE = 1_000_000


def measure_verify(bench: Bench) -> list[Row]:
    """The whole log in one process against SHA-256 of the same bytes, which every verifier must compute.

    The first row reads them from the same database file, since verifying cannot be had without reading. The
    second has them in memory: what the target says word for word, and harder.
    """
    folder = bench.ledgers.of_size(bench.sizes.verified)
    with closing(connect(f"{(folder / LEDGER_FILE).as_uri()}?mode=ro&immutable=1")) as db:
        raws = [raw for (raw,) in _entries(db)]
        seconds = interleave(
            {
                "verify": _verifying(folder, jobs=1),
                "read": lambda: timed(lambda: _hash_all(raw for (raw,) in _entries(db))),
                "memory": lambda: timed(lambda: _hash_all(raws)),
            },
            bench.sizes.windows,
        )
    entries, size = len(raws), sum(map(len, raws))
    taken = median(seconds["verify"])
    beside = {"entries_per_second": entries / taken, "megabytes_per_second": size / taken / MEGABYTE}
    return [
        Row(
            name,
            what,
            "×",
            median_of(ratios(seconds["verify"], seconds[other])),
            0.25,
            beside={
                **beside,
                "bare_per_second": entries / median(seconds[other]),
                "bytes_per_entry": size / entries,
            },
        )
        for name, what, other in (
            ("verify", "full verify of the log, one process, against SHA-256 of the same bytes from the file", "read"),
            ("verify_memory", "the same against SHA-256 of the same bytes in memory", "memory"),
        )
    ]


def measure_jobs(bench: Bench) -> list[Row]:
    """Two processes against one, on a log for which starting them is little."""
    size = bench.sizes.large
    audit_module.PARALLEL_FROM = min(audit_module.PARALLEL_FROM, size)  # --quick goes the same way
    folder = bench.ledgers.of_size(size)
    seconds = interleave({"one": _verifying(folder, jobs=1), "two": _verifying(folder, jobs=2)}, bench.sizes.exports)
    return [
        Row(
            "verify_jobs",
            f"full verify of {size:,} entries, two processes against one (starting them included)",
            "×",
            median_of(ratios(seconds["two"], seconds["one"])),
            1.7,
            beside={
                "one_entries_per_second": size / median(seconds["one"]),
                "two_entries_per_second": size / median(seconds["two"]),
                "cores": float(os.cpu_count() or 1),
            },
        )
    ]


def measure_memory(bench: Bench) -> list[Row]:
    """The most memory that verifying a long log ever holds, workers included; each in a process of its own."""
    size = bench.sizes.large
    folder = bench.ledgers.of_size(size)
    script = Path(__file__).with_name("verify_process.py")
    rows = []
    for jobs in (1, 2):
        command = [sys.executable, str(script), str(folder), str(jobs)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        peak = (found["verifier"] + sum(found["workers"])) / MEGABYTE
        rows.append(
            Row(
                f"memory_{jobs}",
                f"peak memory of verifying {size:,} entries, {'one process' if jobs == 1 else 'with two workers'}",
                "MB",
                median_of([peak]),
                300,
                "at most",
                beside={"seconds": found["seconds"], "verifier_megabytes": found["verifier"] / MEGABYTE},
            )
        )
    return rows


def _verifying(folder: Path, jobs: int) -> Side:
    def verify() -> float:
        with open_snapshot(folder) as reader:
            start = time.perf_counter()
            verdict = audit(reader, REGISTRY, Against(), jobs=jobs)
            taken = time.perf_counter() - start
        if verdict.verdict != "ok":
            raise RuntimeError(f"{folder}: {verdict.verdict}: {verdict.damage[:3]}")
        return taken

    return verify


def _entries(db: sqlite3.Connection) -> sqlite3.Cursor:
    return db.execute("SELECT entry FROM entries ORDER BY seq")


def _hash_all(raws: Iterable[bytes]) -> None:
    for raw in raws:
        sha256(b"\x00" + raw).digest()
