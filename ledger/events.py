"""The ledger's own events: what happened to the record itself."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..domain.event import Event, Sealed, differing_counts
from ..domain.number import Number


class LedgerOpened(Event):
    """Entry 0 of every ledger: its format, its origin and the key that signs its checkpoints."""

    type_name = "ledger.opened.v1"
    format: int = Field(ge=1)
    origin: str
    vkey: str


class ClockSteppedBack(Event):
    """The clock stood ``behind`` seconds behind the last entry; entries keep the last time until it catches up."""

    type_name = "clock.stepped_back.v1"
    behind: Number = Field(gt=0)


class ImportCompleted(Event):
    """A tree that another system wrote has been read whole.

    ``findings`` counts what was found wrong or missing, by kind. ``detail`` holds every finding and, for
    every source file, its path, its size and the SHA-256 of its bytes after redaction.
    """

    type_name = "import.completed.v1"
    system: str
    runs: int = Field(ge=0)
    files: int = Field(ge=0)
    findings: dict[str, int]
    detail: Sealed[dict[str, Any]]

    def disagreement(self) -> str | None:
        return differing_counts(self.files, self.findings, self.detail)


class ProjectionSealed(Event):
    """The rows of a projection over the first ``upto`` entries had this SHA-256 ``digest`` (hex)."""

    type_name = "projection.sealed.v1"
    name: str
    version: int = Field(ge=1)
    upto: int = Field(ge=0)
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class ErasureRequested(Event):
    """The key of ``scope`` is about to be destroyed, and with it all that is sealed under it."""

    type_name = "erasure.requested.v1"
    scope: str
    reason: str = Field(pattern="^[a-z][a-z0-9_]{0,63}$")
    note: Sealed[str] | None = None


class ErasureExecuted(Event):
    """The key of ``scope`` is destroyed, as entry ``requested`` asked, and ``aliases`` names are unlinked from the log.

    ``key_fingerprint`` is the SHA-256 (hex) of "affidavit erased key", the origin, the scope and the key, parted by
    newlines: should a copy of the key turn up, it tells that this was the key.
    """

    type_name = "erasure.executed.v1"
    scope: str
    reason: str = Field(pattern="^[a-z][a-z0-9_]{0,63}$")
    requested: int = Field(ge=0)
    key_fingerprint: str = Field(pattern="^[0-9a-f]{64}$")
    aliases: int = Field(ge=0)


EVENTS: tuple[type[Event], ...] = (
    LedgerOpened,
    ClockSteppedBack,
    ImportCompleted,
    ProjectionSealed,
    ErasureRequested,
    ErasureExecuted,
)
