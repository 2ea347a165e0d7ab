"""The file that lists the ledgers of a server: a table for each, under the name that its public log is served by."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ...domain.errors import Refused
from ...ledger.store.place import Place
from ..http.limits import Limits
from ..settings import folder, keys_root, ledger_place

REQUESTS_AT_ONCE = 32
"""What one ledger may take of the process at a time, where its table does not say."""

_DATABASES = ("postgresql://", "postgres://")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ledger: str = Field(min_length=1)
    keys: str | None = Field(default=None, min_length=1)
    organisation: str | None = Field(default=None, min_length=1)
    public_log: bool = False
    model: str | None = None
    base_url: str | None = None
    requests_per_minute: int | None = Field(default=None, ge=1)
    requests_at_once: int = Field(default=REQUESTS_AT_ONCE, ge=1, le=1000)
    max_body_bytes: int | None = Field(default=None, ge=1024)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ledgers: dict[Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")], _Table] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Listed:
    """One ledger of the file. ``keys`` is the folder of key folders that holds its own."""

    name: str
    place: Place
    keys: Path
    organisation: str
    public_log: bool
    limits: Limits
    model: str | None
    base_url: str | None


def read_listed(path: Path, limits: Limits, model: str | None, base_url: str | None) -> list[Listed]:
    """The ledgers that a TOML file lists; ``limits`` and the judge's model are those of tables that name none.

    Folders are taken from where the file lies. ``Refused``: ``file_readable``; ``setting_readable`` where a table says
    what is not known, or two name one ledger; ``ledger_address``, ``ledger_name``.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        tables = _File.model_validate(document).ledgers
    except (OSError, ValueError) as error:
        raise Refused(*_unreadable(path, error)) from error
    listed = [_listed(path, name, table, limits, (model, base_url)) for name, table in tables.items()]
    names: dict[str, str] = {}
    for each in listed:
        other = names.setdefault(each.place.full_name, each.name)
        if other != each.name:
            raise Refused("setting_readable", f"{path}: {other} and {each.name} are one ledger, {each.place}")
    return listed


def _listed(path: Path, name: str, table: _Table, limits: Limits, judge: tuple[str | None, str | None]) -> Listed:
    lies_in = path.absolute().parent
    address = table.ledger if table.ledger.startswith(_DATABASES) else str(lies_in / folder(table.ledger))
    own = {"requests_per_minute": table.requests_per_minute, "body_bytes": table.max_body_bytes}
    given = {what: value for what, value in own.items() if value is not None}
    given["requests_at_once"] = table.requests_at_once
    model, base_url = judge if table.model is None and table.base_url is None else (table.model, table.base_url)
    return Listed(
        name,
        ledger_place(address),
        keys_root() if table.keys is None else lies_in / table.keys,
        table.organisation or name,
        table.public_log,
        replace(limits, **given),
        model,
        base_url,
    )


def _unreadable(path: Path, error: Exception) -> tuple[str, str]:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]  # what was put in may hold a password
        return "setting_readable", f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, OSError):
        return "file_readable", f"{path}: {error.strerror}"
    return "file_readable", f"{path}: expected TOML: {error}"
