"""Run directories made of the events: run by run, by several processes where there is much to make.

No run needs another, and a process reads the same state of the log, so they are the same bytes whoever makes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..domain.errors import Refused
from ..ledger.processes import in_order, processes
from ..ledger.store.place import Place
from ..ledger.store.reader import LedgerReader
from ..projections.directories.directory import build_run_directory
from .reading import OpenLedger, open_reader, open_scopes

PARALLEL_FROM = 20_000
"""Entries for which it pays to start processes."""

_AHEAD = 2
"""Directories for each process that may wait to be taken."""

Make = Callable[[str], "Folder | None"]


@dataclass(frozen=True, slots=True)
class Folder:
    """A run's directory: its name and its files."""

    run: str
    name: str
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class _Making:
    """What makes directories of the first ``size`` entries in a profile."""

    ledger: OpenLedger
    size: int
    profile: str

    def make(self, run: str) -> Folder | None:
        """The directory of a run; None where it starts later."""
        try:
            record = self.ledger.run(run, self.size)
        except Refused:
            return None
        return Folder(run, record.started.directory, build_run_directory(record, self.profile))


def rebuild_folders(
    ledger: OpenLedger, keys: Path, runs: Sequence[str], size: int, profile: str, jobs: int | None
) -> Generator[Folder | None, None, None]:
    """The directory of each of ``runs`` in order, as of the first ``size`` entries; None for one that starts later.

    ``jobs`` is how many processes make those of a long log, None as many as there are cores. They open the keys in
    ``keys`` themselves. ``Unreachable`` where one of them does not start, or is ended.
    """
    making = _Making(ledger, size, profile)
    wanted = min(jobs or os.cpu_count() or 1, len(runs))
    again = ledger.reader.again
    if wanted <= 1 or size < PARALLEL_FROM or again is None:
        yield from map(making.make, runs)
        return
    with processes(wanted, "rebuilds", _open, again, ledger.place, keys, size, profile) as pool:
        yield from in_order(pool, _make, runs, _AHEAD * wanted)


_opened: _Making | None = None


def _open(again: Callable[[], LedgerReader], place: Place, keys: Path, size: int, profile: str) -> None:
    global _opened
    reader = again()
    scopes, _ = open_scopes(place, keys, reader.origin())
    _opened = _Making(open_reader(place, reader, scopes), size, profile)


def _make(run: str) -> Folder | None:
    assert _opened is not None
    return _opened.make(run)
