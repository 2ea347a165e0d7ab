"""What a process has open is not for the processes that it forks: they would share its connections and its locks."""

from __future__ import annotations

import os


class Opened:
    """Remembers which process opened something."""

    def __init__(self) -> None:
        self._process = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that opened it."""
        return os.getpid() == self._process

    def require_here(self, what: object) -> None:
        """RuntimeError in a process that was forked from the one that opened it."""
        if not self.is_here:
            raise RuntimeError(
                f"{what}: process {self._process} opened it, and this one was forked from that; open it again here"
            )
