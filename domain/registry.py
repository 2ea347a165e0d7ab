"""The closed registry: which stored names mean which events.

A name that is not here is never resolved, imported or guessed: it becomes an ``OpaqueEvent``. An older
version of a type is brought up to date by its upcast when it is read; the stored bytes stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from .errors import Refused
from .event import Event, OpaqueEvent, Withheld

Upcast = Callable[[dict[str, Any]], dict[str, Any]]


class Registry:
    """Stored name to event class; ``upcasts`` maps an old name to (today's name, how its data change)."""

    def __init__(self, classes: Iterable[type[Event]], upcasts: Mapping[str, tuple[str, Upcast]] | None = None) -> None:
        self._classes = {cls.type_name: cls for cls in classes}
        self._upcasts = dict(upcasts or {})

    def __contains__(self, type_name: str) -> bool:
        return type_name in self._classes

    def names(self) -> list[str]:
        """Every current stored name, sorted."""
        return sorted(self._classes)

    def decode(
        self, type_name: str, data: Mapping[str, Any], sealed: Mapping[str, str], opened: Mapping[str, Any]
    ) -> Event | OpaqueEvent:
        """Make the event that an entry holds.

        ``opened`` has the sealed fields whose content is at hand, or their ``Withheld``; a sealed field
        without either is withheld as closed. ``Refused`` where the content does not fit the type.
        """
        fields = dict(data)
        for name, digest in sealed.items():
            fields[name] = opened[name] if name in opened else Withheld(digest)
        cls = self._classes.get(type_name)
        if cls is not None and type_name not in self._upcasts:  # as nearly all are
            try:
                return cls.model_validate(fields)
            except ValidationError as error:
                raise _refused(error) from error
        seen = {type_name}
        while type_name in self._upcasts:
            type_name, upcast = self._upcasts[type_name]
            if type_name in seen:
                raise RuntimeError(f"upcasts of {type_name} run in a circle")
            seen.add(type_name)
            fields = upcast(fields)
        cls = self._classes.get(type_name)
        if cls is None:
            return OpaqueEvent(data=dict(data), sealed=dict(sealed))
        with invalid_is_refused():
            return cls.model_validate(fields)


@contextmanager
def invalid_is_refused() -> Iterator[None]:
    """Turn what pydantic says of an event's fields into ``Refused``, naming the first field that is wrong."""
    try:
        yield
    except ValidationError as error:
        raise _refused(error) from error


def _refused(error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "event"
    return Refused("event_invalid", f"{error.title}: {place}: {first['msg']}")
