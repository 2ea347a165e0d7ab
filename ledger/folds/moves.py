"""Where a log goes on that has moved to another store."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from ..entries.entry import Entry
from ..errors import Malformed
from ..events import LedgerMoved

_STORES = {"postgresql": "PostgreSQL", "sqlite": "a folder"}


class Moved(NamedTuple):
    """Entry ``seq``, recorded ``at``, ended the log where it is read: it goes on at ``destination``, in a ``store``."""

    seq: int
    at: str
    store: str
    destination: str

    def __str__(self) -> str:
        return f"it moved to {_STORES.get(self.store, self.store)} with entry {self.seq}, at {self.at}"


def fold_moved(last: Entry) -> Moved | None:
    """What the last entry of a log says of that; None where the log goes on where it is. ``Malformed``."""
    if last["type"] != LedgerMoved.type_name:
        return None
    try:
        event = LedgerMoved.model_validate(last["data"])
    except ValidationError as error:
        raise Malformed(f"entry {last['seq']}: {last['type']} does not have its fields") from error
    return Moved(last["seq"], last["at"], event.store, event.destination)
