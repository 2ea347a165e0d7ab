"""Erasing a scope: its key is gone for good, nothing else changes, and a crash at any step is finished later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.event import Meta, NewEvent, Withheld
from affidavit.domain.optimization.events import RunStarted, SourceKept
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.errors import Conflict, Unavailable
from affidavit.ledger.events import ErasureExecuted, ErasureRequested
from affidavit.ledger.folds.erasures import Destroyed, Erasures
from affidavit.ledger.store.folding import read_erasures
from affidavit.ledger.store.recorder import _Appender
from affidavit.ledger.store.scopes import ScopeKeys
from affidavit.ledger.tlog.receipt import verify_receipt
from affidavit.projections.registry import REGISTRY
from affidavit.projections.seals import seal_run
from affidavit.tests.ledger.store.erasing import (
    TEXT,
    change_keys,
    content,
    erasures,
    named_and_sealed,
    reopen,
    said,
    verify,
)
from affidavit.tests.stores import every_store

pytestmark = every_store


@pytest.fixture
def scope(ledger: Ledger) -> str:
    return named_and_sealed(ledger)


def test_what_was_sealed_under_an_erased_scope_no_longer_opens(ledger: Ledger, scope: str) -> None:
    ledger.record(said("user/other", 2))
    assert content(ledger, 1) == TEXT
    ledger.erase(scope, "user_asked")
    withheld = content(ledger, 1)
    assert isinstance(withheld, Withheld)
    assert withheld.why == "erased"
    assert content(ledger, 3) == TEXT


def test_events_of_a_type_that_nobody_needs_are_left_out(ledger: Ledger, scope: str) -> None:
    with ledger.recorder.reading() as reader:
        events = ledger.event_reader(reader)
        (stream,) = {row.stream for row in reader.entries(1, 3)}
        whole = [found.type_name for found in events.stream(stream)]
        others = [found.type_name for found in events.stream(stream, without={SourceKept.type_name})]
    assert whole.count(SourceKept.type_name) == 2
    assert others == [name for name in whole if name != SourceKept.type_name]


def test_what_lost_its_key_some_other_way_is_closed_and_not_erased(ledger: Ledger, scope: str) -> None:
    ledger.erase(scope, "user_asked")
    ledger.record(said("run/1", 2))
    change_keys(ledger.place, "DELETE FROM scopes WHERE scope='run/1'")
    lost = content(ledger, 5)
    assert isinstance(lost, Withheld)
    assert lost.why == "closed"


def test_an_erasure_stands_in_the_log_with_the_fingerprint_of_the_key(ledger: Ledger, scope: str) -> None:
    requested, executed = ledger.erase(scope, "user_asked", note="by mail", meta=Meta(actor="actor-1"))
    (first, asked), (second, done) = erasures(ledger)
    assert (first, second) == (requested.seq, executed.seq) == (3, 4)
    assert asked == ErasureRequested(scope=scope, reason="user_asked", note="by mail")
    assert isinstance(done, ErasureExecuted)
    assert (done.scope, done.reason, done.requested, done.aliases) == (scope, "user_asked", 3, 3)
    assert ledger.scopes.destroyed(scope) == Destroyed(done.key_fingerprint, 3)
    with ledger.recorder.reading() as reader:
        metas = [found.meta for found in ledger.event_reader(reader).stream("erasure")]
    assert metas[0]["actor"] == "actor-1"
    assert metas[0]["scope"].startswith("erasure/")
    assert metas[1] == {"actor": "actor-1", "cause": 3}


def test_a_note_can_be_erased_by_itself(ledger: Ledger, scope: str) -> None:
    ledger.erase(scope, "user_asked", note="Ada asked")
    with ledger.recorder.reading() as reader:
        (asked, _) = ledger.event_reader(reader).stream("erasure")
    ledger.erase(asked.meta["scope"], "note_names_her")
    note = erasures(ledger)[0][1]
    assert isinstance(note, ErasureRequested)
    assert isinstance(note.note, Withheld)
    assert verify(ledger).verdict == "ok"


def test_the_names_of_an_erased_scope_are_gone_and_who_comes_back_is_somebody_new(ledger: Ledger, scope: str) -> None:
    old = scope.removeprefix("user/")
    assert ledger.find_aliases("user", "Ada") == [(old, scope)]
    (session,) = (alias for alias, _ in ledger.find_aliases("session", "s1"))
    ledger.erase(scope, "user_asked")
    assert ledger.find_aliases("user", "Ada") == ledger.find_aliases("session", "s1") == []
    assert ledger.names_of([old, session]) == {old: None, session: None}
    again = ledger.alias("user", "Ada")
    assert again != old
    assert ledger.name_of(again) == "Ada"


def test_nothing_is_sealed_or_named_under_a_dead_key(ledger: Ledger, scope: str) -> None:
    ledger.erase(scope, "user_asked")
    with pytest.raises(Refused, match="was erased") as refused:
        ledger.record(said(scope, 2))
    assert refused.value.rule == "scope_erased"
    with pytest.raises(Refused, match="was erased"):
        ledger.alias("session", "s2", scope)
    assert ledger.scopes.cipher(scope) is None


def test_of_a_shared_commit_only_what_lies_under_a_dead_key_is_refused(ledger: Ledger, scope: str) -> None:
    ledger.erase(scope, "user_asked")
    appenders = [
        _Appender([ledger.mapper.to_stored_event(said(scope if n % 2 else "run/1", 0, f"test/{n}"))]) for n in range(6)
    ]
    ledger.recorder._waiting.extend(appenders)
    assert ledger.record(said("run/1", 0, "test/6"))[0].seq == 8
    assert [entry.seq for appender in appenders[::2] for entry in appender.entries] == [5, 6, 7]
    assert all(isinstance(appender.error, Refused) and not appender.entries for appender in appenders[1::2])
    assert verify(ledger).verdict == "ok"


@pytest.mark.parametrize(
    ("scope", "rule"), [("user/nobody", "scope_unknown"), ("ledger", "scope_needed"), ("user/gone", "scope_erased")]
)
def test_what_cannot_be_erased_is_refused_and_nothing_recorded(ledger: Ledger, scope: str, rule: str) -> None:
    ledger.record(said("user/gone"))
    ledger.erase("user/gone", "user_asked")
    with pytest.raises(Refused) as refused:
        ledger.erase(scope, "user_asked")
    assert refused.value.rule == rule
    assert len(erasures(ledger)) == 2


def test_a_reason_is_a_code(ledger: Ledger, scope: str) -> None:
    with pytest.raises(Refused, match="reason"):
        ledger.erase(scope, "Ada asked for it")
    assert erasures(ledger) == []


def test_an_erasure_breaks_no_proof(ledger: Ledger, scope: str) -> None:
    receipts = [ledger.receipt(seq) for seq in range(3)]
    with ledger.recorder.reading() as reader:
        before = [row.raw for row in reader.entries()]
        boxes = list(reader.boxes())
    ledger.erase(scope, "user_asked")
    with ledger.recorder.reading() as reader:
        assert [row.raw for row in reader.entries(0, 3)] == before
        assert list(reader.boxes()) == boxes
        for seq, receipt in enumerate(receipts):
            verify_receipt(receipt, reader.hashes(0, seq, 1), [ledger.verifier_key()], ledger.origin)
    verdict = verify(ledger)
    assert (verdict.verdict, verdict.erased, verdict.damage) == ("ok", 2, [])
    assert "sealed" in verdict.checked


def test_without_keys_the_log_alone_says_what_was_erased(ledger: Ledger, scope: str) -> None:
    assert verify(ledger, keys=False).erased == 0
    ledger.erase(scope, "user_asked")
    verdict = verify(ledger, keys=False)
    assert (verdict.verdict, verdict.erased) == ("ok", 2)


class Killed(Exception):
    """Stands for the end of the process."""


STEPS: dict[str, tuple[str, str]] = {
    "before the key is destroyed": ("destroy", "before"),
    "while its rows are deleted": ("destroy_as", "after"),
    "after the key is destroyed": ("destroy", "after"),
    "while the database is swept": ("sweep", "before"),
    "before the log says so": ("sweep", "after"),
}


def kill_at(monkeypatch: pytest.MonkeyPatch, ledger: Ledger, method: str, when: str) -> None:
    real: Callable[..., object] = getattr(type(ledger.scopes), method)

    def killing(self: ScopeKeys, *arguments: object) -> object:
        if when == "after":
            real(self, *arguments)
        raise Killed

    monkeypatch.setattr(type(ledger.scopes), method, killing)


@pytest.mark.parametrize("step", STEPS)
def test_an_erasure_that_was_killed_is_said_and_finished_at_the_next_opening(
    ledger: Ledger, scope: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    kill_at(monkeypatch, ledger, *STEPS[step])
    with pytest.raises(Killed):
        ledger.erase(scope, "user_asked")
    monkeypatch.undo()
    assert len(erasures(ledger)) == 1
    half = verify(ledger)
    assert (half.verdict, half.damage) == ("ok", [])
    assert half.not_checked["sealed"] == f"the erasure of scope {scope!r} that entry 3 requests is not finished"
    assert half.erased == (0 if ledger.scopes.cipher(scope) else 2)
    ledger.close()
    with reopen(ledger) as again:
        assert [seq for seq, _ in erasures(again)] == [3, 4]
        assert again.scopes.cipher(scope) is None
        verdict = verify(again)
        assert (verdict.verdict, verdict.erased) == ("ok", 2)
        assert "sealed" in verdict.checked
    with reopen(ledger) as again:
        assert len(erasures(again)) == 2


def test_an_erasure_that_was_killed_is_finished_by_the_next_erasure(
    ledger: Ledger, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.record(said("user/other", 2))
    kill_at(monkeypatch, ledger, *STEPS["after the key is destroyed"])
    with pytest.raises(Killed):
        ledger.erase(scope, "user_asked")
    monkeypatch.undo()
    ledger.erase("user/other", "user_asked")
    events = [event for _, event in erasures(ledger)]
    assert [(type(event), getattr(event, "scope", None)) for event in events] == [
        (ErasureRequested, scope),
        (ErasureExecuted, scope),
        (ErasureRequested, "user/other"),
        (ErasureExecuted, "user/other"),
    ]
    assert verify(ledger).erased == 3


def test_an_erasure_whose_key_is_lost_meanwhile_stays_unfinished_and_is_damage(
    ledger: Ledger, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_at(monkeypatch, ledger, *STEPS["before the key is destroyed"])
    with pytest.raises(Killed):
        ledger.erase(scope, "user_asked")
    monkeypatch.undo()
    change_keys(ledger.place, "DELETE FROM scopes WHERE scope=?", scope)
    ledger.record(said("user/other", 2))
    ledger.erase("user/other", "user_asked")
    verdict = verify(ledger)
    assert {damage.kind for damage in verdict.damage} == {"missing_without_erasure"}
    assert {damage.seq for damage in verdict.damage} == {1, 2}


def test_a_key_that_is_gone_without_an_erasure_in_the_log_is_damage(ledger: Ledger, scope: str) -> None:
    """A row in the key database that says so is not believed."""
    ledger.scopes.destroy(scope)
    verdict = verify(ledger)
    assert {(damage.kind, damage.seq) for damage in verdict.damage} == {
        ("missing_without_erasure", 1),
        ("missing_without_erasure", 2),
    }


def test_an_erasure_excuses_no_other_key_and_no_later_entry(ledger: Ledger, scope: str) -> None:
    ledger.erase(scope, "user_asked")
    change_keys(ledger.place, "UPDATE destroyed SET fingerprint=?", "0" * 64)
    assert "not the one that the log says" in verify(ledger).damage[0].detail
    change_keys(ledger.place, "DELETE FROM destroyed")
    assert verify(ledger).verdict == "ok"  # the log is signed, the row is not
    ledger.record(said(scope, 2))
    change_keys(ledger.place, "DELETE FROM scopes WHERE scope=?", scope)
    assert [(damage.kind, damage.seq) for damage in verify(ledger).damage] == [("missing_without_erasure", 5)]


def test_an_erasure_that_no_entry_requested_excuses_nothing(ledger: Ledger, scope: str) -> None:
    destroyed = ledger.scopes.destroy(scope)
    assert destroyed is not None
    event = ErasureExecuted(
        scope=scope, reason="made_up", requested=1, key_fingerprint=destroyed.fingerprint, aliases=destroyed.aliases
    )
    ledger.record(NewEvent("erasure", 0, event, Meta()))
    assert verify(ledger).damage[0].kind == "missing_without_erasure"


def test_appends_beside_an_erasure_are_sealed_before_it_or_refused(ledger: Ledger, scope: str) -> None:
    sealed: list[int] = []
    refused = threading.Event()
    begun = threading.Event()

    def append(n: int) -> None:
        for pos in range(10_000):
            try:
                sealed.append(ledger.record(said(scope, pos, f"test/{n}"))[0].seq)
            except Refused:
                refused.set()
                return
            begun.set()

    threads = [threading.Thread(target=append, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    _, executed = ledger.erase(scope, "user_asked")
    for thread in threads:
        thread.join()
    assert refused.is_set()
    assert max(sealed) < executed.seq
    verdict = verify(ledger)
    assert (verdict.verdict, verdict.erased) == ("ok", 2 + len(sealed))


def test_who_erases_at_the_same_time_erases_each_scope_once(ledger: Ledger) -> None:
    scopes = [f"user/{n}" for n in range(6)]
    ledger.record(*(said(scope, pos) for pos, scope in enumerate(scopes)))
    done: list[tuple[int, int]] = []
    rules: list[str] = []

    def erase(other: Ledger) -> None:
        for scope in scopes:
            try:
                requested, executed = other.erase(scope, "user_asked")
                done.append((requested.seq, executed.seq))
            except Refused as error:
                rules.append(error.rule)

    with reopen(ledger) as second:
        threads = [threading.Thread(target=erase, args=(each,)) for each in (ledger, second, ledger)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(done)) == len(done) == 6
    assert rules == ["scope_erased"] * 12
    assert all(executed == requested + 1 for requested, executed in done)
    verdict = verify(ledger)
    assert (verdict.damage, verdict.erased) == ([], 6)


def test_recording_inside_naming_is_a_slip_of_the_developer(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError, match="not inside it"), ledger.naming():
        ledger.record(said("run/1"))
    with pytest.raises(RuntimeError, match="not inside it"), ledger.naming():
        ledger.scopes.sweep()
    assert ledger.record(said("run/1"))[0].seq == 1


def test_a_key_made_for_a_refused_append_harms_nothing(ledger: Ledger) -> None:
    with suppress(Conflict):
        ledger.record(said("run/1", 5))
    assert ledger.record(said("run/1"))[0].seq == 1
    assert verify(ledger).verdict == "ok"


def test_a_sweep_that_fails_leaves_the_erasure_open(
    ledger: Ledger, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: ScopeKeys) -> None:
        raise Unavailable("disk is full")

    monkeypatch.setattr(type(ledger.scopes), "sweep", full)
    with pytest.raises(Unavailable, match="full"):
        ledger.erase(scope, "user_asked")
    assert len(erasures(ledger)) == 1


def test_a_run_that_was_sealed_before_its_erasure_is_no_damage(ledger: Ledger) -> None:
    started = RunStarted(
        run="001",
        directory="001_2026-11-22T10-00-00",
        timestamp="2026-11-22T10:00:00+00:00",
        strategy="iterative",
        system_prompt="Answer.",
        config={"seed": 7},
    )
    ledger.record(NewEvent("run/001", 0, started, Meta()))
    with ledger.recorder.reading() as reader:
        seal = seal_run(ledger.event_reader(reader), "001", 2)
    assert seal is not None
    ledger.record(NewEvent("run/001", 1, seal, Meta()))
    assert "projections" in verify(ledger).checked
    ledger.erase("run/001", "retention_over")
    verdict = verify(ledger)
    assert (verdict.verdict, verdict.erased) == ("ok", 3)
    assert verdict.not_checked["projections"] == "run/001: its sealed manifest is erased"


def test_who_is_erased_while_the_log_is_verified_is_no_damage(ledger: Ledger, scope: str) -> None:
    """The keys are read as they are now, and the log as it was."""
    with ledger.recorder.reading() as reader:
        assert reader.head().size
        ledger.erase(scope, "asked_for")
        alone = audit(reader, REGISTRY, Against(scopes=ledger.scopes))
        assert {damage.kind for damage in alone.damage} == {"missing_without_erasure"}
        with ledger.recorder.reading() as later:
            now = read_erasures(later)
        verdict = audit(reader, REGISTRY, Against(scopes=ledger.scopes, erasures_now=lambda: now))
        assert (verdict.damage, verdict.erased) == ([], 2)
        other = audit(reader, REGISTRY, Against(scopes=ledger.scopes, erasures_now=Erasures))
        assert other.damage == alone.damage
