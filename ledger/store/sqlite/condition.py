"""How a ledger's folder stands: its files, their disk, and what SQLite does with them."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ...errors import Unavailable
from ..condition import FolderCondition
from .reader import SqliteReader, open_beside, open_snapshot
from .recorder import PRAGMAS
from .schema import LEDGER_FILE, expected_schema

_MOUNTS = Path("/proc/self/mounts")
_OCTAL = re.compile(r"\\([0-7]{3})")


def folder_condition(folder: Path) -> FolderCondition:
    """Look, and change nothing. ``Unavailable`` where no ledger lies here, or it may not be read."""
    path = folder / LEDGER_FILE
    try:
        with path.open("rb") as file:
            header = file.read(20)
        files = {each: each.lstat() for each in (folder, *sorted(folder.iterdir()))}
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise Unavailable(f"{error.filename or folder}: {error.strerror}") from error
    return FolderCondition(
        journal_mode="wal" if header[18:] == b"\2\2" else "rollback",
        synchronous=_synchronous(),
        file_system=_file_system(folder),
        free=free,
        size=sum(found.st_size for found in files.values() if stat.S_ISREG(found.st_mode)),
        modes={each: stat.S_IMODE(found.st_mode) for each, found in files.items()},
        missing_guards=_missing_guards(folder),
    )


@contextmanager
def glance(folder: Path) -> Iterator[SqliteReader]:
    """Read the ledger in ``folder`` as it is now, in place, for a moment in which appends may wait."""
    path = folder / LEDGER_FILE
    wal = path.with_name(f"{LEDGER_FILE}-wal")
    try:
        in_use = wal.exists() and wal.stat().st_size > 0
        with open_beside(folder) if in_use else open_snapshot(folder) as reader:
            yield reader
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"{path}: {error}") from error


def _synchronous() -> int:
    """What SQLite makes of the settings that whoever appends gives it."""
    with closing(sqlite3.connect(":memory:")) as db:
        for pragma in PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        return int(db.execute("PRAGMA synchronous").fetchone()[0])


def _missing_guards(folder: Path) -> tuple[str, ...]:
    with glance(folder) as reader:
        missing = expected_schema() - reader.schema()
    return tuple(sorted(str(name) for kind, name, *_ in missing if kind == "trigger"))


def _file_system(folder: Path) -> str | None:
    """The type of the mount that holds ``folder``: of those with the longest mount point the last."""
    try:
        mounts = [line.split(" ") for line in _MOUNTS.read_text(errors="surrogateescape").splitlines()]
    except OSError:
        return None
    real = os.path.realpath(folder)
    found: tuple[str, str | None] = ("", None)
    for _, point, kind, *_ in mounts:
        plain = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), point)
        if Path(real).is_relative_to(plain) and len(plain) >= len(found[0]):
            found = (plain, kind)
    return found[1]
