"""Between events and entries: the mapper that the eventsourcing library asks.

On the way in it validates nothing that pydantic has not validated; it parts the open fields from the
sealed ones, salts the sealed ones, and prints the part of the entry that does not depend on its place.
On the way back it parses the entry strictly and looks its type up in the closed registry. The
library's topics, which name Python modules to import, are never resolved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent
from pydantic import BaseModel

from ...domain.event import Event, Meta, NewEvent, OpaqueEvent, Recorded
from ...domain.number import format_number
from ...domain.registry import Registry
from .entry import Entry, parse_entry, print_content, require_room, require_stream, require_type
from .seal import SALT_BYTES, Disclosure, make_disclosure


@dataclass(frozen=True, slots=True)
class PendingEntry(StoredEvent):
    """An entry that waits for its place: ``state`` is its content, the disclosures go beside it."""

    scope: str
    disclosures: tuple[Disclosure, ...]


class EventMapper(Mapper[str]):
    """Maps ``NewEvent`` to ``PendingEntry``, and stored entry bytes to ``Recorded`` with sealed content closed."""

    def __init__(self, registry: Registry, random: Callable[[int], bytes]) -> None:
        super().__init__(JSONTranscoder())
        self._registry = registry
        self._random = random

    def to_stored_event(self, domain_event: Any) -> PendingEntry:
        new: NewEvent = domain_event
        event = new.event
        require_stream(new.stream)
        require_type(event.type_name)
        data, disclosures = split(event, self._random)
        sealed = {disclosure.name: disclosure.digest for disclosure in disclosures}
        content = print_content(new.meta, data, sealed)
        require_room(new.stream, new.pos, event.type_name, content)
        return PendingEntry(
            originator_id=new.stream,
            originator_version=new.pos,
            topic=event.type_name,
            state=content,
            scope=scope_of(new.meta, new.stream),
            disclosures=disclosures,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        return decode(parse_entry(stored_event.state), self._registry, {})


_AS_IT_IS = frozenset({str, int, bool})
"""Open values of these types stand in an entry unchanged."""


def decode(entry: Entry, registry: Registry, opened: Mapping[str, Any]) -> Recorded:
    """The event of a parsed entry; ``opened`` has the sealed values that are at hand."""
    event: Event | OpaqueEvent = registry.decode(entry["type"], entry["data"], entry["sealed"], opened)
    return Recorded(entry["seq"], entry["at"], entry["stream"], entry["pos"], entry["type"], entry["meta"], event)


def scope_of(meta: Meta, stream: str) -> str:
    """The erasure scope that an entry's sealed fields lie under."""
    return meta.get("scope", stream)


def split(event: Event, random: Callable[[int], bytes]) -> tuple[dict[str, Any], tuple[Disclosure, ...]]:
    """Part an event into its open data, as an entry holds them, and its salted disclosures.

    A field that is None stands nowhere. Floats in open data become shortest decimals.
    """
    sealed_fields = event.sealed_fields
    data: dict[str, Any] = {}
    disclosures: list[Disclosure] = []
    for name, value in event.__dict__.items():
        if value is None:
            continue
        if type(value) in _AS_IT_IS and name not in sealed_fields:
            data[name] = value
        elif name in sealed_fields:
            disclosures.append(make_disclosure(name, _plain(value), random(SALT_BYTES)))
        else:
            data[name] = _open(value)
    return data, tuple(disclosures)


def _open(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is float:
        return format_number(value)
    if kind is dict:
        return {key: _open(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_open(item) for item in value]
    if isinstance(value, BaseModel):
        return {key: _open(item) for key, item in value.__dict__.items() if item is not None}
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
