"""The command, the recording API and the server over a ledger of every store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from affidavit.api.record import open_ledger
from affidavit.domain.errors import Refused
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.tests.api.test_cli import SAMPLE, Shell
from affidavit.tests.stores import every_postgresql, every_store

from .http.conftest import a_request
from .optimize.conftest import fill
from .test_serve_commands import _free_port


def address_of(place: Place) -> str:
    """What ``--ledger`` takes for a place."""
    return place.login.conninfo if isinstance(place, PostgresPlace) else str(place)


class On:
    """The command on one ledger."""

    def __init__(self, folder: Path, place: Place) -> None:
        self._shell = Shell(folder)
        self.folder = folder
        self.address = address_of(place)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        return self._shell("--ledger", self.address, *arguments, code=code)

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def on(nowhere: Place, tmp_path: Path) -> On:
    return On(tmp_path, nowhere)


@every_store
def test_a_walk_through_the_commands(on: On) -> None:
    assert "origin" in on("init", "--origin", "example.org/quality")
    assert "expected nothing here" in on("init", code=2)
    on("import", "reflex", str(SAMPLE))
    runs = [line["run"] for line in on.json("runs")["runs"]]
    assert runs[0] == "001"
    assert on.json("show", "001")["run"] == "001"
    assert on.json("diff", "001", "002")
    verdict = on.json("verify")
    assert (verdict["verdict"], verdict["damage"]) == ("ok", [])
    assert {"sealed", "projections"} <= set(verdict["checked"])

    size = on.json("log")["size"]
    assert on.json("export", "tiles", "mirror")["size"] == size
    assert on.json("export", "jsonl", "log.jsonl")["size"] == size
    on("receipt", "3", "-o", "three")
    on("pack", "001", "-o", "pack.html")
    for name in ("three", "pack.html", "mirror"):
        assert on.json("check", name)["verdict"] == "ok", "its key is known: the ledger is here"
    on("rebuild", "--to", "rebuilt")
    assert on.json("verify", "--directory", "rebuilt")["verdict"] == "ok"

    shutil.rmtree(on.folder / "rebuilt")
    told = on("erase", "--run", "002", "--reason", "asked", "--yes")
    assert "the key of run/002 is destroyed" in told
    assert ("keys.db" in told) == on.address.endswith("ledger"), "what copies there may be is another matter there"
    assert on.json("verify")["erased"] > 0
    assert on.json("keys", "create", "--scope", "read")["token"]
    assert on.json("retention", "set", "--run", "30")["days"] == {"run": 30}


@every_store
def test_a_run_of_the_optimiser(on: On) -> None:
    fill(on.folder)
    models = ("-m", "sandbox/target", "--reasoning-model", "sandbox/reasoner")
    told = on("optimize", "data.jsonl", "prompt.md", *models, "-s", "iterative", "--max-iterations", "2")
    assert "made now" in told
    report = on.json("replay", "001")
    assert (report["identical"], report["complete"]) == (True, True)
    assert on.json("verify")["verdict"] == "ok"


@every_store
def test_a_server_takes_publications_and_shows_them(on: On) -> None:
    on("init")
    key = on.json("keys", "create", "--scope", "publish", "--scope", "read")["token"]
    port = str(_free_port())
    command = [sys.executable, "-m", "affidavit.api.cli", "--ledger", on.address, "serve", "--port", port]
    environment = {**os.environ, "AFFIDAVIT_KEYS": str(on.folder / "keys")}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    with server.stdout:
        while not server.stdout.readline().startswith("serving"):
            assert server.poll() is None
        headers = {"Authorization": f"Bearer {key}"}
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
            published = client.post("/api/publish_interaction", json=a_request())
            assert published.status_code == 200, published.text
            asked = {"from_ts": 0, "to_ts": 4_000_000_000}
            overview = client.post("/api/get_evaluation_overview", json=asked)
            assert overview.status_code == 200, overview.text
            assert client.get("/evaluation/sessions").status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert on.json("verify")["verdict"] == "ok"


@every_postgresql
def test_the_recording_api_takes_an_address(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_ledger(on.address, keys=on.folder / "keys", create=True) as recording:
        run = recording.start_run(strategy="iterative", prompt="Answer.", config={})
    monkeypatch.setenv("AFFIDAVIT_LEDGER", on.address)
    with open_ledger(keys=on.folder / "keys") as recording:
        assert recording.read_run(run.run) is not None


@every_postgresql
def test_where_nothing_may_be_written_read_models_are_said_to_need_the_primary(on: On) -> None:
    on("init")
    on.address += "&options=-c%20default_transaction_read_only%3Don"
    assert "a standby brings no read models up to date" in on("overview", code=2)
    assert on.json("verify")["verdict"] == "ok"


@every_postgresql
def test_a_ledger_that_is_not_there_is_said_to_be_missing(on: On) -> None:
    for command in (("verify",), ("runs",), ("log",), ("seal",), ("keys", "list")):
        assert "no ledger in postgresql://" in on(*command, code=2)


def test_a_server_that_does_not_answer_is_said_in_one_line(tmp_path: Path) -> None:
    told = Shell(tmp_path)("--ledger", f"postgresql://nobody:secret@/db?host={tmp_path}", "verify", code=2)
    assert told.count("\n") == 1
    assert "secret" not in told


def test_without_the_extra_the_command_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("affidavit.ledger.store.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Refused, match=r"pip install 'affidavit\[postgres\]'"):
        open_ledger("postgresql://example.org/db", keys=tmp_path)


def test_an_address_that_does_not_read_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises((Refused, Unavailable)) as refused:
        open_ledger("postgresql://u:secret@h:port/db?ledger=acme", keys=tmp_path)
    assert "secret" not in str(refused.value)
