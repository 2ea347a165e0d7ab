"""Keys of erasure scopes and aliases: wrapped, fetched anew each time, gone when their row is gone."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.domain.errors import Refused
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


def test_a_scope_has_one_key_made_at_first_use(scopes: SqliteScopeKeys) -> None:
    assert scopes.cipher("run/1") is None
    box = scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None)
    again = scopes.cipher("run/1")
    assert again is not None
    assert again.decrypt(b"n" * 12, box, None) == b"text"
    assert scopes.cipher_for_sealing("run/2").encrypt(b"n" * 12, b"text", None) != box


def test_a_key_is_durable_and_seen_by_who_opens_the_database_next(path: Path, scopes: SqliteScopeKeys) -> None:
    box = scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None)
    with closing(SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom, read_only=True)) as reader:
        cipher = reader.cipher("run/1")
        assert cipher is not None
        assert cipher.decrypt(b"n" * 12, box, None) == b"text"


def test_no_key_is_kept_in_memory(path: Path, scopes: SqliteScopeKeys) -> None:
    """What another process destroyed a moment ago is not used again."""
    old = scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None)
    change(path, "DELETE FROM scopes WHERE scope=?", "run/1")
    assert scopes.cipher("run/1") is None
    assert scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None) != old


def test_the_keys_lie_wrapped(path: Path, scopes: SqliteScopeKeys) -> None:
    with closing(sqlite3.connect(path)) as db:
        (wrapped,) = db.execute("SELECT wrapped FROM scopes").fetchone()
    assert len(wrapped) == 12 + 32 + 16


def test_another_master_key_opens_nothing_and_the_database_is_named(path: Path) -> None:
    with pytest.raises(Unavailable, match=r"keys\.db: the master key does not open"):
        SqliteScopeKeys(path, b"x" * 32, ORIGIN, os.urandom)


def test_the_key_database_of_another_ledger_is_refused(path: Path) -> None:
    with pytest.raises(Unavailable, match="belongs to another ledger"):
        SqliteScopeKeys(path, MASTER, "example.org/other/0123456789abcdef", os.urandom)


def test_wrapped_keys_that_changed_places_do_not_open(path: Path, scopes: SqliteScopeKeys) -> None:
    scopes.cipher_for_sealing("run/1")
    scopes.cipher_for_sealing("run/2")
    change(path, "UPDATE scopes SET wrapped=(SELECT wrapped FROM scopes WHERE scope='run/2') WHERE scope='run/1'")
    with pytest.raises(Unavailable, match="'run/1'"):
        scopes.cipher("run/1")


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


def test_an_emptied_key_database_is_refused(path: Path) -> None:
    change(path, "DELETE FROM scopes")
    with pytest.raises(Unavailable, match="not this ledger's"):
        SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom)


def test_a_name_keeps_its_alias(path: Path, scopes: SqliteScopeKeys) -> None:
    alias = scopes.alias("actor", "Ada Lovelace")
    assert scopes.alias("actor", "Ada Lovelace") == alias
    with closing(SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom)) as other:
        assert other.alias("actor", "Ada Lovelace") == alias
        assert other.name_of(alias) == "Ada Lovelace"


def test_an_alias_says_its_kind_and_nothing_of_the_name(path: Path, scopes: SqliteScopeKeys) -> None:
    alias = scopes.alias("actor", "Ada Lovelace")
    kind, _, rest = alias.rpartition("-")
    assert kind == "actor"
    assert len(bytes.fromhex(rest)) == 8
    assert b"Lovelace" not in path.read_bytes()


def test_one_name_has_an_alias_for_each_kind(scopes: SqliteScopeKeys) -> None:
    assert scopes.alias("actor", "Ada") != scopes.alias("user", "Ada")
    assert scopes.alias("actor", "Ada") != scopes.alias("actor", "Eve")


def test_a_kind_may_hold_a_dash(scopes: SqliteScopeKeys) -> None:
    assert scopes.name_of(scopes.alias("api-user", "Ada")) == "Ada"


def test_an_alias_dies_with_its_key(path: Path, scopes: SqliteScopeKeys) -> None:
    alias = scopes.alias("user", "Ada")
    change(path, "DELETE FROM scopes WHERE scope=?", f"user/{alias}")
    assert scopes.name_of(alias) is None


def test_who_comes_back_after_erasure_gets_a_new_alias(path: Path, scopes: SqliteScopeKeys) -> None:
    alias = scopes.alias("user", "Ada")
    change(path, "DELETE FROM scopes WHERE scope=?", f"user/{alias}")
    change(path, "DELETE FROM aliases WHERE alias=?", alias)
    assert scopes.name_of(alias) is None
    assert scopes.alias("user", "Ada") != alias


def test_an_unknown_alias_has_no_name(scopes: SqliteScopeKeys) -> None:
    assert scopes.name_of("user-0000000000000000") is None


def test_a_failed_alias_leaves_no_half_of_it(path: Path) -> None:
    calls = iter(range(9))

    def failing(count: int) -> bytes:
        if next(calls) == 3:
            raise OSError("no randomness")
        return os.urandom(count)

    with closing(SqliteScopeKeys(path, MASTER, ORIGIN, failing)) as scopes:
        with pytest.raises(OSError, match="no randomness"):
            scopes.alias("user", "Ada")
        assert scopes.alias("user", "Ada").startswith("user-")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM scopes").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM aliases").fetchone() == (1,)


@pytest.mark.parametrize("pragma", ["secure_delete", "synchronous"])
def test_destroying_a_key_leaves_no_trace_and_making_one_is_durable(scopes: SqliteScopeKeys, pragma: str) -> None:
    on = {"secure_delete": 1, "synchronous": 2}
    assert scopes._db.execute(f"PRAGMA {pragma}").fetchone()[0] == on[pragma]


def test_an_alias_may_live_in_the_scope_of_another(scopes: SqliteScopeKeys) -> None:
    """The same session id of two users has two aliases, and each dies with its user's key."""
    ada, eve = (f"user/{scopes.alias('user', name)}" for name in ("Ada", "Eve"))
    first, second = scopes.alias("session", "s1", ada), scopes.alias("session", "s1", eve)
    own = scopes.alias("session", "s1")
    assert len({first, second, own}) == 3
    assert scopes.alias("session", "s1", ada) == first
    assert scopes.alias("session", "s1") == own
    assert scopes.find("session", "s1") == [(first, ada), (second, eve), (own, f"session/{own}")]
    assert scopes.destroy(ada) is not None
    assert scopes.names_of([first, second, own, "session-0000000000000000"]) == {
        first: None,
        second: "s1",
        own: "s1",
        "session-0000000000000000": None,
    }
    assert scopes.find("session", "s1") == [(second, eve), (own, f"session/{own}")]


