"""The file that lists ledgers: what it may say, and what is refused of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit.api.cli.serve_commands import serve_many
from affidavit.api.http.limits import Limits
from affidavit.api.many.listed import read_listed
from affidavit.domain.errors import Refused
from affidavit.ledger.store.sqlite.place import FolderPlace

WHOLE = """
[ledgers.acme]
ledger = "postgresql://affidavit@db.example/evidence?ledger=acme"
keys = "/srv/keys/acme"
organisation = "Acme AG"
public_log = true
model = "judge-1"
base_url = "https://models.example/v1"
requests_per_minute = 60
requests_at_once = 8
max_body_bytes = 4096

[ledgers.birch]
ledger = "birch"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "ledgers.toml"
    path.write_text(text)
    return path


def test_a_table_says_where_a_ledger_lies_and_what_it_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFIDAVIT_KEYS", "/srv/keys/all")
    acme, birch = read_listed(write(tmp_path, WHOLE), Limits(body_seconds=7), "judge-2", "https://other.example/v1")
    assert (acme.name, str(acme.place)) == ("acme", "postgresql://db.example/evidence?ledger=acme")
    assert (acme.keys, acme.organisation, acme.public_log) == (Path("/srv/keys/acme"), "Acme AG", True)
    assert acme.limits == Limits(body_seconds=7, requests_per_minute=60, requests_at_once=8, body_bytes=4096)
    assert (acme.model, acme.base_url) == ("judge-1", "https://models.example/v1")

    assert (birch.place, birch.keys) == (FolderPlace(tmp_path / "birch"), Path("/srv/keys/all"))
    assert (birch.organisation, birch.public_log) == ("birch", False)
    assert birch.limits == Limits(body_seconds=7, requests_at_once=32)
    assert (birch.model, birch.base_url) == ("judge-2", "https://other.example/v1")


@pytest.mark.parametrize(
    ("text", "rule", "said"),
    [
        ("[ledgers", "file_readable", "expected TOML"),
        ("", "setting_readable", "ledgers: Field required"),
        ("[ledgers]", "setting_readable", "ledgers: Dictionary should have at least 1 item"),
        ("[ledgers.acme]", "setting_readable", "ledgers.acme.ledger"),
        ('[ledgers.acme]\nledger = "a"\nledge = "b"', "setting_readable", "ledgers.acme.ledge: Extra"),
        ('[ledgers.acme]\nledger = "a"\nrequests_at_once = 0', "setting_readable", "requests_at_once"),
        ('[ledgers.acme]\nledger = "a"\npublic_log = 1', "setting_readable", "public_log"),
        ('[ledgers."a/b"]\nledger = "a"', "setting_readable", "a/b"),
        ('[ledgers.a]\nledger = "x"\n[ledgers.b]\nledger = "./x"', "setting_readable", "a and b are one ledger"),
        ('[ledgers.a]\nledger = "postgresql://db/x?ledger=A!"', "ledger_name", "A!"),
    ],
)
def test_a_file_that_says_what_is_not_known_is_refused(tmp_path: Path, text: str, rule: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        read_listed(write(tmp_path, text), Limits(), None, None)
    assert caught.value.rule == rule
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        serve_many(tmp_path / "none.toml", "127.0.0.1", 0, 6000, 1024, None, None)
    assert caught.value.rule == "file_readable"
