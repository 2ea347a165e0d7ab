"""The page of an entry: its bytes, its fields, its chain and its proof; and what can be downloaded of it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from html import unescape

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.ledger.entries.entry import StoredEntry
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.note import parse_vkey, print_vkey
from affidavit.ledger.tlog.receipt import parse_receipt, verify_receipt
from affidavit.tests.folders import folder_of

from ..world import ACTOR, seq_of
from ..world_runs import BETTER, ERASED_RUN, HOSTILE_RUN


def _row(service: Service, seq: int) -> StoredEntry:
    with service.ledger.recorder.reading() as reader:
        return next(reader.entries(seq, seq + 1))


@pytest.mark.parametrize("run", [BETTER, HOSTILE_RUN])
def test_the_stored_bytes_are_shown_to_the_byte(world: Service, visitor: TestClient, run: str) -> None:
    seq = seq_of(world, f"run/{run}")
    text = visitor.get(f"/ledger/entries/{seq}").text
    found = re.search(r'<pre id="stored"[^>]*data-leaf="(\w+)"[^>]*>(.*?)</pre>', text, re.DOTALL)
    assert found is not None
    row = _row(world, seq)
    assert unescape(found[2]).encode() == row.raw
    assert found[1] == leaf_hash(row.raw).hex()
    assert f'data-entries="{seq}"' in text


def test_the_bytes_are_downloaded_as_they_are(world: Service, visitor: TestClient) -> None:
    answered = visitor.get("/ledger/entries/7/raw")
    assert answered.content == _row(world, 7).raw
    assert answered.headers["content-disposition"] == 'attachment; filename="entry-7.json"'


def test_the_receipt_that_is_downloaded_verifies(world: Service, visitor: TestClient) -> None:
    answered = visitor.get("/ledger/entries/7/receipt")
    receipt = parse_receipt(answered.content)
    raw = _row(world, 7).raw
    assert receipt.extra == raw
    key = world.ledger.verifier_key()
    checkpoint = verify_receipt(receipt, leaf_hash(raw), [key], world.ledger.origin)
    assert checkpoint.size == world.head()[0]
    shown = re.search(r"--vkey '([^']+)'", visitor.get("/ledger/entries/7").text)
    assert shown is not None
    assert parse_vkey(shown[1]) == key
    assert print_vkey(key) == shown[1]


def test_the_proof_is_drawn_and_listed_with_every_hash(world: Service, visitor: TestClient) -> None:
    path = parse_receipt(visitor.get("/ledger/entries/7/receipt").content).path
    text = visitor.get("/ledger/entries/7").text
    listed = re.findall(r'<tr><td class="n">\d+</td><td class="hash">(\w{64})</td>', text)
    assert listed == [each.hex() for each in path]
    assert all(f": {each.hex()}</title>" in text for each in path)
    assert "its leaf hash to the root of" in text
    root = visitor.get("/checkpoint").text.split("\n")[2]
    assert 'which the log has signed: <span class="hash" title="in hex ' in text
    assert f'">{root}</span>' in text


def test_the_proof_under_another_checkpoint_is_shorter(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        first = reader.next_checkpoint(8)
    assert first is not None
    text = visitor.get("/ledger/entries/7", params={"under": first[0]}).text
    assert f'href="/ledger/checkpoints/{first[0]}"' in text
    assert "no checkpoint of size 12345678 is published" in visitor.get("/ledger/entries/7?under=12345678").text


def test_sealed_fields_are_open_with_their_key_and_erased_without(world: Service, visitor: TestClient) -> None:
    opened = visitor.get(f"/ledger/entries/{seq_of(world, f'run/{BETTER}')}").text
    assert "sealed, opened here" in opened
    assert "Summarise the incident report." in opened
    assert ACTOR in opened
    erased = visitor.get(f"/ledger/entries/{seq_of(world, f'run/{ERASED_RUN}')}").text
    assert "erased: the key of this text was destroyed" in erased
    assert "sealed, opened here" not in erased


def test_neighbours_are_linked_and_chained(world: Service, visitor: TestClient) -> None:
    text = visitor.get("/ledger/entries/7").text
    assert _row(world, 7).raw.split(b'"prev":"')[1][:64].decode() in text
    assert "the leaf hash of" in text
    assert "which names this leaf hash" in text
    first = visitor.get("/ledger/entries/0").text
    assert "the first entry" in first
    assert "as it must be" in first


def test_an_entry_that_was_changed_is_shown_as_it_lies_there_and_proves_nothing(
    own_world: Service, own_visitor: TestClient
) -> None:
    with closing(sqlite3.connect(folder_of(own_world.ledger) / "ledger.db", isolation_level=None)) as db:
        db.execute("DROP TRIGGER entries_no_UPDATE")
        raw = _row(own_world, 7).raw
        db.execute("UPDATE entries SET entry=? WHERE seq=7", (raw.replace(b"affidavit/", b"affidavi7/"),))
    text = own_visitor.get("/ledger/entries/7").text
    assert "another is stored" in text
    assert "which names another leaf hash" in text
    assert "There is no proof to draw" in text
    assert own_visitor.get("/ledger/entries/7/receipt").status_code == 500


@pytest.mark.parametrize("seq", ["-1", "99999999"])
def test_an_entry_that_is_not_there_is_told(visitor: TestClient, seq: str) -> None:
    for path in ("", "/raw", "/receipt"):
        assert visitor.get(f"/ledger/entries/{seq}{path}").status_code == 404
    assert visitor.get("/ledger/entries/7", params={"as_of": "6"}).status_code == 404
