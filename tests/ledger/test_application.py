"""Making and opening a ledger: whole or not at all, with its own keys, whatever the environment says."""

from __future__ import annotations

import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.domain.errors import AffidavitError
from affidavit.domain.event import Meta, NewEvent
from affidavit.domain.optimization.events import PromptEvaluated, Sample, SourceKept
from affidavit.ledger import application
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.errors import Malformed, Unavailable
from affidavit.ledger.events import LedgerOpened
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.sqlite import place
from affidavit.ledger.tlog.checkpoint import open_checkpoint
from affidavit.ledger.tlog.note import print_vkey
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of
from affidavit.tests.stores import every_store, only_sqlite

pytestmark = every_store


def kept(pos: int = 0) -> NewEvent:
    return NewEvent("source/1", pos, SourceKept(name="n", content="text"), Meta())


def reopen(ledger: Ledger) -> Ledger:
    return Ledger(ledger.place, ledger.keys.path.parent, REGISTRY, edge=ledger._edge, sign_in_background=False)


def test_a_new_ledger_begins_with_what_it_is(ledger: Ledger) -> None:
    with ledger.recorder.reading() as reader:
        first = ledger.event_reader(reader).event(0)
    assert first is not None
    assert first.event == LedgerOpened(format=1, origin=ledger.origin, vkey=print_vkey(ledger.verifier_key()))


def test_a_new_ledger_is_signed_from_entry_0_on(ledger: Ledger) -> None:
    with ledger.recorder.reading() as reader:
        latest = reader.latest_checkpoint()
        root = reader.head().root()
    assert latest is not None
    checkpoint = open_checkpoint(latest[1], [ledger.verifier_key()], ledger.origin)
    assert (checkpoint.size, checkpoint.root) == (1, root)


def test_its_origin_is_its_name_and_sixteen_hex_digits(ledger: Ledger) -> None:
    assert re.fullmatch(r"affidavit/[0-9a-f]{16}", ledger.origin)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a//b", "/a", "a/", "a\n", "ä"])
def test_a_name_that_no_origin_may_have_is_refused(tmp_path: Path, edge: Edge, name: str) -> None:
    with pytest.raises(Malformed, match="origin name"):
        Ledger.create(tmp_path / "ledger", tmp_path / "keys", REGISTRY, name=name, edge=edge)
    assert list(tmp_path.iterdir()) == []


@only_sqlite
def test_the_keys_lie_outside_for_their_owner_only(ledger: Ledger) -> None:
    ledger.close()
    assert not ledger.keys.path.is_relative_to(folder_of(ledger))
    assert stat.S_IMODE(ledger.keys.path.stat().st_mode) == 0o700
    for name in ("signing.pem", "master.key"):
        assert stat.S_IMODE((ledger.keys.path / name).stat().st_mode) == 0o600
    pem = (ledger.keys.path / "signing.pem").read_bytes()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")  # PKCS#8
    assert {path.name for path in folder_of(ledger).iterdir()} == {
        "ledger.db",
        "keys.db",
        "append.lock",
        "signing.lock",
    }
    secret = ledger.keys.signing_key().private_bytes_raw()
    for path in folder_of(ledger).iterdir():
        assert secret not in path.read_bytes()
        assert ledger.keys.master_key() not in path.read_bytes()


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path, edge: Edge) -> None:
    folder = tmp_path / "ledger"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(Unavailable, match="expected nothing here"):
        Ledger.create(folder, tmp_path / "keys", REGISTRY, edge=edge)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert not (tmp_path / "keys").exists()


def test_a_file_in_its_place_is_refused(tmp_path: Path, edge: Edge) -> None:
    (tmp_path / "ledger").write_text("mine")
    with pytest.raises(Unavailable, match="expected nothing here"):
        Ledger.create(tmp_path / "ledger", tmp_path / "keys", REGISTRY, edge=edge)


