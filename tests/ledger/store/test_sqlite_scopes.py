"""What is SQLite's alone of the key database: its file, its modes, its versions, what a kill leaves of it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.ledger.errors import Unavailable
from affidavit.ledger.files import lock_file
from affidavit.ledger.store.sqlite.keys import SqliteScopeKeys

MASTER = b"m" * 32
ORIGIN = "example.org/test/0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.db"
    SqliteScopeKeys.create(path, MASTER, ORIGIN, os.urandom)
    return path


@pytest.fixture
def scopes(path: Path) -> Iterator[SqliteScopeKeys]:
    with closing(SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom)) as scopes:
        yield scopes


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement, values)


def test_a_missing_key_database_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"missing\.db"):
        SqliteScopeKeys(tmp_path / "missing.db", MASTER, ORIGIN, os.urandom)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database at all, but text" * 100])
def test_a_file_that_is_no_key_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.db"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"keys\.db"):
        SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom)


@pytest.mark.parametrize("pragma", ["secure_delete", "synchronous"])
def test_destroying_a_key_leaves_no_trace_and_making_one_is_durable(scopes: SqliteScopeKeys, pragma: str) -> None:
    on = {"secure_delete": 1, "synchronous": 2}
    assert scopes._db.execute(f"PRAGMA {pragma}").fetchone()[0] == on[pragma]


def test_finding_makes_nothing(path: Path, scopes: SqliteScopeKeys) -> None:
    before = path.read_bytes()
    assert scopes.find("session", "s1") == []
    assert path.read_bytes() == before


def test_what_is_made_together_waits_for_the_disk_once(path: Path, scopes: SqliteScopeKeys) -> None:
    statements: list[str] = []
    scopes._db.set_trace_callback(statements.append)
    with scopes.together():
        with scopes.together():
            scope = f"user/{scopes.alias('user', 'Ada')}"
        aliases = [scopes.alias("session", str(n), scope) for n in range(20)]
        assert scopes.alias("session", "3", scope) == aliases[3]
        with closing(SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom, read_only=True)) as reader:
            assert reader.name_of(aliases[3]) is None
    scopes._db.set_trace_callback(None)
    assert [statements.count(word) for word in ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")] == [1, 1, 0]
    assert scopes.name_of(aliases[3]) == "3"
    assert scopes._held == {}


def test_a_sweep_leaves_no_byte_of_what_was_destroyed(tmp_path: Path) -> None:
    """Among so many random rows SQLite splits pages, and leaves copies that no deletion overwrites."""
    path, stream = tmp_path / "many.db", random.Random(2)
    SqliteScopeKeys.create(path, MASTER, ORIGIN, stream.randbytes)
    with closing(SqliteScopeKeys(path, MASTER, ORIGIN, stream.randbytes)) as scopes:
        with scopes.together():
            users = [f"user/{scopes.alias('user', str(n))}" for n in range(4000)]
        with closing(sqlite3.connect(path)) as db:
            rows = db.execute(
                "SELECT wrapped, lookup, box FROM aliases JOIN scopes USING (scope) WHERE scope IN "
                f"({','.join('?' * 1500)})",
                users[:1500],
            ).fetchall()
        with scopes.together():
            for user in users[:1500]:
                scopes.destroy(user)
        scopes.sweep()
        content = path.read_bytes()
        assert not [value for row in rows for value in row if value[4:20] in content]
        assert scopes.find("user", "2000") == [(users[2000].removeprefix("user/"), users[2000])]


VERSION_0 = """
CREATE TABLE scopes (scope TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE aliases (alias TEXT PRIMARY KEY, lookup BLOB NOT NULL UNIQUE, box BLOB NOT NULL) WITHOUT ROWID;
ATTACH ? AS new;
"""


@pytest.fixture
def old(path: Path, tmp_path: Path, scopes: SqliteScopeKeys) -> tuple[Path, str]:
    """A database as version 0 left it, and the alias of an API user Ada in it."""
    alias = scopes.alias("api-user", "Ada")
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old, isolation_level=None)) as db:
        create_scopes, create_aliases, attach, _ = VERSION_0.strip().split(";")
        db.execute(create_scopes)
        db.execute(create_aliases)
        db.execute(attach, (str(path),))
        db.execute("INSERT INTO main.scopes SELECT * FROM new.scopes")
        db.execute("INSERT INTO main.aliases SELECT alias, lookup, box FROM new.aliases")
    return old, alias


def test_a_database_of_version_0_is_brought_up_to_date(old: tuple[Path, str]) -> None:
    path, alias = old
    for _ in range(2):
        with closing(SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom)) as scopes:
            assert scopes.alias("api-user", "Ada") == alias
            assert scopes.find("api-user", "Ada") == [(alias, f"api-user/{alias}")]
            assert scopes.name_of(scopes.alias("session", "s1", f"api-user/{alias}")) == "s1"
    with closing(sqlite3.connect(path)) as db:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    assert tables == {"scopes", "aliases", "destroyed"}


def test_a_database_of_version_0_is_read_without_a_change(old: tuple[Path, str]) -> None:
    path, alias = old
    before = path.read_bytes()
    with closing(SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom, read_only=True)) as scopes:
        assert scopes.name_of(alias) == "Ada"
        assert scopes.find("api-user", "Ada") == [(alias, f"api-user/{alias}")]
        assert scopes.destroyed(f"api-user/{alias}") is None
        with pytest.raises(Unavailable, match=r"old\.db"):
            scopes.alias("user", "Eve")
    assert path.read_bytes() == before


def test_a_database_of_a_later_version_is_refused(path: Path) -> None:
    change(path, "PRAGMA user_version=2")
    with pytest.raises(Unavailable, match="version 2, this program knows up to 1"):
        SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom)


def mode_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        return str(db.execute("PRAGMA journal_mode").fetchone()[0])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_database_is_in_wal_mode_from_the_first_write_to_the_last_close(path: Path) -> None:
    before = path.read_bytes()
    SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom).close()
    assert path.read_bytes() == before
    assert mode_of(path) == "delete"  # as every version before left it
    first, second = (SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom) for _ in range(2))
    alias = first.alias("user", "Ada")
    assert mode_of(path) == "wal"
    first.close()
    assert second.name_of(alias) == "Ada"
    assert second.alias("user", "Eve") != alias
    second.close()
    assert [name for name in files(path.parent) if name.startswith("keys.db")] == ["keys.db"]
    assert mode_of(path) == "delete"


FINDS_USERS = f"""
import os, sys
from pathlib import Path
from affidavit.ledger.store.scopes import ScopeKeys
from affidavit.ledger.store.sqlite.keys import SqliteScopeKeys
keys = SqliteScopeKeys(Path(sys.argv[1]), {MASTER!r}, {ORIGIN!r}, os.urandom, read_only=True)
for line in sys.stdin:
    print(keys.find("user", line.strip()), flush=True)
keys.close()
"""


class Finder:
    """A process that reads a key database."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FINDS_USERS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def find(self, name: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture
def finder(path: Path) -> Iterator[Finder]:
    finder = Finder(path)
    yield finder
    finder.process.communicate(timeout=60)


def test_a_reader_sees_what_writers_do_and_changes_no_byte(path: Path, finder: Finder) -> None:
    assert finder.find("Ada") == "[]"  # opened before there is a writer
    with closing(SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom)) as writer:
        for name in ("Ada", "Eve"):
            scope = f"user/{writer.alias('user', name)}"
            before = files(path.parent)
            assert scope in finder.find(name)
            assert files(path.parent) == before
        writer.destroy(scope)
        writer.sweep()
        before = files(path.parent)
        assert finder.find("Eve") == "[]"
        assert files(path.parent) == before
    before = files(path.parent)
    assert "user/" in finder.find("Ada")
    assert files(path.parent) == before


