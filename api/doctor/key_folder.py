"""What endangers the keys: where they lie, who may read them, and whether their signing state fits the log."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ...ledger.errors import LedgerError, Unavailable
from ...ledger.signing.keys import KeyFolder
from ...ledger.store.folding import read_identity, read_moved
from ...ledger.store.place import Place, ViewsFile
from ...ledger.store.reader import LedgerReader
from ..reading import open_scopes
from .finding import Check, Finding, Level

_THERE = Check(
    "key_folder",
    "the folder of the keys, AFFIDAVIT_KEYS",
    "it is there, apart from the ledger",
    "without it nothing can be signed; whoever copies the ledger must not get them with it",
    "restore it from its backup, or name it with AFFIDAVIT_KEYS; move it out of the ledger's folder",
)
_MODES = Check(
    "key_permissions",
    "the permissions of the keys' files",
    "nobody but their owner reads them",
    "whoever reads signing.pem can sign another history; whoever reads the master key opens what is sealed",
    "chmod 700 the folder and 600 its files; rotate the key if somebody may have read it (docs/keys.md)",
)
_MASTER = Check(
    "master_key",
    "the master key and the database of wrapped keys",
    "it is there, and opens this ledger's",
    "without it nothing can be sealed, and what was sealed is lost",
    "restore it from its backup, or set AFFIDAVIT_MASTER_KEY or AFFIDAVIT_MASTER_KEY_COMMAND (docs/keys.md)",
)
_STATE = Check(
    "signing_state",
    "what the key folder says was signed, and what is published",
    "both of the same size, and no larger than the log",
    "a state that is ahead of the log tells that entries are gone; one that is behind would let another history be "
    "signed",
    "do not append: find out which of the two was restored; `affidavit reopen` goes on with an older copy "
    "(docs/keys.md)",
)


def check_keys(place: Place, root: Path, reader: LedgerReader) -> Iterator[Finding]:
    """One finding for each of them, in a fixed order."""
    genesis = reader.origin()
    keys = KeyFolder(root, genesis, read_identity(reader).origin)
    yield _check_there(place, keys.path)
    yield _check_modes(keys.path)
    scopes, why = open_scopes(place, root, genesis)
    if scopes is not None:
        scopes.close()
    yield _MASTER.found(*(("ok", "it is there") if scopes is not None else (_lack(place), why)))
    yield _check_state(keys, reader)


def _lack(place: Place) -> Level:
    """A folder's ledger is written from this machine; one in PostgreSQL perhaps from others."""
    return "danger" if isinstance(place.views, ViewsFile) else "warning"


def _check_there(place: Place, path: Path) -> Finding:
    if not path.is_dir():
        return _THERE.found(_lack(place), f"{path} is not here")
    views = place.views
    if isinstance(views, ViewsFile) and path.resolve().is_relative_to(views.path.parent.resolve()):
        return _THERE.found("danger", f"{path} lies in the ledger's own folder")
    return _THERE.found("ok", str(path))


def _check_modes(path: Path) -> Finding:
    if not path.is_dir():
        return _MODES.found("not_checked", f"{path} is not here")
    try:
        private = [path, *path.rglob("*.pem"), *path.rglob("master.key")]
        modes = {each: stat.S_IMODE(os.lstat(each).st_mode) for each in private}
    except OSError as error:
        return _MODES.found("not_checked", f"{error.filename or path}: {error.strerror}")
    writable = [f"{each.name}: others may write ({mode:03o})" for each, mode in modes.items() if mode & 0o022]
    readable = [
        f"{each.name}: others may read ({mode:03o})"
        for each, mode in modes.items()
        if each != path and mode & 0o044 and not mode & 0o022
    ]
    return _MODES.none_of("danger", writable + readable, "only their owner reads them")


def _check_state(keys: KeyFolder, reader: LedgerReader) -> Finding:
    size, latest = reader.head().size, reader.latest_checkpoint()
    published = 0 if latest is None else latest[0]
    try:
        signed = keys.signed()
    except (Unavailable, LedgerError) as error:
        return _STATE.found("not_checked", str(error))
    told = f"signed up to {signed.size:,}, published up to {published:,}, of {size:,}"
    if signed.size > size and read_moved(reader) is not None:
        return _STATE.found("ok", f"{told}: it moved, and is signed there")
    if signed.size > size:
        return _STATE.found("danger", f"{told}: the log is an older copy")
    if signed.size < published:
        return _STATE.found("danger", f"{told}: the key folder is an older copy")
    if signed.size and reader.frontier_at(signed.size).root() != signed.root:
        return _STATE.found("danger", f"{told}: the log has another root at this size than was signed")
    return _STATE.found("ok" if signed.size == published else "warning", told)
