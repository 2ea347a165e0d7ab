"""Erasing a run or a person: what goes, what stays and is named, and that a kill at any step loses nothing of it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from affidavit.api.adapters.reflex.importer import import_reflex
from affidavit.api.cli.erasure_commands import erase
from affidavit.api.cli.menu import app
from affidavit.api.cli.run_commands import rebuild_runs
from affidavit.api.erasing import erase_scopes, plan_run, plan_subject, stray_copies
from affidavit.api.moment import LiveLedger
from affidavit.api.publishing import Publisher
from affidavit.api.reading import open_for_reading
from affidavit.api.record import RecordingLedger
from affidavit.api.reviews import record_review, reviews_of
from affidavit.api.scoring import score_event
from affidavit.domain.errors import Refused
from affidavit.domain.evaluation.publication import Publication
from affidavit.domain.event import NewEvent, Withheld
from affidavit.domain.optimization.events import RunCompleted, Sample
from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.review import Statement, Subject, sign_statement
from affidavit.ledger.events import ErasureExecuted, ErasureRequested
from affidavit.ledger.tlog.note import ED25519, print_vkey
from affidavit.ledger.tlog.private_key import NotePrivateKey
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of

ADA = NotePrivateKey("ada@example.org", ED25519, bytes(range(32)))
PROMPT = "Answer like a pirate of the seven seas."
SAID = "My parcel went to Bern."
WORDS = "It quotes the pirate."
DEMO = Path(__file__).resolve().parents[2] / "api" / "demo" / "reflex"


@pytest.fixture
def folder(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ledger's folder, its keys where the commands look for them, and a folder for temporary files of its own."""
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return str(folder_of(ledger))


@pytest.fixture
def ran(folder: str, ledger: Ledger) -> RecordingLedger:
    """Run 001 with a review of Ada's, and run 002, which branched off it."""
    recording = RecordingLedger(ledger)
    run = recording.start_run(strategy="iterative", prompt=PROMPT, config={"note": PROMPT})
    answers = [Sample(id="1", input="Who?", response=PROMPT, score=0.5)]
    run.record_iteration(run.record_evaluation(PROMPT, samples=answers))
    run.complete(reason="converged", best=PROMPT)
    recording.start_run(strategy="iterative", prompt="Answer.", config={}, parent=("001", 1))
    review(ledger, "001")
    return recording


def review(ledger: Ledger, run: str) -> None:
    with ledger.recorder.reading() as reader:
        size, root = reader.head().size, reader.head().root()
    statement = Statement(ledger.origin, Subject(run=run), size, root, "reject", "2026-11-22T10:00:00Z", WORDS)
    record_review(ledger, sign_statement(statement, ADA), print_vkey(ADA.verifier_key))


def publish(ledger: Ledger, user: str, session: str, request: str) -> None:
    with Publisher(ledger) as publisher:
        turns = [{"content": SAID, "role": "User"}]
        publisher.publish(Publication(user, session, request, "prod", "v1", False, 1000, {"user_id": user}, turns))


def erased_scopes(ledger: Ledger) -> list[str]:
    with ledger.recorder.reading() as reader:
        found = [recorded.event for recorded in ledger.event_reader(reader).stream("erasure")]
    return [event.scope for event in found if isinstance(event, ErasureExecuted)]


def secrets_of(ledger: Ledger, *scopes: str) -> list[bytes]:
    """What must not be in any file any more: wrapped keys, and the rows of aliases."""
    with closing(sqlite3.connect(folder_of(ledger) / "keys.db")) as keys:
        rows = [
            value
            for scope in scopes
            for statement in (
                "SELECT wrapped FROM scopes WHERE scope=?",
                "SELECT lookup FROM aliases WHERE scope=?",
                "SELECT box FROM aliases WHERE scope=?",
            )
            for (value,) in keys.execute(statement, (scope,))
        ]
    assert len(rows) >= len(scopes)
    return [row[at : at + 12] for row in rows for at in (0, len(row) - 12)]


def verify(folder: str) -> dict[str, Any]:
    """What `affidavit verify` says of a ledger that nothing is wrong with."""
    ran = CliRunner().invoke(app, ["--ledger", folder, "verify", "--json"])
    verdict: dict[str, Any] = json.loads(ran.stdout)
    assert (ran.exit_code, verdict["verdict"], verdict["damage"]) == (0, "ok", [])
    return verdict


