"""Locks of a ledger in a folder: files that the system locks, and lets go of when their holder dies.

Many locks of one kind are bytes of one file. Between processes the system keeps them apart; within a process a note
does, because the system takes a process's own locks for no obstacle and drops all of them when it closes the file
once. So all locks of a process on one file share its descriptor.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import Unavailable
from ...files import lock_file
from ..place import Lock, Locks


class FileLock(Lock):
    """A lock file, which is made where there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def held(self) -> AbstractContextManager[None]:
        return lock_file(self._path)

    def require_held(self) -> None:
        return  # the system takes it from nobody who lives

    def close(self) -> None:
        return


@dataclass(slots=True)
class _Shared:
    descriptor: int
    users: int = 0
    held: set[int] = field(default_factory=set)


_FILES: dict[tuple[int, int], _Shared] = {}
_MUTEX = threading.Lock()


class ByteLocks(Locks):
    """Bytes of a lock file, which is made where there is none."""

    def __init__(self, path: Path) -> None:
        self._taken: set[int] = set()
        with _MUTEX:
            try:
                path.touch(0o600)
                self._key = _key(os.stat(path))
                if self._key not in _FILES:
                    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                    self._key = _key(os.fstat(descriptor))
                    _FILES[self._key] = _Shared(descriptor)
            except OSError as error:
                raise Unavailable(f"lock file {path}: {error.strerror}") from error
            self._file = _FILES[self._key]
            self._file.users += 1

    def take(self, number: int) -> bool:
        with _MUTEX:
            if number in self._file.held:
                return False
            try:
                fcntl.lockf(self._file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError:
                return False
            self._file.held.add(number)
            self._taken.add(number)
            return True

    def release(self, number: int) -> None:
        with _MUTEX:
            self._release(number)

    def _release(self, number: int) -> None:
        self._taken.discard(number)
        self._file.held.discard(number)
        fcntl.lockf(self._file.descriptor, fcntl.LOCK_UN, 1, number)

    def close(self) -> None:
        with _MUTEX:
            for number in [*self._taken]:
                self._release(number)
            self._file.users -= 1
            if self._file.users == 0:
                os.close(self._file.descriptor)
                del _FILES[self._key]


def _key(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
