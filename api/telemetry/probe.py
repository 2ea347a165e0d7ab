"""Asking something that may hang, so that whoever asks does not: on a thread of its own, one at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from ...domain.errors import AffidavitError
from ...ledger.errors import Unavailable

T = TypeVar("T")


class Probe(Generic[T]):
    """Whoever asks while somebody is waiting for the answer, waits for the same. Safe from threads."""

    def __init__(self, ask: Callable[[], T], seconds: float = 2.0) -> None:
        self._ask = ask
        self._seconds = seconds
        self._mutex = threading.Lock()
        self._asked: Future[T | AffidavitError] | None = None

    async def look(self) -> T:
        """The answer. ``Unavailable`` where none came in time, and as the question says."""
        # It gives up without cancelling what others wait for.
        done, _ = await asyncio.wait({asyncio.wrap_future(self._begun())}, timeout=self._seconds)
        for answered in done:
            answer = answered.result()
            if isinstance(answer, AffidavitError):
                raise answer
            return answer
        raise Unavailable(f"no answer within {self._seconds:g} seconds")

    def _begun(self) -> Future[T | AffidavitError]:
        with self._mutex:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(target=self._run, args=(self._asked,), name="probe", daemon=True).start()
            return self._asked

    def _run(self, asked: Future[T | AffidavitError]) -> None:
        try:
            asked.set_result(self._ask())
        except AffidavitError as error:
            asked.set_result(error)
        except BaseException as error:
            asked.set_exception(error)
