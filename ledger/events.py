"""The ledger's own events: what happened to the record itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from ..domain.event import Event, Sealed, Withheld, differing_counts
from ..domain.number import Number
from .entries.review import Opinion, Subject, verify_statement
from .errors import LedgerError, Malformed
from .tlog.note import parse_vkey


class _Identifying(Event):
    """An event that says who signs: it is read to the letter, by every reader alike."""

    model_config = ConfigDict(strict=True)


class LedgerOpened(_Identifying):
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


class KeyRotated(_Identifying):
    """Another key signs from here on; this entry must be covered by a checkpoint that the old key signed.

    ``old`` and ``new`` are vkeys under one name, the origin. The new key signs from size ``first`` on; the old one
    signs no checkpoint of more than ``last`` entries. From ``first`` to ``last`` both sign.
    """

    type_name = "key.rotated.v1"
    old: str
    new: str
    first: int = Field(ge=1)
    last: int = Field(ge=1)


class LedgerContinued(_Identifying):
    """A copy that was behind what had been signed goes on as another log, of ``origin``, under the key ``vkey``.

    ``continues`` is the origin that it had, ``signed_size`` and ``signed_root`` (hex) what had been signed under it
    as far as was known: the entries from here up to that size are lost to this log.
    """

    type_name = "ledger.continued.v1"
    origin: str
    vkey: str
    continues: str
    signed_size: int = Field(ge=0)
    signed_root: str = Field(pattern="^[0-9a-f]{64}$")
    reason: str = Field(pattern="^[a-z][a-z0-9_]{0,63}$")


class LedgerMoved(_Identifying):
    """The last entry here: the ledger goes on in another store (``postgresql`` or ``sqlite``), and nothing follows.

    ``destination`` is the SHA-256 (hex) of the origin that entry 0 names, a newline and the name of the place.
    """

    type_name = "ledger.moved.v1"
    store: Literal["postgresql", "sqlite"]
    destination: str = Field(pattern="^[0-9a-f]{64}$")


class LedgerArrived(_Identifying):
    """The ledger goes on here, after entry ``moved``, which ended it where it was."""

    type_name = "ledger.arrived.v1"
    moved: int = Field(ge=1)


class WitnessesDeclared(Event):
    """From here on checkpoints are shown to the witnesses of ``policy``, a tlog-policy file without addresses.

    ``required``: without their quorum no checkpoint is published (fail-closed); else it is published with what
    cosignatures there are (fail-open).
    """

    type_name = "witnesses.declared.v1"
    policy: str
    required: bool


class AnchorRecorded(Event):
    """A timestamp authority has stamped the checkpoint of ``size`` entries with ``root`` (hex).

    ``token`` is the SHA-256 (hex) of the RFC 3161 response, kept as ``anchors/<size>.tsr``; ``time`` is the time in
    it, as UTC with six fraction digits, ``authority`` the host that was asked.
    """

    type_name = "anchor.recorded.v1"
    size: int = Field(ge=1)
    root: str = Field(pattern="^[0-9a-f]{64}$")
    token: str = Field(pattern="^[0-9a-f]{64}$")
    time: str
    authority: str


class ReviewSigned(Event):
    """A person has looked and signed what they think, with a key of their own.

    It is about a ``run``, about its iteration ``iteration``, or about the entries ``first`` to ``last``, as they stood
    in the log of ``size`` entries with ``root`` (hex). ``statement`` is the signed note, ``vkey`` the key that it
    verifies under; both name the reviewer, so they are sealed.
    """

    type_name = "review.signed.v1"
    run: str | None = None
    iteration: int | None = Field(default=None, ge=0)
    first: int | None = Field(default=None, ge=0)
    last: int | None = Field(default=None, ge=0)
    verdict: Opinion
    size: int = Field(ge=1)
    root: str = Field(pattern="^[0-9a-f]{64}$")
    statement: Sealed[str]
    vkey: Sealed[str]

    @model_validator(mode="after")
    def _require_subject(self) -> Self:
        try:
            self.subject  # noqa: B018
        except Malformed as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def subject(self) -> Subject:
        return Subject(self.run, self.iteration, self.first, self.last)

    def disagreement(self) -> str | None:
        if isinstance(self.statement, Withheld) or isinstance(self.vkey, Withheld):
            return None
        try:
            signed = verify_statement(self.statement.encode(), parse_vkey(self.vkey))
        except LedgerError as error:
            return f"the reviewer's statement does not verify: {error}"
        stated = (str(self.subject), self.verdict, self.size, self.root)
        found = (str(signed.subject), signed.verdict, signed.size, signed.root.hex())
        return None if stated == found else f"the open fields are {stated}, the reviewer signed {found}"


class RetentionDeclared(Event):
    """From here on what is older than ``days`` is erased, by kind of erasure scope (``run``, ``subject``).

    A kind that is not named is kept.
    """

    type_name = "retention.declared.v1"
    days: dict[Literal["run", "subject"], Annotated[int, Field(ge=1)]]


EVENTS: tuple[type[Event], ...] = (
    LedgerOpened,
    ClockSteppedBack,
    ImportCompleted,
    ProjectionSealed,
    ErasureRequested,
    ErasureExecuted,
    KeyRotated,
    LedgerContinued,
    LedgerMoved,
    LedgerArrived,
    WitnessesDeclared,
    AnchorRecorded,
    ReviewSigned,
    RetentionDeclared,
)
