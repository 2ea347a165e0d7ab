"""Measure the speeds that the project holds itself to, print one table, and keep the figures in bench/results.json.

``python bench/run.py`` runs everything (about an hour). ``--quick`` does little of each to show that it
runs; its figures mean nothing. Name measurements to run only those. Only a full run of all of them writes
bench/results.json by itself; ``--out`` names another file, for any run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affidavit.bench.driving import measure_recording, measure_replay
from affidavit.bench.evaluating import measure_overview, measure_overview_memory
from affidavit.bench.exporting import measure_export, measure_receipt_check
from affidavit.bench.growth import measure_growth
from affidavit.bench.lagging import measure_lag
from affidavit.bench.machine import load, machine_facts
from affidavit.bench.packing import measure_pack
from affidavit.bench.paging import measure_pages
from affidavit.bench.postgres import measure_postgres
from affidavit.bench.publishing import measure_publish
from affidavit.bench.reading import measure_help, measure_rebuild, measure_receipt
from affidavit.bench.recording import measure_append, measure_batch
from affidavit.bench.report import print_rows
from affidavit.bench.rows import QUICK, Bench, Measurement, Row, Sizes
from affidavit.bench.tiles import measure_tiles
from affidavit.bench.verifying import measure_jobs, measure_memory, measure_verify
from affidavit.bench.witnessing import measure_witness
from affidavit.bench.workload import Ledgers

RESULTS = Path(__file__).with_name("results.json")
MEASUREMENTS: dict[str, Measurement] = {
    "help": measure_help,
    "append": measure_append,
    "batch": measure_batch,
    "verify": measure_verify,
    "jobs": measure_jobs,
    "receipt": measure_receipt,
    "receipt_check": measure_receipt_check,
    "export": measure_export,
    "memory": measure_memory,
    "rebuild": measure_rebuild,
    "publish": measure_publish,
    "tiles": measure_tiles,
    "witness": measure_witness,
    "pack": measure_pack,
    "overview": measure_overview,
    "overview_memory": measure_overview_memory,
    "pages": measure_pages,
    "recording": measure_recording,
    "replay": measure_replay,
    "postgres": measure_postgres,
    "lag": measure_lag,
    "growth": measure_growth,
}


def main() -> None:
    options = _options()
    names = options.names or list(MEASUREMENTS)
    out = options.out
    if out is None and not options.quick and not options.names and options.large is None:
        out = RESULTS
    sizes = QUICK if options.quick else Sizes()
    if options.large is not None:
        sizes = replace(sizes, large=options.large)
    results = run(names, sizes, options.folder, quick=options.quick)
    print_rows(results["rows"])
    if out is not None:
        out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def run(names: list[str], sizes: Sizes, folder: Path | None, *, quick: bool) -> dict[str, Any]:
    """Make the measurements in ``names`` in their fixed order; the answer is what results.json holds."""
    with tempfile.TemporaryDirectory(prefix="affidavit-bench-", dir=folder) as scratch:
        bench = Bench(Path(scratch), sizes, Ledgers(Path(scratch)))
        results: dict[str, Any] = {
            "quick": quick,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine_facts(bench.folder),
            "load_before": load(),
        }
        rows: list[Row] = []
        for name, measure in MEASUREMENTS.items():
            if name in names:
                start = time.perf_counter()
                rows += measure(bench)
                print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    results["load_after"] = load()
    results["rows"] = [{**asdict(row), "met": row.met} for row in rows]
    return results


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(MEASUREMENTS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="measure on the disk of DIR [default: TMPDIR]")
    parser.add_argument("--large", type=int, metavar="N", help="entries of the large ledger [default: 1,000,000]")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(MEASUREMENTS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    return options


if __name__ == "__main__":
    main()
