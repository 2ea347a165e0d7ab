"""What an erasure leaves in the files of PostgreSQL: nothing in its tables, something in its own log for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.postgres import keys as postgres_keys
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.tests.ledger.store.erasing import erasures, key_rows, named_and_sealed, reopen, said
from affidavit.tests.servers import Server, Servers
from affidavit.tests.stores import every_postgresql, server_of

pytestmark = every_postgresql


@pytest.fixture
def scope(ledger: Ledger) -> str:
    return named_and_sealed(ledger)


@pytest.fixture
def server(store: str, servers: Servers) -> Server:
    return server_of(servers, store)


def secrets_of(ledger: Ledger, scope: str) -> list[bytes]:
    """Pieces of the wrapped key of a scope, and of what stands for names under it."""
    rows = key_rows(ledger.place, "SELECT wrapped FROM scopes WHERE scope=?", scope)
    for column in ("lookup", "box"):
        rows += key_rows(ledger.place, f"SELECT {column} FROM aliases WHERE scope=?", scope)
    return [bytes(row[0])[at : at + 12] for row in rows for at in (0, len(row[0]) - 12)]


def files_with(server: Server, folder: str, needles: list[bytes]) -> list[Path]:
    server.execute("CHECKPOINT")  # what is in memory goes to the files, and files that were let go of are removed
    paths = sorted(path for path in (server.data / folder).rglob("*") if path.is_file())
    return [path for path in paths if any(needle in path.read_bytes() for needle in needles)]


def test_no_byte_of_the_key_or_of_an_alias_is_left_in_any_table(ledger: Ledger, server: Server) -> None:
    scopes = [f"user/{ledger.alias('user', str(n))}" for n in range(30)]
    ledger.record(*(said(scope, pos) for pos, scope in enumerate(scopes)))
    key_rows(ledger.place, "ANALYZE")  # which keeps samples of what is in a table
    needles = [needle for scope in scopes[:5] for needle in secrets_of(ledger, scope)]
    assert len(needles) == 30
    assert files_with(server, "base", needles)
    for scope in scopes[:5]:
        ledger.erase(scope, "user_asked")
    assert files_with(server, "base", needles) == []
    assert files_with(server, "pg_wal", needles)  # the server's own log: docs/postgresql.md


def test_an_old_snapshot_keeps_nothing_of_what_is_erased(ledger: Ledger, scope: str, server: Server) -> None:
    """``VACUUM (FULL)`` would keep rows that somebody may still see."""
    needles = secrets_of(ledger, scope)
    with ledger.place.snapshot() as reader:
        assert reader.head().size == 3
        ledger.erase(scope, "user_asked")
        assert files_with(server, "base", needles) == []
        assert reader.head().size == 3


def test_an_erasure_that_a_reader_holds_up_is_not_claimed_and_is_finished_later(
    ledger: Ledger, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_keys, "_BUSY_SECONDS", 0.05)
    assert isinstance(ledger.place, PostgresPlace)
    with ledger.place.login.connect() as db, db.transaction():
        db.execute("SELECT count(*) FROM affidavit_keys.scopes")
        with pytest.raises(Unavailable, match="somebody has read it"):
            ledger.erase(scope, "user_asked")
    assert len(erasures(ledger)) == 1
    with reopen(ledger) as again:
        assert len(erasures(again)) == 2
