"""Where things lie: read once from arguments and environment, and passed in from here on."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_config_path

DEFAULT_LEDGER = ".affidavit"


def ledger_folder(given: str | None = None) -> Path:
    """The ledger's folder: as given, else ``AFFIDAVIT_LEDGER``, else ``.affidavit`` here."""
    return Path(given or os.environ.get("AFFIDAVIT_LEDGER") or DEFAULT_LEDGER)


def keys_root(given: str | None = None) -> Path:
    """The folder of key folders: as given, else ``AFFIDAVIT_KEYS``, else under the user's configuration."""
    named = given or os.environ.get("AFFIDAVIT_KEYS")
    return Path(named) if named else user_config_path("affidavit") / "keys"


def recorder_name() -> str:
    """What stands as ``recorder`` in the metadata of every event: this software and its version."""
    return f"affidavit/{version('affidavit')}"
