"""Where a ledger lies: what makes, opens and reads its databases, whichever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager

from ..entries.mapper import PendingEntry
from .reader import LedgerReader
from .recorder import ChainingRecorder
from .scopes import ScopeKeys


class Store(ABC):
    """The databases of one ledger, open for appending. Close it last."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[LedgerReader]:
        """Read one consistent state of the log."""

    @abstractmethod
    def scope_keys(self, master: bytes, origin: str, random: Callable[[int], bytes]) -> ScopeKeys:
        """The key database, open for writing; ``Unavailable`` where it is another ledger's."""

    @abstractmethod
    def recorder(
        self,
        scopes: ScopeKeys,
        clock: Callable[[], int],
        random: Callable[[int], bytes],
        clock_finding: Callable[[int, int], PendingEntry],
    ) -> ChainingRecorder:
        """What appends. ``clock`` gives microseconds since 1970."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the databases."""


class Place(ABC):
    """Where a ledger lies. ``str`` of it is what people are told: it holds no secret."""

    @abstractmethod
    def open(self) -> Store:
        """Open it for appending. ``Unavailable`` where there is none, ``UnsupportedFormat`` where it is a newer one."""

    @abstractmethod
    def making(self, random: Callable[[int], bytes]) -> AbstractContextManager[Place]:
        """A place to make a ledger in, which is this one when the block has ended, and nowhere if it fails.

        ``Unavailable`` where something lies here already.
        """

    @abstractmethod
    def create(self, origin: str, master: bytes, random: Callable[[int], bytes]) -> None:
        """Make the empty databases. Those of evidence refuse UPDATE and DELETE from then on."""

    @abstractmethod
    def sync(self) -> None:
        """Make durable that the place was taken."""

    @abstractmethod
    def snapshot(self, *, copy: bool = False, hold: bool = True) -> AbstractContextManager[LedgerReader]:
        """Read one state of the ledger, and change nothing.

        Where appends have to wait meanwhile, who reads for long says ``hold=False``, asks ``fingerprint`` before and
        after, and reads a ``copy`` where it changed.
        """

    @abstractmethod
    def beside(self) -> AbstractContextManager[LedgerReader]:
        """Read one state of the ledger, as it is now, while a writer has it open; nobody who appends waits."""

    @abstractmethod
    def fingerprint(self) -> object:
        """Changes when something is appended, or a checkpoint is published."""

    @abstractmethod
    def scope_keys_to_read(self, master: bytes, origin: str) -> ScopeKeys:
        """The key database, of which nothing is changed; ``Unavailable`` where it is another ledger's."""
