"""Bringing the read models up to date as the log grows, so that who looks next need not wait for that."""

from __future__ import annotations

import logging
import threading

from ..ledger.store.recorder import Growth
from .moment import LiveLedger

_REST_SECONDS = 0.1
"""Between two looks: what is appended meanwhile is added at once, for little more than one entry costs."""
_RETRY_SECONDS = 1.0
_LOG = logging.getLogger("affidavit.following")


class Following:
    """Follows a ledger in a thread until stopped, whoever appends.

    What fails is logged once and tried again; who looks meanwhile is told what it is.
    """

    def __init__(self, live: LiveLedger) -> None:
        self._live = live
        self._stopped = threading.Event()
        self._mutex = threading.Lock()
        self._growth: Growth | None = None
        self._thread = threading.Thread(target=self._work, name="affidavit-following", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, once the entries that are being added are."""
        with self._mutex:
            self._stopped.set()
            if self._growth is not None:
                self._growth.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        failing = False
        while not self._stopped.is_set():
            try:
                with self._live.ledger.recorder.growing() as growth:
                    with self._mutex:
                        self._growth = growth
                    size = -1
                    while not self._stopped.is_set() and growth.wait_past(size):
                        size = self._live.catch_up()
                        failing = False
                        self._stopped.wait(_REST_SECONDS)
            except Exception as error:  # whatever it is, who looks is told, and the next try may go well
                if not failing:
                    _LOG.error("read models are not brought up to date: %s: %s", type(error).__name__, error)
                failing = True
                self._stopped.wait(_RETRY_SECONDS)