def test_a_key_made_while_others_hold_the_append_lock_is_made_without_a_change_of_mode(
    path: Path, scopes: SqliteScopeKeys
) -> None:
    lock = path.with_name("append.lock")
    with lock_file(lock):
        scopes.cipher_for_sealing("run/1")
        assert mode_of(path) == "delete"
    alias = scopes.alias("user", "Ada")
    assert mode_of(path) == "wal"
    assert scopes.name_of(alias) == "Ada"
    assert scopes.cipher("run/1") is not None


def test_what_a_kill_left_in_a_rollback_journal_is_read_without_a_change(
    path: Path, scopes: SqliteScopeKeys, tmp_path: Path
) -> None:
    alias = scopes.alias("user", "Ada")
    scopes.close()
    killed = tmp_path / "killed" / "keys.db"
    killed.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA cache_size=1")  # so that what is changed goes to the file before the commit
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE aliases SET box=zeroblob(9000)")
        db.executemany("INSERT INTO scopes VALUES (?, zeroblob(900))", [(f"run/{n}",) for n in range(100)])
        for suffix in ("", "-journal"):
            shutil.copyfile(f"{path}{suffix}", f"{killed}{suffix}")
    before = files(killed.parent)
    assert before["keys.db-journal"][0] != 0
    assert before["keys.db"] != path.read_bytes()
    with closing(SqliteScopeKeys(killed, MASTER, ORIGIN, os.urandom, read_only=True)) as reader:
        assert reader.name_of(alias) == "Ada"
    assert files(killed.parent) == before
    with closing(SqliteScopeKeys(killed, MASTER, ORIGIN, os.urandom)) as writer:
        assert writer.name_of(alias) == "Ada"
    assert list(files(killed.parent)) == ["keys.db"]


