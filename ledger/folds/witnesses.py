"""What the log says of witnesses: whom it asks, and whether it publishes without their quorum."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from ..entries.entry import Entry
from ..errors import Malformed
from ..events import WitnessesDeclared

WITNESSES_STREAM = "witnesses"


def declaration(entry: Entry) -> WitnessesDeclared | None:
    """What an entry declares of witnesses, None where it declares none; ``Malformed`` where it lacks its fields."""
    if (entry["stream"], entry["type"]) != (WITNESSES_STREAM, WitnessesDeclared.type_name):
        return None
    try:
        return WitnessesDeclared.model_validate(entry["data"])
    except ValidationError as error:
        raise Malformed(f"entry {entry['seq']}: {entry['type']} does not have its fields") from error


def fold_declared(entries: Iterable[Entry]) -> WitnessesDeclared | None:
    """What parsed entries, in order of ``seq``, declare last; raises as ``declaration`` does."""
    declared = None
    for entry in entries:
        declared = declaration(entry) or declared
    return declared
