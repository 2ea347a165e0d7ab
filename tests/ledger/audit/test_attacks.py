"""What somebody who can write to the database tries, and how ``verify`` names it.

T1 edits rows; T2 rewrites chain, tree and head as well; T3 also holds the signing key. The numbers in the
names of the sections are those of the attack list that the verifier was designed against.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.domain.event import Meta, NewEvent
from affidavit.domain.optimization.events import IterationCompleted, PromptEvaluated, Sample
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.audit.stretches import check_stretch
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.entries.seal import make_box, make_disclosure
from affidavit.ledger.errors import VerificationError
from affidavit.ledger.events import ProjectionSealed
from affidavit.ledger.store.sqlite.reader import SqliteReader
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash, node_hash
from affidavit.ledger.tlog.note import ED25519, VerifierKey, parse_vkey
from affidavit.ledger.tlog.proof import verify_inclusion
from affidavit.ledger.tlog.receipt import verify_receipt
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runs.view import RUNS_VIEW
from affidavit.tests.attacked import MIDDLE, SIZE, Attacked, events_of, record_signed
from affidavit.tests.folders import folder_of


@pytest.fixture
def attacked(ledger: Ledger) -> Attacked:
    """A ledger of twelve entries, signed at size 1, in the middle, and at the end."""
    record_signed(ledger)
    return Attacked(ledger)


def test_the_ledger_as_recorded_is_ok(attacked: Attacked) -> None:
    verdict = attacked.verify()
    assert (verdict.verdict, verdict.size, verdict.signed_size, verdict.damage) == ("ok", SIZE, SIZE, [])
    assert set(verdict.checked) >= {"grammar", "chain", "tree", "tiles", "signatures", "signing_state", "sealed"}
    assert set(verdict.not_checked) == {"key_pinned", "fork", "time", "projections"}


# 1: modify an event


def test_every_bit_of_an_entry_counts(attacked: Attacked) -> None:
    rows = list(SqliteReader(attacked.db).entries())
    for bit in range(len(rows[MIDDLE].raw) * 8):
        changed = bytearray(rows[MIDDLE].raw)
        changed[bit // 8] ^= 1 << bit % 8
        forged = [*rows[:MIDDLE], rows[MIDDLE]._replace(raw=bytes(changed)), *rows[MIDDLE + 1 :]]
        damage = check_stretch(forged, 0).damage
        assert [(found.kind, found.seq) for found in damage] == [("entry_modified", MIDDLE)], f"bit {bit}"


@pytest.mark.parametrize("column", ["stream", "pos", "type", "entry", "leaf"])
def test_every_byte_of_every_column_of_an_entry_counts(attacked: Attacked, column: str) -> None:
    (value,) = attacked.db.execute(f"SELECT {column} FROM entries WHERE seq=?", (MIDDLE,)).fetchone()
    for changed in _one_bit_changes(value):
        attacked.db.execute(f"UPDATE entries SET {column}=? WHERE seq=?", (changed, MIDDLE))
        assert attacked.first(scopes=None) == ("entry_modified", MIDDLE), repr(changed)


@pytest.mark.parametrize("column", ["size", "leaf", "at", "frontier"])
def test_every_byte_of_the_head_counts(attacked: Attacked, column: str) -> None:
    (value,) = attacked.db.execute(f"SELECT {column} FROM head").fetchone()
    for changed in _one_bit_changes(value):
        attacked.db.execute(f"UPDATE head SET {column}=?", (changed,))
        assert attacked.verify(scopes=None).exit_code != 0, repr(changed)


def test_every_byte_of_a_checkpoint_counts(attacked: Attacked) -> None:
    size, note = attacked.db.execute("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    for changed in _one_bit_changes(bytes(note)):
        attacked.db.execute("UPDATE checkpoints SET note=? WHERE size=?", (changed, size))
        kinds = {damage.kind for damage in attacked.verify(scopes=None).damage}
        assert kinds & {"checkpoint_invalid", "unknown_key", "wrong_ledger"}, repr(changed)


@pytest.mark.parametrize("value", [None, 7, 1.5, "text", 2**60])
@pytest.mark.parametrize("column", ["entry", "leaf", "stream", "pos", "type"])
def test_values_of_other_types_are_damage_and_no_crash(attacked: Attacked, column: str, value: object) -> None:
    attacked.db.execute(f"UPDATE entries SET {column}=? WHERE seq=?", (value, MIDDLE))
    assert attacked.first(scopes=None) == ("entry_modified", MIDDLE)


@pytest.mark.parametrize("seq", range(SIZE - 1))
def test_a_changed_entry_with_its_leaf_hash_recomputed_breaks_the_chain(attacked: Attacked, seq: int) -> None:
    (raw,) = attacked.db.execute("SELECT entry FROM entries WHERE seq=?", (seq,)).fetchone()
    changed = raw.replace(b'"meta":{', b'"meta":{"forged":1,' if b'"meta":{"' in raw else b'"meta":{"forged":1', 1)
    attacked.db.execute("UPDATE entries SET entry=?, leaf=? WHERE seq=?", (changed, leaf_hash(changed), seq))
    assert attacked.first() == ("entry_modified", seq)


@pytest.mark.parametrize("seq", range(1, SIZE))
def test_a_history_chained_anew_does_not_have_the_signed_root(attacked: Attacked, seq: int) -> None:
    """T2: everything fits together again; the damage lies between a signature that still fits and one that does not."""
    contents = attacked.contents()
    at, stream, pos, type_name, content = contents[seq]
    contents[seq] = (at, stream, pos, type_name, content.replace(b'"data":{', b'"data":{"forged":1,', 1))
    attacked.rewrite(contents)
    kind, first = attacked.first(signed=None)
    assert kind == "entry_modified"
    assert first == (1 if seq < MIDDLE else MIDDLE)


# 2: modify sealed content


def test_every_byte_of_a_box_counts(attacked: Attacked) -> None:
    seq, field, box = attacked.db.execute("SELECT seq, field, box FROM boxes ORDER BY seq DESC LIMIT 1").fetchone()
    for changed in _one_bit_changes(bytes(box)):
        attacked.db.execute("UPDATE boxes SET box=? WHERE seq=? AND field=?", (changed, seq, field))
        assert attacked.first() == ("payload_mismatch", seq)


def test_boxes_that_are_swapped_do_not_open(attacked: Attacked) -> None:
    (one,) = attacked.db.execute("SELECT box FROM boxes WHERE seq=3").fetchone()
    (other,) = attacked.db.execute("SELECT box FROM boxes WHERE seq=4").fetchone()
    attacked.db.execute("UPDATE boxes SET box=? WHERE seq=3", (other,))
    attacked.db.execute("UPDATE boxes SET box=? WHERE seq=4", (one,))
    assert attacked.first() == ("payload_mismatch", 3)


def test_other_content_sealed_under_the_right_key_is_not_what_the_entry_binds(attacked: Attacked) -> None:
    cipher = attacked.ledger.scopes.cipher("run/001")
    assert cipher is not None
    forged = make_disclosure("samples", [], bytes(16))
    (raw,) = attacked.db.execute("SELECT entry FROM entries WHERE seq=3").fetchone()
    digest = parse_entry(raw)["sealed"]["samples"]
    origin = attacked.ledger.origin.encode()
    box = make_box(cipher, bytes(12), type(forged)("samples", forged.content, digest), origin)
    attacked.db.execute("UPDATE boxes SET box=? WHERE seq=3", (box,))
    assert attacked.first() == ("payload_mismatch", 3)


def test_a_box_that_is_gone_is_not_taken_for_erased(attacked: Attacked) -> None:
    attacked.db.execute("DELETE FROM boxes WHERE seq=3")
    assert attacked.first() == ("missing_without_erasure", 3)


def test_a_key_that_is_gone_is_not_taken_for_erased(attacked: Attacked) -> None:
    with closing(sqlite3.connect(folder_of(attacked.ledger) / "keys.db")) as keys, keys:
        keys.execute("DELETE FROM scopes WHERE scope='run/001'")
    assert attacked.first() == ("missing_without_erasure", 1)


@pytest.mark.parametrize("seq", [-(2**63), -1, 0, 3, SIZE, 10**12, 2**63 - 1])
@pytest.mark.parametrize("keys", [True, False])
def test_a_box_too_many_is_damage(attacked: Attacked, seq: int, keys: bool) -> None:
    attacked.db.execute("INSERT INTO boxes VALUES (?, 'extra', x'00')", (seq,))
    assert attacked.first(**({} if keys else {"scopes": None})) == ("payload_mismatch", seq)


def test_boxes_that_are_gone_are_missed_without_any_key(attacked: Attacked) -> None:
    attacked.db.execute("DELETE FROM boxes")
    verdict = attacked.verify(scopes=None)
    assert (verdict.damage[0].kind, verdict.damage[0].seq) == ("missing_without_erasure", 1)
    assert "sealed" in verdict.not_checked


ODD_VALUES = [None, -1, 2**62, 1.5, "text", b"", b"\xff" * 40, b"\xff".decode(errors="surrogateescape")]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_no_value_of_any_type_in_any_column_makes_verify_raise(attacked: Attacked, value: object) -> None:
    """One column at a time, whatever SQLite may hold there: the answer is a verdict, and it is not ok."""
    attacked.db.execute("CREATE TABLE bare_boxes AS SELECT * FROM boxes")
    attacked.db.execute("DROP TABLE boxes")
    attacked.db.execute("ALTER TABLE bare_boxes RENAME TO boxes")
    for table in ("head", "ledger", "checkpoints", "tiles"):
        attacked.db.execute(f"CREATE TABLE bare AS SELECT * FROM {table}")
        attacked.db.execute(f"DROP TABLE {table}")
        attacked.db.execute(f"ALTER TABLE bare RENAME TO {table}")
    attacked.db.execute("INSERT INTO tiles VALUES (0, 0, x'00', x'00')")
    attacked.db.commit()
    for table in ("entries", "boxes", "head", "ledger", "checkpoints", "tiles"):
        for _, column, *_ in attacked.db.execute(f"PRAGMA table_info({table})").fetchall():
            if column in ("one", "seq") and table != "boxes":
                continue
            try:
                attacked.db.execute(f"UPDATE {table} SET {column}=?", (value,))
            except (UnicodeEncodeError, sqlite3.IntegrityError):
                continue
            assert attacked.verify().exit_code != 0, f"{table}.{column}"
            attacked.db.rollback()


@pytest.mark.parametrize("table", ["ledger", "head", "entries", "boxes", "checkpoints"])
def test_an_empty_table_is_found(attacked: Attacked, table: str) -> None:
    attacked.db.execute(f"DELETE FROM {table}")
    assert attacked.verify().exit_code != 0


def test_keys_that_were_swapped_or_changed_open_nothing(attacked: Attacked) -> None:
    for change in ("UPDATE scopes SET wrapped=x'00' WHERE scope='run/001'", "UPDATE scopes SET wrapped=7"):
        with closing(sqlite3.connect(folder_of(attacked.ledger) / "keys.db")) as keys, keys:
            keys.execute(change)
        assert attacked.first() == ("missing_without_erasure", 1)


def test_a_summary_that_contradicts_its_sealed_detail_is_damage(ledger: Ledger) -> None:
    start, _ = events_of(2)
    samples = (Sample(id="0", input="q", response="a", score=0.5),)
    lie = PromptEvaluated(
        evaluation=0, prompt=0, purpose="train", score=0.9, n=2, failed=0, detail_mean=0.9, samples=samples
    )
    ledger.record(start, NewEvent("run/001", 1, lie, Meta()))
    assert Attacked(ledger).first() == ("summary_mismatch", 2)


# 3 and 4: delete, insert, duplicate


@pytest.mark.parametrize("seq", range(SIZE))
def test_a_deleted_entry_is_missed(attacked: Attacked, seq: int) -> None:
    attacked.db.execute("DELETE FROM entries WHERE seq=?", (seq,))
    assert attacked.first() == ("entry_missing", seq)


@pytest.mark.parametrize("seq", range(1, SIZE - 1))
def test_a_deleted_entry_is_missed_when_the_rows_close_up(attacked: Attacked, seq: int) -> None:
    rows = attacked.rows()
    del rows[seq]
    attacked.write_rows([[number, *row[1:]] for number, row in enumerate(rows)])
    attacked.db.execute("UPDATE head SET size=size-1")
    assert attacked.first(signed=None) == ("entry_missing", seq)


@pytest.mark.parametrize("seq", range(1, SIZE))
def test_a_history_without_an_entry_chained_anew_does_not_have_the_signed_root(attacked: Attacked, seq: int) -> None:
    contents = attacked.contents()
    del contents[seq]
    attacked.rewrite(contents)
    assert attacked.verify(signed=None).verdict == "damaged"
    assert attacked.verify().verdict in ("damaged", "rollback")


@pytest.mark.parametrize("seq", range(SIZE - 1))
def test_a_duplicated_entry_is_found(attacked: Attacked, seq: int) -> None:
    rows = attacked.rows()
    rows.insert(seq + 1, list(rows[seq]))
    attacked.write_rows([[number, *row[1:]] for number, row in enumerate(rows)])
    attacked.db.execute("UPDATE head SET size=size+1")
    kind, first = attacked.first()
    assert (kind, first) == ("entry_inserted", seq + 1)


@pytest.mark.parametrize("seq", [-5, SIZE, SIZE + 1, 2**40])
def test_an_entry_outside_of_the_log_is_found(attacked: Attacked, seq: int) -> None:
    raw = attacked.rows()[3][4]
    attacked.db.execute("INSERT INTO entries VALUES (?, 'run/x', 0, 'a.b.v1', ?, ?)", (seq, raw, leaf_hash(raw)))
    kinds = {damage.kind for damage in attacked.verify().damage}
    assert kinds & {"entry_inserted", "entry_missing"}


# 5: reorder, swap, move


@pytest.mark.parametrize("seq", range(1, SIZE - 1))
def test_entries_that_are_swapped_are_out_of_order(attacked: Attacked, seq: int) -> None:
    rows = attacked.rows()
    rows[seq][1:], rows[seq + 1][1:] = rows[seq + 1][1:], rows[seq][1:]
    attacked.write_rows(rows)
    assert attacked.first() == ("order_broken", seq)


def test_an_entry_moved_to_another_stream_is_found(attacked: Attacked) -> None:
    attacked.db.execute("UPDATE entries SET stream='run/002', pos=0 WHERE seq=?", (MIDDLE,))
    assert attacked.first() == ("entry_modified", MIDDLE)


def test_an_entry_moved_to_another_stream_and_chained_anew_leaves_a_hole(attacked: Attacked) -> None:
    contents = attacked.contents()
    contents[MIDDLE] = (contents[MIDDLE][0], "run/002", 0, *contents[MIDDLE][3:])
    attacked.rewrite(contents)
    assert attacked.first()[0] == "order_broken"


def test_a_time_that_runs_backwards_is_found(attacked: Attacked) -> None:
    contents = attacked.contents()
    contents[MIDDLE] = ("2020-01-01T00:00:00.000000Z", *contents[MIDDLE][1:])
    attacked.rewrite(contents)
    assert attacked.first()[0] == "order_broken"


# 6, 7, 9, 14: what only something outside of the database can show


def test_a_cut_tail_is_a_rollback_to_who_knows_how_long_the_log_was(attacked: Attacked) -> None:
    pinned = attacked.db.execute("SELECT note FROM checkpoints WHERE size=?", (SIZE,)).fetchone()[0]
    attacked.rewrite(attacked.contents()[:MIDDLE])
    attacked.db.execute("DELETE FROM checkpoints WHERE size > ?", (MIDDLE,))
    attacked.db.execute("DELETE FROM boxes WHERE seq >= ?", (MIDDLE,))
    unaware = attacked.verify(signed=None)
    assert unaware.verdict == "ok"
    assert "rollback" in unaware.not_checked
    assert attacked.verify().verdict == "rollback"
    aware = attacked.verify(signed=None, pinned=[pinned])
    assert (aware.verdict, aware.exit_code) == ("rollback", 4)


def test_a_log_that_was_cut_and_grown_again_is_a_fork(attacked: Attacked) -> None:
    """T3: even the signature is right; the earlier checkpoint is not consistent with the new history."""
    pinned = attacked.db.execute("SELECT note FROM checkpoints WHERE size=?", (SIZE,)).fetchone()[0]
    contents = attacked.contents()
    at, stream, pos, type_name, content = contents[-1]
    contents[-1] = (at, stream, pos, type_name, content.replace(b'"n":3', b'"n":4', 1))
    attacked.rewrite(contents)
    head = SqliteReader(attacked.db).head()
    forged = sign_checkpoint(
        Checkpoint(attacked.ledger.origin, head.size, head.root()), attacked.ledger.keys.signing_key()
    )
    attacked.db.execute("UPDATE checkpoints SET note=? WHERE size=?", (forged, SIZE))
    assert attacked.verify(signed=None, scopes=None).verdict == "ok"
    for against in ({"signed": None, "pinned": [pinned]}, {}):
        verdict = attacked.verify(scopes=None, **against)
        assert (verdict.verdict, verdict.exit_code) == ("fork", 4)


@pytest.mark.parametrize("outside", ["signed", "pinned"])
@pytest.mark.parametrize("also", ["", "UPDATE head SET held=1", "DELETE FROM tiles"])
def test_a_history_chained_anew_without_its_checkpoints_is_a_fork(attacked: Attacked, outside: str, also: str) -> None:
    """No signature in the database contradicts the new history any more; what was kept outside does."""
    pinned = attacked.db.execute("SELECT note FROM checkpoints WHERE size=?", (SIZE,)).fetchone()[0]
    contents = attacked.contents()
    at, stream, pos, type_name, content = contents[MIDDLE]
    contents[MIDDLE] = (at, stream, pos, type_name, content.replace(b'"n":3', b'"n":4', 1))
    attacked.rewrite(contents)
    attacked.db.execute("DELETE FROM checkpoints WHERE size > 1")
    if also:
        attacked.db.execute(also)
    against = {"scopes": None} if outside == "signed" else {"scopes": None, "signed": None, "pinned": [pinned]}
    verdict = attacked.verify(**against)
    assert (verdict.verdict, verdict.exit_code) == ("fork", 4)


def test_a_rollback_stays_one_when_the_head_is_moved_too(attacked: Attacked) -> None:
    attacked.rewrite(attacked.contents()[:MIDDLE])
    attacked.db.execute("DELETE FROM checkpoints WHERE size > ?", (MIDDLE,))
    attacked.db.execute("UPDATE head SET size=size+1")
    assert attacked.verify().verdict == "rollback"


def test_a_ledger_signed_by_another_key_is_not_the_pinned_one(attacked: Attacked, edge: Edge) -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(edge.random(32))
    vkey = VerifierKey(attacked.ledger.origin, ED25519, stranger.public_key().public_bytes_raw())
    assert "unknown_key" in {damage.kind for damage in attacked.verify(vkey=vkey).damage}
    own = attacked.verify(vkey=attacked.ledger.verifier_key())
    assert own.verdict == "ok"
    assert "key_pinned" in own.checked


def test_checkpoints_signed_by_another_key_are_refused(attacked: Attacked, edge: Edge) -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(edge.random(32))
    head = SqliteReader(attacked.db).head()
    forged = sign_checkpoint(Checkpoint(attacked.ledger.origin, head.size, head.root()), stranger)
    attacked.db.execute("UPDATE checkpoints SET note=? WHERE size=?", (forged, SIZE))
    assert "unknown_key" in {damage.kind for damage in attacked.verify().damage}


def test_another_ledger_in_its_place_is_the_wrong_one(attacked: Attacked, tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "other", tmp_path / "keys", REGISTRY, sign_in_background=False) as other:
        verdict = Attacked(other).verify(vkey=attacked.ledger.verifier_key(), signed=None, scopes=None)
        assert "wrong_ledger" in {damage.kind for damage in verdict.damage}


# 15: mixed proofs


def test_a_receipt_of_another_ledger_proves_nothing_here(attacked: Attacked, tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "other", tmp_path / "keys", REGISTRY, sign_in_background=False) as other:
        receipt = other.receipt(0)
        with other.recorder.reading() as reader:
            raw = next(reader.entries(0, 1)).raw
        own = attacked.ledger
        for verifiers, origin in (([own.verifier_key()], own.origin), ([other.verifier_key()], own.origin)):
            with pytest.raises(VerificationError):
                verify_receipt(receipt, leaf_hash(raw), verifiers, origin)


def test_a_receipt_proves_its_own_entry_only(attacked: Attacked) -> None:
    ledger = attacked.ledger
    raws = [row[4] for row in attacked.rows()]
    for seq in range(SIZE):
        receipt = ledger.receipt(seq)
        verify_receipt(receipt, leaf_hash(raws[seq]), [ledger.verifier_key()], ledger.origin)
        with pytest.raises(VerificationError):
            verify_receipt(receipt, leaf_hash(raws[seq - 1]), [ledger.verifier_key()], ledger.origin)


# 16: second preimage


def test_an_entry_cannot_pose_as_a_node() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    posing = b"\x01" + left + right
    assert leaf_hash(posing) != node_hash(left, right)
    with pytest.raises(VerificationError):
        verify_inclusion(0, 1, leaf_hash(posing), [], node_hash(left, right))


# 17: two parses of one entry


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b'{"v":1,', b'{"v":1,"v":1,', 1),
        lambda raw: raw.replace(b'"score":"0.25"', b'"score":0.25', 1),
        lambda raw: raw.replace(b'"n":3', b'"n":3,"n":4', 1),
        lambda raw: raw.replace(b'"n":3', b'"n":9007199254740993', 1),
        lambda raw: raw.replace(b'"n":3', b'"n":NaN', 1),
        lambda raw: raw.replace(b'"n":3', b'"n": 3', 1),
        lambda raw: raw.replace(b'"train"', b'"tr\\u0061in"', 1),
        lambda raw: raw + b" ",
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS),
    ],
)
def test_bytes_that_two_readers_could_read_differently_are_damage(
    attacked: Attacked, change: Callable[[bytes], bytes]
) -> None:
    """T2: leaf, chain and head recomputed over bytes that are not of the grammar."""
    rows = attacked.rows()
    forged = change(rows[-1][4])
    assert forged != rows[-1][4]
    leaf = leaf_hash(forged)
    attacked.db.execute("UPDATE entries SET entry=?, leaf=? WHERE seq=?", (forged, leaf, SIZE - 1))
    assert attacked.first() == ("non_canonical", SIZE - 1)


# 19: forge a projection


def test_a_sealed_projection_that_does_not_replay_is_damage(attacked: Attacked) -> None:
    forged = ProjectionSealed(name="runs", version=RUNS_VIEW.version, upto=SIZE, digest="00" * 32)
    attacked.ledger.record(NewEvent("projection/runs", 0, forged, Meta()))
    assert Attacked(attacked.ledger).first() == ("projection_mismatch", SIZE)


def test_a_projection_of_an_unknown_version_is_not_checked(attacked: Attacked) -> None:
    unknown = ProjectionSealed(name="runs", version=999, upto=SIZE, digest="00" * 32)
    attacked.ledger.record(NewEvent("projection/runs", 0, unknown, Meta()))
    attacked.ledger.sign()
    verdict = Attacked(attacked.ledger).verify()
    assert verdict.verdict == "ok"
    assert "999" in verdict.not_checked["projections"]


def test_a_run_whose_events_break_their_rules_is_damage(ledger: Ledger) -> None:
    """Somebody recorded past the decisions: an iteration that scored nothing, and a second start."""
    start = next(events_of(1))
    ledger.record(start, NewEvent("run/001", 1, IterationCompleted(iteration=1, evaluation=9), Meta()))
    ledger.record(NewEvent("run/001", 2, start.event, Meta()))
    damage = Attacked(ledger).verify().damage
    assert [(found.kind, found.seq) for found in damage] == [("rule_broken", 2), ("rule_broken", 3)]


# The schema


@pytest.mark.parametrize(
    "change",
    [
        "CREATE VIEW more AS SELECT * FROM entries",
        "CREATE TRIGGER lose AFTER INSERT ON entries BEGIN DELETE FROM boxes; END",
        "CREATE INDEX other ON entries (type)",
        "DROP TABLE tiles",
    ],
)
def test_a_schema_that_is_not_a_ledgers_is_damage(ledger: Ledger, change: str) -> None:
    with closing(sqlite3.connect(folder_of(ledger) / "ledger.db")) as source:
        db = sqlite3.connect(":memory:", check_same_thread=False)
        source.backup(db)
    assert audit(SqliteReader(db), REGISTRY, Against()).verdict == "ok"
    db.execute(change)
    assert "storage_damaged" in {damage.kind for damage in audit(SqliteReader(db), REGISTRY, Against()).damage}


# Tiles


def test_every_tile_is_compared_with_the_entries(ledger: Ledger) -> None:
    ledger.record(*events_of(600))
    ledger.sign()
    attacked = Attacked(ledger)
    assert attacked.verify().verdict == "ok"
    for column in ("root", "hashes"):
        (value,) = attacked.db.execute(f"SELECT {column} FROM tiles WHERE n=1").fetchone()
        attacked.db.execute(f"UPDATE tiles SET {column}=? WHERE n=1", (bytes([value[0] ^ 1]) + value[1:],))
        assert attacked.first() == ("tile_mismatch", 256)
        attacked.db.execute(f"UPDATE tiles SET {column}=? WHERE n=1", (value,))
    attacked.db.execute("DELETE FROM tiles WHERE n=1")
    assert attacked.first() == ("tile_mismatch", 256)


def test_no_signature_at_all_proves_nothing(attacked: Attacked) -> None:
    attacked.db.execute("DELETE FROM checkpoints")
    verdict = attacked.verify(signed=None)
    assert (verdict.verdict, verdict.exit_code) == ("not_proven", 3)
    assert "unsigned_tail" in verdict.not_checked


def test_an_unsigned_tail_is_named(attacked: Attacked) -> None:
    attacked.ledger.record(NewEvent("run/002", 0, next(events_of(1)).event, Meta()))
    verdict = Attacked(attacked.ledger).verify()
    assert verdict.verdict == "ok"
    assert f"entries {SIZE} to {SIZE}" in verdict.not_checked["unsigned_tail"]


def test_the_key_that_the_ledger_names_is_the_one_that_signs(attacked: Attacked) -> None:
    opened = parse_entry(attacked.rows()[0][4])["data"]
    assert parse_vkey(opened["vkey"]) == attacked.ledger.verifier_key()


def _one_bit_changes(value: object) -> Iterator[object]:
    """A change of one bit in each byte of a value, whichever bit; of every bit of a number."""
    if isinstance(value, bytes):
        for place in range(len(value)):
            yield value[:place] + bytes([value[place] ^ 1 << place % 8]) + value[place + 1 :]
    elif isinstance(value, int):
        for bit in range(62):
            yield value ^ 1 << bit
    else:
        assert isinstance(value, str)
        for changed in _one_bit_changes(value.encode()):
            assert isinstance(changed, bytes)
            try:
                yield changed.decode()
            except UnicodeDecodeError:
                yield changed
