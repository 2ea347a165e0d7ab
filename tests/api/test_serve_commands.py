"""The commands around the server: keys, rules, and what serving refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from affidavit.api.cli.api_keys_commands import create_key, list_keys, revoke_key
from affidavit.api.cli.serve_commands import _limits, publish_rules, serve
from affidavit.api.client import AffidavitClient, InteractionData
from affidavit.api.http.limits import Limits
from affidavit.api.keyring import Keyring
from affidavit.domain.errors import Refused
from affidavit.ledger.application import Ledger
from affidavit.tests.folders import folder_of


@pytest.fixture
def folder(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ledger's folder, its keys where the commands look for them."""
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    return str(folder_of(ledger))


def test_a_key_is_made_shown_once_listed_and_revoked(
    folder: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    create_key(folder, ["publish", "read"], "agents", as_json=True)
    made = json.loads(capsys.readouterr().out)
    keyring = Keyring(ledger.keys.path)
    found = keyring.find(made["token"])
    assert found is not None
    assert (found.scopes, found.may("publish"), found.may("admin")) == (("publish", "read"), True, False)

    list_keys(folder, as_json=True)
    listed = capsys.readouterr().out
    assert made["token"] not in listed
    assert json.loads(listed)["keys"][0]["id"] == made["id"]

    revoke_key(folder, made["id"])
    assert keyring.find(made["token"]) is None


def test_a_scope_or_key_that_is_not_known_is_refused(folder: str) -> None:
    with pytest.raises(Refused, match="publish, read, review, admin"):
        create_key(folder, ["root"], "", as_json=False)
    with pytest.raises(Refused, match="'nope'"):
        revoke_key(folder, "nope")


def test_serving_other_machines_needs_a_key(folder: str) -> None:
    with pytest.raises(Refused, match="affidavit keys create") as caught:
        serve(folder, "0.0.0.0", 0, 6000, 1024, None, None)

    assert caught.value.rule == "key_needed"


def test_a_public_log_is_served_without_a_key(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[TestClient] = []

    def call(app: ASGIApp, host: str, port: int, what: str, **_: object) -> None:
        served.append(far := TestClient(app, client=("192.0.2.7", 1)))
        assert far.get("/checkpoint").status_code == 200
        assert far.get("/api/get_config").status_code == 401

    monkeypatch.setattr("affidavit.api.cli.serve_commands.run_server", call)
    serve(folder, "0.0.0.0", 0, 6000, 1024, None, None, public_log=True)

    assert len(served) == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"rule": "a", "text": "x"}',
        '[{"rule": "a", "text": "x"}]',
        '{"rules": [{"rule": "a", "text": "x"}]}',
        '{"rule": "a", "text": "x"}\n\n{"rule": "a", "text": "y"}\n',
    ],
)
def test_rules_are_published_from_a_file(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "rules"
    path.write_text(text)

    publish_rules(folder, path, as_json=True)

    told = json.loads(capsys.readouterr().out)["rules"]
    assert {rule["rule"] for rule in told} == {"a"}
    assert len(told) == text.count('"rule"')


@pytest.mark.parametrize(("text", "said"), [("{", "expected JSON"), ('{"rule": "a b", "text": ""}', "rules.0.rule")])
def test_a_file_of_rules_that_does_not_fit_is_refused_by_place(
    folder: str, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "rules"
    path.write_text(text)

    with pytest.raises(Refused, match=said):
        publish_rules(folder, path, as_json=True)


def test_a_served_ledger_is_signed_when_it_is_told_to_stop(ledger: Ledger, tmp_path: Path) -> None:
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "affidavit.api.cli",
        "--ledger",
        str(folder_of(ledger)),
        "serve",
        "--port",
        str(port),
    ]
    server = subprocess.Popen(
        command, env={**os.environ, "AFFIDAVIT_KEYS": str(tmp_path / "keys")}, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    with server.stdout:
        while not server.stdout.readline().startswith("serving"):
            assert server.poll() is None
        with AffidavitClient(f"http://127.0.0.1:{port}", tries=20) as client:
            client.health()
            published = client.publish_interaction("u1", [InteractionData(content="hi")], "s1")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0

    with ledger.recorder.reading() as reader:
        latest = reader.latest_checkpoint()
    assert latest is not None
    assert latest[0] >= published["size"]


def test_who_is_told_to_stop_is_first_no_longer_ready_and_goes_on_answering(ledger: Ledger, tmp_path: Path) -> None:
    port = _free_port()
    options = ["--port", str(port), "--drain-seconds", "300", "--log-format", "json", "--access-log"]
    command = [sys.executable, "-m", "affidavit.api.cli", "--ledger", str(folder_of(ledger)), "serve", *options]
    environment = {**os.environ, "AFFIDAVIT_KEYS": str(tmp_path / "keys")}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    while not server.stdout.readline().startswith("serving"):
        assert server.poll() is None
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        assert client.get("/health/ready").status_code == 200
        server.send_signal(signal.SIGTERM)
        while (stopping := client.get("/health/ready")).status_code == 200:
            assert server.poll() is None
        assert (stopping.status_code, stopping.headers["connection"]) == (503, "close")
        asked = {"user_id": "u1", "session_id": "s1", "interaction_data_list": [{"content": "hi"}]}
        assert client.post("/api/publish_interaction", json=asked).status_code == 200
        assert client.get("/health/live").status_code == 200
    server.send_signal(signal.SIGTERM)
    _, logged = server.communicate()
    assert server.returncode == 0

    lines = [json.loads(line) for line in logged.splitlines()]
    assert {"route": "/api/publish_interaction", "status": 200}.items() <= lines[-2].items()


def test_a_port_that_is_taken_is_not_said_to_serve(ledger: Ledger, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [
            sys.executable,
            "-m",
            "affidavit.api.cli",
            "--ledger",
            str(folder_of(ledger)),
            "serve",
            "--port",
            port,
        ]
        environment = {**os.environ, "AFFIDAVIT_KEYS": str(tmp_path / "keys")}
        served = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert served.returncode != 0
    assert "serving" not in served.stdout
    assert "address already in use" in served.stderr


def test_the_environment_sets_the_limits_of_batches(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    names = ("MAX_BATCH_BYTES", "MAX_BATCH_LINES", "BODY_SECONDS", "BATCH_SECONDS")
    for n, name in enumerate(names, 1):
        monkeypatch.setenv(f"AFFIDAVIT_{name}", str(n))
    assert _limits(5, 6) == Limits(5, 1, 2, 3, 4, 6)

    for wrong in ("0", "-1", "x", "1e3"):
        monkeypatch.setenv("AFFIDAVIT_BODY_SECONDS", wrong)
        with pytest.raises(Refused, match="AFFIDAVIT_BODY_SECONDS"):
            serve(folder, "127.0.0.1", 0, 6000, 1024, None, None)


def test_a_file_of_rules_is_published_whole_or_not_at_all(folder: str, tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / "rules"
    path.write_text(json.dumps([{"rule": "a", "text": "x"}, {"rule": "b", "text": "\x01" * 30_000}]))

    with pytest.raises(Refused, match=r"rules\.1"):
        publish_rules(folder, path, as_json=True)

    with ledger.recorder.reading() as reader:
        assert reader.head().size == 1


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
