"""Retention: what is due by the rule in force, that it is erased and nothing else, and the worker that does so."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from affidavit.api.cli import serve_commands
from affidavit.api.cli.menu import app
from affidavit.api.publishing import Publisher
from affidavit.api.record import RecordingLedger
from affidavit.api.retention import (
    Retention,
    Rule,
    apply_retention,
    declare_retention,
    find_due,
    read_retention,
)
from affidavit.api.reviews import record_review
from affidavit.domain.errors import Refused
from affidavit.domain.evaluation.publication import Publication
from affidavit.ledger import application
from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.review import Statement, Subject, sign_statement
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.events import ErasureExecuted
from affidavit.ledger.store.scopes import ScopeKeys
from affidavit.ledger.tlog.note import ED25519, print_vkey
from affidavit.ledger.tlog.private_key import NotePrivateKey
from affidavit.tests.folders import folder_of

DAY = 86_400_000_000
ADA = NotePrivateKey("ada@example.org", ED25519, bytes(range(32)))


def publish(ledger: Ledger, user: str, request: str) -> None:
    with Publisher(ledger) as publisher:
        publisher.publish(Publication(user, f"s-{user}", request, "prod", "v1", False, 1000, {}, [{"content": "hi"}]))


def due(ledger: Ledger) -> list[str]:
    return [found.scope for found in find_due(ledger)]


def scope_of(ledger: Ledger, user: str) -> str:
    ((_, scope),) = ledger.find_aliases("user", user)
    return scope


@pytest.fixture
def aged(ledger: Ledger, now: list[int]) -> Ledger:
    """Run 001 and user u1 of day 0, run 002 and user u2 of day 20; a review of run 001 of day 20; it is day 40."""
    recording = RecordingLedger(ledger)
    recording.start_run(strategy="iterative", prompt="Answer.", config={})
    publish(ledger, "u1", "r1")
    now[0] += 20 * DAY
    recording.start_run(strategy="iterative", prompt="Answer.", config={})
    publish(ledger, "u2", "r2")
    with ledger.recorder.reading() as reader:
        size, root = reader.head().size, reader.head().root()
    said = Statement(ledger.origin, Subject(run="001"), size, root, "approve", "2026-11-22T10:00:00Z", "Fine.")
    record_review(ledger, sign_statement(said, ADA), print_vkey(ADA.verifier_key))
    now[0] += 20 * DAY
    return ledger


def test_without_a_rule_everything_is_kept(aged: Ledger) -> None:
    assert due(aged) == []
    assert list(apply_retention(aged)) == []


def test_the_newest_rule_is_in_force_and_a_kind_it_does_not_name_is_kept(aged: Ledger) -> None:
    declare_retention(aged, {"run": 30, "subject": 30})
    assert due(aged) == ["run/001", scope_of(aged, "u1")]
    declare_retention(aged, {"run": 10})
    assert due(aged) == ["run/001", "run/002"]
    seq = declare_retention(aged, {}).seq
    assert due(aged) == []
    with aged.recorder.reading() as reader:
        assert read_retention(aged.event_reader(reader)) == Rule({}, seq)


@pytest.mark.parametrize("days", [0, -1])
def test_a_rule_that_erases_at_once_is_refused(ledger: Ledger, days: int) -> None:
    with pytest.raises(Refused):
        declare_retention(ledger, {"run": days})


def test_age_counts_from_the_last_entry(aged: Ledger) -> None:
    declare_retention(aged, {"subject": 30})
    publish(aged, "u1", "r3")
    assert due(aged) == []


def test_the_limit_is_a_whole_number_of_days_after_the_entry(ledger: Ledger, now: list[int]) -> None:
    declare_retention(ledger, {"run": 30})
    started = RecordingLedger(ledger).start_run(strategy="iterative", prompt="Answer.", config={}).started
    assert started is not None
    recorded = now[0]
    now[0] = recorded + 30 * DAY - 2
    assert due(ledger) == []
    now[0] = recorded + 30 * DAY + 2
    assert due(ledger) == ["run/001"]


def test_what_is_due_is_erased_a_run_with_its_reviews_and_nothing_else(aged: Ledger) -> None:
    declare_retention(aged, {"run": 30, "subject": 30})
    old = scope_of(aged, "u1")
    ((_, of_review),) = aged.find_aliases("reviewer", ADA.name)
    erased = [found.scope for found in apply_retention(aged)]
    assert erased == [of_review, "run/001", old]
    assert aged.scopes.cipher("run/002") is not None
    assert aged.find_aliases("user", "u1") == []
    assert scope_of(aged, "u2")
    assert list(apply_retention(aged)) == []
    with aged.recorder.reading() as reader:
        found = [recorded.event for recorded in aged.event_reader(reader).stream("erasure")]
    assert {event.reason for event in found if isinstance(event, ErasureExecuted)} == {"retention_ended"}


def test_what_is_cut_short_is_due_again(aged: Ledger) -> None:
    declare_retention(aged, {"run": 30})
    first = next(apply_retention(aged))
    assert first.scope != "run/001"
    assert due(aged) == ["run/001"]
    assert [found.scope for found in apply_retention(aged)] == ["run/001"]


def test_what_somebody_else_erases_meanwhile_is_passed_over(aged: Ledger) -> None:
    declare_retention(aged, {"run": 10})
    applying: Iterator[object] = apply_retention(aged)
    next(applying)
    aged.erase("run/001", "user_request")
    aged.erase("run/002", "user_request")
    assert list(applying) == []


@contextmanager
def working(ledger: Ledger, **given: float) -> Iterator[threading.Event]:
    """A worker, and what is set once u1 is erased."""
    erased = threading.Event()

    def looked() -> None:
        if not ledger.find_aliases("user", "u1"):
            erased.set()

    worker = Retention(ledger, looked, **given)
    worker.start()
    try:
        yield erased
    finally:
        worker.stop()


def test_the_worker_applies_the_rule_when_it_starts_and_stops(aged: Ledger) -> None:
    declare_retention(aged, {"subject": 30})
    with working(aged) as erased:
        assert erased.wait(60)
    assert aged.find_aliases("user", "u2")


def test_a_look_that_fails_is_logged_and_the_next_one_comes(
    aged: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    declare_retention(aged, {"subject": 30})
    failed, real = threading.Event(), ScopeKeys.destroy

    def failing(self: ScopeKeys, scope: str) -> object:
        if not failed.is_set():
            failed.set()
            raise Unavailable("the disk is full")
        return real(self, scope)

    monkeypatch.setattr(ScopeKeys, "destroy", failing)
    with caplog.at_level(logging.ERROR, "affidavit.retention"), working(aged, every=0.01) as erased:
        assert erased.wait(60)
    assert "the disk is full" in caplog.text


def test_the_commands_set_show_and_apply(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    publish(ledger, "u1", "r1")

    def command(*words: str) -> str:
        ran = CliRunner().invoke(app, ["--ledger", str(folder_of(ledger)), "retention", *words], catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    assert "never declared" in command("show")
    assert "subject  9000 days after its last entry" in command("set", "--subject", "9000")
    assert json.loads(command("show", "--json"))["days"] == {"subject": 9000}
    assert "nothing is due" in command("apply")
    assert json.loads(command("apply", "--dry-run", "--json")) == {"due": []}
    assert "run      kept" in command("set")
    assert json.loads(command("apply", "--json")) == {"erased": []}


def test_a_server_applies_the_rule(
    aged: Ledger, now: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setattr(application, "time", SimpleNamespace(time_ns=lambda: now[0] * 1000))
    declare_retention(aged, {"subject": 1})
    looked = threading.Event()

    class Watched(Retention):
        def stop(self) -> None:
            assert looked.wait(60)
            super().stop()

    def watched(ledger: Ledger, forget: Callable[[], None]) -> Retention:
        def both() -> None:
            forget()
            looked.set()

        return Watched(ledger, both)

    monkeypatch.setattr("affidavit.api.many.working.Retention", watched)
    monkeypatch.setattr(serve_commands, "run_server", lambda *_, **__: None)
    ran = CliRunner().invoke(app, ["--ledger", str(folder_of(aged)), "serve"], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert aged.find_aliases("user", "u1") == []
