"""The folder of a ledger that lies in one."""

from __future__ import annotations

from pathlib import Path

from affidavit.ledger.application import Ledger
from affidavit.ledger.store.sqlite.place import FolderPlace


def folder_of(ledger: Ledger) -> Path:
    assert isinstance(ledger.place, FolderPlace)
    return ledger.place.folder
