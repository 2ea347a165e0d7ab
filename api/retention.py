"""Retention: rules on the ledger that say how long content is kept, and erasing what is older.

Age counts from the last entry about a thing, by the ledger's clock. Of runs the kind is ``run``: a run goes with its
reviews. Of people it is ``subject``: what lies under a user, under a session id that an outside scorer named, or under
the day of questions that nobody is named with. What lies under no such scope is kept: prompts of judges, rules, the
configuration, and who recorded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from ..domain.errors import AffidavitError, Refused
from ..domain.event import Meta, NewEvent
from ..domain.registry import invalid_is_refused
from ..ledger.application import Acknowledged, Ledger
from ..ledger.entries.entry import parse_entry, read_entry
from ..ledger.entries.mapper import scope_of
from ..ledger.events import RetentionDeclared
from ..ledger.store.opening import EventReader
from ..ledger.store.reader import LedgerReader
from .erasing import USER, Erasure, erase_scopes, plan_run
from .scoring import NAMED_SESSION
from .settings import recorder_name

Kind = Literal["run", "subject"]
KINDS: tuple[Kind, ...] = get_args(Kind)

STREAM = "retention"
REASON = "retention_ended"
EVERY = 86_400.0
"""Seconds between two looks of a server."""

_SUBJECTS = (f"{USER}/", f"{NAMED_SESSION}/", "retrieval/")
_LOG = logging.getLogger("affidavit.retention")


@dataclass(frozen=True, slots=True)
class Rule:
    """What is in force: days by kind, and the entry that declared it."""

    days: dict[Kind, int]
    seq: int


@dataclass(frozen=True, slots=True)
class Due:
    """A thing whose time is over: its kind, its own scope, and when its last entry was recorded."""

    kind: Kind
    scope: str
    last_at: str


def declare_retention(ledger: Ledger, days: dict[Kind, int]) -> Acknowledged:
    """Put a rule in force, in place of the one before. ``Conflict`` where another process declared at the same time."""
    with invalid_is_refused():
        event = RetentionDeclared(days=days)
    with ledger.recorder.reading() as reader:
        pos = reader.next_pos(STREAM)
    return ledger.record(NewEvent(STREAM, pos, event, Meta(recorder=recorder_name())))[0]


def read_retention(events: EventReader) -> Rule | None:
    """The rule in force; None where none was ever declared."""
    found = None
    for recorded in events.stream(STREAM, start=max(0, events.reader.next_pos(STREAM) - 1)):
        if isinstance(recorded.event, RetentionDeclared):
            found = Rule(dict(recorded.event.days), recorded.seq)
    return found


def find_due(ledger: Ledger) -> list[Due]:
    """What is older than the rule in force allows and not erased yet, in order of its last entry."""
    with ledger.recorder.reading() as reader:
        rule = read_retention(ledger.event_reader(reader))
        if rule is None:
            return []
        found = []
        for kind, days in rule.days.items():
            latest = _latest_of_runs(reader) if kind == "run" else _latest_of_subjects(reader)
            limit = datetime.fromisoformat(ledger.now()) - timedelta(days=days)
            found += [Due(kind, scope, at) for scope, at in latest.items() if datetime.fromisoformat(at) < limit]
    living = [due for due in found if ledger.scopes.cipher(due.scope) is not None]
    return sorted(living, key=lambda due: (due.last_at, due.scope))


def apply_retention(ledger: Ledger) -> Iterator[Erasure]:
    """Erase what is due, one scope each time the next is asked for; what somebody else erases meanwhile is passed over.

    A run's reviews go before the run, so that what is cut short here is due again.
    """
    for due in find_due(ledger):
        try:
            scopes = plan_run(ledger, due.scope.removeprefix("run/")).scopes if due.kind == "run" else (due.scope,)
        except Refused as refused:
            if refused.rule != "scope_erased":
                raise
        else:
            yield from erase_scopes(ledger, scopes, REASON, meta=Meta(recorder=recorder_name()))


class Retention:
    """Applies the rule in force once when it starts and then every ``every`` seconds, in a thread, until stopped.

    A look that fails is logged, and the next one comes all the same. ``looked`` is called after each, to forget names
    that are kept in memory.
    """

    def __init__(self, ledger: Ledger, looked: Callable[[], None], *, every: float = EVERY) -> None:
        self._ledger = ledger
        self._looked = looked
        self._every = every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="affidavit-retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the erasure that is under way; what is due then waits for the next start."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                for erasure in apply_retention(self._ledger):
                    _LOG.info("erased %s, entry %d", erasure.scope, erasure.executed.seq)
                    if self._stopped.is_set():
                        break
            except AffidavitError as error:
                _LOG.error("retention: %s", error)
            self._looked()
            self._stopped.wait(self._every)


def _latest_of_runs(reader: LedgerReader) -> dict[str, str]:
    latest = {}
    for stream in reader.streams("run"):
        for row in reader.stream(stream, start=reader.next_pos(stream) - 1):
            latest[stream] = parse_entry(row.raw)["at"]
    return latest


def _latest_of_subjects(reader: LedgerReader) -> dict[str, str]:
    latest = {}
    for row in reader.entries():
        entry = read_entry(row.raw)
        scope = scope_of(entry["meta"], entry["stream"])
        if scope.startswith(_SUBJECTS):
            latest[scope] = entry["at"]
    return latest
