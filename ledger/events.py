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


EVENTS: tuple[type[Event], ...] = (LedgerOpened, ClockSteppedBack, ImportCompleted, ProjectionSealed)
