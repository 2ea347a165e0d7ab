"""A copy that is behind what was signed is refused, and goes on only as another log that names the first."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.event import Meta, NewEvent
from affidavit.domain.optimization.events import SourceKept
from affidavit.ledger.application import Acknowledged, Ledger
from affidavit.ledger.continuing import ERASED_IN_LOST_ENTRIES, _Continued, continue_ledger
from affidavit.ledger.errors import SigningRefused, Unavailable
from affidavit.ledger.events import ErasureExecuted, ErasureRequested, LedgerContinued
from affidavit.ledger.folds.identity import Continuation
from affidavit.ledger.store.folding import read_erasures
from affidavit.ledger.store.place import ViewsFile
from affidavit.ledger.tlog.checkpoint import Checkpoint, open_checkpoint
from affidavit.ledger.tlog.note import parse_vkey
from affidavit.ledger.tlog.receipt import verify_receipt
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of
from affidavit.tests.stored import change_evidence, keep_evidence, put_evidence_back
from affidavit.tests.stores import every_store, only_sqlite

pytestmark = every_store


def reopen(ledger: Ledger) -> Ledger:
    return Ledger(ledger.place, ledger.keys.path.parent, REGISTRY, edge=ledger._edge, sign_in_background=False)


def go_on(ledger: Ledger, reason: str = "restored_from_backup") -> LedgerContinued:
    return continue_ledger(
        ledger.place, ledger.keys.path.parent, REGISTRY, name="restored", reason=reason, edge=ledger._edge
    )


def keep(ledger: Ledger, text: str, scope: str) -> None:
    ledger.record(NewEvent(scope, 0, SourceKept(name="n", content=text), Meta(scope=scope)))


@pytest.fixture
def behind(ledger: Ledger) -> Ledger:
    """A closed ledger of three entries, of which five were signed: the two that are lost told of an erasure."""
    keep(ledger, "kept", "kept/1")
    keep(ledger, "forgotten", "forgotten/1")
    ledger.close()
    keep_evidence(ledger.place, "backup")
    with reopen(ledger) as again:
        again.erase("forgotten/1", "asked_for")
    put_evidence_back(ledger.place, "backup")
    return ledger


def test_an_older_copy_is_refused_until_it_goes_on_as_another_log(behind: Ledger) -> None:
    with pytest.raises(SigningRefused, match="size 3, but size 5 was signed"):
        reopen(behind)
    continued = go_on(behind)
    assert continued.continues == behind.origin
    assert (continued.signed_size, continued.reason) == (5, "restored_from_backup")
    with reopen(behind) as again:
        assert again.origin == continued.origin != again.genesis == behind.genesis
        assert again.origin.startswith("restored/")
        identity = again.identity()
        assert identity.continuations == (
            Continuation(3, continued.origin, behind.origin, 5, bytes.fromhex(continued.signed_root)),
        )
        with again.recorder.reading() as reader:
            notes = dict(reader.checkpoints())
        for size, note in notes.items():
            opened = open_checkpoint(note, identity.keys_at(size), identity.origin_at(size))
            assert opened.size == size
        assert open_checkpoint(notes[6], [parse_vkey(continued.vkey)], continued.origin).size == 6


def test_what_was_sealed_opens_as_before_and_new_content_is_sealed(behind: Ledger) -> None:
    go_on(behind)
    with reopen(behind) as again:
        keep(again, "new", "new/1")
    with reopen(behind) as again, again.recorder.reading() as reader:
        events = [recorded.event for recorded in again.event_reader(reader).stream("new/1")]
        events += [
            recorded.event for name in ("kept/1", "forgotten/1") for recorded in again.event_reader(reader).stream(name)
        ]
        assert [str(event.content) for event in events if isinstance(event, SourceKept)] == ["new", "kept", "[erased]"]


def test_erasures_that_the_copy_had_lost_are_on_record_again(behind: Ledger) -> None:
    go_on(behind)
    with reopen(behind) as again, again.recorder.reading() as reader:
        erasures = read_erasures(reader)
        (requested,) = [row for row in reader.stream("erasure") if row.pos == 0]
        assert ERASED_IN_LOST_ENTRIES.encode() in requested.raw
        assert erasures.executed == {"forgotten/1": (5, again.scopes.all_destroyed()["forgotten/1"])}
        assert not erasures.unfinished


def test_the_old_state_and_key_stay_and_the_new_lie_inside(behind: Ledger) -> None:
    before = {path.name: path.read_bytes() for path in behind.keys.path.iterdir()}
    continued = go_on(behind)
    inside = behind.keys.path / continued.origin.replace("/", "_")
    after = {path.name: path.read_bytes() for path in behind.keys.path.iterdir() if path.is_file()}
    assert after == before
    assert sorted(path.name for path in inside.iterdir()) == ["signed", "signing.lock", "signing.pem"]
    with reopen(behind) as again:
        assert again.keys.path == behind.keys.path
        assert again.keys.signed().origin == continued.origin


@only_sqlite
def test_the_first_log_goes_on_beside_its_copy(behind: Ledger, tmp_path: Path) -> None:
    """Both under one key folder: each signs under its own origin."""
    copy = tmp_path / "copy"
    shutil.copytree(folder_of(behind), copy)
    keys = behind.keys.path.parent
    first = continue_ledger(folder_of(behind), keys, REGISTRY, name="a", reason="restored", edge=behind._edge)
    second = continue_ledger(copy, keys, REGISTRY, name="a", reason="copied", edge=behind._edge)
    assert first.origin != second.origin
    for folder, continued in ((folder_of(behind), first), (copy, second)):
        with Ledger(folder, keys, REGISTRY, edge=behind._edge, sign_in_background=False) as ledger:
            assert ledger.origin == continued.origin


def test_a_continued_log_may_fall_behind_and_go_on_again(behind: Ledger) -> None:
    first = go_on(behind)
    keep_evidence(behind.place, "later")
    with reopen(behind) as again:
        keep(again, "lost", "lost/1")
    put_evidence_back(behind.place, "later")
    with pytest.raises(SigningRefused, match="size 6, but size 7 was signed"):
        reopen(behind)
    second = go_on(behind)
    assert (second.continues, second.signed_size) == (first.origin, 7)
    with reopen(behind) as again:
        assert [found.origin for found in again.identity().continuations] == [first.origin, second.origin]


def test_keys_rotate_and_receipts_are_given_under_the_new_origin(behind: Ledger) -> None:
    go_on(behind)
    with reopen(behind) as again:
        again.rotate_key(overlap=0)
        keep(again, "new", "new/1")
        again.sign()
        receipt = again.receipt(1)
        with again.recorder.reading() as reader:
            leaf = reader.hashes(0, 1, 1)
        assert verify_receipt(receipt, leaf, [again.verifier_key()], again.origin).size == 8


def test_a_ledger_that_is_not_behind_opens_as_it_is(ledger: Ledger) -> None:
    ledger.close()
    with pytest.raises(Refused, match="it holds all 1 entries that were signed") as refused:
        go_on(ledger)
    assert refused.value.rule == "not_behind"
    with reopen(ledger) as again:
        assert again.origin == ledger.origin


def test_a_copy_goes_on_once(behind: Ledger) -> None:
    go_on(behind)
    with pytest.raises(Refused, match="so it opens as it is"):
        go_on(behind)


def test_of_two_that_let_it_go_on_at_once_one_is_refused(behind: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have opened it before either holds the lock under which it goes on."""
    both_opened, going_on = threading.Barrier(2, timeout=30), _Continued._require_present_log

    def wait(ledger: _Continued) -> None:
        both_opened.wait()
        going_on(ledger)

    def attempt(_: int) -> LedgerContinued | Refused:
        try:
            return go_on(behind)
        except Refused as refused:
            return refused

    monkeypatch.setattr(_Continued, "_require_present_log", wait)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, range(2)))
    (continued,) = [outcome for outcome in outcomes if isinstance(outcome, LedgerContinued)]
    (refused,) = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert refused.rule == "not_behind"
    with reopen(behind) as again:
        assert [found.origin for found in again.identity().continuations] == [continued.origin]


