"""What a superuser of the database tries on a ledger in PostgreSQL, and how ``verify`` names it.

Triggers and foreign keys are off for who attacks. ``test_attacks`` has each attack at every place, on SQLite; here is
one of every kind, since what derives the log anew is the same, and what reads it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.audit.verdict import Verdict
from affidavit.ledger.errors import LedgerError, UnsupportedFormat
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.projections.registry import REGISTRY
from affidavit.projections.seals import check_seals
from affidavit.tests.attacked import MIDDLE, SIZE, record_signed
from affidavit.tests.stores import every_postgresql

pytestmark = every_postgresql


@pytest.fixture
def attacked(place: Place, tmp_path: Path, edge: Edge) -> Iterator[Ledger]:
    ledger = Ledger(place, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False)
    record_signed(ledger)
    yield ledger
    with suppress(LedgerError):  # signing looks before it signs, and refuses most of what is done to it here
        ledger.close()


@contextmanager
def attacking(ledger: Ledger) -> Iterator[Connection]:
    """A superuser's connection, with the guards off until it ends and foreign keys unchecked."""
    assert isinstance(ledger.place, PostgresPlace)
    with ledger.place.login.connect() as db, db.transaction():
        db.execute("SET LOCAL search_path TO affidavit")
        db.execute("SET LOCAL session_replication_role TO replica")
        _switch_guards(db, "DISABLE")
        yield db
        _switch_guards(db, "ENABLE ALWAYS")


def _switch_guards(db: Connection, to: str) -> None:
    guards = db.execute(
        "SELECT tgrelid::regclass::text, tgname::text FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid "
        "WHERE relnamespace = 'affidavit'::regnamespace AND NOT tgisinternal"
    ).fetchall()
    for table, guard in guards:
        db.execute(f"ALTER TABLE {table} {to} TRIGGER {guard}".encode())


def verify(ledger: Ledger, **against: Any) -> Verdict:
    known = {"signed": ledger.keys.signed(), "scopes": ledger.scopes, "check_projections": check_seals}
    with ledger.place.snapshot() as reader:
        return audit(reader, REGISTRY, Against(**{**known, **against}))


def first(ledger: Ledger, **against: Any) -> tuple[str, int | None]:
    """(kind, seq) of the first damage; fails where there is none."""
    verdict = verify(ledger, **against)
    assert verdict.exit_code != 0
    return verdict.damage[0].kind, verdict.damage[0].seq


def test_the_ledger_as_recorded_is_ok(attacked: Ledger) -> None:
    verdict = verify(attacked)
    assert (verdict.verdict, verdict.size, verdict.signed_size, verdict.damage) == ("ok", SIZE, SIZE, [])


