"""Verify a ledger in this process, and say how long it took and how much memory it and its workers held.

``python verify_process.py FOLDER JOBS`` prints one JSON object. Memory is the kernel's high-water mark
(``VmHWM``, Linux only) in bytes; that of the workers is read while they live, after each stretch.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import sys
import time
from pathlib import Path

from affidavit.ledger.audit import audit as audit_module
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.store.sqlite.reader import open_snapshot
from affidavit.projections.registry import REGISTRY

_HIGH_WATER = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def main(folder: Path, jobs: int) -> None:
    workers: dict[int, int] = {}

    def look(done: int, size: int) -> None:
        for child in multiprocessing.active_children():
            if child.pid is not None:
                workers[child.pid] = _peak(child.pid)

    audit_module.PARALLEL_FROM = 10_000  # --quick goes the same way
    start = time.perf_counter()
    with open_snapshot(folder) as reader:
        verdict = audit(reader, REGISTRY, Against(), jobs=jobs, on_progress=look)
    taken = time.perf_counter() - start
    if verdict.verdict != "ok":
        sys.exit(f"{folder}: {verdict.verdict}: {verdict.damage[:3]}")
    print(json.dumps({"seconds": taken, "verifier": _peak("self"), "workers": list(workers.values())}))


def _peak(process: int | str) -> int:
    """The most memory that a process has held, in bytes; 0 where it is gone."""
    try:
        found = _HIGH_WATER.search(Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
