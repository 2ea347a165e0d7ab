"""Import a reflex tree into a throw-away ledger and rebuild it for the peer's own readers.

    python tests/peers/rebuild_reflex_samples.py ORIGINAL OUT

``OUT/imported`` is the tree rebuilt with everything open, ``OUT/withheld`` the same with no key at hand. Both
are ``.reflex`` roots; ``OUT`` must not exist.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from affidavit.api.adapters.reflex.importer import import_reflex
from affidavit.ledger.application import Ledger
from affidavit.ledger.store.opening import EventReader
from affidavit.projections.directories.directory import build_run_directory
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runs.record import fold_run


def main(original: Path, out: Path) -> None:
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with Ledger.create(folder / "ledger", folder / "keys", REGISTRY, sign_in_background=False) as ledger:
            report = import_reflex(ledger, original)
            with ledger.recorder.reading() as reader:
                opened, closed = ledger.event_reader(reader), EventReader(reader, REGISTRY)
                for run in report.runs:
                    rebuild(opened, run.run, out / "imported")
                    rebuild(closed, run.run, out / "withheld")
    print(f"{len(report.runs)} runs rebuilt in {out}")


def rebuild(events: EventReader, run: str, root: Path) -> None:
    record = fold_run(events.stream(f"run/{run}"))
    if record is None:
        return
    for path, content in build_run_directory(record, "reflex-0.2").items():
        file = root / "runs" / record.started.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
