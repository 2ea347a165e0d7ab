"""Where things lie, as arguments name it."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit.tests.api.test_cli import Shell


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ledger", "sqlite://u:secret@db/books", "init"),
        ("--ledger", "PostgreSQL://u:secret@db/books", "init"),
        ("backup", "postgresql://u:secret@db/books"),
        ("restore", "postgresql://u:secret@db/books", "restored"),
    ],
)
def test_an_address_where_a_folder_belongs_is_refused_and_makes_none(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    told = Shell(tmp_path)(*arguments, code=2)
    assert "expected a folder here, or postgresql://" in told
    assert "secret" not in told
    assert list(tmp_path.iterdir()) == []
