"""What is told of an error: all of it to the server's log, and to who asks nothing of where a ledger lies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..domain.errors import AffidavitError
from ..ledger.errors import NotNow, Unavailable

UNAVAILABLE = "the ledger cannot serve this now; the server's log says why"
FAILED = "something failed here; it is in the server's log"

_PAUSE = 10.0
_MOST = 256


def print_error(error: Exception) -> str:
    """For the server's log; of an error that is not ours with its type."""
    return str(error) if isinstance(error, AffidavitError) else f"{type(error).__name__}: {error}"


def told(error: Exception) -> str:
    """For who asks over HTTP: what names a file, a database or its host is in the log alone."""
    if isinstance(error, NotNow) or (isinstance(error, AffidavitError) and not isinstance(error, Unavailable)):
        return str(error)
    return UNAVAILABLE if isinstance(error, Unavailable) else FAILED


class Sparing:
    """Lets a text pass once in a while: a database that is away fails each request alike. Safe from threads."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._said: dict[str, float] = {}
        self._mutex = threading.Lock()

    def may_say(self, text: str) -> bool:
        """Whether it was not said within the last ten seconds."""
        now = self._seconds()
        with self._mutex:
            if now - self._said.get(text, float("-inf")) < _PAUSE:
                return False
            self._said.pop(text, None)
            self._said[text] = now  # at the end: the first is the oldest
            if len(self._said) > _MOST:
                del self._said[next(iter(self._said))]
            return True
