"""Where things lie: read once from arguments and environment, and passed in from here on."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_config_path

from ..domain.errors import Refused
from ..ledger.store.place import Place

if TYPE_CHECKING:
    from ..ledger.tlog.witness import Cosigners

DEFAULT_LEDGER = ".affidavit"


_DATABASES = ("postgresql://", "postgres://")


def ledger_place(given: str | None = None) -> Place:
    """Where the ledger lies: as given, else as ``AFFIDAVIT_LEDGER`` says, else the folder ``.affidavit`` here.

    It is a folder, or the address of a database, ``postgresql://…``. ``Refused``: ``ledger_address`` where that does
    not read, ``extra_installed`` where it takes what is not installed.
    """
    named = given or os.environ.get("AFFIDAVIT_LEDGER") or DEFAULT_LEDGER
    if not named.startswith(_DATABASES):
        from ..ledger.store.sqlite.place import FolderPlace

        return FolderPlace(folder(named))
    try:
        from ..ledger.store.postgres.connecting import parse_address
        from ..ledger.store.postgres.place import PostgresPlace
    except ImportError as error:
        raise Refused(
            "extra_installed",
            f"a ledger in PostgreSQL: `pip install 'affidavit[postgres]'` gives what is missing: {error}",
        ) from error
    return PostgresPlace(parse_address(named))


def folder(given: str) -> Path:
    """A folder by its path. ``Refused`` (``ledger_address``) where it is an address: a password may be part of it."""
    scheme, separator, _ = given.partition("://")
    if separator and "/" not in scheme:
        wanted = "a folder here, or postgresql://USER@HOST:PORT/DATABASE?ledger=NAME where a database may stand"
        raise Refused("ledger_address", f"{scheme}://…: expected {wanted}")
    return Path(given)


def keys_root(given: str | None = None) -> Path:
    """The folder of key folders: as given, else ``AFFIDAVIT_KEYS``, else under the user's configuration."""
    named = given or os.environ.get("AFFIDAVIT_KEYS")
    return Path(named) if named else user_config_path("affidavit") / "keys"


def recorder_name() -> str:
    """What stands as ``recorder`` in the metadata of every event: this software and its version."""
    return f"affidavit/{version('affidavit')}"


def cosigners() -> Cosigners | None:
    """The witnesses that checkpoints are shown to, as ``AFFIDAVIT_WITNESS_POLICY`` names them; None where it does not.

    With ``AFFIDAVIT_WITNESS_REQUIRED=1`` nothing is published without their quorum. ``Refused``
    (``setting_readable``) where it is neither 0 nor 1, or there is no policy to require.
    """
    named, required = os.environ.get("AFFIDAVIT_WITNESS_POLICY"), os.environ.get("AFFIDAVIT_WITNESS_REQUIRED") or "0"
    if required not in ("0", "1"):
        raise Refused("setting_readable", f"AFFIDAVIT_WITNESS_REQUIRED={required!r}: expected 0 or 1")
    if not named:
        if required == "1":
            raise Refused("setting_readable", "AFFIDAVIT_WITNESS_REQUIRED=1: AFFIDAVIT_WITNESS_POLICY names no policy")
        return None
    from .given_files import read_policy
    from .witness.client import WitnessClient

    return WitnessClient(read_policy(Path(named)), required=required == "1")
