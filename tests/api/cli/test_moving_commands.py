"""The commands that move, back up and restore a ledger, and what verify says of one that has moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from affidavit.api.cli.moving_commands import backup, copy, restore
from affidavit.api.cli.verify_commands import Asked, verify_ledger
from affidavit.api.http.errors import problem_of
from affidavit.domain.errors import Refused
from affidavit.ledger.application import Ledger
from affidavit.tests.folders import folder_of
from affidavit.tests.ledger.moving.worlds import fill
from affidavit.tests.ledger.store.noting import noted


@pytest.fixture
def folder(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ledger's folder, its keys where the commands look for them."""
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    monkeypatch.chdir(tmp_path)
    fill(ledger, bulk=5)
    ledger.close()
    return str(folder_of(ledger))


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def verify(where: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    verify_ledger(where, as_json=True, asked=Asked(), jobs=1)
    return told(capsys)


def test_moving_says_what_lies_where(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    copy("ledger", "elsewhere", as_json=False)
    said = capsys.readouterr().out
    assert said.startswith("ledger   elsewhere\n")
    assert "ledger is closed: it can be read and verified" in said
    copy(folder, "elsewhere", as_json=False)  # the same folder, said in another way
    assert "It had moved there before" in capsys.readouterr().out
    copy("ledger", "elsewhere", as_json=True)
    again = told(capsys)
    assert again["copied_before"] is True
    there = verify("elsewhere", capsys)
    assert [there[name] for name in ("verdict", "size", "root", "moved")] == ["ok", again["size"], again["root"], None]


def test_verify_says_that_a_ledger_is_closed_and_finds_nothing_wrong(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy(folder, "elsewhere", as_json=True)
    size = told(capsys)["size"]
    assert isinstance(size, int)
    assert verify_ledger(folder, as_json=False, asked=Asked(), jobs=1) == 0
    assert "closed   it moved to a folder with entry" in capsys.readouterr().out
    found = verify(folder, capsys)
    assert (found["verdict"], found["size"]) == ("ok", size - 1)
    assert isinstance(found["moved"], dict)
    assert (found["moved"]["seq"], found["moved"]["store"]) == (size - 2, "sqlite")
    assert isinstance(found["not_checked"], list)
    assert "rollback" in found["not_checked"]


def test_a_destination_that_was_cut_back_is_a_rollback(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same bytes as the closed source, where more was signed."""
    copy(folder, "elsewhere", as_json=True)
    capsys.readouterr()
    shutil.copyfile(Path(folder) / "ledger.db", "elsewhere/ledger.db")
    assert verify("elsewhere", capsys)["verdict"] == "rollback"


def test_a_ledger_that_moved_is_a_conflict_over_http() -> None:
    assert problem_of(Refused("ledger_moved", "it moved")).status == 409


def test_a_backup_is_taken_and_restored(folder: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    backup(folder, "backup", Path("kept"), as_json=True)
    made = told(capsys)
    assert made["signed_size"] == made["size"]
    assert verify("backup", capsys)["verdict"] == "ok"
    restore("backup", "restored", Path("kept"), behind=False, as_json=True)
    assert told(capsys) == made
    assert verify("restored", capsys)["verdict"] == "ok"

    with Ledger(ledger.place, ledger.keys.path.parent, ledger._registry, sign_in_background=False) as again:
        again.record(noted(0, "later/1"))
    assert verify("backup", capsys)["verdict"] == "rollback"
    with pytest.raises(Refused, match="affidavit reopen"):
        restore("backup", "third", Path("kept"), behind=False, as_json=True)
    restore("backup", "third", Path("kept"), behind=True, as_json=False)
    assert "affidavit reopen" in capsys.readouterr().out


def test_a_backup_says_whether_keys_are_kept(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    backup(folder, "backup", None, as_json=False)
    assert "keys     not kept" in capsys.readouterr().out
