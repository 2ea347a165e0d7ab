"""What a folder tells the doctor, and what the command says of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from affidavit.api.cli.menu import app
from affidavit.api.doctor.examine import examine
from affidavit.api.doctor.folder import check_folder
from affidavit.ledger.store.condition import FolderCondition
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.sqlite import condition
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.tests.api.doctor.looking import NOW, bad, finding, levels

_NOTHING: Mapping[str, str] = {}


def seen(place: Place) -> FolderCondition:
    found = place.condition()
    assert isinstance(found, FolderCondition)
    return found


def test_a_folder_as_it_was_made(place: Place) -> None:
    found = seen(place)
    assert (found.journal_mode, found.synchronous, found.missing_guards) == ("wal", 2, ())
    assert found.size > 10_000
    assert found.free > 0
    on_disk = replace(found, file_system="ext4")
    assert set(levels(check_folder(on_disk)).values()) == {"ok"}


@pytest.mark.parametrize(
    ("kind", "level"),
    [("nfs4", "danger"), ("cifs", "danger"), ("tmpfs", "danger"), ("overlay", "warning"), (None, "not_checked")],
)
def test_file_systems_on_which_a_ledger_should_not_lie(place: Place, kind: str | None, level: str) -> None:
    assert levels(check_folder(replace(seen(place), file_system=kind)))["file_system"] == level


def test_the_file_system_is_that_of_the_innermost_mount(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    real = str((tmp_path / "ledger").resolve()).replace(" ", "\\040")
    mounts.write_text(f"a / ext4 rw 0 0\nb {real} nfs4 rw 0 0\nc {real}-other tmpfs rw 0 0\n")
    monkeypatch.setattr(condition, "_MOUNTS", mounts)
    assert seen(place).file_system == "nfs4"


def test_settings_of_sqlite_that_lose_what_was_acknowledged(place: Place) -> None:
    slack = replace(seen(place), synchronous=1, journal_mode="rollback")
    assert bad(check_folder(replace(slack, file_system="ext4"))) == {"journal_mode": "warning", "synchronous": "danger"}


def test_a_journal_mode_that_somebody_changed(place: Place, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger" / "ledger.db") as db:
        db.execute("PRAGMA journal_mode=DELETE")
    db.close()
    assert seen(place).journal_mode == "rollback"


def test_a_folder_that_others_may_write_to(place: Place, tmp_path: Path) -> None:
    (tmp_path / "ledger" / "ledger.db").chmod(0o664)
    found = finding(check_folder(seen(place)), "folder_permissions")
    assert (found.level, found.found) == ("danger", "ledger.db: others may write (664)")


def test_guards_that_are_gone(place: Place, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger" / "ledger.db") as db:
        db.execute("DROP TRIGGER entries_no_DELETE")
    db.close()
    found = finding(check_folder(seen(place)), "guards")
    assert (found.level, found.found) == ("danger", "entries_no_DELETE is missing")


def test_keys_in_the_folder_of_the_ledger(place: Place, tmp_path: Path) -> None:
    (tmp_path / "keys").rename(tmp_path / "ledger" / "keys")
    report = examine(place, tmp_path / "ledger" / "keys", now=NOW, environment=_NOTHING)
    assert levels(report.findings)["key_folder"] == "danger"


def test_a_ledger_of_another_version(place: Place, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger" / "ledger.db") as db:
        db.execute("PRAGMA user_version=9")
    db.close()
    report = examine(place, tmp_path / "keys", now=NOW, environment=_NOTHING)
    assert (report.size, levels(report.findings)) == (None, {"opened": "danger"})
    assert "ledger format 9" in report.findings[0].found


def test_what_was_found_before_damage_is_told(place: Place, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger" / "ledger.db") as db:
        db.executescript("DROP TRIGGER entries_no_UPDATE; UPDATE entries SET entry = x'00'")
    db.close()
    report = examine(place, tmp_path / "keys", now=NOW, environment=_NOTHING)
    assert report.worst == "danger"
    assert levels(report.findings[:5]).keys() >= {"journal_mode", "guards"}
    assert {each.check for each in report.findings} >= {"read", "views"}


def run(place: FolderPlace, keys: Path, *arguments: str) -> tuple[int, str]:
    told = CliRunner().invoke(
        app, ["--ledger", str(place), "doctor", *arguments], env={"AFFIDAVIT_KEYS": str(keys), "AFFIDAVIT_TSA": ""}
    )
    return told.exit_code, told.output


def test_the_command_for_programs(place: FolderPlace, tmp_path: Path) -> None:
    code, told = run(place, tmp_path / "nowhere", "--json")
    document: dict[str, Any] = json.loads(told)
    assert (code, document["worst"], document["size"]) == (3, "danger", 1)
    assert set(document["findings"][0]) == {"check", "level", "looked_at", "found", "expected", "why", "advice"}


def test_the_command_for_people_says_what_to_do_where_something_is_wrong(place: FolderPlace, tmp_path: Path) -> None:
    code, told = run(place, tmp_path / "nowhere")
    assert code == 3
    lines = told.splitlines()
    wrong = [n for n, line in enumerate(lines) if line.startswith("danger")]
    assert ["danger", "key_folder"] in [lines[n].split(": ")[0].split() for n in wrong]
    for n in wrong:
        assert [line.split()[0] for line in lines[n + 1 : n + 5]] == ["looked", "expected", "because", "to"]
    assert lines[-1].endswith("ok")
