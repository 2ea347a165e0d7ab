"""Where a ledger lies: what makes, opens and reads its databases, whichever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from ..entries.mapper import PendingEntry
from .condition import Condition
from .reader import LedgerReader
from .recorder import ChainingRecorder
from .scopes import ScopeKeys

VIEWS = "views"


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


class Lock(ABC):
    """A lock that one holds at a time, of all threads, processes and machines that use a ledger. Close it last.

    Whoever dies lets go of it.
    """

    @abstractmethod
    def held(self) -> AbstractContextManager[None]:
        """Wait for it, and hold it. Not twice at once."""

    @abstractmethod
    def require_held(self) -> None:
        """``Unavailable`` where whoever calls this inside ``held`` has lost it meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what it takes to ask for it."""


class Locks(ABC):
    """Many locks by number (63 bits), none of which anybody waits for. Whoever dies lets go of them. Thread-safe."""

    @abstractmethod
    def take(self, number: int) -> bool:
        """Take one unless somebody has it; whether it was taken."""

    @abstractmethod
    def release(self, number: int) -> None:
        """Let go of one that was taken."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all."""


@dataclass(frozen=True, slots=True)
class ViewsFile:
    """Read models in an SQLite database, which is made where there is none."""

    path: Path

    def forget(self) -> None:
        """Throw them away."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ViewsSchema:
    """Read models in a schema of PostgreSQL. ``connect`` gives a connection of psycopg that looks into it."""

    connect: Callable[[], Any]
    forget: Callable[[], None]


class Place(ABC):
    """Where a ledger lies. ``str`` of it is what people are told: it holds no secret. It goes to worker processes."""

    @property
    @abstractmethod
    def kind(self) -> Literal["postgresql", "sqlite"]:
        """What keeps a ledger here, as an entry says it."""

    @property
    @abstractmethod
    def full_name(self) -> str:
        """As ``str`` of it, wherever on this machine one asks."""

    @property
    @abstractmethod
    def unfinished(self) -> Place:
        """Beside it: where a copy lies that is not whole yet, whatever ends the program."""

    def digest(self, origin: str) -> str:
        """How the log of this origin names this place: a SHA-256 (hex), which shows it only to who guesses it."""
        return sha256(f"{origin}\n{self.full_name}".encode()).hexdigest()

    @abstractmethod
    def exists(self) -> bool:
        """Whether a ledger lies here, as far as can be seen from the outside."""

    @abstractmethod
    def require_readable(self) -> None:
        """``Unavailable`` where the databases may not be read, or do not answer: then that says nothing of them."""

    @abstractmethod
    def open(self) -> Store:
        """Open it for appending. ``Unavailable`` where there is none, ``UnsupportedFormat`` where it is a newer one."""

    @abstractmethod
    def require_nothing(self) -> None:
        """``Unavailable`` where something lies here, so that no ledger can be made."""

    @abstractmethod
    def rename(self, to: Place) -> None:
        """Make this the place ``to``, of the same kind, where nothing lies; durable when it returns. It is closed."""

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
    def glance(self) -> AbstractContextManager[LedgerReader]:
        """Read one state of the ledger, whether a writer has it open or not, and change nothing.

        For a moment: nothing is copied, and who appends may have to wait.
        """

    @abstractmethod
    def condition(self) -> Condition:
        """How the databases stand: settings, files, rights. ``Unavailable`` where there is nothing to look at."""

    @abstractmethod
    def fingerprint(self) -> object:
        """Changes when something is appended, or a checkpoint is published."""

    @abstractmethod
    def scope_keys_to_read(self, master: bytes, origin: str) -> ScopeKeys:
        """The key database, of which nothing is changed; ``Unavailable`` where it is another ledger's."""

    @abstractmethod
    def lock(self, name: str) -> Lock:
        """The lock of this name."""

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold the lock of this name."""
        with closing(self.lock(name)) as lock, lock.held():
            yield

    @abstractmethod
    def locks(self, kind: str) -> Locks:
        """Locks of one kind; the same number of two kinds is two locks."""

    @abstractmethod
    def token_sizes(self) -> list[int]:
        """The sizes of the checkpoints that tokens lie here for, in order."""

    @abstractmethod
    def token(self, size: int) -> bytes | None:
        """The timestamp authority's answer for the checkpoint of ``size`` entries, None where there is none."""

    @abstractmethod
    def keep_token(self, size: int, token: bytes) -> bool:
        """Make a token durable, whole or not at all; False where one is there, which stays."""

    @abstractmethod
    def put_token_aside(self, size: int) -> str:
        """Make room where a token lies that does not hold; in words, where it lies from now on."""

    @property
    @abstractmethod
    def key_copies(self) -> str:
        """In words, which copies of destroyed keys there may be that no erasure here reaches."""

    @property
    @abstractmethod
    def views(self) -> ViewsFile | ViewsSchema:
        """Where the read models lie. Who writes there holds the lock ``VIEWS``."""