def test_an_empty_folder_is_taken(tmp_path: Path, edge: Edge) -> None:
    (tmp_path / "ledger").mkdir()
    Ledger.create(tmp_path / "ledger", tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False).close()
    assert (tmp_path / "ledger" / "ledger.db").is_file()


@pytest.mark.parametrize("step", ["create_database", "SqliteScopeKeys", "LedgerOpened", "sign_head", "sync_folder"])
def test_a_ledger_that_cannot_be_finished_does_not_appear(
    tmp_path: Path, edge: Edge, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """All but the last step leave nothing in the folder's place; after the rename the ledger is whole."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "no space left on device")

    module = application if hasattr(application, step) else place
    target = getattr(module, step)
    replacement = type(step, (), {"create": fails, "__init__": fails}) if isinstance(target, type) else fails
    monkeypatch.setattr(module, step, replacement)
    with pytest.raises(Unavailable, match="no space left"):
        Ledger.create(tmp_path / "ledger", tmp_path / "keys", REGISTRY, edge=edge)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    if step == "sync_folder":
        Ledger(tmp_path / "ledger", tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False).close()
    else:
        assert not (tmp_path / "ledger").exists()


def test_no_folder_is_made_by_opening(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no ledger in .*ledger: expected ledger\.db"):
        Ledger(tmp_path / "ledger", tmp_path / "keys", REGISTRY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PERSISTENCE_MODULE", "antigravity"),
        ("AFFIDAVIT_PERSISTENCE_MODULE", "antigravity"),
        ("IS_SNAPSHOTTING_ENABLED", "y"),
        ("COMPRESSOR_TOPIC", "antigravity:fly"),
        ("CIPHER_TOPIC", "antigravity:fly"),
        ("TRANSCODER_TOPIC", "antigravity:fly"),
        ("MAPPER_TOPIC", "antigravity:fly"),
        ("SQLITE_DBNAME", ":memory:"),
        ("POSTGRES_DBNAME", "nowhere"),
        ("CREATE_TABLE", "y"),
        ("AGGREGATE_CACHE_MAXSIZE", "no number"),
    ],
)
def test_no_variable_of_the_library_has_an_effect(
    nowhere: Place, tmp_path: Path, edge: Edge, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with Ledger.create(nowhere, tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as ledger:
        assert ledger.record(kept())[0].seq == 1
        assert ledger.snapshots is None
    with reopen(ledger) as again, again.recorder.reading() as reader:
        assert reader.head().size == 2


def test_a_ledger_goes_on_where_it_was_closed(ledger: Ledger) -> None:
    ledger.record(kept())
    ledger.close()
    with reopen(ledger) as again:
        assert again.record(kept(1))[0].seq == 2
        with again.recorder.reading() as reader:
            event = again.event_reader(reader).event(1)
    assert event is not None
    assert event.event == SourceKept(name="n", content="text")


def test_a_failed_sample_is_sealed_and_read_back(ledger: Ledger) -> None:
    """What is None stands nowhere in sealed content either, so every such field needs a default to be read."""
    failed = Sample(id="s1", input="i", response="", score=None, failed=True)
    event = PromptEvaluated(evaluation=0, prompt=0, purpose="train", n=1, failed=1, samples=(failed,))
    (place,) = ledger.record(NewEvent("run/1", 0, event, Meta()))
    with ledger.recorder.reading() as reader:
        found = ledger.event_reader(reader).event(place.seq)
    assert found is not None
    assert found.event == event
    assert found.event.disagreement() is None


def test_closing_twice_is_closing(ledger: Ledger) -> None:
    ledger.close()
    ledger.close()


def test_an_opaque_box_stays_closed_without_keys(ledger: Ledger) -> None:
    ledger.record(kept())
    with ledger.recorder.reading() as reader:
        raw = b"".join(row.raw for row in reader.entries())
        boxes = b"".join(box for _, _, box in reader.boxes())
    assert b"text" not in raw
    assert b"text" not in boxes


def write_key(path: Path, key: object) -> None:
    assert isinstance(key, Ed25519PrivateKey) or hasattr(key, "private_bytes")
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*formats))


@pytest.mark.parametrize("name", ["signing.pem", "master.key", "signed"])
def test_a_missing_key_file_is_named(ledger: Ledger, name: str) -> None:
    ledger.close()
    (ledger.keys.path / name).unlink()
    with pytest.raises(Unavailable, match=rf"{re.escape(name)}: No such file.*AFFIDAVIT_KEYS"):
        reopen(ledger)


@only_sqlite
@pytest.mark.parametrize("name", ["signing.pem", "master.key", "signed", "keys.db"])
@pytest.mark.parametrize("content", [b"", b"\xff\x00 nonsense"])
def test_a_broken_key_file_is_named(ledger: Ledger, name: str, content: bytes) -> None:
    ledger.close()
    path = folder_of(ledger) / name if name == "keys.db" else ledger.keys.path / name
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=re.escape(name)):
        reopen(ledger)


def test_a_signing_key_that_entry_0_does_not_name_is_refused(ledger: Ledger) -> None:
    ledger.close()
    write_key(ledger.keys.path / "signing.pem", Ed25519PrivateKey.from_private_bytes(b"x" * 32))
    with pytest.raises(Unavailable, match=r"signing\.pem is not the key that entry 0 names"):
        reopen(ledger)


def test_a_signing_key_of_another_kind_is_refused(ledger: Ledger) -> None:
    ledger.close()
    write_key(ledger.keys.path / "signing.pem", generate_private_key(SECP256R1()))
    with pytest.raises(Unavailable, match=r"signing\.pem: expected an Ed25519 key"):
        reopen(ledger)


@only_sqlite
def test_another_master_key_is_refused(ledger: Ledger) -> None:
    ledger.close()
    (ledger.keys.path / "master.key").write_text("00" * 32 + "\n")
    with pytest.raises(Unavailable, match=r"keys\.db: the master key does not open"):
        reopen(ledger)


def test_a_short_master_key_is_refused(ledger: Ledger) -> None:
    ledger.close()
    (ledger.keys.path / "master.key").write_text("00" * 31)
    with pytest.raises(Unavailable, match=r"master\.key: expected 64 hex digits, found 62"):
        reopen(ledger)


@only_sqlite
def test_a_missing_key_database_is_named(ledger: Ledger) -> None:
    ledger.close()
    (folder_of(ledger) / "keys.db").unlink()
    with pytest.raises(Unavailable, match=r"key database .*keys\.db"):
        reopen(ledger)
    assert not (folder_of(ledger) / "keys.db").exists()


def test_keys_elsewhere_are_named(ledger: Ledger, tmp_path: Path) -> None:
    ledger.close()
    with pytest.raises(Unavailable, match="AFFIDAVIT_KEYS"):
        Ledger(ledger.place, tmp_path / "nowhere", REGISTRY)


def test_two_ledgers_under_one_key_root_keep_apart(tmp_path: Path, ledger: Ledger, edge: Edge) -> None:
    with Ledger.create(tmp_path / "other", tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False) as other:
        assert other.keys.path != ledger.keys.path
        assert other.keys.signing_key().private_bytes_raw() != ledger.keys.signing_key().private_bytes_raw()


def test_the_key_folder_of_another_ledger_is_never_written_over(tmp_path: Path, ledger: Ledger) -> None:
    """The same random bytes again would give the same origin."""
    before = {path.name: path.read_bytes() for path in ledger.keys.path.iterdir()}
    suffix = bytes.fromhex(ledger.origin.rpartition("/")[2])
    again = replace(Edge(), random=lambda count: (suffix + bytes(count))[:count])
    with pytest.raises(AffidavitError, match="File exists"):
        Ledger.create(tmp_path / "other", tmp_path / "keys", REGISTRY, edge=again)
    assert {path.name: path.read_bytes() for path in ledger.keys.path.iterdir()} == before
    shutil.rmtree(tmp_path / "other", ignore_errors=True)
