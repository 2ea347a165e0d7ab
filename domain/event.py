"""Events: facts that happened, as frozen pydantic models that know their stored name.

An event has open fields, which stand in the entry where anybody may read them, and sealed fields,
of which the entry holds only a salted digest. ``Sealed[T]`` marks the second kind. Read without the
key, a sealed field holds ``Withheld`` in place of its value.

Stored names are explicit (``iteration.completed.v1``): renaming a class changes no stored byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypedDict, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, InstanceOf


@dataclass(frozen=True, slots=True)
class Withheld:
    """Sealed content that is not open here: ``closed`` (no key at hand) or ``erased`` (key destroyed)."""

    digest: str
    why: Literal["closed", "erased"] = "closed"

    def __str__(self) -> str:
        return f"[{self.why}]"


class _SealedMarker:
    """Stands in a field's annotation to say that the field is sealed."""


T = TypeVar("T")
Sealed = Annotated[T | InstanceOf[Withheld], _SealedMarker]


class Event(BaseModel):
    """One fact. Each subclass sets ``type_name``, its stored name: past tense, with the version of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    type_name: ClassVar[str]
    sealed_fields: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.sealed_fields = tuple(
            name
            for name, field in cls.model_fields.items()
            if _SealedMarker in field.metadata or _mentions_marker(field.annotation)
        )

    def disagreement(self) -> str | None:
        """Say where an open summary contradicts the sealed detail beside it; None where it agrees.

        Asked only when every sealed field is open. An event without summaries never disagrees.
        """
        return None


class OpaqueEvent(BaseModel):
    """An event of a type that this version does not know: kept, chained and proven, shown as unknown."""

    model_config = ConfigDict(frozen=True)

    data: dict[str, Any]
    sealed: dict[str, str]

    def disagreement(self) -> str | None:
        """Nothing is known of it that could disagree."""
        return None


class Meta(TypedDict, total=False):
    """What is known about an event besides its content; every key is optional.

    ``actor``: alias of who recorded it. ``cause``: seq of the entry that led to it. ``correlation``:
    ties the events of one piece of work. ``recorder``: name and version of the recording software.
    ``judge_prompt_version``: stands on every event that a judge produced. ``scope``: the erasure scope
    that the sealed fields lie under, where it is not the stream itself.
    """

    actor: str
    cause: int
    correlation: str
    recorder: str
    judge_prompt_version: str
    scope: str


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event on its way into the ledger, with the position it expects in its stream (from 0)."""

    stream: str
    pos: int
    event: Event
    meta: Meta

    @property
    def originator_id(self) -> str:
        return self.stream

    @property
    def originator_version(self) -> int:
        return self.pos


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event read back from the ledger. ``at`` is UTC with six fraction digits, as stored."""

    seq: int
    at: str
    stream: str
    pos: int
    type_name: str
    meta: Meta
    event: Event | OpaqueEvent

    @property
    def originator_id(self) -> str:
        return self.stream

    @property
    def originator_version(self) -> int:
        return self.pos


def differing_counts(files: int, findings: dict[str, int], detail: dict[str, Any] | Withheld) -> str | None:
    """Where an import's open counts differ from its sealed detail, in words; None where they agree or it is closed."""
    if isinstance(detail, Withheld):
        return None
    stated = (files, sum(findings.values()))
    found = (len(detail.get("files", ())), len(detail.get("findings", ())))
    return None if stated == found else f"files and findings are {stated}, the sealed detail gives {found}"


def _mentions_marker(annotation: object) -> bool:
    parts = (*get_args(annotation), *getattr(annotation, "__metadata__", ()))
    return annotation is _SealedMarker or any(_mentions_marker(part) for part in parts)
