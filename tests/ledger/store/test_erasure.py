"""Erasing a scope: its key is gone for good, nothing else changes, and a crash at any step is finished later."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from affidavit.api.cli.verify_commands import Asked, verify_ledger
from affidavit.domain.errors import Refused
from affidavit.domain.event import Meta, NewEvent, Withheld
from affidavit.domain.optimization.events import RunStarted, SourceKept
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.audit.verdict import Verdict
from affidavit.ledger.errors import Conflict, Unavailable
from affidavit.ledger.events import ErasureExecuted, ErasureRequested
from affidavit.ledger.folds.erasures import Destroyed
from affidavit.ledger.store.reader import LedgerReader
from affidavit.ledger.store.scopes import ScopeKeys
from affidavit.ledger.store.sqlite import _Appender
from affidavit.ledger.tlog.receipt import verify_receipt
from affidavit.projections.registry import REGISTRY
from affidavit.projections.seals import check_seals, seal_run

TEXT = "what Ada said"


def said(scope: str, pos: int = 0, stream: str = "source/1") -> NewEvent:
    return NewEvent(stream, pos, SourceKept(name="n", content=TEXT), Meta(scope=scope))


def reopen(ledger: Ledger) -> Ledger:
    return Ledger(ledger.folder, ledger.keys.path.parent, REGISTRY, edge=ledger._edge, sign_in_background=False)


def verify(ledger: Ledger, *, keys: bool = True) -> Verdict:
    ledger.sign()
    against = Against(
        signed=ledger.keys.signed(), scopes=ledger.scopes if keys else None, check_projections=check_seals
    )
    with ledger.recorder.reading() as reader:
        return audit(reader, REGISTRY, against)


def content(ledger: Ledger, seq: int) -> object:
    with ledger.recorder.reading() as reader:
        found = ledger.event_reader(reader).event(seq)
    assert found is not None
    assert isinstance(found.event, SourceKept)
    return found.event.content


def erasures(ledger: Ledger) -> list[tuple[int, object]]:
    with ledger.recorder.reading() as reader:
        return [(found.seq, found.event) for found in ledger.event_reader(reader).stream("erasure")]


def change_keys(ledger: Ledger, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(ledger.folder / "keys.db", isolation_level=None)) as keys:
        keys.execute(statement, values)


@pytest.fixture
def scope(ledger: Ledger) -> str:
    """Ada's: two sealed texts, at entries 1 and 2, and three aliases."""
    with ledger.naming():
        scope = f"user/{ledger.alias('user', 'Ada')}"
        ledger.alias("session", "s1", scope)
        ledger.alias("request", "r1", scope)
    ledger.record(said(scope), said(scope, 1))
    return scope


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
    change_keys(ledger, "DELETE FROM scopes WHERE scope='run/1'")
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


