"""A reflex tree on disk, read without trusting it.

Nothing is followed: every name is opened relative to its directory's descriptor, symbolic links and
special files are refused, and what exceeds a limit below is left out with a finding.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ....ledger.errors import Unavailable
from .findings import Finding, finding

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_RUN_BYTES = 256 * 1024 * 1024
MAX_FILES = 20_000
"""Names looked at in one run directory, its iterations not counted, and again in ``iterations``."""
MAX_RUNS = 20_000
"""Names looked at in ``runs``."""

RUNS = "runs"
ITERATIONS = "iterations"
KNOWN = frozenset(
    {
        "config.json",
        "running",
        "baseline.json",
        "checkpoint.json",
        "best_prompt.md",
        "result.json",
        "run.log.jsonl",
        "error.txt",
    }
)

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,128}", re.ASCII)
_RUN = re.compile(r"([0-9]{1,18})_.+", re.ASCII)
_ITERATION = re.compile(r"[0-9]{1,18}\.json", re.ASCII)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's directory. ``number`` is the run id that its name gives."""

    name: str
    number: str


@dataclass(slots=True)
class RawRun:
    """The bytes of one run's files by path (``iterations/001.json``), and what was refused."""

    files: dict[str, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    bytes: int = 0


def list_runs(root: Path) -> tuple[list[RunFolder], list[Finding]]:
    """The run directories of a ``.reflex`` root by name, and what else was found beside them.

    ``Unavailable`` where there is no ``runs`` directory to read.
    """
    findings: list[Finding] = []
    folders = []
    with _opened(root / RUNS) as runs:
        try:
            names = _names(runs, RUNS, MAX_RUNS, findings)
        except OSError as error:
            raise Unavailable(f"{root / RUNS}: {error.strerror}") from error
        for name in names:
            numbered = _RUN.fullmatch(name)
            if not stat.S_ISDIR(_mode(runs, name)):
                findings.append(_not_a(runs, name, f"{RUNS}/{name}"))
            elif numbered or _has_config(runs, name):
                folders.append(RunFolder(name, numbered[1] if numbered else name))
            else:
                findings.append(finding("foreign_file", f"{RUNS}/{name}"))
    return folders, findings


def read_run(root: Path, folder: RunFolder) -> RawRun:
    """Read the files of one run that reflex writes, each at most once, in order of their names."""
    raw = RawRun()
    place = f"{RUNS}/{folder.name}"
    try:
        with _opened(root / RUNS) as runs, _opened_below(runs, folder.name) as run:
            for name in _names(run, place, MAX_FILES, raw.findings):
                if name == ITERATIONS and stat.S_ISDIR(_mode(run, name)):
                    with _opened_below(run, name) as iterations:
                        _read_iterations(iterations, f"{place}/{name}", raw)
                elif name in KNOWN:
                    _read_into(raw, run, name, name, place)
                else:
                    raw.findings.append(_not_a(run, name, f"{place}/{name}"))
    except OSError as error:
        raw.findings.append(finding("unreadable_file", place, f"{error.strerror}"))
    return raw


def _read_iterations(directory: int, place: str, raw: RawRun) -> None:
    for name in _names(directory, place, MAX_FILES, raw.findings):
        if _ITERATION.fullmatch(name):
            _read_into(raw, directory, name, f"{ITERATIONS}/{name}", place)
        else:
            raw.findings.append(_not_a(directory, name, f"{place}/{name}"))


def _read_into(raw: RawRun, directory: int, name: str, path: str, place: str) -> None:
    if not stat.S_ISREG(_mode(directory, name)):
        raw.findings.append(_not_a(directory, name, f"{place}/{name}"))
        return
    room = min(MAX_FILE_BYTES, MAX_RUN_BYTES - raw.bytes)
    try:
        data = _read(directory, name, room)
    except OSError as error:
        raw.findings.append(finding("unreadable_file", f"{place}/{name}", f"{error.strerror}"))
        return
    if data is None:
        detail = f"more than {MAX_FILE_BYTES} bytes, or than {MAX_RUN_BYTES} in the run"
        raw.findings.append(finding("limit_exceeded", f"{place}/{name}", detail))
    else:
        raw.files[path] = data
        raw.bytes += len(data)


def _read(directory: int, name: str, room: int) -> bytes | None:
    """The bytes of a regular file, or None where there are more than ``room``."""
    descriptor = os.open(name, _FILE, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file any more")  # swapped between the look and the opening
        data = file.read(room + 1)
    return data if len(data) <= room else None


def _names(directory: int, place: str, limit: int, findings: list[Finding]) -> list[str]:
    """The names in a directory that may be used, sorted; a finding for each other one."""
    found: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if len(found) == limit:
                findings.append(finding("limit_exceeded", place, f"more than {limit} names"))
                break
            found.append(entry.name)
    usable: dict[str, str] = {}
    # A name that reflex writes is never hidden by one that only looks like it.
    for name in sorted(found, key=lambda name: (name not in KNOWN and name != ITERATIONS, name)):
        if not _NAME.fullmatch(name):
            findings.append(finding("name_refused", f"{place}/{ascii(name)[1:-1]}"))
        elif name.casefold() in usable:
            other = usable[name.casefold()]
            findings.append(finding("case_collision", f"{place}/{name}", f"differs from {other} only in case"))
        else:
            usable[name.casefold()] = name
    return sorted(usable.values(), key=_natural)


def _natural(name: str) -> tuple[int, str]:
    """Run 1000 comes after run 999, and iteration 1000 after 999."""
    number = name.partition("_")[0].partition(".")[0]
    return (int(number) if number.isdecimal() and len(number) < 20 else -1, name)


def _not_a(directory: int, name: str, place: str) -> Finding:
    """The finding for a name that is not what reflex puts there."""
    mode = _mode(directory, name)
    if stat.S_ISLNK(mode):
        return finding("symlink_refused", place)
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return finding("foreign_file", place)
    return finding("special_file", place)


def _mode(directory: int, name: str) -> int:
    """The kind of a directory entry itself, or 0 where it has gone meanwhile."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except OSError:
        return 0


def _has_config(runs: int, name: str) -> bool:
    try:
        with _opened_below(runs, name) as run:
            return stat.S_ISREG(_mode(run, "config.json"))
    except OSError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, _DIRECTORY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Unavailable(f"{path}: expected the directory {RUNS} of a .reflex root: {reason}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened_below(directory: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
