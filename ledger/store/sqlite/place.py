"""A ledger in a folder: ``ledger.db``, ``keys.db``, and what lies beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...entries.mapper import PendingEntry
from ...errors import Unavailable
from ...files import lock_file, sync_folder
from ..condition import FolderCondition
from ..place import Lock, Locks, Place, Store, ViewsFile
from ..reader import LedgerReader
from ..scopes import ScopeKeys
from .condition import folder_condition, glance
from .keys import SqliteScopeKeys
from .locks import ByteLocks, FileLock
from .reader import fingerprint, open_beside, open_snapshot
from .recorder import LedgerDatastore, SqliteRecorder, create_database, open_datastore, reading
from .schema import KEYS_FILE, LEDGER_FILE, LOCK_FILE, VIEWS_FILE
from .tokens import anchor_path, keep_token, put_aside, stored_token, token_sizes


@dataclass(frozen=True)
class FolderPlace(Place):
    """A folder on this machine."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def kind(self) -> Literal["sqlite"]:
        return "sqlite"

    @property
    def full_name(self) -> str:
        return str(self.folder.resolve())

    @property
    def unfinished(self) -> FolderPlace:
        folder = self.folder.absolute()
        return FolderPlace(folder.with_name(f"{folder.name}.copying"))

    def exists(self) -> bool:
        return (self.folder / LEDGER_FILE).is_file()

    def require_readable(self) -> None:
        if not os.access(self.folder / LEDGER_FILE, os.R_OK):
            raise Unavailable(f"{self.folder / LEDGER_FILE}: it may not be read")

    def open(self) -> Store:
        path = self.folder / LEDGER_FILE
        if not path.is_file():
            raise Unavailable(f"no ledger in {self.folder}: expected {LEDGER_FILE}; `affidavit init` makes one")
        return _SqliteStore(self.folder, open_datastore(path))

    def require_nothing(self) -> None:
        folder = self.folder.absolute()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Unavailable(f"{folder}: expected nothing here to make a ledger, found something")

    def rename(self, to: Place) -> None:
        if not isinstance(to, FolderPlace):
            raise TypeError(f"{to}: expected a folder")
        try:
            self.folder.replace(to.folder.absolute())
        except OSError as error:
            raise Unavailable(f"{to}: {error.strerror}") from error
        to.sync()

    @contextmanager
    def making(self, random: Callable[[int], bytes]) -> Iterator[Place]:
        self.require_nothing()
        folder = self.folder.absolute()
        fresh = folder.with_name(f".{folder.name}.{random(4).hex()}")
        try:
            fresh.mkdir(parents=True)
            yield FolderPlace(fresh)
            fresh.replace(folder)
        finally:
            with suppress(FileNotFoundError):
                shutil.rmtree(fresh)

    def create(self, origin: str, master: bytes, random: Callable[[int], bytes]) -> None:
        create_database(self.folder / LEDGER_FILE, origin)
        SqliteScopeKeys.create(self.folder / KEYS_FILE, master, origin, random)

    def sync(self) -> None:
        sync_folder(self.folder.absolute().parent)

    def snapshot(self, *, copy: bool = False, hold: bool = True) -> AbstractContextManager[LedgerReader]:
        return open_snapshot(self.folder, copy=copy, hold=hold)

    def beside(self) -> AbstractContextManager[LedgerReader]:
        return open_beside(self.folder)

    def glance(self) -> AbstractContextManager[LedgerReader]:
        return glance(self.folder)

    def condition(self) -> FolderCondition:
        return folder_condition(self.folder)

    def fingerprint(self) -> object:
        return fingerprint(self.folder)

    def scope_keys_to_read(self, master: bytes, origin: str) -> ScopeKeys:
        return SqliteScopeKeys(self.folder / KEYS_FILE, master, origin, os.urandom, read_only=True)

    def lock(self, name: str) -> Lock:
        return FileLock(self.folder / f"{name}.lock")

    def locks(self, kind: str) -> Locks:
        return ByteLocks(self.folder / f"{kind}.lock")

    def token_sizes(self) -> list[int]:
        return token_sizes(self.folder)

    def token(self, size: int) -> bytes | None:
        return stored_token(self.folder, size)

    def keep_token(self, size: int, token: bytes) -> bool:
        return keep_token(anchor_path(self.folder, size), token)

    def put_token_aside(self, size: int) -> str:
        return put_aside(anchor_path(self.folder, size))

    @property
    def key_copies(self) -> str:
        return "copies of keys.db made before: backups and snapshots of a disk, which could open all of it again"

    @property
    def views(self) -> ViewsFile:
        return ViewsFile(self.folder / VIEWS_FILE)


class _SqliteStore(Store):
    def __init__(self, folder: Path, datastore: LedgerDatastore) -> None:
        self._folder = folder
        self._datastore = datastore

    def reading(self) -> AbstractContextManager[LedgerReader]:
        return reading(self._datastore)

    def scope_keys(self, master: bytes, origin: str, random: Callable[[int], bytes]) -> ScopeKeys:
        return SqliteScopeKeys(self._folder / KEYS_FILE, master, origin, random)

    def recorder(
        self,
        scopes: ScopeKeys,
        clock: Callable[[], int],
        random: Callable[[int], bytes],
        clock_finding: Callable[[int, int], PendingEntry],
    ) -> SqliteRecorder:
        return SqliteRecorder(self._datastore, self._folder / LEDGER_FILE, scopes, clock, random, clock_finding)

    def close(self) -> None:
        # The last connection moves the -wal into the database; nobody may copy the two meanwhile.
        with lock_file(self._folder / LOCK_FILE):
            self._datastore.close()
