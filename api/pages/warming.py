"""What the first pages of a server would otherwise wait for: made beforehand, on a thread, while it serves already.

Libraries that compute figures are imported, templates compiled, and what is kept beside the read models brought up to
date. A page that is asked for meanwhile waits for one step at most.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module

from ...domain.errors import Refused
from ...ledger.errors import Unavailable
from ...projections.evaluation.judge_versions import versions_through_time
from ...projections.evaluation.latest import last_day
from ...projections.evaluation.segments import DTYPES, load_segments
from ...projections.evaluation.stale import extend_spans
from ...projections.run_list import filter_choices
from ..http.service import Service
from ..moment import Moment
from .frame import environment

_LIBRARIES = ("numpy", "scipy.special", "scipy.stats")
_DAYS = 45
"""Of these last days the columns are made that evaluation is computed from: the default window and the one before."""


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
        steps: tuple[Callable[[], object], ...] = (
            *(lambda name=name: import_module(name) for name in _LIBRARIES),
            *(lambda name=name: environment().get_template(name) for name in environment().list_templates()),
            lambda: self._look(_fill_runs),
            lambda: self._look(_fill_evaluation),
            lambda: self._look(_fill_past),
        )
        for step in steps:
            if self._stopped.is_set():
                return
            step()

    def _look(self, fill: Callable[[Moment, int], object]) -> None:
        try:
            with self._service.moment() as moment:
                fill(moment, self._service.now())
        except (Refused, Unavailable):
            return


def _fill_runs(moment: Moment, now: int) -> None:
    filter_choices(moment.views, moment.size)


def _fill_evaluation(moment: Moment, now: int) -> None:
    last = last_day(moment.views, moment.size, now)
    if last is None:
        return
    for kind in DTYPES:
        load_segments(moment.views, kind, last - _DAYS, last, moment.size)
    versions_through_time(moment.views, moment.events, moment.size, now)


def _fill_past(moment: Moment, now: int) -> None:
    extend_spans(moment.views, moment.size)
