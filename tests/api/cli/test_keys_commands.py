"""The commands that rotate the signing key and let an older copy go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from affidavit.api.cli.keys_commands import rotate_key
from affidavit.api.cli.ledger_commands import reopen_ledger
from affidavit.domain.errors import Refused
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import SigningRefused
from affidavit.ledger.events import ProjectionSealed
from affidavit.ledger.store.sqlite.reader import open_snapshot
from affidavit.ledger.tlog.note import print_vkey
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of


@pytest.fixture
def folder(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ledger's folder, its keys where the commands look for them."""
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    ledger.close()
    return str(folder_of(ledger))


def open_again(ledger: Ledger) -> Ledger:
    return Ledger(ledger.place, ledger.keys.path.parent, REGISTRY, sign_in_background=False)


def test_rotating_prints_both_keys_and_says_who_recorded(
    folder: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate_key(folder, 5, as_json=True)
    first = json.loads(capsys.readouterr().out)
    rotate_key(folder, 0, as_json=False)
    said = capsys.readouterr().out.splitlines()
    with open_again(ledger) as again:
        assert said[0] == f"old vkey {first['new']}"
        assert said[1] == f"new vkey {print_vkey(again.verifier_key())}"
        assert said[3] == "Both sign checkpoints of 3 to 3 entries, the new key alone those of more."
    assert (first["first"], first["last"]) == (2, 7)
    with open_snapshot(folder_of(ledger)) as reader:
        assert all(b'"recorder":"affidavit/' in row.raw for row in reader.entries(1, 3))


def test_reopening_an_older_copy_names_what_was_signed(
    folder: str, ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(folder_of(ledger) / "ledger.db", tmp_path / "backup.db")
    with open_again(ledger) as again:
        event = ProjectionSealed(name="n", version=1, upto=0, digest="0" * 64)
        again.record(NewEvent("test/1", 0, event, Meta()))
    shutil.copyfile(tmp_path / "backup.db", folder_of(ledger) / "ledger.db")
    with pytest.raises(SigningRefused, match="`affidavit reopen`"):
        open_again(ledger)
    reopen_ledger(folder, "restored", "disk_failed", as_json=False)
    said = capsys.readouterr().out.splitlines()
    with open_again(ledger) as again:
        assert said[0] == f"origin    {again.origin}"
        assert said[1] == f"vkey      {print_vkey(again.verifier_key())}"
        assert said[2] == f"continues {ledger.origin}, of which 2 entries were signed"


def test_reopening_a_ledger_that_is_not_behind_is_refused(folder: str) -> None:
    with pytest.raises(Refused, match="so it opens as it is"):
        reopen_ledger(folder, "restored", "disk_failed", as_json=True)
