"""The verdict: what was found, what was checked, what was not, and the one word for all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..folds.moves import Moved
from .anchors import Bound
from .fork import ForkEvidence
from .stretches import Damage

NOT_CHECKED = (
    *("key_pinned", "fork", "rollback", "time", "unanchored", "unsigned_tail"),
    *("sealed", "projections", "run_directories"),
)
"""Every name that ``Verdict.not_checked`` uses of a ledger."""
MEANINGS = {
    "ok": "everything that was checked is as it was recorded",
    "damaged": "this is not as it was recorded",
    "not_proven": "it is not shown that this is what it was to be",
    "rollback": "this is older than what was signed",
    "fork": "the log has another history than one that was signed",
}
EXIT_CODES = {"ok": 0, "damaged": 1, "not_proven": 3, "rollback": 4, "fork": 4}


@dataclass(frozen=True, slots=True)
class Witnessing:
    """What witnesses have to do with a log.

    ``required`` is what the log declares: True, no checkpoint is published without a quorum (fail-closed); False, it
    is published with what cosignatures there are (fail-open); None, it declares none. ``modes`` are the same for every
    part of the log, in order: (the entry from which on checkpoints fall under it, ``required``). ``policy`` says whose
    policy the rest was counted under: ``given`` from outside, ``declared`` by the log, or None; ``digest`` (hex) which.
    ``size`` is the largest checkpoint that met its quorum, ``at`` the time in seconds since 1970 since when it does.
    """

    required: bool | None = None
    modes: tuple[tuple[int, bool], ...] = ()
    policy: Literal["given", "declared"] | None = None
    digest: str | None = None
    size: int | None = None
    at: int | None = None


@dataclass(slots=True)
class Verdict:
    """``verdict`` is one of ``ok``, ``damaged``, ``not_proven``, ``rollback``, ``fork``."""

    origin: str = ""
    size: int = 0
    root: bytes = b""
    signed_size: int | None = None
    head_size: int = 0
    checked: list[str] = field(default_factory=list)
    not_checked: dict[str, str] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    erased: int = 0
    """How many sealed fields no longer open because the log says that their key was destroyed."""
    asked: set[str] = field(default_factory=set)
    """Names of ``not_checked`` that were asked for; while one stands there, nothing is ``ok``."""
    witnessing: Witnessing = field(default_factory=Witnessing)
    bounds: tuple[Bound, ...] = ()
    """Between which proven times the entries were written, in order and without gaps; empty where none was checked."""
    moved: Moved | None = None
    """Where the log says that it goes on elsewhere: it is closed here."""
    fork: ForkEvidence | None = None
    """Two signed checkpoints that show a fork to anybody, where there are two."""

    @property
    def is_damaged(self) -> bool:
        """Whether anything is wrong with the ledger, beyond not meeting what it was checked against."""
        return any(not damage.unmet for damage in self.damage)

    @property
    def verdict(self) -> str:
        kinds = {damage.kind for damage in self.damage if not damage.unmet}
        for kind in ("fork", "rollback"):
            if kind in kinds:
                return kind
        if kinds:
            return "damaged"
        met = not self.damage and not self.asked & self.not_checked.keys()
        return "ok" if met and self.signed_size is not None else "not_proven"

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]
