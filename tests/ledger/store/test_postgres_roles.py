"""Who may do what with a ledger in PostgreSQL, and what is said of too few rights and too many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from affidavit.domain.errors import Refused
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.connecting import Login, parse_address
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.store.postgres.schema import Names
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import check, noted
from affidavit.tests.servers import Servers
from affidavit.tests.stores import every_postgresql, server_of

TABLES = ("ledger", "entries", "boxes", "tiles", "checkpoints")
NAMES = Names("affidavit")


def login_of(place: Place) -> Login:
    assert isinstance(place, PostgresPlace)
    return place.login


def as_user(place: Place, user: str) -> PostgresPlace:
    login = login_of(place)
    return PostgresPlace(replace(login, conninfo=login.conninfo.replace("//postgres@", f"//{user}@")))


@pytest.fixture
def user(store: str, servers: Servers) -> Iterator[str]:
    """Somebody who may log in and nothing else."""
    server = server_of(servers, store)
    server.execute("CREATE ROLE somebody LOGIN")
    yield "somebody"
    server.execute("DROP ROLE somebody")


def grant(place: Place, role: str, user: str) -> None:
    with login_of(place).connect() as db:
        db.execute(SQL("GRANT {} TO {}").format(Identifier(role), Identifier(user)))


def refused_to(place: Place, role: str, statement: str) -> type[Exception] | None:
    """The error with which the server refuses a statement to a role, or None."""
    with login_of(place).connect() as db:
        db.execute(SQL("SET search_path TO {}").format(Identifier(NAMES.schema)))
        db.execute(SQL("SET ROLE {}").format(Identifier(role)))
        try:
            db.execute(statement.encode())
        except psycopg.Error as error:
            return type(error)
    return None


@every_postgresql
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("statement", ["UPDATE {} SET {}={}", "DELETE FROM {}", "TRUNCATE {}"])
def test_evidence_is_changed_by_nobody(ledger: Ledger, table: str, statement: str) -> None:
    """Not by the writer, who has no right to; by the owner and a superuser not, whom the triggers stop."""
    column = {"ledger": "one", "tiles": "n", "checkpoints": "size"}.get(table, "seq")
    told = statement.format(table, column, column)
    for role in (NAMES.writer, NAMES.reader):
        assert refused_to(ledger.place, role, told) is psycopg.errors.InsufficientPrivilege
    assert refused_to(ledger.place, NAMES.owner, told) is psycopg.errors.IntegrityConstraintViolation
    replica = f"SET session_replication_role = replica; {told}"
    assert refused_to(ledger.place, "postgres", replica) is psycopg.errors.IntegrityConstraintViolation


@every_postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO ledger VALUES (0, 9, 'other')",
        "INSERT INTO checkpoints VALUES (1, '') ON CONFLICT (size) DO UPDATE SET note = excluded.note",
        "UPDATE head SET one = 0",
        "DELETE FROM head",
        "TRUNCATE head",
        "ALTER TABLE entries DISABLE TRIGGER ALL",
        "DROP TABLE entries",
        "CREATE TABLE affidavit.more (n int)",
        "CREATE FUNCTION affidavit.only_grows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "SET session_replication_role = replica",
    ],
)
def test_the_writer_can_only_insert(ledger: Ledger, statement: str) -> None:
    assert refused_to(ledger.place, NAMES.writer, statement) is psycopg.errors.InsufficientPrivilege


@every_postgresql
def test_the_head_cannot_go_back_or_away(ledger: Ledger) -> None:
    for role in (NAMES.writer, NAMES.owner):
        back = refused_to(ledger.place, role, "UPDATE head SET size = size - 1")
        assert back is psycopg.errors.IntegrityConstraintViolation
    assert refused_to(ledger.place, NAMES.owner, "DELETE FROM head") is psycopg.errors.IntegrityConstraintViolation
    assert len(check(ledger)) == 1


@every_postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO entries VALUES (1, 'a', 0, 'b', '', '')",
        "UPDATE head SET size = size",
        "SELECT * FROM head FOR UPDATE",
        "BEGIN; LOCK TABLE entries",
        "DELETE FROM affidavit_keys.scopes",
    ],
)
def test_the_reader_cannot_write(ledger: Ledger, statement: str) -> None:
    assert refused_to(ledger.place, NAMES.reader, statement) is psycopg.errors.InsufficientPrivilege


@every_postgresql
def test_a_user_who_is_a_member_of_the_writer_appends_and_erases(place: Place, user: str, tmp_path: Path) -> None:
    grant(place, NAMES.writer, user)
    with Ledger(as_user(place, user), tmp_path / "keys", REGISTRY, sign_in_background=False) as ledger:
        ledger.record(noted(0))
        ledger.erase(f"user/{ledger.alias('user', 'Ada')}", "asked_for")
        assert len(check(ledger)) == 4


@every_postgresql
def test_a_user_with_too_few_rights_is_told_which(place: Place, user: str, tmp_path: Path) -> None:
    outside = as_user(place, user)
    with pytest.raises(Unavailable, match=r"user somebody may not act as affidavit_reader; .* GRANT affidavit_reader"):
        outside.snapshot().__enter__()
    grant(place, NAMES.reader, user)
    with outside.snapshot() as reader:
        assert reader.head().size == 1
        assert reader.problems() == []
    with pytest.raises(Unavailable, match="user somebody may not act as affidavit_writer"):
        Ledger(outside, tmp_path / "keys", REGISTRY, sign_in_background=False)


@every_postgresql
def test_a_user_who_may_make_no_roles_cannot_make_a_ledger(nowhere: Place, user: str, tmp_path: Path) -> None:
    place = as_user(nowhere, user)
    place = PostgresPlace(replace(place.login, name="another", schema="another"))
    with pytest.raises(Unavailable, match="permission denied to create role"):
        Ledger.create(place, tmp_path / "keys", REGISTRY)
    assert not (tmp_path / "keys").exists() or not any((tmp_path / "keys").iterdir())


@every_postgresql
def test_two_ledgers_in_one_database_share_nothing_and_do_not_wait_for_each_other(
    ledger: Ledger, tmp_path: Path
) -> None:
    place = PostgresPlace(replace(login_of(ledger.place), name="second", schema="second"))
    with Ledger.create(place, tmp_path / "keys", REGISTRY, sign_in_background=False) as second:
        with ledger.recorder.holding_appends():
            second.record(noted(0))
            second.alias("user", "Ada")
        ledger.record(noted(0), noted(1))
        assert [len(check(each)) for each in (ledger, second)] == [3, 2]
        assert ledger.find_aliases("user", "Ada") == []
        for table in ("affidavit.entries", "affidavit_keys.scopes"):
            denied = refused_to(place, "second_writer", f"SELECT * FROM {table}")
            assert denied is psycopg.errors.InsufficientPrivilege
        with pytest.raises(Unavailable, match="belongs to another ledger"):
            place.scope_keys_to_read(ledger.keys.master_key(), ledger.genesis)


@pytest.mark.parametrize(
    "name", ["", "Acme", "1acme", "_acme", "acme-1", "acme.x", "a" * 41, "ächme", 'a"b', "pg_acme", "acme "]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="expected up to 40") as refused:
        Names(name)
    assert refused.value.rule == "ledger_name"


@every_postgresql
@pytest.mark.parametrize("name", ["a" * 40, "user", "select", "a"])
def test_a_name_may_be_long_or_a_word_of_sql(nowhere: Place, tmp_path: Path, name: str) -> None:
    place = PostgresPlace(replace(login_of(nowhere), name=name, schema=name))
    with Ledger.create(place, tmp_path / "keys", REGISTRY, sign_in_background=False) as ledger:
        ledger.record(noted(0))
        with place.snapshot() as reader:
            assert (reader.problems(), reader.head().size) == ([], 2)


def test_an_address_names_a_database_and_a_ledger_and_tells_no_password() -> None:
    login = parse_address("postgresql://ada:secret@db.example:5433/books?sslmode=require&ledger=acme")
    assert (login.name, login.names.keys) == ("acme", "acme_keys")
    assert str(login) == "postgresql://db.example:5433/books?ledger=acme"
    assert "secret" not in repr(login)
    assert "sslmode=require" in login.conninfo
    assert "ledger" not in login.conninfo
    assert parse_address("postgres://db/books").name == "affidavit"
    assert login.parameters["connect_timeout"] == 10
    assert "connect_timeout" not in parse_address("postgresql://db/books?connect_timeout=3").parameters
    assert login.commit_timeout == 30
    patient = parse_address("postgresql://db/books?commit_timeout=300&host=a,b")
    assert (patient.commit_timeout, patient.conninfo) == (300, "postgresql://db/books?host=a,b")


def test_what_an_address_says_to_libpq_reaches_it_as_it_was_given() -> None:
    login = parse_address("postgresql://db/books?passfile=/a%20b/c+d&ledger=acme&options=-c%20work_mem%3D8MB")
    assert login.name == "acme"
    told = conninfo_to_dict(login.conninfo)
    assert (told["passfile"], told["options"]) == ("/a b/c+d", "-c work_mem=8MB")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:secret%zz@db/books",
        "postgresql://db/books?nonsense=1",
        "postgresql://db/b?ledger=a&ledger=b",
        "postgresql://u:secret@db/b?commit_timeout=0",
        "postgresql://u:secret@db/b?commit_timeout=soon",
    ],
)
def test_an_address_that_does_not_read_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_address(address)
    assert refused.value.rule == "ledger_address"
    assert "secret" not in str(refused.value)


def test_nothing_listens_there(tmp_path: Path) -> None:
    place = PostgresPlace(parse_address(f"postgresql://postgres@/books?host={tmp_path}"))
    with pytest.raises(Unavailable, match="No such file or directory"):
        place.open()
    with pytest.raises(Unavailable, match="No such file or directory"):
        place.scope_keys_to_read(os.urandom(32), "example.org/a")
