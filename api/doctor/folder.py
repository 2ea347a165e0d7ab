"""What endangers a ledger in a folder: its file system, who may write there, and how SQLite is set."""

from __future__ import annotations

from collections.abc import Iterator

from ...ledger.store.condition import FolderCondition
from .finding import Check, Finding

_NETWORKED = frozenset(
    (
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "davfs",
        "fuse.cephfs",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
        "virtiofs",
    )
)
_VOLATILE = frozenset(("tmpfs", "ramfs"))
_LAYERED = frozenset(("overlay", "aufs", "overlayfs"))
_FULL = 2

_JOURNAL = Check(
    "journal_mode",
    "ledger.db, its journal mode",
    "wal, as the ledger was made",
    "in another mode readers and writers wait for each other, and who appends waits longer",
    "sqlite3 ledger.db 'PRAGMA journal_mode=WAL', while nobody has it open",
)
_SYNCHRONOUS = Check(
    "synchronous",
    "PRAGMA synchronous, as it is set for whoever appends",
    "2 (FULL): a commit returns when it is on the disk",
    "with less a power cut takes what was acknowledged",
    "use an SQLite library that takes the setting",
)
_FILE_SYSTEM = Check(
    "file_system",
    "the file system of the folder",
    "one on a disk of this machine",
    "locks and shared memory of SQLite do not hold across a network; what lies in memory or in a layer of a container "
    "goes with it",
    "move the folder to a local disk or a volume; where several machines write, use PostgreSQL (docs/postgresql.md)",
)
_WRITABLE = Check(
    "folder_permissions",
    "the permissions of the folder and its files",
    "nobody but their owner may write",
    "whoever writes there can damage evidence",
    "chmod -R go-w on the folder; chmod 700 where no one else is to read",
)
_GUARDS = Check(
    "guards",
    "the triggers of ledger.db",
    "every table of evidence refuses UPDATE and DELETE",
    "they are what stops a slip",
    "find out who dropped them; verify the ledger",
)


def check_folder(found: FolderCondition) -> Iterator[Finding]:
    """One finding for each of them, in a fixed order."""
    yield _JOURNAL.found("ok" if found.journal_mode == "wal" else "warning", found.journal_mode)
    yield _SYNCHRONOUS.found("ok" if found.synchronous >= _FULL else "danger", str(found.synchronous))
    yield _check_file_system(found.file_system)
    others = [f"{path.name}: others may write ({mode:03o})" for path, mode in found.modes.items() if mode & 0o022]
    yield _WRITABLE.none_of("danger", others, "only their owner writes")
    yield _GUARDS.none_of("danger", [f"{name} is missing" for name in found.missing_guards], "all are there")


def _check_file_system(kind: str | None) -> Finding:
    if kind is None:
        return _FILE_SYSTEM.found("not_checked", "this machine does not say")
    if kind in _NETWORKED:
        return _FILE_SYSTEM.found("danger", f"{kind}: a network's")
    if kind in _VOLATILE:
        return _FILE_SYSTEM.found("danger", f"{kind}: in memory, and gone when the machine stops")
    if kind in _LAYERED:
        return _FILE_SYSTEM.found("warning", f"{kind}: a layer of a container, which goes with it")
    return _FILE_SYSTEM.found("ok", kind)
