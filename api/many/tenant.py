"""One ledger of many: opened on a thread of its own, tried again where it does not open, closed on the same thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path

from ...domain.errors import AffidavitError
from ...ledger.errors import Unavailable
from ..keyring import FILE, Keyring
from .listed import Listed
from .working import Working

Open = Callable[[Listed], AbstractContextManager[Working]]

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
_LOG = logging.getLogger("affidavit.many")


class Tenant:
    """``working`` is None until the ledger is open, and once it is closed. What other ledgers do is nothing to it."""

    def __init__(self, listed: Listed, open_ledger: Open, *, first_pause: float = FIRST_PAUSE) -> None:
        self.listed = listed
        self.working: Working | None = None
        self.tried = threading.Event()
        """Set once opening it has gone one way or the other."""
        self._keyring: Keyring | None = None
        self._folders: dict[Path, Keyring] = {}
        self._open = open_ledger
        self._pause = first_pause
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ledger-{listed.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Have it closed; ``join`` waits for that."""
        self._stopping.set()

    def join(self, seconds: float) -> bool:
        """Whether it is closed, after so many seconds at most."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def keyring(self) -> Keyring | None:
        """Its keys, once it was open."""
        return self._keyring

    def knows(self, token: str, claimed: Collection[Path] = ()) -> bool:
        """Whether the token is one of its keys.

        Of a ledger that was never open the key folder is not known: then whether it is a key in a folder beside, but
        for those ``claimed`` by other ledgers.
        """
        try:
            if self._keyring is not None:
                return self._keyring.find(token) is not None
            return any(keyring.find(token) is not None for keyring in self._possible(claimed))
        except (Unavailable, OSError) as error:
            _LOG.warning("ledger %s: its keys cannot be read: %s", self.listed.name, error)
            return False

    def _possible(self, claimed: Collection[Path]) -> list[Keyring]:
        folders = {path.parent for path in self.listed.keys.glob(f"*/{FILE}")} - {*claimed}
        self._folders = {folder: self._folders.get(folder) or Keyring(folder) for folder in folders}
        return [*self._folders.values()]

    def _run(self) -> None:
        pause = self._pause
        while not self._stopping.is_set():
            try:
                with self._open(self.listed) as working:
                    pause = self._pause
                    self._keyring, self.working = working.keyring, working
                    self.tried.set()
                    _LOG.info("ledger %s is served", self.listed.name)
                    self._stopping.wait()
                    self.working = None
                return
            except AffidavitError as error:
                _LOG.warning("ledger %s is not served: %s", self.listed.name, error)
            except Exception:  # whatever it is, the others are served
                _LOG.exception("ledger %s is not served", self.listed.name)
            self.working = None
            self.tried.set()
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
