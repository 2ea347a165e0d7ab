"""The schema of a ledger in PostgreSQL: made whole or not at all, told from others, and each change of it found."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from affidavit.ledger import application
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.errors import Unavailable, UnsupportedFormat
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres import place as places
from affidavit.ledger.store.postgres.description import EXPECTED, described
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import noted
from affidavit.tests.stores import every_postgresql

pytestmark = every_postgresql


def change(place: Place, *statements: str) -> None:
    """As a superuser, who may do whatever there is to do."""
    assert isinstance(place, PostgresPlace)
    with place.login.connect() as db:
        for statement in ("SET search_path TO affidavit", *statements):
            db.execute(statement.encode())


def schemas(place: Place) -> list[str]:
    assert isinstance(place, PostgresPlace)
    with place.login.connect() as db:
        rows = db.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'affidavit%' ORDER BY 1").fetchall()
    return [str(row[0]) for row in rows]


def problems(place: Place) -> list[str]:
    with place.snapshot() as reader:
        return reader.problems()


def test_a_new_ledger_is_what_is_expected_of_one(place: Place) -> None:
    assert isinstance(place, PostgresPlace)
    with place.login.connect() as db:
        assert described(db, "affidavit") == EXPECTED
    assert problems(place) == []


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("ALTER TABLE entries ADD COLUMN more text", "column entries.more"),
        ("ALTER TABLE boxes DROP COLUMN box", "column boxes.box"),
        ("ALTER TABLE entries ALTER COLUMN leaf DROP NOT NULL", "column entries.leaf"),
        ('ALTER TABLE entries ALTER COLUMN stream TYPE text COLLATE "POSIX"', "column entries.stream"),
        ("ALTER TABLE head ALTER COLUMN held TYPE bigint", "column head.held"),
        ("ALTER TABLE entries ALTER COLUMN leaf SET DEFAULT ''", "column entries.leaf"),
        ("ALTER TABLE entries DROP CONSTRAINT entries_stream_pos_key", "constraint entries_stream_pos_key"),
        ("ALTER TABLE head DROP CONSTRAINT head_one_check", "constraint head_one_check"),
        ("ALTER TABLE boxes ADD CONSTRAINT few CHECK (seq < 9)", "constraint few"),
        ("CREATE INDEX entries_type ON entries (type)", "index entries_type"),
        ("CREATE TABLE more (n int)", "table more"),
        ("CREATE VIEW more AS SELECT seq FROM entries", "table more"),
        ("ALTER TABLE entries ENABLE ROW LEVEL SECURITY", "table entries"),
        ("CREATE RULE quiet AS ON INSERT TO boxes DO INSTEAD NOTHING", "table boxes"),
        ("CREATE TABLE public.more () INHERITS (affidavit.entries)", "table entries"),
        ("ALTER TABLE checkpoints SET UNLOGGED", "table checkpoints"),
        ("DROP TABLE tiles", "table tiles"),
        (
            "CREATE FUNCTION lower(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'",
            "function lower",
        ),
        (
            "CREATE OR REPLACE FUNCTION only_grows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "function only_grows",
        ),
        (
            "CREATE TRIGGER more BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION only_grows()",
            "trigger more",
        ),
    ],
)
def test_a_change_of_the_schema_is_found(place: Place, statement: str, found: str) -> None:
    change(place, statement)
    assert f"the schema differs from a ledger's at {found}" in problems(place)


def test_a_changed_schema_is_damage(ledger: Ledger) -> None:
    change(ledger.place, "CREATE INDEX entries_type ON entries (type)")
    with ledger.place.snapshot() as reader:
        verdict = audit(reader, REGISTRY, Against(signed=ledger.keys.signed()))
    assert verdict.verdict != "ok"
    assert any("index entries_type" in damage.detail for damage in verdict.damage)


def test_guards_that_are_gone_are_no_problem(place: Place) -> None:
    change(
        place,
        "DROP TRIGGER entries_only_grows ON entries",
        "ALTER TABLE head DISABLE TRIGGER head_no_return",
        "ALTER TABLE boxes ENABLE TRIGGER boxes_only_grows",
    )
    assert problems(place) == []
    change(place, "DROP FUNCTION only_grows() CASCADE")
    assert problems(place) == []


def test_a_ledger_that_is_missing_is_said_so(nowhere: Place, tmp_path: Path) -> None:
    for attempt in (lambda: Ledger(nowhere, tmp_path / "keys", REGISTRY), lambda: nowhere.snapshot().__enter__()):
        with pytest.raises(Unavailable, match=r"no ledger in postgresql://.*`affidavit init` makes one"):
            attempt()
    assert schemas(nowhere) == []


def test_a_schema_of_another_version_is_not_opened(place: Place, tmp_path: Path) -> None:
    change(place, "ALTER TABLE ledger DISABLE TRIGGER ALL", "UPDATE ledger SET version = 2")
    for attempt in (lambda: Ledger(place, tmp_path / "keys", REGISTRY), lambda: place.snapshot().__enter__()):
        with pytest.raises(UnsupportedFormat, match="ledger format 2, this version knows up to 1"):
            attempt()


def test_a_schema_that_is_no_ledgers_is_told(place: Place, tmp_path: Path) -> None:
    change(place, "DROP SCHEMA affidavit CASCADE", "CREATE SCHEMA affidavit", "CREATE TABLE affidavit.other (n int)")
    with pytest.raises(Unavailable):
        Ledger(place, tmp_path / "keys", REGISTRY)
    with pytest.raises(Unavailable, match="expected nothing here to make a ledger, found schema affidavit"):
        Ledger.create(place, tmp_path / "more", REGISTRY)


def test_a_ledger_is_made_where_there_is_none_and_not_twice(nowhere: Place, edge: Edge, tmp_path: Path) -> None:
    Ledger.create(nowhere, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False).close()
    made = schemas(nowhere)
    assert made[:2] == ["affidavit", "affidavit_keys"]
    with pytest.raises(Unavailable, match="expected nothing here"):
        Ledger.create(nowhere, tmp_path / "keys", REGISTRY, edge=edge)
    assert schemas(nowhere) == made
    assert len([*(tmp_path / "keys").iterdir()]) == 1


@pytest.mark.parametrize("step", ["create_roles", "create_schemas", "PostgresScopeKeys", "LedgerOpened", "sign_head"])
def test_a_ledger_that_cannot_be_finished_leaves_nothing(
    nowhere: Place, edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise psycopg.errors.DiskFull("no space left")

    module = application if hasattr(application, step) else places
    target = getattr(module, step)
    replacement = type(step, (), {"create": fails, "__init__": fails}) if isinstance(target, type) else fails
    monkeypatch.setattr(module, step, replacement)
    with pytest.raises((Unavailable, psycopg.Error), match="no space left"):
        Ledger.create(nowhere, tmp_path / "keys", REGISTRY, edge=edge)
    monkeypatch.undo()
    assert schemas(nowhere) == []
    assert not (tmp_path / "keys").exists() or not [*(tmp_path / "keys").iterdir()]
    with Ledger.create(nowhere, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as ledger:
        assert ledger.record(noted(0))[0].seq == 1
