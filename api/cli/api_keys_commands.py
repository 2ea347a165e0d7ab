"""``affidavit keys create``, ``list`` and ``revoke``: the keys of the HTTP API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ...ledger.signing.keys import KeyFolder
from ..keyring import Keyring
from ..settings import keys_root, ledger_place
from .output import print_json, print_table, say


def create_key(given: str | None, scopes: Sequence[str], name: str, as_json: bool) -> None:
    """Make a key and show its token, this once."""
    token, key = _keyring(given).create(scopes, name, _now())
    if as_json:
        print_json({"token": token, "id": key.id, "scopes": list(key.scopes), "name": key.name})
        return
    say(token)
    say(f"key {key.id}, scope {', '.join(key.scopes)}. The token is shown this once; only its digest is kept.")


def list_keys(given: str | None, as_json: bool) -> None:
    """Show every key that was made, without its token."""
    columns = ("id", "scopes", "name", "created_at", "revoked_at")
    listed: list[dict[str, Any]] = [
        {"id": key.id, "scopes": list(key.scopes), "name": key.name}
        | {"created_at": key.created_at, "revoked_at": key.revoked_at}
        for key in _keyring(given).every()
    ]
    if as_json:
        print_json({"keys": listed})
    else:
        print_table(columns, [(key["id"], " ".join(key["scopes"]), *[key[c] for c in columns[2:]]) for key in listed])


def revoke_key(given: str | None, key_id: str) -> None:
    """Take a key out of use, also for a server that runs."""
    say(f"key {_keyring(given).revoke(key_id, _now()).id} is revoked")


def _keyring(given: str | None) -> Keyring:
    with ledger_place(given).snapshot() as reader:
        origin = reader.origin()
    return Keyring(KeyFolder(keys_root(), origin).path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
