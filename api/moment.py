"""One moment of a ledger, to read from: its read models and events, and from how many entries they come."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from ..ledger.application import Ledger
from ..ledger.errors import Unavailable
from ..ledger.store.opening import EventReader
from ..ledger.store.place import VIEWS, Place
from ..ledger.store.reader import LedgerReader
from ..projections.runner import are_newer, catch_up, has_caught_up, views_engine
from .reading import open_for_reading, size_as_of

NamesOf = Callable[[Iterable[str]], dict[str, str | None]]
"""The names that aliases stand for; None where a name is erased, or no key is at hand."""

SessionsNamed = Callable[[Iterable[str]], dict[str, list[str]]]
"""By alias of a session id, the sessions that have this id now."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Answers are computed from the first ``size`` entries, whose root is ``root``; views hold at least those."""

    views: Connection
    events: EventReader
    size: int
    root: bytes
    names_of: NamesOf
    sessions_named: SessionsNamed


class LiveLedger:
    """The read models of a ledger that is open for appending, brought up to date at each look. Safe from threads."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._engine = views_engine(ledger.place.views)
        self._lock = ledger.place.lock(VIEWS)
        self._mutex = threading.RLock()
        self._depth = 0
        self._failed = (-math.inf, "")  # when, and of what, somebody failed to look who held the mutex
        self._is_prepared = False

    @contextmanager
    def moment(self, as_of: str | None = None) -> Iterator[Moment]:
        """The ledger as it stands now, or stood ``as_of`` a seq or a time; ``Refused`` where there is no such.

        Others who look wait until it is over; who appends does not.
        """
        # The views' lock comes first and is held throughout: a reader with an older log beside it would take views
        # that somebody else has brought further for those of another log, and a segment that is kept must not miss
        # what was added while it was derived.
        with self._reading() as reader:
            events = self.ledger.event_reader(reader)
            head = reader.head()
            self._bring_up(events, head.size)
            size = size_as_of(reader, head.size, as_of)
            root = head.root() if head.size == size else reader.frontier_at(size).root()
            with self._engine.connect() as views:
                yield Moment(views, events, size, root, self.ledger.names_of, self._sessions_named)

    def catch_up(self) -> int:
        """Bring the read models up to the log's present size, which is returned.

        Those that a newer program made are left to it: two versions beside each other would make them anew in turn.
        """
        with self._reading() as reader:
            size = reader.head().size
            if not are_newer(self._engine):
                self._bring_up(self.ledger.event_reader(reader), size)
            return size

    def _bring_up(self, events: EventReader, size: int) -> None:
        if not (self._is_prepared and has_caught_up(self._engine, size)):
            with self.ledger.watch("catch_up") as figures:
                figures["size"] = catch_up(self._engine, events)
            self._is_prepared = True

    def _sessions_named(self, aliases: Iterable[str]) -> dict[str, list[str]]:
        return _sessions(self.ledger.names_of(aliases), self.ledger.find_aliases)

    @contextmanager
    def _reading(self) -> Iterator[LedgerReader]:
        """The log, which nobody else brings the read models up to date with meanwhile.

        Who waited for somebody whom the database did not let look is told the same: if each waited for the
        database in turn, the last would wait as many times as long.
        """
        begun = time.monotonic()
        with self._mutex:
            failed_at, why = self._failed
            if failed_at > begun:
                raise Unavailable(why)
            with ExitStack() as opened:
                try:
                    opened.enter_context(self._locked())
                    opened.enter_context(self._explained())
                    reader = opened.enter_context(self.ledger.recorder.reading())
                except Unavailable as error:
                    self._failed = (time.monotonic(), str(error))
                    raise
                yield reader

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The views' lock; a moment within a moment of the same thread has it already."""
        with ExitStack() as held:
            if self._depth == 0:
                held.enter_context(self._lock.held())
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            if self._engine.dialect.name == "sqlite":
                raise
            raise Unavailable(f"the views of {self.ledger.place}: {error.orig}") from error

    def close(self) -> None:
        self._engine.dispose()
        self._lock.close()


@contextmanager
def open_moment(place: Place, keys: Path, as_of: str | None = None, *, jobs: int | None = 1) -> Iterator[Moment]:
    """A moment of a ledger that somebody else may be writing; no byte of its evidence changes.

    ``jobs`` as ``OpenLedger.views`` takes it.
    """
    with open_for_reading(place, keys) as opened, opened.views(jobs=jobs) as views:
        size = opened.size_as_of(as_of)
        scopes = opened.scopes
        names = scopes.names_of if scopes is not None else _no_names

        def sessions_named(aliases: Iterable[str]) -> dict[str, list[str]]:
            return {} if scopes is None else _sessions(scopes.names_of(aliases), scopes.find)

        yield Moment(views, opened.events, size, opened.root_at(size), names, sessions_named)


def _sessions(names: dict[str, str | None], find: Callable[[str, str], list[tuple[str, str]]]) -> dict[str, list[str]]:
    """By alias of a session id, the sessions that have the id now."""
    return {
        alias: [session for session, _ in find("session", name)] for alias, name in names.items() if name is not None
    }


def _no_names(aliases: Iterable[str]) -> dict[str, str | None]:
    return dict.fromkeys(aliases)