def files(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        yield from ((path, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_run_goes_with_its_reviews_and_the_rest_is_named(ran: RecordingLedger) -> None:
    plan = plan_run(ran.ledger, "001")
    ((_, of_review),) = ran.ledger.find_aliases("reviewer", ADA.name)
    assert plan.scopes == (of_review, "run/001")
    assert any("run 002" in line for line in plan.stays)
    list(erase_scopes(ran.ledger, plan.scopes, "user_request", note="by mail"))
    assert erased_scopes(ran.ledger) == [of_review, "run/001"]
    with open_for_reading(ran.ledger.place, ran.ledger.keys.path.parent) as opened:
        (told,) = reviews_of(opened, "001")
        assert isinstance(opened.run("001").started.system_prompt, Withheld)
        assert not isinstance(opened.run("002").started.system_prompt, Withheld)
    assert (told.withheld, told.verdict) == ("erased", "reject")
    with pytest.raises(Refused, match="erased before") as refused:
        plan_run(ran.ledger, "001")
    assert refused.value.rule == "scope_erased"


def test_the_entries_of_one_erasure_belong_together_and_its_note_opens(ran: RecordingLedger) -> None:
    list(erase_scopes(ran.ledger, plan_run(ran.ledger, "001").scopes, "user_request", note="by mail"))
    with ran.ledger.recorder.reading() as reader:
        found = list(ran.ledger.event_reader(reader).stream("erasure"))
    assert len({recorded.meta["correlation"] for recorded in found}) == 1
    requests = [recorded for recorded in found if isinstance(recorded.event, ErasureRequested)]
    assert {recorded.event.note for recorded in requests if isinstance(recorded.event, ErasureRequested)} == {"by mail"}
    assert len({recorded.meta["scope"] for recorded in requests}) == 1


def test_no_file_keeps_key_alias_or_text_of_an_erased_run(
    ran: RecordingLedger, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ((_, of_review),) = ran.ledger.find_aliases("reviewer", ADA.name)
    needles = [*secrets_of(ran.ledger, "run/001", of_review), PROMPT.encode(), WORDS.encode()]
    rebuild_runs(folder, tmp_path / "rebuilt", "native", None, None, as_json=False)
    ran.close()
    before = b"".join(data for _, data in files(Path(folder), tmp_path / "rebuilt"))
    assert not [needle for needle in needles[:-1] if needle not in before]

    assert erase(folder, None, "001", "user_request", None, [tmp_path / "rebuilt"], yes=True, as_json=True) == 0
    told = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert [found["scope"] for found in told["erased"]] == [of_review, "run/001"]
    assert len(told["removed"]) == 1
    for path, data in files(tmp_path):
        assert not [needle for needle in needles if needle in data], path
    assert [path.name[:3] for path in (tmp_path / "rebuilt" / "runs").iterdir()] == ["002"]


def test_an_erased_ledger_verifies_and_its_projections_rebuild_without_the_text(
    ran: RecordingLedger, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran.close()
    assert erase(folder, None, "001", "user_request", "by mail", [], yes=True, as_json=False) == 0
    assert "run 002: it branched off" in capsys.readouterr().out
    (Path(folder) / "views.db").unlink()
    rebuild_runs(folder, tmp_path / "again", "native", None, None, as_json=False)
    rebuild_runs(folder, tmp_path / "peer", "reflex-0.2", None, None, as_json=False)
    for path, data in files(tmp_path / "again", tmp_path / "peer"):
        assert PROMPT.encode() not in data, path
    verdict = verify(folder)
    assert verdict["erased"] > 0


def test_a_run_that_ended_and_was_erased_before_it_was_sealed_stops_no_sealing(ran: RecordingLedger) -> None:
    with ran.ledger.recorder.reading() as reader:
        pos = reader.next_pos("run/002")
    ended = RunCompleted(
        reason="converged", converged=False, duration_seconds=1.0, timestamp="2026-11-22T10:00:00+00:00"
    )
    ran.ledger.record(NewEvent("run/002", pos, ended, ran.meta))
    list(erase_scopes(ran.ledger, plan_run(ran.ledger, "002").scopes, "retention_ended"))
    assert ran.seal().size > pos


def test_the_list_of_an_imports_files_goes_with_the_last_of_its_runs(folder: str, ledger: Ledger) -> None:
    runs = import_reflex(ledger, DEMO).added
    for run in runs[:-1]:
        plan = plan_run(ledger, run)
        assert plan.scopes == (f"run/{run}",)
        assert any(line.startswith("import/1:") for line in plan.stays)
        list(erase_scopes(ledger, plan.scopes, "user_request"))
    assert plan_run(ledger, runs[-1]).scopes == ("import/1", f"run/{runs[-1]}")


@pytest.mark.parametrize("kind", ["absent", "link", "of another run"])
def test_only_a_directory_of_the_run_is_removed(
    ran: RecordingLedger, folder: str, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rebuild_runs(folder, tmp_path / "rebuilt", "native", None, None, as_json=False)
    path = next((tmp_path / "rebuilt" / "runs").glob("001_*"))
    other = next((tmp_path / "rebuilt" / "runs").glob("002_*"))
    path.rename(tmp_path / "moved")
    if kind == "link":
        path.symlink_to(tmp_path / "moved")
    elif kind == "of another run":
        other.rename(path)
    ran.close()
    asked = (folder, None, "001", "user_request", None, [tmp_path / "rebuilt"])
    if kind == "absent":
        assert erase(*asked, yes=True, as_json=False) == 0
        assert "run 001 has no directory under" in capsys.readouterr().out
    else:
        with pytest.raises(Refused) as refused:
            erase(*asked, yes=True, as_json=False)
        assert refused.value.rule == "directory_of_run"
        assert (path / "config.json").exists()
    assert (tmp_path / "moved" / "config.json").exists()


def test_a_directory_of_a_run_that_was_erased_before_can_still_be_removed(
    ran: RecordingLedger, folder: str, tmp_path: Path
) -> None:
    rebuild_runs(folder, tmp_path / "rebuilt", "native", None, None, as_json=False)
    list(erase_scopes(ran.ledger, plan_run(ran.ledger, "001").scopes, "user_request"))
    ran.close()
    asked = (folder, None, "001", "user_request", None)
    assert erase(*asked, [tmp_path / "rebuilt"], yes=True, as_json=False) == 0
    assert [path.name[:3] for path in (tmp_path / "rebuilt" / "runs").iterdir()] == ["002"]
    with pytest.raises(Refused, match="erased before"):
        erase(*asked, [], yes=True, as_json=False)


def test_a_person_goes_as_user_as_recorder_and_as_reviewer(ran: RecordingLedger, folder: str) -> None:
    ledger = ran.ledger
    publish(ledger, ADA.name, "s1", "r1")
    publish(ledger, "u2", "s2", "r2")
    actor = ledger.alias("actor", ADA.name)
    ((user, of_user),) = ledger.find_aliases("user", ADA.name)
    ((_, of_review),) = ledger.find_aliases("reviewer", ADA.name)
    with closing(LiveLedger(ledger)) as live:
        plan = plan_subject(live, f" {ADA.name} ")
        assert plan.scopes == (of_user, f"actor/{actor}", of_review)
        assert user in plan.stays[0]
        list(erase_scopes(ledger, plan.scopes, "user_request"))
        assert plan_subject(live, ADA.name).scopes == ()
    assert ledger.find_aliases("user", "u2")
    assert ledger.scopes.cipher("run/001") is not None


def test_a_session_id_that_only_a_scorer_named_goes_with_the_user_who_turns_out_to_have_it(
    ledger: Ledger, folder: str
) -> None:
    ledger.record(
        score_event(ledger, 0, source="s", source_run_id="1", session_id="s1", scorer="x", value=1.0, scored_at=1)
    )
    ((named, _),) = ledger.find_aliases("named-session", "s1")
    publish(ledger, "u1", "s1", "r1")
    ((_, of_user),) = ledger.find_aliases("user", "u1")
    with closing(LiveLedger(ledger)) as live:
        assert plan_subject(live, "u1").scopes == (f"named-session/{named}", of_user)


def test_no_file_keeps_key_name_or_text_of_an_erased_person(
    ledger: Ledger, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(ledger, "person-of-interest", "session-of-interest", "request-of-interest")
    publish(ledger, "u2", "s2", "r2")
    ((alias, scope),) = ledger.find_aliases("user", "person-of-interest")
    with closing(LiveLedger(ledger)) as live, live.moment() as moment:
        found = moment.views.exec_driver_sql("SELECT count(*) FROM requests WHERE user = ?", (alias,)).scalar()
    assert found == 1
    needles = [*secrets_of(ledger, scope), b"of-interest", SAID.encode()]
    ledger.close()
    assert erase(folder, "person-of-interest", None, "user_request", None, [], yes=True, as_json=False) == 0
    assert f"the key of {scope} is destroyed" in capsys.readouterr().out
    for path, data in files(tmp_path):
        assert not [needle for needle in needles if needle in data], path
    verify(folder)
    with pytest.raises(Refused) as refused:
        erase(folder, "person-of-interest", None, "user_request", None, [], yes=True, as_json=False)
    assert refused.value.rule == "subject_known"


def test_a_copy_that_a_killed_reader_left_is_named(ledger: Ledger, folder: str, tmp_path: Path) -> None:
    scope = f"user/{ledger.alias('user', 'u1')}"
    left = Path(tempfile.gettempdir()) / "affidavit-x1"
    left.mkdir()
    assert stray_copies(scope) == []
    ledger.scopes.sweep()
    (left / "keys.db").write_bytes((folder_of(ledger) / "keys.db").read_bytes())
    assert stray_copies(scope) == [left / "keys.db"]
    assert stray_copies("user/another") == []


@pytest.mark.parametrize(
    ("subject", "run", "directories", "yes", "rule"),
    [
        (None, None, [], True, "erase_one"),
        ("u1", "001", [], True, "erase_one"),
        ("u1", None, [Path("x")], True, "erase_one"),
        ("nobody", None, [], True, "subject_known"),
        (None, "009", [], True, "run_known"),
        (None, "001", [], False, "yes_needed"),
    ],
)
def test_what_cannot_be_erased_is_refused_and_nothing_recorded(
    ran: RecordingLedger,
    folder: str,
    subject: str | None,
    run: str | None,
    directories: list[Path],
    yes: bool,
    rule: str,
) -> None:
    with pytest.raises(Refused) as refused:
        erase(folder, subject, run, "user_request", None, directories, yes, as_json=False)
    assert refused.value.rule == rule
    assert erased_scopes(ran.ledger) == []


@pytest.mark.parametrize(("typed", "code"), [("yes\n", 0), ("y\n", 3), ("", 3)])
def test_at_a_terminal_the_command_asks(
    ran: RecordingLedger, folder: str, typed: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return typed

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert erase(folder, None, "001", "user_request", None, [], yes=False, as_json=False) == code
    assert bool(erased_scopes(ran.ledger)) == (code == 0)


DIES = """
import os, signal, sys
from affidavit.api.cli.erasure_commands import erase
from affidavit.ledger.store.sqlite.keys import SqliteScopeKeys

folder, method, when, number = sys.argv[1:]
real, calls = getattr(SqliteScopeKeys, method), []

def dying(self, *arguments):
    calls.append(1)
    last = len(calls) == int(number)
    if last and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = real(self, *arguments)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

setattr(SqliteScopeKeys, method, dying)
erase(folder, None, "001", "user_request", "by mail", [], yes=True, as_json=False)
"""


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("method", "when"),
    [("destroy", "before"), ("destroy_as", "after"), ("destroy", "after"), ("sweep", "before"), ("sweep", "after")],
)
def test_a_command_that_is_killed_at_any_step_is_finished_by_the_same_command(
    ran: RecordingLedger, folder: str, tmp_path: Path, method: str, when: str, number: int
) -> None:
    ((_, of_review),) = ran.ledger.find_aliases("reviewer", ADA.name)
    needles = secrets_of(ran.ledger, "run/001", of_review)
    ran.close()
    process = subprocess.run(
        [sys.executable, "-c", DIES, folder, method, when, str(number)],
        env={**os.environ, "TMPDIR": tempfile.gettempdir()},
        check=False,
        capture_output=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    verify(folder)

    with Ledger(Path(folder), tmp_path / "keys", REGISTRY, sign_in_background=False) as again:
        finished = erased_scopes(again)
        assert finished == [of_review, "run/001"][:number]
        if number == 1:
            list(erase_scopes(again, plan_run(again, "001").scopes, "user_request"))
        else:
            with pytest.raises(Refused, match="erased before"):
                plan_run(again, "001")
        assert erased_scopes(again) == [of_review, "run/001"]
    for path, data in files(Path(folder), tmp_path / "keys"):
        assert not [needle for needle in needles if needle in data], path
    verify(folder)
