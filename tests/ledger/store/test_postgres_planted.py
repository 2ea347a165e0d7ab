"""What somebody with few rights leaves in PostgreSQL, and settings of a database, change nothing for others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from affidavit.api.moment import LiveLedger
from affidavit.api.reading import open_for_reading
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.connecting import Login, parse_address
from affidavit.ledger.store.postgres.following import Follower
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import noted
from affidavit.tests.servers import Servers
from affidavit.tests.stores import every_postgresql, server_of

pytestmark = every_postgresql

_PLANT = (
    "CREATE FUNCTION {}.plant() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
    "EXECUTE 'SET ROLE affidavit_writer'; EXECUTE 'DELETE FROM affidavit_keys.scopes'; RETURN NULL; END$$",
    "CREATE TRIGGER plant AFTER UPDATE ON {}.tracking FOR EACH STATEMENT EXECUTE FUNCTION {}.plant()",
)


def login_of(place: Place) -> Login:
    assert isinstance(place, PostgresPlace)
    return place.login


@pytest.fixture
def users(store: str, servers: Servers) -> Iterator[None]:
    """``recording`` and ``auditing`` may log in, and nothing else yet."""
    server = server_of(servers, store)
    for name in ("recording", "auditing"):
        server.execute(f"CREATE ROLE {name} LOGIN")
    yield
    for name in ("recording", "auditing"):
        server.execute(f"DROP ROLE {name}")


def as_member(place: Place, user: str, role: str) -> PostgresPlace:
    login = login_of(place)
    with login.connect() as db:
        db.execute(SQL("GRANT {} TO {}").format(Identifier(role), Identifier(user)))
    return PostgresPlace(replace(login, conninfo=login.conninfo.replace("//postgres@", f"//{user}@")))


def plant(place: PostgresPlace, schema: str, role: str) -> None:
    with place.login.connect() as db:
        db.execute(SQL("SET ROLE {}").format(Identifier(role)))
        for statement in _PLANT:
            db.execute(SQL(statement).format(*[Identifier(schema)] * statement.count("{}")))


@pytest.mark.usefixtures("users")
def test_who_may_only_read_leaves_no_trigger_where_a_writer_writes(place: Place, tmp_path: Path) -> None:
    writing = as_member(place, "recording", "affidavit_writer")
    reading = as_member(place, "auditing", "affidavit_reader")
    with Ledger(writing, tmp_path / "keys", REGISTRY, sign_in_background=False) as ledger:
        live = LiveLedger(ledger)
        with live.moment(), pytest.raises(psycopg.errors.InsufficientPrivilege):
            plant(reading, "affidavit_views", "affidavit_viewer")
        with open_for_reading(reading, tmp_path / "keys") as opened, opened.views():
            pass
        plant(reading, "affidavit_reader_views", "affidavit_reader")
        ledger.record(noted(0))
        with live.moment():
            pass
        live.close()
        with open_for_reading(writing, tmp_path / "keys") as opened, opened.views():
            assert opened.size == 2
        assert ledger.scopes.counts().scopes == 1


def test_a_database_of_another_encoding_is_told_before_anything_is_made(nowhere: Place, tmp_path: Path) -> None:
    login = login_of(nowhere)
    with login.connect() as db:
        db.execute("CREATE DATABASE other_encoding ENCODING 'SQL_ASCII' TEMPLATE template0")
    at = login.conninfo.partition("?")
    other = PostgresPlace(parse_address(f"{at[0].rpartition('/')[0]}/other_encoding?{at[2]}"))
    try:
        with pytest.raises(Unavailable, match="expected a database of encoding UTF8, found SQL_ASCII"):
            Ledger.create(other, tmp_path / "keys", REGISTRY)
    finally:
        with login.connect() as db:
            db.execute("DROP DATABASE other_encoding")


@pytest.mark.parametrize(
    "setting",
    [
        "client_encoding = 'LATIN1'",
        "quote_all_identifiers = on",
        "default_transaction_isolation = 'serializable'",
        "standard_conforming_strings = off",
        "bytea_output = 'escape'",
        "DateStyle = 'SQL, DMY'",
    ],
)
def test_settings_of_a_database_change_nothing(place: Place, tmp_path: Path, setting: str) -> None:
    with login_of(place).connect() as db:
        db.execute(SQL("ALTER DATABASE {} SET ").format(Identifier(db.info.dbname)) + SQL(setting))
    with Ledger(place, tmp_path / "keys", REGISTRY, sign_in_background=False) as ledger:
        ledger.alias("user", "Ä中\\'")
        ledger.record(noted(0))
        with open_for_reading(place, tmp_path / "keys") as opened, opened.views():
            assert (opened.size, opened.reader.problems()) == (2, [])


def test_a_follower_that_could_not_listen_is_on_no_connection(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = []
    connect = Login.connect

    def connect_and_refuse_to_listen(login: Login, role: object = None) -> object:
        db = connect(login, "reader")
        connected.append(db)
        if len(connected) == 1:
            db.execute("BEGIN")
            with pytest.raises(psycopg.Error):
                db.execute("SELECT 1 / 0")  # what follows fails
        return db

    with ledger.recorder.subscribe(0) as follower:
        assert isinstance(follower, Follower)
        monkeypatch.setattr(Login, "connect", connect_and_refuse_to_listen)
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            next(follower)
        assert connected[0].closed
        assert next(follower).id == 1