def test_whoever_had_it_open_rotates_no_key_of_the_log_that_went_on(behind: Ledger) -> None:
    state = behind.keys.signed()
    with behind.place.snapshot() as reader:
        behind.keys.write_signed(Checkpoint(behind.origin, 3, reader.frontier_at(3).root()))
    with reopen(behind) as stale:
        behind.keys.write_signed(state)
        go_on(behind)
        with pytest.raises(Unavailable, match="it goes on as"):
            stale.rotate_key()
        with pytest.raises(SigningRefused):
            stale.close()
    with reopen(behind) as again:
        assert len(again.identity().ranges) == 2


@pytest.fixture
def half_erased(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A closed ledger that ends with a request to erase; what was signed after it is lost."""
    keep(ledger, "forgotten", "forgotten/1")
    record = ledger.record

    def copy_before(*events: NewEvent) -> list[Acknowledged]:
        if events[0].event.type_name == ErasureExecuted.type_name:
            keep_evidence(ledger.place, "backup")
        return record(*events)

    monkeypatch.setattr(ledger, "record", copy_before)
    ledger.erase("forgotten/1", "asked_for")
    ledger.close()
    put_evidence_back(ledger.place, "backup")
    return ledger


def test_an_erasure_that_was_half_done_is_finished_after_the_log_goes_on(half_erased: Ledger) -> None:
    continued = go_on(half_erased)
    with reopen(half_erased) as again, again.recorder.reading() as reader:
        assert [row.type_name for row in reader.entries(2, 5)] == [
            ErasureRequested.type_name,
            LedgerContinued.type_name,
            ErasureExecuted.type_name,
        ]
        erasures = read_erasures(reader)
        assert erasures.executed == {"forgotten/1": (4, again.scopes.all_destroyed()["forgotten/1"])}
        assert not erasures.unfinished
        assert again.origin == continued.origin


def test_a_crash_before_the_log_goes_on_with_a_half_done_erasure_leaves_it_as_it_was(
    half_erased: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(_Continued, "_make_entries", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go_on(half_erased)
    with pytest.raises(SigningRefused, match="size 3, but size 4 was signed"):
        reopen(half_erased)
    assert go_on(half_erased).signed_size == 4


def test_another_history_does_not_go_on(ledger: Ledger) -> None:
    keep(ledger, "kept", "kept/1")
    ledger.close()
    ledger.keys.write_signed(Checkpoint(ledger.origin, 2, bytes(32)))
    with pytest.raises(SigningRefused, match="another root than was signed") as refused:
        go_on(ledger)
    assert refused.value.kind == "fork"


def test_a_reason_is_a_code(behind: Ledger) -> None:
    with pytest.raises(Refused, match="reason") as refused:
        go_on(behind, reason="Because of the disk.")
    assert refused.value.rule == "event_invalid"
    assert not [path for path in behind.keys.path.iterdir() if path.is_dir()]


def test_views_that_know_of_lost_entries_are_thrown_away(behind: Ledger) -> None:
    views = behind.place.views
    if isinstance(views, ViewsFile):
        views.path.write_bytes(b"of five entries")
        go_on(behind)
        assert not views.path.exists()
        return
    with views.connect() as db:
        db.execute("CREATE TABLE of_five_entries ()")
    go_on(behind)
    with views.connect() as db:
        assert db.execute("SELECT to_regclass('of_five_entries')").fetchone() == (None,)


def test_entries_of_the_copy_that_do_not_re_hash_are_not_signed_under_the_new_origin(behind: Ledger) -> None:
    """All of it is read again, since nothing of the new origin was signed before."""
    change_evidence(behind.place, "UPDATE entries SET entry=x'7b7d' WHERE seq=1")
    with pytest.raises(SigningRefused) as refused:
        go_on(behind)
    assert refused.value.kind == "self_check_failed"
