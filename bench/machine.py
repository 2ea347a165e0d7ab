"""The machine that was measured on: without it a figure says little."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import ssl
import subprocess
from importlib.metadata import version
from pathlib import Path


def machine_facts(folder: Path) -> dict[str, str]:
    """What the figures depend on; ``folder`` lies on the disk that was measured."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(folder),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION,
        "libraries": ", ".join(f"{name} {version(name)}" for name in ("eventsourcing", "pydantic", "orjson")),
        "commit": _commit(),
    }


def load() -> float:
    """How many processes wanted a core over the last minute; more than 0 before we begin is noise."""
    return os.getloadavg()[0]


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def _file_system(folder: Path) -> str:
    """The type of the mount that holds ``folder``, by the longest mount point above it."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [(len(point), kind) for _, point, kind, *_ in mounts if folder.resolve().is_relative_to(point)]
    return max(above, default=(0, "unknown"))[1]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
