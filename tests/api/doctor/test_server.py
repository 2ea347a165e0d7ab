"""What a server of PostgreSQL tells the doctor: settings, standbys, slots, rights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from affidavit.api.doctor.examine import examine
from affidavit.api.doctor.server import CONNECTIONS, check_server
from affidavit.ledger.store.condition import DatabaseCondition, Slot, Standby
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.connecting import parse_address
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.tests.api.doctor.looking import NOW, SECOND, bad, finding, levels
from affidavit.tests.servers import Server, Servers, server_or_skip
from affidavit.tests.stores import POSTGRESQL, every_postgresql, make_ledger, server_of

pytestmark = every_postgresql

_GOOD = {
    "autovacuum": "on",
    "data_checksums": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "-1",
    "log_statement": "none",
    "max_connections": "100",
    "max_slot_wal_keep_size": "-1",
    "superuser_reserved_connections": "3",
    "synchronous_commit": "on",
    "synchronous_standby_names": "*",
    "wal_level": "replica",
}
_FOLLOWS = Standby("two", "streaming", "sync", 0, 0.0)
_FINE = DatabaseCondition(
    version=180_001,
    settings=_GOOD,
    recovering=False,
    connections=3,
    size=2**20,
    user="recorder",
    acts_as=("affidavit_reader", "affidavit_writer"),
    excess=(),
    lacking=(),
    unbound=(),
    missing_guards=(),
    standbys=(_FOLLOWS,),
)


def seen(place: Place) -> DatabaseCondition:
    found = place.condition()
    assert isinstance(found, DatabaseCondition)
    return found


def as_it_should_be(found: DatabaseCondition) -> DatabaseCondition:
    return replace(found, settings=_GOOD, standbys=(_FOLLOWS,), unbound=())


def connected(place: Place) -> Connection[Any]:
    assert isinstance(place, PostgresPlace)
    return place.login.connect()


def test_what_the_server_is_set_to(place: Place, store: str, tmp_path: Path) -> None:
    """The servers of tests wait for no disk, and whoever connects is a superuser."""
    report = examine(place, tmp_path / "keys", now=NOW + SECOND, environment={})
    found = bad(report.findings)
    checksums = {"data_checksums": "warning"} if store == "postgresql15" else {}
    assert found == checksums | {
        "fsync": "danger",
        "full_page_writes": "danger",
        "autovacuum": "warning",
        "standbys": "warning",
        "login": "warning",
    }
    assert finding(report.findings, "server_version").found.startswith(store.removeprefix("postgresql"))
    assert finding(report.findings, "disk").level == "not_checked"
    assert set(levels(check_server(as_it_should_be(seen(place)))).values()) == {"ok"}
    assert set(levels(check_server(_FINE)).values()) == {"ok"}
    assert bad(check_server(replace(_FINE, version=140_011, recovering=True))) == {
        "server_version": "danger",
        "server_role": "danger",
    }


@pytest.mark.parametrize(
    ("setting", "value", "check"),
    [
        ("log_statement", "all", "statements_logged"),
        ("log_min_duration_statement", "0", "statements_logged"),
        ("synchronous_commit", "local", "synchronous_commit"),
    ],
)
def test_a_setting_of_the_database_that_endangers(place: Place, setting: str, value: str, check: str) -> None:
    with connected(place) as db:
        assert db.info.dbname
        db.execute(f"ALTER DATABASE {db.info.dbname} SET {setting} = '{value}'".encode())
    found = seen(place)
    assert levels(check_server(found))[check] == "warning"
    assert value in finding(check_server(found), check).found


def test_rights_that_a_role_has_or_lacks_against_a_ledger_as_it_is_made(place: Place) -> None:
    with connected(place) as db:
        db.execute("SET search_path TO affidavit")
        db.execute("GRANT DELETE ON entries TO affidavit_writer")
        db.execute("GRANT UPDATE (box) ON boxes TO affidavit_writer")
        db.execute("GRANT INSERT ON tiles TO PUBLIC")
        db.execute("REVOKE INSERT ON checkpoints FROM affidavit_writer")
        db.execute("REVOKE UPDATE (held) ON head FROM affidavit_writer")
        db.execute("REVOKE USAGE ON SCHEMA affidavit_keys FROM affidavit_reader")
        db.execute("ALTER TABLE entries DISABLE TRIGGER entries_only_grows")
        db.execute("ALTER TABLE head ENABLE TRIGGER head_no_return")
    found = seen(place)
    assert found.excess == (
        "everybody may INSERT table tiles",
        "role affidavit_reader may INSERT table tiles",
        "role affidavit_writer may DELETE table entries",
        "role affidavit_writer may UPDATE columns of table boxes",
    )
    assert found.lacking == (
        "role affidavit_reader may not use schema affidavit_keys",
        "role affidavit_writer may not INSERT table checkpoints",
        "role affidavit_writer may not UPDATE column held of table head",
    )
    assert found.missing_guards == ("entries_only_grows", "head_no_return")
    assert bad(check_server(as_it_should_be(found))) == {
        "guards": "danger",
        "rights_excess": "danger",
        "rights_lacking": "danger",
    }


def test_rights_by_which_somebody_becomes_more_than_he_is(place: Place, store: str, servers: Servers) -> None:
    """As a ledger was made once, whose readers and writers shared their read models, and as somebody may grant it."""
    with connected(place) as db:
        db.execute("GRANT affidavit_viewer TO affidavit_reader")
        db.execute("GRANT DELETE ON affidavit_keys.scopes TO PUBLIC")
        db.execute("GRANT INSERT (size) ON affidavit.tokens TO affidavit_reader")
        db.execute("GRANT CREATE ON SCHEMA affidavit_views TO PUBLIC")
        db.execute("ALTER TABLE affidavit_keys.aliases OWNER TO postgres")
        db.execute("ALTER SCHEMA affidavit_reader_views OWNER TO affidavit_viewer")
    try:
        assert seen(place).excess == (
            "everybody may DELETE table scopes of keys",
            "everybody may make something in schema affidavit_views",
            "role affidavit_reader may INSERT columns of table tokens",
            "role affidavit_reader may act as affidavit_viewer",
            "schema affidavit_reader_views belongs to affidavit_viewer",
            "table aliases of keys belongs to postgres",
        )
        with connected(place) as db:
            db.execute("DROP SCHEMA affidavit_reader_views CASCADE")
        assert "there is no schema affidavit_reader_views" in seen(place).lacking
    finally:  # roles are the whole server's
        server_of(servers, store).execute("REVOKE affidavit_viewer FROM affidavit_reader")


@pytest.fixture
def user(store: str, servers: Servers) -> Iterator[str]:
    """Somebody who may log in and nothing else."""
    server = server_of(servers, store)
    server.execute("CREATE ROLE doctored LOGIN")
    yield "doctored"
    server.execute("DROP ROLE doctored")


def test_a_user_of_its_own_is_what_a_service_logs_in_as(place: Place, user: str, tmp_path: Path) -> None:
    assert isinstance(place, PostgresPlace)
    conninfo = place.login.conninfo.replace("//postgres@", f"//{user}@")
    outside = PostgresPlace(replace(place.login, conninfo=conninfo))
    report = examine(outside, tmp_path / "keys", environment={})
    assert (finding(report.findings, "login").level, report.size) == ("danger", None)
    assert "may not act as affidavit_reader" in finding(report.findings, "opened").found
    for role, told in (("reader", "may read, and not append"), ("writer", "may append and read")):
        with connected(place) as db:
            db.execute(f"GRANT affidavit_{role} TO {user}".encode())
        report = examine(outside, tmp_path / "keys", environment={})
        assert report.size == 1
        assert (finding(report.findings, "login").level, told in finding(report.findings, "login").found) == (
            "ok",
            True,
        )
    with connected(place) as db:
        db.execute(f"GRANT affidavit_owner TO {user}".encode())
    found = finding(check_server(seen(outside)), "login")
    assert (found.level, found.found) == ("warning", f"user {user} may act as affidavit_owner")


def test_a_slot_that_nobody_reads(place: Place) -> None:
    with connected(place) as db:
        db.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
        try:
            found = seen(place)
        finally:
            db.execute("SELECT pg_drop_replication_slot('forgotten')")
    told = finding(check_server(found), "replication_slots")
    assert (told.level, told.found.split(" holds ")[0]) == ("warning", "forgotten")
    full = replace(found, slots=(Slot("forgotten", False, "extended", 2 * 2**30),))
    assert finding(check_server(full), "replication_slots").level == "danger"
    bounded = replace(full, settings={**found.settings, "max_slot_wal_keep_size": "1024"})
    assert finding(check_server(bounded), "replication_slots").level == "warning"
    lost = replace(full, slots=(Slot("read", True, "lost", None),))
    assert finding(check_server(lost), "replication_slots").level == "warning"


def test_connections_that_run_out() -> None:
    crowded = replace(_FINE, connections=90)
    assert bad(check_server(crowded)) == {"connections": "warning"}
    small = replace(_FINE, settings={**_GOOD, "max_connections": str(CONNECTIONS)})
    assert bad(check_server(small)) == {"connections": "warning"}


@pytest.mark.parametrize(
    ("standbys", "names", "expected"),
    [
        ((), "*", {"standbys": "danger"}),
        ((), "", {"standbys": "warning"}),
        ((replace(_FOLLOWS, sync_state="async"),), "one", {"standbys": "danger"}),
        ((replace(_FOLLOWS, state="catchup"),), "*", {"standbys": "danger"}),
        ((replace(_FOLLOWS, behind=2**30),), "*", {"standby_lag": "warning"}),
        ((replace(_FOLLOWS, delay=60.0),), "*", {"standby_lag": "warning"}),
        ((replace(_FOLLOWS, sync_state="quorum"),), "*", {}),
        ((Standby("two", None, None, None, None),), "*", {}),
    ],
)
def test_standbys(standbys: tuple[Standby, ...], names: str, expected: dict[str, str]) -> None:
    found = replace(_FINE, standbys=standbys, settings={**_GOOD, "synchronous_standby_names": names})
    assert bad(check_server(found)) == expected


@pytest.mark.stores(POSTGRESQL[0])
def test_a_primary_and_its_standby_as_they_run(store: str, tmp_path: Path) -> None:
    primary = server_or_skip(int(store.removeprefix("postgresql")), fsync="off", max_wal_senders=3)
    standby = Server(primary.version, empty=True, fsync="off")
    try:
        make_ledger(PostgresPlace(parse_address(primary.start().url())), tmp_path / "keys")
        standby.follow(primary)
        found = seen(PostgresPlace(parse_address(standby.url())))
        assert bad(check_server(as_it_should_be(found))) == {"server_role": "danger"}
        place = PostgresPlace(parse_address(primary.url()))
        deadline = time.monotonic() + 30
        while not any(each.state == "streaming" for each in seen(place).standbys):
            assert time.monotonic() < deadline, standby.log()
        (follows,) = seen(place).standbys
        assert (follows.sync_state, follows.behind is not None) == ("async", True)
        for names, level in (("*", "ok"), ("another", "danger")):
            primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
            primary.execute("SELECT pg_reload_conf()")
            while finding(check_server(seen(place)), "standbys").level != level:
                assert time.monotonic() < deadline
    finally:
        standby.delete()
        primary.delete()
