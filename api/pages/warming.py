"""What the first pages of a server would otherwise wait for: made beforehand, on a thread, while it serves already.

Libraries that compute figures are imported, templates compiled, and what is kept beside the read models brought up to
date. A page that is asked for meanwhile waits for one step at most.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from itertools import product

from ...domain.errors import Refused
from ...ledger.errors import Unavailable
from ...projections.evaluation.judge_versions import count_verdicts
from ...projections.evaluation.latest import last_day
from ...projections.evaluation.segments import DTYPES, Kind, load_segments
from ...projections.evaluation.stale import extend_spans
from ...projections.runs.run_list import filter_choices
from ..http.service import Service
from ..moment import Moment
from .frame import environment

_LIBRARIES = ("numpy", "scipy.special", "scipy.stats")
_DAYS = 45
"""Of these last days the columns are made that evaluation is computed from: the default window and the one before."""
_ENTRIES = 20_000
"""What is counted over the whole ledger is carried on by so many entries in a step."""
_PAUSE = 0.002
"""Seconds between two steps, in which a page that waits takes its turn."""


class Warming:
    """Makes them once. What cannot be made is left to the page that needs it, which says why not."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warming", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no further step, and wait for the one that is at work."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        for step in self._steps():
            if self._stopped.wait(_PAUSE):
                return
            step()

    def _steps(self) -> Iterator[Callable[[], object]]:
        yield from (partial(import_module, name) for name in _LIBRARIES)
        yield from (partial(environment().get_template, name) for name in environment().list_templates())
        yield partial(self._look, _fill_runs)
        reached: list[tuple[int, int | None]] = []
        yield partial(self._look, lambda moment, now: reached.append(_reached(moment, now)))
        for size, day in reached:
            for days_before, kind in product(range(_DAYS + 1), DTYPES):
                if day is not None:
                    yield partial(self._look, partial(_fill_day, kind, day - days_before))
            for upto in (*range(_ENTRIES, size, _ENTRIES), size):
                yield partial(self._look, partial(_carry_on, upto))

    def _look(self, fill: Callable[[Moment, int], object]) -> None:
        try:
            with self._service.moment() as moment:
                fill(moment, self._service.now())
        except (Refused, Unavailable):
            return


def _fill_runs(moment: Moment, now: int) -> None:
    filter_choices(moment.views, moment.size)


def _reached(moment: Moment, now: int) -> tuple[int, int | None]:
    return moment.size, last_day(moment.views, moment.size, now)


def _fill_day(kind: Kind, day: int, moment: Moment, now: int) -> None:
    load_segments(moment.views, kind, day, day, moment.size)


def _carry_on(upto: int, moment: Moment, now: int) -> None:
    extend_spans(moment.views, upto)
    count_verdicts(moment.views, upto)
