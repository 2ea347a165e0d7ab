"""The rows of stretches of the log, for views that are brought up to date: made here, or by several processes.

Decoding entries and making rows of them takes most of the time of a rebuild, and no stretch needs another. So for a
long way to go processes make them, each over a reader of the same state, and whoever asked enters them in order.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from ..domain.event import Recorded
from ..ledger.processes import in_order, processes
from ..ledger.store.opening import EventReader
from .view import View, print_rows

BATCH = 2000
PARALLEL_FROM = 100_000
"""Entries for which it pays to start processes."""

_STRETCH = 8192
_AHEAD = 2
"""Stretches for each process that may wait to be entered, which bounds the memory."""


@dataclass(slots=True)
class Made:
    """The rows that a stretch adds to one view: by table, and printed event by event, for the view's digest."""

    printed: list[bytes] = field(default_factory=list)
    added: defaultdict[str, list[tuple[Any, ...]]] = field(default_factory=partial(defaultdict, list))


Batch = tuple[int, list[Made]]
"""Up to which entry, and what each view gets."""


def batches(views: Sequence[View], events: EventReader, start: int, stop: int, jobs: int | None) -> Iterator[Batch]:
    """What the entries ``start <= seq < stop`` add to views, in order.

    By ``jobs`` processes; for None by one for each core where the way is long. By this one where the same state of the
    log cannot be opened again. ``Unreachable`` where one of the processes does not start, or is ended.
    """
    again = events.again()
    wanted = jobs if jobs is not None else (os.cpu_count() or 1) if stop - start >= PARALLEL_FROM else 1
    if wanted <= 1 or again is None:
        yield from _here(views, events, start, stop)
        return
    stretches = ((first, min(first + _STRETCH, stop)) for first in range(start, stop, _STRETCH))
    with processes(wanted, "makes the views", _open, again, tuple(views)) as pool:
        yield from in_order(pool, _stretch, stretches, _AHEAD * wanted)


def _here(views: Sequence[View], events: EventReader, start: int, stop: int) -> Iterator[Batch]:
    source = events.events(start, stop, _types(views))
    while start < stop:
        batch = list(islice(source, BATCH))
        start = batch[-1].seq + 1 if len(batch) == BATCH else stop
        yield start, make_rows(views, batch)


def make_rows(views: Sequence[View], events: Iterable[Recorded]) -> list[Made]:
    """What events, in order, add to each of the views."""
    made = [Made() for _ in views]
    for recorded in events:
        for view, own in zip(views, made, strict=True):
            rows = view.rows(recorded) if recorded.type_name in view.types else ()
            if rows:
                own.printed.append(print_rows(rows))
                for table, values in rows:
                    own.added[table.name].append(values)
    return made


def _types(views: Sequence[View]) -> frozenset[str]:
    """Events of other types are not decoded."""
    return frozenset().union(*(view.types for view in views))


_opened: tuple[EventReader, tuple[View, ...]] | None = None


def _open(again: Callable[[], EventReader], views: tuple[View, ...]) -> None:
    global _opened
    _opened = again(), views


def _stretch(span: tuple[int, int]) -> Batch:
    assert _opened is not None
    events, views = _opened
    start, stop = span
    return stop, make_rows(views, events.events(start, stop, _types(views)))
