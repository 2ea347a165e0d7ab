"""Runs as they were folded for earlier pages: an answer about a long run is not made anew for every reader.

Sealed content is kept open in memory, so whatever is erased empties this at once. What is kept of a run is its newest
state that anybody looked at, and older ones that were asked for by ``as_of``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any, TypeVar

from ...domain.model_calls import ModelAnswered, ModelRequested
from ...ledger.application import Ledger
from ...ledger.entries.entry import read_entry
from ...ledger.folds.erasures import ERASURE_STREAM
from ...projections.runs.explanation import explain
from ...projections.runs.flow import Step, run_steps
from ...projections.runs.places import require_run
from ...projections.runs.record import RunFold, RunRecord
from ...projections.runs.recorded_calls import called_from
from ..moment import Moment
from .frame import Visit

Made = TypeVar("Made")

_CALLS = (ModelRequested.type_name, ModelAnswered.type_name)
"""Of recorded calls a record has the account, which is made of their rows in the view: there are thousands of them."""

MOST_KEPT = 50_000
"""How many events and samples the runs that are kept have together; the last one is kept whatever it has."""


@dataclass(eq=False)
class KnownRun:
    """A run as of some moment, and what pages derive of it, each at most once.

    ``seed`` seeds intervals as for every other reader of the run: by the root at its end. ``spans`` are the first and
    last seq of its entries that stand side by side; ``events`` counts them.
    """

    record: RunRecord
    seed: int
    events: int
    spans: Sequence[tuple[int, int]]
    fold: RunFold
    _made: dict[str, tuple[Hashable, Any]] = field(default_factory=dict)

    @cached_property
    def weight(self) -> int:
        """Events and samples."""
        return self.events + sum(
            len(found.samples) for found in self.record.evaluations if isinstance(found.samples, tuple)
        )

    @cached_property
    def explained(self) -> dict[str, Any]:
        return explain(self.record, self.seed).document

    def once(self, name: str, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, kept until the same name is asked for by another key."""
        if name not in self._made or self._made[name][0] != key:
            self._made[name] = key, make()
        found: Made = self._made[name][1]
        return found

    @cached_property
    def steps(self) -> list[Step]:
        return run_steps(self.record)


@dataclass(eq=False)
class RunRecords:
    """The runs that are kept of one ledger, by name and number of events, the one looked at last at the end."""

    lock: Lock = field(default_factory=Lock)
    erasures: int = 0
    kept: OrderedDict[tuple[str, int], KnownRun] = field(default_factory=OrderedDict)

    def get(self, ledger: Ledger, moment: Moment, run: str) -> KnownRun:
        """The run as of the moment; ``Refused`` where there is none. At most one caller at a time folds."""
        with self.lock:
            erasures = moment.events.reader.next_pos(ERASURE_STREAM)
            if erasures != self.erasures:
                self.erasures = erasures
                self.kept.clear()
            require_run(moment.views, run, moment.size)
            stream = f"run/{run}"
            key = (run, moment.events.reader.events_before(stream, moment.size))
            # A process that ended between destroying the key and saying so leaves the number of erasures as it was.
            if ledger.scopes.destroyed(stream) is not None:
                self.kept[key] = _fold(moment, run, key[1], None)
            elif key not in self.kept:
                self.kept[key] = _fold(moment, run, key[1], self._before(*key))
            self.kept.move_to_end(key)
            while len(self.kept) > 1 and sum(known.weight for known in self.kept.values()) > MOST_KEPT:
                self.kept.popitem(last=False)
            return self.kept[key]

    def _before(self, run: str, events: int) -> KnownRun | None:
        """The newest earlier state of the run that is kept."""
        counts = [count for name, count in self.kept if name == run and count < events]
        return self.kept[run, max(counts)] if counts else None


def known_run(visit: Visit, moment: Moment, run: str) -> KnownRun:
    """A run as of a moment of the ledger that is visited; ``Refused`` (``run_known``) where there is none."""
    return visit.kept.of("run records", None, RunRecords).get(visit.service.ledger, moment, run)


def _fold(moment: Moment, run: str, events: int, before: KnownRun | None) -> KnownRun:
    """The run with so many events; what ``before`` has of them is not read again."""
    fold = RunFold() if before is None else before.fold.copy()
    start = 0 if before is None else before.events
    calls = called_from(moment.views, run, moment.size, start)
    seqs = [seq for seq, _ in calls]
    for recorded in moment.events.stream(f"run/{run}", moment.size, start, without=_CALLS):
        seqs.append(recorded.seq)
        fold.feed(recorded)
    record = fold.record
    assert record is not None
    if calls:
        last, _ = calls[-1]
        (entry,) = moment.events.reader.entries(last, last + 1)
        record.count_calls((figures for _, figures in calls), last, str(read_entry(entry.raw)["at"]))
    root = moment.events.reader.frontier_at(record.last_seq + 1).root()
    spans = _spans([] if before is None else before.spans, sorted(seqs))
    return KnownRun(record, int.from_bytes(root[:8], "big"), events, spans, fold)


def _spans(before: Sequence[tuple[int, int]], seqs: Iterable[int]) -> list[tuple[int, int]]:
    """The spans with more seqs, which ascend."""
    spans = [*before]
    for seq in seqs:
        if spans and spans[-1][1] == seq - 1:
            spans[-1] = (spans[-1][0], seq)
        else:
            spans.append((seq, seq))
    return spans
