"""What the tests of moving put into a ledger, and where they move it to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from affidavit.domain.event import Meta, NewEvent, Withheld
from affidavit.domain.optimization.events import SourceKept
from affidavit.ledger.application import Ledger
from affidavit.ledger.moving.copying import Copied, copy_ledger
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import noted
from affidavit.tests.stores import STORES, Databases

TOKEN = b"what an authority answered"
TEXT = "a secret kept under a key"


def fill(ledger: Ledger, bulk: int = 600) -> None:
    """Entries for two tiles, checkpoints, a rotated key, an erased scope and a living one, a name, a token."""
    ledger.record(*(noted(pos, "bulk/1") for pos in range(bulk)))
    for scope in ("kept/1", "gone/1"):
        ledger.record(NewEvent(scope, 0, SourceKept(name="n", content=TEXT), Meta(scope=scope)))
    ledger.alias("user", "ada")
    ledger.alias("user", "bob", under="gone/1")
    ledger.sign()
    ledger.erase("gone/1", "asked_for")
    ledger.rotate_key(overlap=2)
    size = ledger.sign().size
    ledger.place.keep_token(size, TOKEN)


def contents(place: Place) -> dict[str, Any]:
    """All of a log that moving must not change, up to the entry that moved it."""
    with place.glance() as reader:
        rows = list(reader.entries())
        moved = next((row.seq for row in reversed(rows) if row.type_name == "ledger.moved.v1"), len(rows) - 1)
        return {
            "entries": rows[: moved + 1],
            "boxes": list(reader.boxes()),
            "tiles": list(reader.tiles()),
            "checkpoints": [note for note in reader.checkpoints() if note[0] <= moved + 1],
            "root": reader.frontier_at(moved + 1).root(),
            "tokens": [(size, place.token(size)) for size in place.token_sizes()],
        }


def move(ledger: Ledger, to: Place, **more: Any) -> Copied:
    return copy_ledger(ledger.place, to, ledger.keys.path.parent, REGISTRY, edge=ledger._edge, **more)


def open_at(ledger: Ledger, place: Place) -> Ledger:
    """The same ledger, where it is now."""
    return Ledger(place, ledger.keys.path.parent, REGISTRY, edge=ledger._edge, sign_in_background=False)


@contextmanager
def empty_place(databases: Databases, store: str, folder: Path) -> Iterator[Place]:
    if store == STORES[0]:
        yield FolderPlace(folder)
        return
    place = databases.empty(store)
    yield place
    databases.drop(store, place)


def require_moved(ledger: Ledger, to: Place) -> None:
    """All of it is there, and it goes on there: content opens, but what was erased; names are known."""
    here, there = contents(ledger.place), contents(to)
    assert here == there
    with open_at(ledger, to) as moved:
        with moved.recorder.reading() as reader:
            opened = next(iter(moved.event_reader(reader).stream("kept/1"))).event
            closed = next(iter(moved.event_reader(reader).stream("gone/1"))).event
        assert isinstance(opened, SourceKept)
        assert opened.content == TEXT
        assert isinstance(closed, SourceKept)
        assert isinstance(closed.content, Withheld)
        assert closed.content.why == "erased"
        assert [scope for _, scope in moved.find_aliases("user", "ada")]
        assert not moved.find_aliases("user", "bob")
        place = moved.record(noted(0, "after/1"))[0]
        receipt = moved.receipt(place.seq)
        assert receipt.index == place.seq