def test_finding_makes_nothing(path: Path, scopes: SqliteScopeKeys) -> None:
    before = path.read_bytes()
    assert scopes.find("session", "s1") == []
    assert path.read_bytes() == before


def test_an_alias_whose_key_was_lost_is_not_found(path: Path, scopes: SqliteScopeKeys) -> None:
    alias = scopes.alias("user", "Ada")
    change(path, "DELETE FROM scopes WHERE scope=?", f"user/{alias}")
    assert scopes.find("user", "Ada") == []


@pytest.mark.parametrize("column", ["lookup", "box", "scope"])
def test_rows_of_aliases_that_changed_places_are_not_believed(path: Path, scopes: SqliteScopeKeys, column: str) -> None:
    ada, eve = scopes.alias("user", "Ada"), scopes.alias("user", "Eve")
    change(path, f"UPDATE aliases SET {column}=(SELECT {column} FROM aliases WHERE alias=?) WHERE alias=?", ada, eve)
    change(path, "DELETE FROM aliases WHERE alias=?", ada)
    with pytest.raises(Unavailable, match="was changed"):
        scopes.find("user", "Ada" if column == "lookup" else "Eve")


def test_many_names_are_read_with_each_key_opened_once(path: Path, scopes: SqliteScopeKeys) -> None:
    names: dict[str, str] = {}
    with scopes.together():
        for user in range(30):
            scope = f"user/{scopes.alias('user', str(user))}"
            names |= {scopes.alias("session", f"{user}.{n}", scope): f"{user}.{n}" for n in range(50)}
    unwrapped: list[str] = []
    real = scopes._unwrap
    scopes._unwrap = lambda scope, wrapped: unwrapped.append(scope) or real(scope, wrapped)  # type: ignore[method-assign, func-returns-value]
    assert scopes.names_of(reversed(names)) == names
    assert len(unwrapped) == len(set(unwrapped)) == 30


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


def test_what_fails_together_leaves_nothing(scopes: SqliteScopeKeys) -> None:
    def fail() -> None:
        scopes.alias("user", "Ada")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), scopes.together():
        fail()
    assert scopes.find("user", "Ada") == []


def test_threads_make_one_alias_of_one_name(scopes: SqliteScopeKeys) -> None:
    made: list[tuple[str, str]] = []

    def make() -> None:
        with scopes.together():
            scope = f"user/{scopes.alias('user', 'Ada')}"
            made.append((scope, scopes.alias("session", "s1", scope)))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_a_destroyed_scope_never_gets_another_key(path: Path, scopes: SqliteScopeKeys) -> None:
    scopes.cipher_for_sealing("run/1")
    destroyed = scopes.destroy("run/1")
    assert destroyed is not None
    assert len(bytes.fromhex(destroyed.fingerprint)) == 32
    with closing(SqliteScopeKeys(path, MASTER, ORIGIN, os.urandom)) as other:
        assert other.destroy("run/1") == other.destroyed("run/1") == destroyed
        with pytest.raises(Refused) as refused:
            other.cipher_for_sealing("run/1")
    assert refused.value.rule == "scope_erased"
    assert scopes.destroy("run/2") is scopes.destroyed("run/2") is None


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


def test_of_a_name_the_oldest_alias_stands_whoever_asks(scopes: SqliteScopeKeys) -> None:
    ada, eve = (f"user/{scopes.alias('user', name)}" for name in ("Ada", "Eve"))
    first = scopes.oldest_alias("request", "r1", eve)
    assert scopes.oldest_alias("request", "r1", ada) == first
    assert scopes.find("request", "r1") == [(first, eve)]
    scopes.destroy(eve)
    assert scopes.oldest_alias("request", "r1", ada) != first
