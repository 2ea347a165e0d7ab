"""What runs gained, with interval and p, for many runs at once: computed when first asked for, and kept in memory.

Nothing of it is written anywhere: the figures come from sealed samples. What is kept is found by the hash of the
run's last entry, which stands for every entry before it, and is shown only while the keys of its samples are there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from ...domain.event import Withheld
from ...domain.optimization.events import PromptEvaluated, RunSealed
from ...ledger.entries.mapper import scope_of
from ...ledger.store.opening import EventReader
from ..statistics.gain import PairedComparison, paired_comparison
from .scores import gain_between
from .view import ENDINGS, EVALUATIONS

KEPT_AT_MOST = 20_000


class _Ends(NamedTuple):
    """Where a run's figures come from: its two evaluations, and its last entry."""

    baseline: int
    final: int
    last: int
    leaf: bytes


class _Kept(NamedTuple):
    scopes: frozenset[str]
    found: PairedComparison


class Comparisons:
    """The comparisons of the runs that were asked for last. Safe from threads."""

    def __init__(self, most: int = KEPT_AT_MOST) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._mutex = threading.Lock()

    def of(
        self, views: Connection, events: EventReader, size: int, runs: Sequence[str], go_on: Callable[[], bool]
    ) -> dict[str, PairedComparison | str]:
        """What ``compare_ends`` says of each of ``runs`` that has ended with a score, as of ``size`` entries.

        One takes milliseconds to compute. Once ``go_on`` says no, those that are not kept are left out.
        """
        found: dict[str, PairedComparison | str] = {}
        for run, ends in _ends(views, events, size, runs).items():
            kept = self._get(ends.leaf)
            if kept is not None and all(events.opens(scope) for scope in kept.scopes):
                found[run] = kept.found
            elif go_on():
                found[run] = self._compute(events, ends)
        return found

    def _compute(self, events: EventReader, ends: _Ends) -> PairedComparison | str:
        read = [events.event(seq) for seq in (ends.baseline, ends.final)]
        baseline, final = (None if one is None else one.event for one in read)
        if not isinstance(baseline, PromptEvaluated) or not isinstance(final, PromptEvaluated):
            return "an evaluation cannot be read"
        seed = int.from_bytes(events.reader.frontier_at(ends.last + 1).root()[:8], "big")
        compared = compare_evaluations(baseline, final, seed)
        if isinstance(compared, PairedComparison):
            scopes = frozenset(scope_of(one.meta, one.stream) for one in read if one is not None)
            with self._mutex:
                self._kept[ends.leaf] = _Kept(scopes, compared)
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return compared

    def _get(self, leaf: bytes) -> _Kept | None:
        with self._mutex:
            if leaf in self._kept:
                self._kept.move_to_end(leaf)
            return self._kept.get(leaf)


def compare_evaluations(
    baseline: PromptEvaluated | None, final: PromptEvaluated | None, seed: int
) -> PairedComparison | str:
    """The final evaluation against the baseline, paired by sample; or why the two do not compare."""
    why_not = gain_between(baseline, final).why_not
    if baseline is None or final is None or why_not is not None:
        return why_not or "an evaluation is missing"
    if not isinstance(baseline.samples, tuple) or not isinstance(final.samples, tuple):
        withheld = isinstance(baseline.samples, Withheld) or isinstance(final.samples, Withheld)
        return f"the samples are {'withheld' if withheld else 'not recorded'}"
    return paired_comparison(baseline.samples, final.samples, seed)


def _ends(views: Connection, events: EventReader, size: int, runs: Sequence[str]) -> dict[str, _Ends]:
    """Of each run that has both a baseline and a final evaluation, where its figures come from."""
    ended = (
        select(ENDINGS.c.run, ENDINGS.c.pos, EVALUATIONS.c.seq)
        .join(
            EVALUATIONS,
            (EVALUATIONS.c.run == ENDINGS.c.run) & (EVALUATIONS.c.evaluation == ENDINGS.c.final_evaluation),
        )
        .where(ENDINGS.c.run.in_(runs), ENDINGS.c.seq < size)
    )
    baselines = select(EVALUATIONS.c.run, EVALUATIONS.c.seq).where(
        EVALUATIONS.c.run.in_(runs), EVALUATIONS.c.purpose == "baseline", EVALUATIONS.c.seq < size
    )
    newest = {str(run): int(seq) for run, seq in views.execute(baselines.order_by(EVALUATIONS.c.seq))}
    found = {}
    for run, pos, final in views.execute(ended):
        after = events.reader.stream(f"run/{run}", size, pos)
        last = [row for row in after if row.type_name != RunSealed.type_name][-1]
        if run in newest:
            found[run] = _Ends(newest[run], final, last.seq, last.leaf)
    return {run: found[run] for run in runs if run in found}
