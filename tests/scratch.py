"""Where tests keep their files: in memory, where the machine has enough of it and nobody asks for another place.

What tests do to processes - end them, cut their calls short - shows the same there as on a disk: neither loses what
was written when its writer ends. Only a power cut differs, and no test makes one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
_ENOUGH = 6 << 30


def prefer_memory() -> None:
    """Let temporary files of this process and of those that it starts lie in memory from here on.

    It has to be done before the first of them is made.
    """
    if "TMPDIR" not in os.environ and _has_room():
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # it may have been asked for already


def short_folder() -> str:
    """A folder whose path is short, as that of a socket has to be, and that every user can reach."""
    return str(MEMORY) if tempfile.gettempdir() == str(MEMORY) else "/tmp"


def _has_room() -> bool:
    """Programs can be run there, and as much is free as all tests together need at most, several times over."""
    try:
        there = os.statvfs(MEMORY)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return False
    free = there.f_bavail * there.f_frsize
    return os.access(MEMORY, os.W_OK) and not there.f_flag & os.ST_NOEXEC and min(free, memory // 2) >= _ENOUGH