@pytest.mark.parametrize("left", [("", "-wal", "-shm"), ("", "-wal"), ("", "-shm"), ("",)])
def test_what_a_kill_left_is_read_without_a_change_and_taken_up_by_the_next_writer(
    path: Path, scopes: SqliteScopeKeys, tmp_path: Path, left: tuple[str, ...]
) -> None:
    """A kill leaves all three files; between two steps of closing fewer, and nothing was in those that are gone."""
    alias = scopes.alias("user", "Ada")
    if "-wal" not in left:
        scopes.sweep()
    killed = tmp_path / "killed" / "keys.db"
    killed.parent.mkdir()
    for suffix in left:
        shutil.copyfile(f"{path}{suffix}", f"{killed}{suffix}")
    before = files(killed.parent)
    with closing(SqliteScopeKeys(killed, MASTER, ORIGIN, os.urandom, read_only=True)) as reader:
        assert reader.name_of(alias) == "Ada"
    assert files(killed.parent) == before
    with closing(SqliteScopeKeys(killed, MASTER, ORIGIN, os.urandom)) as writer:
        assert writer.alias("user", "Ada") == alias
    assert list(files(killed.parent)) == ["keys.db"]


def test_a_half_written_end_of_the_wal_is_not_read(path: Path, scopes: SqliteScopeKeys, tmp_path: Path) -> None:
    """The process died in the middle of its second commit: the first one stands, the second never was."""
    alias = scopes.alias("user", "Ada")
    size = Path(f"{path}-wal").stat().st_size
    scopes.alias("user", "Eve")
    wal = Path(f"{path}-wal").read_bytes()
    killed = tmp_path / "killed.db"
    shutil.copyfile(path, killed)
    Path(f"{killed}-wal").write_bytes(wal[: (size + len(wal)) // 2])
    for read_only in (True, False):
        with closing(SqliteScopeKeys(killed, MASTER, ORIGIN, os.urandom, read_only=read_only)) as back:
            assert back.name_of(alias) == "Ada"
            assert back.find("user", "Eve") == []
