"""What an erasure leaves in the files of SQLite: nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from affidavit.api.cli.verify_commands import Asked, verify_ledger
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.events import ErasureExecuted, ErasureRequested
from affidavit.ledger.store.sqlite.keys import SqliteScopeKeys
from affidavit.ledger.store.sqlite.reader import SqliteReader
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of
from affidavit.tests.ledger.store.erasing import (
    erasures,
    named_and_sealed,
    reopen,
    said,
    verify,
)


@pytest.fixture
def scope(ledger: Ledger) -> str:
    return named_and_sealed(ledger)


def every_file(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        yield from ((path, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file())


READS_AND_WAITS = """
import sqlite3, sys
keys = sqlite3.connect(sys.argv[1])
print(keys.execute("SELECT count(*) FROM aliases").fetchone(), flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(ledger: Ledger) -> Iterator[None]:
    """One that has the key database open, and does nothing."""
    arguments = [sys.executable, "-c", READS_AND_WAITS, str(folder_of(ledger) / "keys.db")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield
        process.communicate()


@pytest.mark.parametrize("beside", [nullcontext, another_process])
def test_no_byte_of_the_key_or_of_an_alias_is_left_in_any_file(
    ledger: Ledger, beside: Callable[[Ledger], AbstractContextManager[None]]
) -> None:
    """Among so many rows SQLite splits and joins pages, and would leave a copy of some."""
    scopes = []
    for n in range(60):
        with ledger.naming():
            for k in range(20):
                scopes.append(f"user/{ledger.alias('user', f'u{n}.{k}')}")
                ledger.alias("session", f"s{n}.{k}", scopes[-1])
    ledger.record(*(said(scope, pos) for pos, scope in enumerate(scopes[:50])))
    with closing(sqlite3.connect(folder_of(ledger) / "keys.db")) as keys:
        rows = [
            row
            for scope in scopes[:8]
            for statement in ("SELECT wrapped FROM scopes WHERE scope=?", "SELECT lookup FROM aliases WHERE scope=?")
            for row in keys.execute(statement, (scope,))
        ]
        rows += [row for scope in scopes[:8] for row in keys.execute("SELECT box FROM aliases WHERE scope=?", (scope,))]
    needles = [row[0][at : at + 12] for row in rows for at in (0, len(row[0]) - 12)]
    assert len(needles) == 80
    before = b"".join(data for path, data in every_file(folder_of(ledger)) if path.name.startswith("keys.db"))
    assert all(needle in before for needle in needles)
    with beside(ledger):
        for scope in scopes[:8]:
            ledger.erase(scope, "user_asked")
        for path, data in every_file(folder_of(ledger), ledger.keys.path):
            assert not [needle for needle in needles if needle in data], path
    assert not (folder_of(ledger) / "keys.db-journal").exists()
    ledger.close()
    for path, data in every_file(folder_of(ledger), ledger.keys.path):
        assert not [needle for needle in needles if needle in data], path


def test_an_erasure_that_a_reader_holds_up_is_not_claimed_and_is_finished_later(ledger: Ledger, scope: str) -> None:
    """Its bytes stand in the -wal, which cannot be emptied while somebody reads what is in it."""
    keys_db = folder_of(ledger) / "keys.db"
    with closing(sqlite3.connect(keys_db)) as keys:
        (wrapped,) = keys.execute("SELECT wrapped FROM scopes WHERE scope=?", (scope,)).fetchone()
    assert isinstance(ledger.scopes, SqliteScopeKeys)
    ledger.scopes._db.execute("PRAGMA busy_timeout=1")
    with closing(sqlite3.connect(keys_db, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM scopes").fetchone()
        with pytest.raises(Unavailable, match="may still lie in its -wal"):
            ledger.erase(scope, "user_asked")
    assert [type(event) for _, event in erasures(ledger)] == [ErasureRequested]
    assert any(wrapped in data for _, data in every_file(folder_of(ledger)))
    with reopen(ledger) as again:
        assert [type(event) for _, event in erasures(again)] == [ErasureRequested, ErasureExecuted]
        assert not any(wrapped in data for _, data in every_file(folder_of(ledger)))


def test_an_older_key_database_that_is_put_back_is_said_and_erased_again(
    ledger: Ledger, scope: str, tmp_path: Path
) -> None:
    ledger.scopes.sweep()  # which leaves nothing in the -wal
    shutil.copyfile(folder_of(ledger) / "keys.db", tmp_path / "backup.db")
    ledger.erase(scope, "user_asked")
    fingerprint = ledger.scopes.destroyed(scope)
    ledger.close()
    shutil.copyfile(tmp_path / "backup.db", folder_of(ledger) / "keys.db")
    master = ledger.keys.master_key()
    path = folder_of(ledger) / "keys.db"
    with (
        closing(SqliteScopeKeys(path, master, ledger.origin, os.urandom, read_only=True)) as back,
        closing(sqlite3.connect(folder_of(ledger) / "ledger.db")) as db,
    ):
        verdict = audit(SqliteReader(db), REGISTRY, Against(signed=ledger.keys.signed(), scopes=back))
    assert verdict.verdict == "ok"
    assert verdict.not_checked["sealed"] == f"scope {scope!r} was erased, and its key is here again"
    with reopen(ledger) as again:
        assert again.scopes.cipher(scope) is None
        assert again.scopes.destroyed(scope) == fingerprint
        assert again.find_aliases("user", "Ada") == []
        assert verify(again).erased == 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_command_verify_says_how_much_was_erased(
    ledger: Ledger, scope: str, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(ledger.keys.path.parent))
    ledger.erase(scope, "user_asked")
    ledger.close()
    assert verify_ledger(str(folder_of(ledger)), form == "json", Asked(), 1) == 0
    printed = capsys.readouterr().out
    if form == "json":
        assert json.loads(printed)["erased"] == 2
    else:
        assert "  erased   2 sealed fields, their keys destroyed as the log says\n" in printed