@pytest.mark.parametrize("column", ["entry", "leaf"])
def test_a_bit_of_an_entry_counts(attacked: Ledger, column: str) -> None:
    with attacking(attacked) as db:
        (length,) = db.execute(f"SELECT length({column}) FROM entries WHERE seq={MIDDLE}".encode()).fetchone() or (0,)
    for bit in range(0, 8 * length, 8 * length // 12 - 1):
        flipped = f"set_bit({column}, {bit}, 1 - get_bit({column}, {bit}))"
        for expected in ("entry_modified", None):
            with attacking(attacked) as db:
                db.execute(f"UPDATE entries SET {column} = {flipped} WHERE seq={MIDDLE}".encode())
            found = verify(attacked, scopes=None).damage
            assert (found[0].kind if found else None) == expected, f"bit {bit}"


@pytest.mark.parametrize(
    ("statement", "kind", "seq"),
    [
        ("UPDATE entries SET stream='run/002', pos=0 WHERE seq=6", "entry_modified", 6),
        ("UPDATE entries SET pos=77 WHERE seq=6", "entry_modified", 6),
        ("UPDATE entries SET type='prompt.evaluated.v2' WHERE seq=6", "entry_modified", 6),
        ("DELETE FROM entries WHERE seq=6", "entry_missing", 6),
        ("DELETE FROM entries WHERE seq=11", "entry_missing", 11),
        ("DELETE FROM entries WHERE seq=11; UPDATE head SET size=11", "head_mismatch", 10),
        (
            "INSERT INTO entries SELECT 12, 'run/x', 0, type, entry, leaf FROM entries WHERE seq=3",
            "entry_inserted",
            12,
        ),
        (
            "UPDATE entries SET seq=-1 WHERE seq=6; UPDATE entries SET seq=6 WHERE seq=7; "
            "UPDATE entries SET seq=7 WHERE seq=-1",
            "order_broken",
            6,
        ),
        ("UPDATE boxes SET box=set_byte(box, 20, get_byte(box, 20) # 1) WHERE seq=4", "payload_mismatch", 4),
        (
            "UPDATE boxes SET box=(SELECT box FROM boxes WHERE seq=4) WHERE seq=3",
            "payload_mismatch",
            3,
        ),
        ("DELETE FROM boxes WHERE seq=4", "missing_without_erasure", 4),
        ("INSERT INTO boxes VALUES (4, 'extra', '\\x00')", "payload_mismatch", 4),
        ("DELETE FROM affidavit_keys.scopes WHERE scope='run/001'", "missing_without_erasure", 1),
        ("UPDATE affidavit_keys.scopes SET wrapped='\\x00' WHERE scope='run/001'", "missing_without_erasure", 1),
        ("UPDATE head SET leaf=set_byte(leaf, 3, get_byte(leaf, 3) # 1)", "head_mismatch", 11),
        ("UPDATE head SET frontier=frontier || '\\x00'", "head_mismatch", 11),
        ("UPDATE head SET size=11", "entry_inserted", 11),
        ("INSERT INTO tiles VALUES (0, 0, '\\x00', '\\x00')", "tile_mismatch", 0),
    ],
)
def test_what_a_superuser_changes_is_named(attacked: Ledger, statement: str, kind: str, seq: int) -> None:
    with attacking(attacked) as db:
        db.execute(statement.encode())
    assert first(attacked) == (kind, seq)


@pytest.mark.parametrize("table", ["head", "entries", "boxes", "checkpoints"])
def test_an_empty_table_is_found(attacked: Ledger, table: str) -> None:
    with attacking(attacked) as db:
        db.execute(f"DELETE FROM {table}".encode())
    assert verify(attacked).exit_code != 0


def test_a_ledger_that_does_not_say_its_version_is_not_read(attacked: Ledger) -> None:
    with attacking(attacked) as db:
        db.execute("DELETE FROM ledger")
    with pytest.raises(UnsupportedFormat):
        verify(attacked)


def test_a_changed_entry_with_its_leaf_hash_recomputed_breaks_the_chain(attacked: Ledger) -> None:
    with attacking(attacked) as db:
        (raw,) = db.execute("SELECT entry FROM entries WHERE seq=6").fetchone() or (b"",)
        forged = bytes(raw).replace(b'"meta":{', b'"meta":{"forged":1,', 1)
        db.execute("UPDATE entries SET entry=%s, leaf=%s WHERE seq=6", (forged, leaf_hash(forged)))
    assert first(attacked) == ("entry_modified", 6)


def test_a_tail_that_is_cut_off_with_all_that_tells_of_it_is_a_rollback(attacked: Ledger) -> None:
    """Entries, boxes, checkpoints and head go back to the middle: only what is kept outside remembers more."""
    with attacking(attacked) as db:
        for table, column in (("entries", "seq"), ("boxes", "seq")):
            db.execute(f"DELETE FROM {table} WHERE {column} >= {MIDDLE}".encode())
        db.execute("DELETE FROM checkpoints WHERE size > %s", (MIDDLE,))
        with attacked.place.snapshot() as reader:
            frontier = reader.frontier_at(MIDDLE).pack()
        db.execute(
            "UPDATE head SET size=%s, frontier=%s, leaf=(SELECT leaf FROM entries WHERE seq=%s)",
            (MIDDLE, frontier, MIDDLE - 1),
        )
    assert verify(attacked).verdict == "rollback"


def test_a_second_history_under_the_same_key_is_a_fork(attacked: Ledger) -> None:
    """A checkpoint of another root, signed by the log's own key, for a size that was signed before."""
    with attacked.place.snapshot() as reader:
        pinned = dict(reader.checkpoints())[SIZE]
    forged = sign_checkpoint(Checkpoint(attacked.origin, SIZE, bytes(32)), attacked.keys.signing_key())
    with attacking(attacked) as db:
        db.execute("UPDATE checkpoints SET note=%s WHERE size=%s", (forged, SIZE))
    assert verify(attacked, pinned=[pinned]).exit_code != 0


def _row_security(db: Connection) -> None:
    db.execute("CREATE POLICY less ON entries USING (seq < 6)")
    db.execute("ALTER TABLE entries ENABLE ROW LEVEL SECURITY")
    db.execute("ALTER TABLE entries FORCE ROW LEVEL SECURITY")


def _shadowed(db: Connection) -> None:
    db.execute("CREATE FUNCTION affidavit.length(bytea) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0'")


def _a_view_instead(db: Connection) -> None:
    db.execute("ALTER TABLE entries RENAME TO real_entries")
    db.execute("CREATE VIEW entries AS SELECT * FROM real_entries WHERE seq < 6")
    db.execute("GRANT SELECT ON entries TO PUBLIC")


@pytest.mark.parametrize("attack", [_row_security, _shadowed, _a_view_instead])
def test_what_would_have_readers_see_something_else_is_found(
    attacked: Ledger, attack: Callable[[Connection], None]
) -> None:
    with attacking(attacked) as db:
        attack(db)
    assert verify(attacked).exit_code != 0
