"""Keys of erasure scopes and aliases: wrapped, fetched anew each time, gone when their row is gone."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.ledger.errors import Unavailable
from affidavit.ledger.scopes import ScopeKeys

MASTER = b"m" * 32
ORIGIN = "example.org/test/0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.db"
    ScopeKeys.create(path, MASTER, ORIGIN, os.urandom)
    return path


@pytest.fixture
def scopes(path: Path) -> Iterator[ScopeKeys]:
    with closing(ScopeKeys(path, MASTER, ORIGIN, os.urandom)) as scopes:
        yield scopes


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement, values)


def test_a_scope_has_one_key_made_at_first_use(scopes: ScopeKeys) -> None:
    assert scopes.cipher("run/1") is None
    box = scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None)
    again = scopes.cipher("run/1")
    assert again is not None
    assert again.decrypt(b"n" * 12, box, None) == b"text"
    assert scopes.cipher_for_sealing("run/2").encrypt(b"n" * 12, b"text", None) != box


def test_a_key_is_durable_and_seen_by_who_opens_the_database_next(path: Path, scopes: ScopeKeys) -> None:
    box = scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None)
    with closing(ScopeKeys(path, MASTER, ORIGIN, os.urandom, read_only=True)) as reader:
        cipher = reader.cipher("run/1")
        assert cipher is not None
        assert cipher.decrypt(b"n" * 12, box, None) == b"text"


def test_no_key_is_kept_in_memory(path: Path, scopes: ScopeKeys) -> None:
    """What another process destroyed a moment ago is not used again."""
    old = scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None)
    change(path, "DELETE FROM scopes WHERE scope=?", "run/1")
    assert scopes.cipher("run/1") is None
    assert scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None) != old


def test_the_keys_lie_wrapped(path: Path, scopes: ScopeKeys) -> None:
    with closing(sqlite3.connect(path)) as db:
        (wrapped,) = db.execute("SELECT wrapped FROM scopes").fetchone()
    assert len(wrapped) == 12 + 32 + 16


def test_another_master_key_opens_nothing_and_the_database_is_named(path: Path) -> None:
    with pytest.raises(Unavailable, match=r"keys\.db: the master key does not open"):
        ScopeKeys(path, b"x" * 32, ORIGIN, os.urandom)


def test_the_key_database_of_another_ledger_is_refused(path: Path) -> None:
    with pytest.raises(Unavailable, match="belongs to another ledger"):
        ScopeKeys(path, MASTER, "example.org/other/0123456789abcdef", os.urandom)


def test_wrapped_keys_that_changed_places_do_not_open(path: Path, scopes: ScopeKeys) -> None:
    scopes.cipher_for_sealing("run/1")
    scopes.cipher_for_sealing("run/2")
    change(path, "UPDATE scopes SET wrapped=(SELECT wrapped FROM scopes WHERE scope='run/2') WHERE scope='run/1'")
    with pytest.raises(Unavailable, match="'run/1'"):
        scopes.cipher("run/1")


def test_a_missing_key_database_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"missing\.db"):
        ScopeKeys(tmp_path / "missing.db", MASTER, ORIGIN, os.urandom)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database at all, but text" * 100])
def test_a_file_that_is_no_key_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.db"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"keys\.db"):
        ScopeKeys(path, MASTER, ORIGIN, os.urandom)


def test_an_emptied_key_database_is_refused(path: Path) -> None:
    change(path, "DELETE FROM scopes")
    with pytest.raises(Unavailable, match="not this ledger's"):
        ScopeKeys(path, MASTER, ORIGIN, os.urandom)


def test_a_name_keeps_its_alias(path: Path, scopes: ScopeKeys) -> None:
    alias = scopes.alias("actor", "Ada Lovelace")
    assert scopes.alias("actor", "Ada Lovelace") == alias
    with closing(ScopeKeys(path, MASTER, ORIGIN, os.urandom)) as other:
        assert other.alias("actor", "Ada Lovelace") == alias
        assert other.name_of(alias) == "Ada Lovelace"


def test_an_alias_says_its_kind_and_nothing_of_the_name(path: Path, scopes: ScopeKeys) -> None:
    alias = scopes.alias("actor", "Ada Lovelace")
    kind, _, rest = alias.rpartition("-")
    assert kind == "actor"
    assert len(bytes.fromhex(rest)) == 8
    assert b"Lovelace" not in path.read_bytes()


def test_one_name_has_an_alias_for_each_kind(scopes: ScopeKeys) -> None:
    assert scopes.alias("actor", "Ada") != scopes.alias("user", "Ada")
    assert scopes.alias("actor", "Ada") != scopes.alias("actor", "Eve")


def test_a_kind_may_hold_a_dash(scopes: ScopeKeys) -> None:
    assert scopes.name_of(scopes.alias("api-user", "Ada")) == "Ada"


def test_an_alias_dies_with_its_key(path: Path, scopes: ScopeKeys) -> None:
    alias = scopes.alias("user", "Ada")
    change(path, "DELETE FROM scopes WHERE scope=?", f"user/{alias}")
    assert scopes.name_of(alias) is None


def test_who_comes_back_after_erasure_gets_a_new_alias(path: Path, scopes: ScopeKeys) -> None:
    alias = scopes.alias("user", "Ada")
    change(path, "DELETE FROM scopes WHERE scope=?", f"user/{alias}")
    change(path, "DELETE FROM aliases WHERE alias=?", alias)
    assert scopes.name_of(alias) is None
    assert scopes.alias("user", "Ada") != alias


def test_an_unknown_alias_has_no_name(scopes: ScopeKeys) -> None:
    assert scopes.name_of("user-0000000000000000") is None


def test_a_failed_alias_leaves_no_half_of_it(path: Path) -> None:
    calls = iter(range(9))

    def failing(count: int) -> bytes:
        if next(calls) == 3:
            raise OSError("no randomness")
        return os.urandom(count)

    with closing(ScopeKeys(path, MASTER, ORIGIN, failing)) as scopes:
        with pytest.raises(OSError, match="no randomness"):
            scopes.alias("user", "Ada")
        assert scopes.alias("user", "Ada").startswith("user-")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM scopes").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM aliases").fetchone() == (1,)


@pytest.mark.parametrize("pragma", ["secure_delete", "synchronous"])
def test_destroying_a_key_leaves_no_trace_and_making_one_is_durable(scopes: ScopeKeys, pragma: str) -> None:
    on = {"secure_delete": 1, "synchronous": 2}
    assert scopes._db.execute(f"PRAGMA {pragma}").fetchone()[0] == on[pragma]
