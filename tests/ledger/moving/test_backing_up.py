"""A backup is one state of a ledger, without keys; what is restored of it is the ledger again, or nothing is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.event import Withheld
from affidavit.domain.optimization.events import SourceKept
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.continuing import continue_ledger
from affidavit.ledger.errors import Malformed, SigningRefused, Unavailable
from affidavit.ledger.moving import backing_up
from affidavit.ledger.moving.backing_up import BackedUp, Restored, backup_ledger, restore_ledger
from affidavit.ledger.moving.carrying import Carrier
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.sqlite.keys import SqliteScopeKeys
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.moving.worlds import TEXT, contents, empty_place, fill, move, open_at
from affidavit.tests.ledger.store.noting import noted
from affidavit.tests.stored import change_evidence
from affidavit.tests.stores import POSTGRESQL, STORES, Databases, every_store

SQLITE = STORES[0]


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> Iterator[Place]:
    """An empty place: a folder, unless the test says which store."""
    with empty_place(databases, getattr(request, "param", SQLITE), tmp_path / "elsewhere") as place:
        yield place


def back_up(ledger: Ledger, tmp_path: Path, *, keys: bool = True) -> BackedUp:
    return backup_ledger(
        ledger.place, tmp_path / "backup", ledger.keys.path.parent, keys_to=tmp_path / "kept" if keys else None
    )


def restore(ledger: Ledger, to: Place, tmp_path: Path, **more: Any) -> Restored:
    more.setdefault("keys_from", tmp_path / "kept")
    return restore_ledger(FolderPlace(tmp_path / "backup"), to, ledger.keys.path.parent, REGISTRY, **more)


def content_of(ledger: Ledger, scope: str) -> object:
    with ledger.recorder.reading() as reader:
        event = next(iter(ledger.event_reader(reader).stream(scope))).event
    assert isinstance(event, SourceKept)
    return event.content


@every_store
def test_a_backup_of_an_open_ledger_verifies_and_reads_nothing_that_is_sealed(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    made = back_up(ledger, tmp_path, keys=False)
    assert sorted(path.name for path in (tmp_path / "backup").iterdir()) == ["anchors", "append.lock", "ledger.db"]
    backup = FolderPlace(tmp_path / "backup")
    assert contents(backup) == contents(ledger.place)
    with backup.snapshot() as reader:
        verdict = audit(reader, REGISTRY, Against(tokens=backup.token, signed=ledger.keys.signed()))
        assert (verdict.damage, verdict.signed_size) == ([], made.signed_size)
        assert (verdict.size, verdict.root) == (made.size, made.root)
    with pytest.raises(Unavailable, match=r"keys\.db"):
        open_at(ledger, backup)


@every_store
def test_it_holds_one_state_while_others_append(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is appended, named and erased while it is taken is in it whole, or not at all."""
    fill(ledger)
    kept = backing_up._keep_keys
    rounds: list[int] = []

    def meanwhile(*given: Any) -> None:
        kept(*given)
        rounds.append(len(rounds))
        if len(rounds) == 1:
            ledger.record(noted(0, "meanwhile/1"))
            ledger.erase("kept/1", "asked_for")
            ledger.sign()

    monkeypatch.setattr(backing_up, "_keep_keys", meanwhile)
    made = back_up(ledger, tmp_path)
    assert len(rounds) == 2
    with FolderPlace(tmp_path / "backup").snapshot() as reader:
        scopes = SqliteScopeKeys(
            tmp_path / "kept" / "keys.db", ledger.keys.master_key(), ledger.genesis, ledger._edge.random, read_only=True
        )
        verdict = audit(reader, REGISTRY, Against(scopes=scopes))
        assert verdict.damage == []
        assert "sealed" in verdict.checked
        assert scopes.cipher("kept/1") is None
        scopes.close()
        assert made.size == reader.head().size == made.signed_size


