"""Claims: who is at work on what at this moment, so that no two pay for the same call.

Only a courtesy: that each piece of work has one conclusion is the stream's doing (``journal.py``). A claim is a lock
among all who use the ledger, which is let go of when its holder dies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from ...ledger.store.place import Place

JUDGING = "judging"
RUNS = "runs"


class Claims:
    """Claims on the work of one ledger, of one kind. Close it last."""

    def __init__(self, place: Place, kind: str = JUDGING) -> None:
        self._locks = place.locks(kind)

    @contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """Hold the claim on ``key`` if nobody else does; whether it is held."""
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
        held = self._locks.take(number)
        try:
            yield held
        finally:
            if held:
                self._locks.release(number)

    def close(self) -> None:
        self._locks.close()
