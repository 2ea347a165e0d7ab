"""Claims: who is at work on what at this moment, so that no two pay for the same call.

Only a courtesy: that each piece of work has one conclusion is the stream's doing (``journal.py``). Between
processes a claim is a lock on one byte of a file, which the system lets go when its holder dies; within a process
it is a note, because the system takes a process's own locks for no obstacle and drops all of them when it closes the
file once. So all claims of a process on one file share its descriptor.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

JUDGING = "judging.lock"
RUNS = "runs.lock"


@dataclass(slots=True)
class _LockFile:
    descriptor: int
    users: int = 0
    held: set[int] = field(default_factory=set)


_FILES: dict[tuple[int, int], _LockFile] = {}
_MUTEX = threading.Lock()


class Claims:
    """Claims on the work of one ledger, of one kind: ``file`` is where its locks are. Close it last."""

    def __init__(self, folder: Path, file: str = JUDGING) -> None:
        path = folder / file
        with _MUTEX:
            path.touch(0o600)
            self._key = _key(os.stat(path))
            if self._key not in _FILES:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                self._key = _key(os.fstat(descriptor))
                _FILES[self._key] = _LockFile(descriptor)
            self._file = _FILES[self._key]
            self._file.users += 1

    @contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """Hold the claim on ``key`` if nobody else does; whether it is held."""
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
        held = self._take(place)
        try:
            yield held
        finally:
            if held:
                with _MUTEX:
                    self._file.held.discard(place)
                    fcntl.lockf(self._file.descriptor, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        with _MUTEX:
            self._file.users -= 1
            if self._file.users == 0:
                os.close(self._file.descriptor)
                del _FILES[self._key]

    def _take(self, place: int) -> bool:
        with _MUTEX:
            if place in self._file.held:
                return False
            try:
                fcntl.lockf(self._file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:
                return False
            self._file.held.add(place)
            return True


def _key(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
