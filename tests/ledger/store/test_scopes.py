"""Keys of erasure scopes and aliases: wrapped, fetched anew each time, gone when their row is gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from affidavit.domain.errors import Refused
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.scopes import ScopeKeys
from affidavit.tests.ledger.store.erasing import change_keys, key_rows
from affidavit.tests.stores import every_store

pytestmark = every_store

MASTER = b"m" * 32
ORIGIN = "example.org/test/0123456789abcdef"


@pytest.fixture
def keys(nowhere: Place) -> Place:
    """A place with a key database."""
    with nowhere.making(os.urandom) as fresh:
        fresh.create(ORIGIN, MASTER, os.urandom)
    return nowhere


@contextmanager
def opened(
    keys: Place, master: bytes = MASTER, origin: str = ORIGIN, random: Callable[[int], bytes] = os.urandom
) -> Iterator[ScopeKeys]:
    with closing(keys.open()) as store, closing(store.scope_keys(master, origin, random)) as scopes:
        yield scopes


@pytest.fixture
def scopes(keys: Place) -> Iterator[ScopeKeys]:
    with opened(keys) as scopes:
        yield scopes


def test_a_scope_has_one_key_made_at_first_use(scopes: ScopeKeys) -> None:
    assert scopes.cipher("run/1") is None
    box = scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None)
    again = scopes.cipher("run/1")
    assert again is not None
    assert again.decrypt(b"n" * 12, box, None) == b"text"
    assert scopes.cipher_for_sealing("run/2").encrypt(b"n" * 12, b"text", None) != box


def test_a_key_is_durable_and_seen_by_who_opens_the_database_next(keys: Place, scopes: ScopeKeys) -> None:
    box = scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None)
    with closing(keys.scope_keys_to_read(MASTER, ORIGIN)) as reader:
        cipher = reader.cipher("run/1")
        assert cipher is not None
        assert cipher.decrypt(b"n" * 12, box, None) == b"text"


def test_no_key_is_kept_in_memory(keys: Place, scopes: ScopeKeys) -> None:
    """What another process destroyed a moment ago is not used again."""
    old = scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None)
    change_keys(keys, "DELETE FROM scopes WHERE scope=?", "run/1")
    assert scopes.cipher("run/1") is None
    assert scopes.cipher_for_sealing("run/1").encrypt(b"n" * 12, b"text", None) != old


def test_the_keys_lie_wrapped(keys: Place, scopes: ScopeKeys) -> None:
    ((wrapped,),) = key_rows(keys, "SELECT wrapped FROM scopes")
    assert len(wrapped) == 12 + 32 + 16


def test_another_master_key_opens_nothing_and_the_database_is_named(keys: Place) -> None:
    with pytest.raises(Unavailable, match=r"key database .*: the master key does not open"):
        opened(keys, b"x" * 32).__enter__()


def test_the_key_database_of_another_ledger_is_refused(keys: Place) -> None:
    with pytest.raises(Unavailable, match="belongs to another ledger"):
        opened(keys, origin="example.org/other/0123456789abcdef").__enter__()


def test_wrapped_keys_that_changed_places_do_not_open(keys: Place, scopes: ScopeKeys) -> None:
    scopes.cipher_for_sealing("run/1")
    scopes.cipher_for_sealing("run/2")
    change_keys(keys, "UPDATE scopes SET wrapped=(SELECT wrapped FROM scopes WHERE scope='run/2') WHERE scope='run/1'")
    with pytest.raises(Unavailable, match="'run/1'"):
        scopes.cipher("run/1")


def test_an_emptied_key_database_is_refused(keys: Place) -> None:
    change_keys(keys, "DELETE FROM scopes")
    with pytest.raises(Unavailable, match="not this ledger's"):
        opened(keys).__enter__()


def test_a_name_keeps_its_alias(keys: Place, scopes: ScopeKeys) -> None:
    alias = scopes.alias("actor", "Ada Lovelace")
    assert scopes.alias("actor", "Ada Lovelace") == alias
    with opened(keys) as other:
        assert other.alias("actor", "Ada Lovelace") == alias
        assert other.name_of(alias) == "Ada Lovelace"


def test_an_alias_says_its_kind_and_nothing_of_the_name(keys: Place, scopes: ScopeKeys) -> None:
    alias = scopes.alias("actor", "Ada Lovelace")
    kind, _, rest = alias.rpartition("-")
    assert kind == "actor"
    assert len(bytes.fromhex(rest)) == 8
    assert "Lovelace" not in str(key_rows(keys, "SELECT * FROM aliases"))


def test_one_name_has_an_alias_for_each_kind(scopes: ScopeKeys) -> None:
    assert scopes.alias("actor", "Ada") != scopes.alias("user", "Ada")
    assert scopes.alias("actor", "Ada") != scopes.alias("actor", "Eve")


def test_a_kind_may_hold_a_dash(scopes: ScopeKeys) -> None:
    assert scopes.name_of(scopes.alias("api-user", "Ada")) == "Ada"


def test_an_alias_dies_with_its_key(keys: Place, scopes: ScopeKeys) -> None:
    alias = scopes.alias("user", "Ada")
    change_keys(keys, "DELETE FROM scopes WHERE scope=?", f"user/{alias}")
    assert scopes.name_of(alias) is None


def test_who_comes_back_after_erasure_gets_a_new_alias(keys: Place, scopes: ScopeKeys) -> None:
    alias = scopes.alias("user", "Ada")
    change_keys(keys, "DELETE FROM scopes WHERE scope=?", f"user/{alias}")
    change_keys(keys, "DELETE FROM aliases WHERE alias=?", alias)
    assert scopes.name_of(alias) is None
    assert scopes.alias("user", "Ada") != alias


def test_an_unknown_alias_has_no_name(scopes: ScopeKeys) -> None:
    assert scopes.name_of("user-0000000000000000") is None


def test_a_failed_alias_leaves_no_half_of_it(keys: Place) -> None:
    calls = iter(range(9))

    def failing(count: int) -> bytes:
        if next(calls) == 3:
            raise OSError("no randomness")
        return os.urandom(count)

    with opened(keys, random=failing) as scopes:
        with pytest.raises(OSError, match="no randomness"):
            scopes.alias("user", "Ada")
        assert scopes.alias("user", "Ada").startswith("user-")
    assert key_rows(keys, "SELECT count(*) FROM scopes") == [(2,)]
    assert key_rows(keys, "SELECT count(*) FROM aliases") == [(1,)]


def test_an_alias_may_live_in_the_scope_of_another(scopes: ScopeKeys) -> None:
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


def test_an_alias_whose_key_was_lost_is_not_found(keys: Place, scopes: ScopeKeys) -> None:
    alias = scopes.alias("user", "Ada")
    change_keys(keys, "DELETE FROM scopes WHERE scope=?", f"user/{alias}")
    assert scopes.find("user", "Ada") == []


@pytest.mark.parametrize("column", ["lookup", "box", "scope"])
def test_rows_of_aliases_that_changed_places_are_not_believed(keys: Place, scopes: ScopeKeys, column: str) -> None:
    ada, eve = scopes.alias("user", "Ada"), scopes.alias("user", "Eve")
    change_keys(
        keys, f"UPDATE aliases SET {column}=(SELECT {column} FROM aliases WHERE alias=?) WHERE alias=?", ada, eve
    )
    change_keys(keys, "DELETE FROM aliases WHERE alias=?", ada)
    with pytest.raises(Unavailable, match="was changed"):
        scopes.find("user", "Ada" if column == "lookup" else "Eve")


def test_many_names_are_read_with_each_key_opened_once(keys: Place, scopes: ScopeKeys) -> None:
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


def test_what_fails_together_leaves_nothing(scopes: ScopeKeys) -> None:
    def fail() -> None:
        scopes.alias("user", "Ada")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), scopes.together():
        fail()
    assert scopes.find("user", "Ada") == []


def test_threads_make_one_alias_of_one_name(scopes: ScopeKeys) -> None:
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


def test_a_destroyed_scope_never_gets_another_key(keys: Place, scopes: ScopeKeys) -> None:
    scopes.cipher_for_sealing("run/1")
    destroyed = scopes.destroy("run/1")
    assert destroyed is not None
    assert len(bytes.fromhex(destroyed.fingerprint)) == 32
    with opened(keys) as other:
        assert other.destroy("run/1") == other.destroyed("run/1") == destroyed
        with pytest.raises(Refused) as refused:
            other.cipher_for_sealing("run/1")
    assert refused.value.rule == "scope_erased"
    assert scopes.destroy("run/2") is scopes.destroyed("run/2") is None


def test_of_a_name_the_oldest_alias_stands_whoever_asks(scopes: ScopeKeys) -> None:
    ada, eve = (f"user/{scopes.alias('user', name)}" for name in ("Ada", "Eve"))
    first = scopes.oldest_alias("request", "r1", eve)
    assert scopes.oldest_alias("request", "r1", ada) == first
    assert scopes.find("request", "r1") == [(first, eve)]
    scopes.destroy(eve)
    assert scopes.oldest_alias("request", "r1", ada) != first