@every_store
def test_appends_go_on_while_it_is_taken(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affidavit.ledger.moving.carrying._BATCH", 16)
    fill(ledger, bulk=100)
    acknowledged: list[int] = []
    stop = threading.Event()

    def append() -> None:
        pos = 0
        while not stop.is_set() or pos < 5:
            acknowledged.extend(place.seq for place in ledger.record(noted(pos, "meanwhile/1")))
            pos += 1

    thread = threading.Thread(target=append)
    thread.start()
    try:
        made = back_up(ledger, tmp_path)
    finally:
        stop.set()
        thread.join()
    with FolderPlace(tmp_path / "backup").snapshot() as reader, ledger.place.glance() as here:
        assert list(reader.entries()) == list(here.entries(0, made.size))
        assert audit(reader, REGISTRY, Against()).damage == []
    assert len(acknowledged) >= 5


@every_store
@pytest.mark.parametrize("elsewhere", STORES, indirect=True)
def test_what_is_restored_is_the_ledger_again(ledger: Ledger, elsewhere: Place, tmp_path: Path) -> None:
    fill(ledger)
    ledger.close()
    back_up(ledger, tmp_path)
    restored = restore(ledger, elsewhere, tmp_path)
    assert contents(elsewhere) == contents(ledger.place)
    with open_at(ledger, elsewhere) as again:
        assert content_of(again, "kept/1") == TEXT
        assert isinstance(content_of(again, "gone/1"), Withheld)
        assert again.record(noted(0, "after/1"))[0].seq == restored.size


def test_what_was_erased_is_not_brought_back_by_older_keys(ledger: Ledger, elsewhere: Place, tmp_path: Path) -> None:
    fill(ledger)
    back_up(ledger, tmp_path)
    ledger.erase("kept/1", "asked_for")
    ledger.close()
    backup_ledger(ledger.place, tmp_path / "later", ledger.keys.path.parent)
    restore_ledger(
        FolderPlace(tmp_path / "later"), elsewhere, ledger.keys.path.parent, REGISTRY, keys_from=tmp_path / "kept"
    )
    scopes = elsewhere.scope_keys_to_read(ledger.keys.master_key(), ledger.genesis)
    assert scopes.cipher("kept/1") is None
    assert scopes.all_destroyed().keys() == {"gone/1", "kept/1"}
    scopes.close()


@pytest.mark.parametrize("elsewhere", [SQLITE, POSTGRESQL[-1]], indirect=True)
def test_what_is_behind_what_was_signed_is_refused_until_it_goes_on_as_another(
    ledger: Ledger, elsewhere: Place, tmp_path: Path
) -> None:
    fill(ledger)
    made = back_up(ledger, tmp_path)
    ledger.record(noted(0, "lost/1"))
    ledger.close()
    with pytest.raises(Refused, match=rf"holds {made.size} entries, and size {made.size + 1} was signed") as refused:
        restore(ledger, elsewhere, tmp_path)
    assert refused.value.rule == "restore_behind"
    assert not elsewhere.exists()

    assert restore(ledger, elsewhere, tmp_path, behind=True).signed_size == made.size + 1
    with pytest.raises(SigningRefused, match="older copy"):
        open_at(ledger, elsewhere)
    keys = ledger.keys.path.parent
    continued = continue_ledger(elsewhere, keys, REGISTRY, name="restored", reason="restored_from_backup")
    assert (continued.continues, continued.signed_size) == (ledger.origin, made.size + 1)
    with open_at(ledger, elsewhere) as again:
        assert content_of(again, "kept/1") == TEXT
        again.record(noted(0, "after/1"))


def test_a_backup_of_a_ledger_that_has_moved_says_where_the_rest_lies(
    ledger: Ledger, elsewhere: Place, tmp_path: Path
) -> None:
    fill(ledger, bulk=5)
    ledger.close()
    moved = FolderPlace(tmp_path / "moved")
    size = move(ledger, moved).size
    back_up(ledger, tmp_path)
    with pytest.raises(Refused, match=rf"it moved to a folder with entry .*size {size} was signed since") as refused:
        restore(ledger, elsewhere, tmp_path)
    assert refused.value.rule == "ledger_moved"
    assert not elsewhere.exists()
    restored = restore(ledger, elsewhere, tmp_path, behind=True)
    assert restored.moved is not None
    assert (restored.moved.seq, restored.size, restored.signed_size) == (size - 2, size - 1, size)
    with pytest.raises(Refused, match="goes on there"):
        open_at(ledger, elsewhere)


def test_another_history_is_refused(ledger: Ledger, elsewhere: Place, tmp_path: Path) -> None:
    fill(ledger, bulk=5)
    ledger.close()
    back_up(ledger, tmp_path)
    signed = ledger.keys.signed()
    (ledger.keys.path / "signed").write_text(
        (ledger.keys.path / "signed").read_text().replace(str(signed.size), str(signed.size - 1))
    )
    with pytest.raises(SigningRefused, match="another root"):
        restore(ledger, elsewhere, tmp_path)
    assert not elsewhere.exists()


def test_sealed_content_is_not_restored_without_its_keys(ledger: Ledger, elsewhere: Place, tmp_path: Path) -> None:
    fill(ledger, bulk=5)
    ledger.close()
    back_up(ledger, tmp_path, keys=False)
    with pytest.raises(Refused, match="--keys-from") as refused:
        restore(ledger, elsewhere, tmp_path, keys_from=None)
    assert refused.value.rule == "keys_needed"
    with pytest.raises(Unavailable):
        restore(ledger, elsewhere, tmp_path)
    assert not elsewhere.exists()


def test_a_ledger_with_nothing_sealed_needs_no_keys(ledger: Ledger, elsewhere: Place, tmp_path: Path) -> None:
    ledger.record(noted(0))
    ledger.close()
    back_up(ledger, tmp_path, keys=False)
    assert restore(ledger, elsewhere, tmp_path, keys_from=None).size == 2


@every_store
def test_a_backup_appears_whole_or_not_at_all(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ledger, bulk=5)

    def full(self: Carrier, *_: object) -> None:
        raise Unavailable("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Carrier, "carry_tokens", full)
        with pytest.raises(Unavailable, match="no space"):
            back_up(ledger, tmp_path)
    assert not {"backup", "kept"} & {path.name for path in tmp_path.iterdir()}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".backup")]
    back_up(ledger, tmp_path)
    with pytest.raises(Unavailable, match="expected nothing here"):
        back_up(ledger, tmp_path)


