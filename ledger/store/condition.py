"""What can be seen of a ledger's databases beside the log: settings, files, rights. Facts, which others judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FolderCondition:
    """A ledger in a folder.

    ``journal_mode`` is ``wal`` or ``rollback``; ``synchronous`` what SQLite sets for who appends, 2 for FULL.
    ``file_system`` is None where the machine does not say. ``free`` are bytes that this user may still write,
    ``size`` those of the ledger's files, ``modes`` the permission bits of the folder and of each file in it.
    ``missing_guards`` names the triggers that a ledger has and this one has not.
    """

    journal_mode: str
    synchronous: int
    file_system: str | None
    free: int
    size: int
    modes: Mapping[Path, int]
    missing_guards: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standby:
    """A server that follows. ``None`` is what the user who asks may not see; ``behind`` counts bytes of the log of
    the server, ``delay`` seconds."""

    name: str
    state: str | None
    sync_state: str | None
    behind: int | None
    delay: float | None


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot, and how many bytes of the server's log it holds back; None where it holds none."""

    name: str
    active: bool
    status: str | None
    held: int | None


@dataclass(frozen=True, slots=True)
class DatabaseCondition:
    """A ledger in PostgreSQL.

    ``version`` is the server's as a number, ``settings`` those of a session of the user who logs in. ``connections``
    are taken now, of all users. ``size`` are bytes of the ledger's tables and indexes. ``acts_as`` says which of the
    ledger's roles the user may take. ``excess`` and ``lacking`` say in words which rights somebody has or lacks
    against a ledger as it is made, ``unbound`` why rights and triggers do not bind the user who logs in.
    """

    version: int
    settings: Mapping[str, str]
    recovering: bool
    connections: int
    size: int
    user: str
    acts_as: tuple[str, ...]
    excess: tuple[str, ...]
    lacking: tuple[str, ...]
    unbound: tuple[str, ...]
    missing_guards: tuple[str, ...]
    standbys: tuple[Standby, ...] = field(default=())
    slots: tuple[Slot, ...] = field(default=())


Condition = FolderCondition | DatabaseCondition
