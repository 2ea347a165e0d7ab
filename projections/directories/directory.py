"""A run as a folder of files, rebuilt from its events: the same events give the same bytes.

``native`` (version 1) holds everything that was recorded, each change beside its own effect.
``reflex-0.2`` is the folder as aevyra-reflex 0.2.0 writes it, which its own readers accept.

Paths are relative to the run's directory. Nothing depends on storage, clock or locale, and nothing that
scipy computed is written, so that the manifest of a folder can be sealed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ...domain.errors import Refused
from ..runs.record import RunRecord
from .native import NATIVE_VERSION as NATIVE_VERSION
from .native import native_files
from .reflex import REFLEX_VERSION, reflex_files

PROFILES: Final[dict[str, int]] = {"native": NATIVE_VERSION, "reflex-0.2": REFLEX_VERSION}
"""Every profile with the version of its format, as ``run.sealed`` names them."""

_BUILDERS: Final[dict[str, Callable[[RunRecord], dict[str, bytes]]]] = {
    "native": native_files,
    "reflex-0.2": reflex_files,
}
_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,128}")


def build_run_directory(record: RunRecord, profile: str) -> dict[str, bytes]:
    """The files of a run's directory by relative path, sorted.

    ``Refused`` for an unknown profile, and where a recorded file name could leave the folder or meet another.
    """
    if profile not in _BUILDERS:
        raise Refused("profile", f"profile {profile!r}: expected one of {', '.join(PROFILES)}")
    files = _BUILDERS[profile](record)
    _require_safe_names(list(files))
    return dict(sorted(files.items()))


def _require_safe_names(paths: list[str]) -> None:
    for path in paths:
        if not all(_NAME.fullmatch(part) for part in path.split("/")):
            raise Refused("file_name", f"file {path!r}: expected names of letters, digits, dot, dash, underscore")
    if len({path.casefold() for path in paths}) < len(paths):
        raise Refused("file_name", "two files have names that differ in case only")
