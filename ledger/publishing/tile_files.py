"""Writing the files of a static log: each whole under its name or not there, durable before a checkpoint names it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..files import write_whole
from .static_log import CHECKPOINT

_SYNCING = 16
"""Files that are made durable at once: the file system then commits them together."""
_MOST_WAITING = 8192
"""Files that may wait to be made durable, which also bounds what is remembered of them."""


class TileFiles:
    """Writes files under a folder, each whole under its name or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh = folder / ".new"
        self._written: list[Path] = []
        self._folders = {folder}

    def write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._fresh.write_bytes(content)
        self._fresh.replace(path)
        self.keep(name)

    def keep(self, name: str) -> None:
        """Make a file that lies there durable too, with the next ``sync``."""
        path = self._folder / name
        if path.parent not in self._folders:
            self._folders.update(self._folder / parent for parent in path.relative_to(self._folder).parents)
        self._written.append(path)
        if len(self._written) >= _MOST_WAITING:
            self.sync()

    def sync(self) -> None:
        """Make everything that was written durable."""
        with ThreadPoolExecutor(_SYNCING) as pool:
            for _ in pool.map(_sync, [*self._written, *self._folders]):
                pass
        self._written.clear()
        self._folders = {self._folder}

    def publish(self, note: bytes) -> None:
        """Put the checkpoint in its place, durably."""
        write_whole(self._folder / CHECKPOINT, note)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