def every_file(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        yield from ((path, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file())


READS_AND_WAITS = """
import sqlite3, sys
keys = sqlite3.connect(sys.argv[1])
print(keys.execute("SELECT count(*) FROM aliases").fetchone(), flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(ledger: Ledger) -> Iterator[None]:
    """One that has the key database open, and does nothing."""
    arguments = [sys.executable, "-c", READS_AND_WAITS, str(ledger.folder / "keys.db")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield
        process.communicate()


@pytest.mark.parametrize("beside", [nullcontext, another_process])
def test_no_byte_of_the_key_or_of_an_alias_is_left_in_any_file(
    ledger: Ledger, beside: Callable[[Ledger], AbstractContextManager[None]]
) -> None:
    """Among so many rows SQLite splits and joins pages, and would leave a copy of some."""
    scopes = []
    for n in range(60):
        with ledger.naming():
            for k in range(20):
                scopes.append(f"user/{ledger.alias('user', f'u{n}.{k}')}")
                ledger.alias("session", f"s{n}.{k}", scopes[-1])
    ledger.record(*(said(scope, pos) for pos, scope in enumerate(scopes[:50])))
    with closing(sqlite3.connect(ledger.folder / "keys.db")) as keys:
        rows = [
            row
            for scope in scopes[:8]
            for statement in ("SELECT wrapped FROM scopes WHERE scope=?", "SELECT lookup FROM aliases WHERE scope=?")
            for row in keys.execute(statement, (scope,))
        ]
        rows += [row for scope in scopes[:8] for row in keys.execute("SELECT box FROM aliases WHERE scope=?", (scope,))]
    needles = [row[0][at : at + 12] for row in rows for at in (0, len(row[0]) - 12)]
    assert len(needles) == 80
    before = b"".join(data for path, data in every_file(ledger.folder) if path.name.startswith("keys.db"))
    assert all(needle in before for needle in needles)
    with beside(ledger):
        for scope in scopes[:8]:
            ledger.erase(scope, "user_asked")
        for path, data in every_file(ledger.folder, ledger.keys.path):
            assert not [needle for needle in needles if needle in data], path
    assert not (ledger.folder / "keys.db-journal").exists()
    ledger.close()
    for path, data in every_file(ledger.folder, ledger.keys.path):
        assert not [needle for needle in needles if needle in data], path


def test_an_erasure_that_a_reader_holds_up_is_not_claimed_and_is_finished_later(ledger: Ledger, scope: str) -> None:
    """Its bytes stand in the -wal, which cannot be emptied while somebody reads what is in it."""
    keys_db = ledger.folder / "keys.db"
    with closing(sqlite3.connect(keys_db)) as keys:
        (wrapped,) = keys.execute("SELECT wrapped FROM scopes WHERE scope=?", (scope,)).fetchone()
    ledger.scopes._db.execute("PRAGMA busy_timeout=1")
    with closing(sqlite3.connect(keys_db, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM scopes").fetchone()
        with pytest.raises(Unavailable, match="may still lie in its -wal"):
            ledger.erase(scope, "user_asked")
    assert [type(event) for _, event in erasures(ledger)] == [ErasureRequested]
    assert any(wrapped in data for _, data in every_file(ledger.folder))
    with reopen(ledger) as again:
        assert [type(event) for _, event in erasures(again)] == [ErasureRequested, ErasureExecuted]
        assert not any(wrapped in data for _, data in every_file(ledger.folder))


class Killed(Exception):
    """Stands for the end of the process."""


STEPS: dict[str, tuple[str, str]] = {
    "before the key is destroyed": ("destroy", "before"),
    "while its rows are deleted": ("destroy_as", "after"),
    "after the key is destroyed": ("destroy", "after"),
    "while the database is swept": ("sweep", "before"),
    "before the log says so": ("sweep", "after"),
}


def kill_at(monkeypatch: pytest.MonkeyPatch, method: str, when: str) -> None:
    real: Callable[..., object] = getattr(ScopeKeys, method)

    def killing(self: ScopeKeys, *arguments: object) -> object:
        if when == "after":
            real(self, *arguments)
        raise Killed

    monkeypatch.setattr(ScopeKeys, method, killing)


@pytest.mark.parametrize("step", STEPS)
def test_an_erasure_that_was_killed_is_said_and_finished_at_the_next_opening(
    ledger: Ledger, scope: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    kill_at(monkeypatch, *STEPS[step])
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
    kill_at(monkeypatch, *STEPS["after the key is destroyed"])
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
    kill_at(monkeypatch, *STEPS["before the key is destroyed"])
    with pytest.raises(Killed):
        ledger.erase(scope, "user_asked")
    monkeypatch.undo()
    change_keys(ledger, "DELETE FROM scopes WHERE scope=?", scope)
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
    change_keys(ledger, "UPDATE destroyed SET fingerprint=?", "0" * 64)
    assert "not the one that the log says" in verify(ledger).damage[0].detail
    change_keys(ledger, "DELETE FROM destroyed")
    assert verify(ledger).verdict == "ok"  # the log is signed, the row is not
    ledger.record(said(scope, 2))
    change_keys(ledger, "DELETE FROM scopes WHERE scope=?", scope)
    assert [(damage.kind, damage.seq) for damage in verify(ledger).damage] == [("missing_without_erasure", 5)]


def test_an_erasure_that_no_entry_requested_excuses_nothing(ledger: Ledger, scope: str) -> None:
    destroyed = ledger.scopes.destroy(scope)
    assert destroyed is not None
    event = ErasureExecuted(
        scope=scope, reason="made_up", requested=1, key_fingerprint=destroyed.fingerprint, aliases=destroyed.aliases
    )
    ledger.record(NewEvent("erasure", 0, event, Meta()))
    assert verify(ledger).damage[0].kind == "missing_without_erasure"


def test_an_older_key_database_that_is_put_back_is_said_and_erased_again(
    ledger: Ledger, scope: str, tmp_path: Path
) -> None:
    ledger.scopes.sweep()  # which leaves nothing in the -wal
    shutil.copyfile(ledger.folder / "keys.db", tmp_path / "backup.db")
    ledger.erase(scope, "user_asked")
    fingerprint = ledger.scopes.destroyed(scope)
    ledger.close()
    shutil.copyfile(tmp_path / "backup.db", ledger.folder / "keys.db")
    master = ledger.keys.master_key()
    with (
        closing(ScopeKeys(ledger.folder / "keys.db", master, ledger.origin, os.urandom, read_only=True)) as back,
        closing(sqlite3.connect(ledger.folder / "ledger.db")) as db,
    ):
        verdict = audit(LedgerReader(db), REGISTRY, Against(signed=ledger.keys.signed(), scopes=back))
    assert verdict.verdict == "ok"
    assert verdict.not_checked["sealed"] == f"scope {scope!r} was erased, and its key is here again"
    with reopen(ledger) as again:
        assert again.scopes.cipher(scope) is None
        assert again.scopes.destroyed(scope) == fingerprint
        assert again.find_aliases("user", "Ada") == []
        assert verify(again).erased == 2


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

    monkeypatch.setattr(ScopeKeys, "sweep", full)
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


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_command_verify_says_how_much_was_erased(
    ledger: Ledger, scope: str, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(ledger.keys.path.parent))
    ledger.erase(scope, "user_asked")
    ledger.close()
    assert verify_ledger(str(ledger.folder), form == "json", Asked(), 1) == 0
    printed = capsys.readouterr().out
    if form == "json":
        assert json.loads(printed)["erased"] == 2
    else:
        assert "  erased   2 sealed fields, their keys destroyed as the log says\n" in printed
