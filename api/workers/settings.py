"""What the environment says to the workers: org, idle time, limits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from ...domain.errors import Refused
from ...domain.evaluation.sampling import DEFAULT_ORG

MAX_THREADS = 64
"""How many are judged at once at most, whatever the configuration says."""

_IDLE_SECONDS = 600
_GRADES_PER_MINUTE = 30


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """``org`` is the name under which sessions are sampled; ``idle_seconds`` is how long a session must be idle
    before it is graded; ``grades_per_minute`` bounds gradings on demand that are paid for."""

    org: str = DEFAULT_ORG
    idle_seconds: int = _IDLE_SECONDS
    grades_per_minute: int = _GRADES_PER_MINUTE

    @classmethod
    def from_environment(cls) -> Self:
        """``AFFIDAVIT_ORG``, ``AFFIDAVIT_IDLE_SECONDS`` and ``AFFIDAVIT_GRADES_PER_MINUTE``, else the defaults."""
        return cls(
            os.environ.get("AFFIDAVIT_ORG") or DEFAULT_ORG,
            _count("AFFIDAVIT_IDLE_SECONDS", _IDLE_SECONDS),
            _count("AFFIDAVIT_GRADES_PER_MINUTE", _GRADES_PER_MINUTE),
        )


def _count(name: str, default: int) -> int:
    given = os.environ.get(name)
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise Refused("setting_readable", f"{name}={given!r}: expected a whole number, 0 or more")
    return int(given)