def test_damage_is_neither_backed_up_nor_restored(ledger: Ledger, elsewhere: Place, tmp_path: Path) -> None:
    fill(ledger)
    ledger.close()
    back_up(ledger, tmp_path)
    damage = "UPDATE entries SET entry = CAST(replace(entry, '\"upto\":7,', '\"upto\":8,') AS BLOB) WHERE seq=8"
    for place in (ledger.place, FolderPlace(tmp_path / "backup")):
        change_evidence(place, damage)
    with pytest.raises(Malformed, match="entry 8"):
        backup_ledger(ledger.place, tmp_path / "second", ledger.keys.path.parent)
    with pytest.raises((Malformed, SigningRefused), match=r"entry 8|entries beside them"):
        restore(ledger, elsewhere, tmp_path)
    assert not (tmp_path / "second").exists()
    assert not elsewhere.exists()


def test_keys_are_not_kept_inside_what_they_open(ledger: Ledger, tmp_path: Path) -> None:
    for inside in (tmp_path / "backup", tmp_path / "backup" / "keys"):
        with pytest.raises(Refused, match="inside the backup") as refused:
            backup_ledger(ledger.place, tmp_path / "backup", ledger.keys.path.parent, keys_to=inside)
        assert refused.value.rule == "keys_apart"
