"""Claims: who is at work on what at this moment, so that no two pay for the same call.

Only a courtesy: that each piece of work has one conclusion is the stream's doing (``drive/journal.py``). Between
processes a claim is a lock on one byte of a file, which the system lets go when its holder dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "judging.lock"


class Claims:
    """The claims of one process on the work of one ledger. Close it last."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mutex = threading.Lock()
        self._held: set[int] = set()

    @contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """Hold the claim on ``key`` if nobody else does; whether it is held."""
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
        held = self._take(place)
        try:
            yield held
        finally:
            if held:
                with self._mutex:
                    self._held.discard(place)
                    fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        os.close(self._file)

    def _take(self, place: int) -> bool:
        with self._mutex:
            if place in self._held:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:
                return False
            self._held.add(place)
            return True
