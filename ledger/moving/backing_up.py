"""A backup: one consistent state of a ledger as a folder, taken while others append; and making a ledger of it again.

A backup has no keys, so whoever has it can verify all of it and read nothing that is sealed; the keys go elsewhere, or
nowhere. Nor is it a second head: what it lacks to be appended to are its keys, and once more has been signed than it
holds, nothing signs it any more under its origin.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from ...domain.errors import Refused
from ...domain.registry import Registry
from ..entries.seal import KEY_BYTES
from ..errors import Unavailable
from ..folds.erasures import ERASURE_STREAM
from ..folds.moves import Moved
from ..signing.keys import KeyFolder
from ..signing.sign import require_signed_history
from ..store.folding import read_erasures, read_identity, read_moved
from ..store.place import Place
from ..store.reader import LedgerReader
from ..store.scopes import ScopeKeys
from ..store.sqlite.keys import SqliteScopeKeys
from ..store.sqlite.place import FolderPlace
from ..store.sqlite.schema import KEYS_FILE
from .carrying import Carrier, OnProgress, require_sound

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds, and up to which size a checkpoint in it was signed."""

    origin: str
    size: int
    root: bytes
    signed_size: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored. ``signed_size``: as much had been signed; if that is more, the ledger does not open.

    ``moved``: where it goes on, if the log ends by saying that it moved.
    """

    origin: str
    size: int
    root: bytes
    signed_size: int
    moved: Moved | None


def backup_ledger(
    source: Place,
    folder: Path,
    keys_root: Path,
    *,
    keys_to: Path | None = None,
    random: Random = secrets.token_bytes,
    on_progress: OnProgress | None = None,
) -> BackedUp:
    """Make a backup in ``folder``, with the newest checkpoint; the wrapped keys go to ``keys_to``, which is made too.

    Each appears whole or not at all. ``Unavailable`` where something lies there; ``Malformed`` where the source is
    damaged. Only with ``keys_to`` the key folder is looked at.
    """
    if keys_to is not None and folder.resolve() in (keys_to.resolve(), *keys_to.resolve().parents):
        raise Refused("keys_apart", f"{keys_to}: keys are not kept inside the backup that they open")
    with ExitStack() as made:
        fresh = made.enter_context(FolderPlace(folder).making(random))
        fresh_keys = None if keys_to is None else made.enter_context(FolderPlace(keys_to).making(random))
        with closing(source.open()) as store:
            with store.reading() as reader:
                origin = reader.origin()
            master = random(KEY_BYTES)  # of a key database that is thrown away
            fresh.create(origin, master, random)
            with Carrier(fresh, master, origin, random) as carrier:
                while True:
                    with store.reading() as reader:
                        carrier.carry(reader, on_progress)
                        carrier.carry_checkpoints(reader)
                        carrier.require_same(reader)
                        done = _backed_up(reader)
                        erasures = reader.next_pos(ERASURE_STREAM)
                    if fresh_keys is None:
                        break
                    _keep_keys(source, _folder(fresh_keys), KeyFolder(keys_root, origin).master_key(), origin, random)
                    with store.reading() as reader:
                        if reader.next_pos(ERASURE_STREAM) == erasures:
                            break  # else a key was destroyed of which the backup knows nothing yet
                carrier.carry_tokens(source)
        (_folder(fresh) / KEYS_FILE).unlink()
    for made_here in (folder, keys_to):
        if made_here is not None:
            FolderPlace(made_here).sync()
    return done


def restore_ledger(
    backup: Place,
    destination: Place,
    keys_root: Path,
    registry: Registry,
    *,
    keys_from: Path | None = None,
    behind: bool = False,
    random: Random = secrets.token_bytes,
    jobs: int = 1,
    on_progress: OnProgress | None = None,
) -> Restored:
    """Make the ledger of a backup at ``destination``, verified, whole or not at all.

    ``Refused``: ``restore_behind`` where more was signed than the backup holds, unless it may be ``behind``, and
    ``ledger_moved`` where that was elsewhere;
    ``keys_needed`` where there is sealed content and ``keys_from``, the folder of keys, is not given.
    ``SigningRefused`` where another history was signed; ``Unavailable`` where something lies at the destination.
    """
    destination.require_nothing()
    with backup.snapshot(hold=False) as reader:
        origin, head = reader.origin(), reader.head()
        keys = KeyFolder(keys_root, origin, read_identity(reader).origin)
        signed, moved = keys.signed(), read_moved(reader)
        if signed.size <= head.size:
            require_signed_history(reader, signed)
        elif not behind:
            if moved is not None:
                raise Refused(
                    "ledger_moved",
                    f"{backup}: {moved}, and size {signed.size} was signed since: the ledger is there; restore a "
                    "backup of that. With --behind this one is restored all the same; `affidavit reopen` then lets it "
                    "go on under another origin",
                )
            raise Refused(
                "restore_behind",
                f"{backup}: it holds {head.size} entries, and size {signed.size} was signed: what came after would be "
                "lost. With --behind it is restored all the same; `affidavit reopen` then lets it go on under another "
                "origin",
            )
        if keys_from is None and reader.count_boxes():
            raise Refused("keys_needed", f"{backup}: it holds sealed content; --keys-from names the folder of its keys")
        with destination.making(random) as fresh:
            fresh.create(origin, keys.master_key(), random)
            _fill(fresh, backup, reader, keys, keys_from, random, on_progress)
            with closing(fresh.scope_keys_to_read(keys.master_key(), origin)) as scopes:
                known = None if signed.size > head.size else keys
                require_sound(fresh, registry, keys=known, scopes=scopes, jobs=jobs, on_progress=on_progress)
        destination.sync()
    return Restored(origin, head.size, head.root(), signed.size, moved)


def _fill(
    fresh: Place,
    backup: Place,
    reader: LedgerReader,
    keys: KeyFolder,
    keys_from: Path | None,
    random: Random,
    on_progress: OnProgress | None,
) -> None:
    origin, master = reader.origin(), keys.master_key()
    with Carrier(fresh, master, origin, random) as carrier:
        carrier.carry(reader, on_progress)
        carrier.carry_checkpoints(reader)
        carrier.carry_tokens(backup)
        if keys_from is not None:
            with closing(SqliteScopeKeys(keys_from / KEYS_FILE, master, origin, random, read_only=True)) as kept:
                carrier.carry_keys(kept)
            _hold_erasures(carrier.scopes, reader)
        carrier.require_same(reader)


def _hold_erasures(scopes: ScopeKeys, reader: LedgerReader) -> None:
    """Destroy again what the log says was destroyed, before anybody can open it: the keys may be older than it."""
    with scopes.together():
        for scope, (_, destroyed) in read_erasures(reader).executed.items():
            if scopes.destroyed(scope) != destroyed or scopes.cipher(scope) is not None:
                scopes.destroy_as(scope, destroyed)
    scopes.sweep()


def _keep_keys(source: Place, folder: Path, master: bytes, origin: str, random: Random) -> None:
    path = folder / KEYS_FILE
    if not path.exists():
        SqliteScopeKeys.create(path, master, origin, random)
    with (
        closing(source.scope_keys_to_read(master, origin)) as scopes,
        closing(SqliteScopeKeys(path, master, origin, random)) as kept,
    ):
        taken = kept.take_over(scopes)
        kept.sweep()
        if kept.counts() != taken:
            raise Unavailable(f"{folder}: it does not hold the keys that were written into it")


def _backed_up(reader: LedgerReader) -> BackedUp:
    head = reader.head()
    latest = reader.latest_checkpoint()
    return BackedUp(reader.origin(), head.size, head.root(), 0 if latest is None else latest[0])


def _folder(place: Place) -> Path:
    if not isinstance(place, FolderPlace):
        raise TypeError(f"{place}: expected a folder")
    return place.folder
