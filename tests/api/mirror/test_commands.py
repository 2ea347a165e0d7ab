"""``affidavit mirror``: the command as an operator runs it, over real sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from affidavit.api.checking import check
from affidavit.api.cli import mirror_commands
from affidavit.api.cli.mirror_commands import Asked, mirror
from affidavit.api.mirror.following import follow_log
from affidavit.domain.errors import Refused
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.head import Outside
from affidavit.ledger.errors import VerificationError
from affidavit.ledger.publishing.static_log import check_export
from affidavit.ledger.publishing.tlog_directory import export_log
from affidavit.ledger.tlog.cosignature import open_cosigned
from affidavit.ledger.tlog.note import ED25519_COSIGNATURE, print_vkey
from affidavit.ledger.tlog.private_key import NotePrivateKey, write_private_key
from affidavit.tests.ledger.publishing.test_static_log import fill

from .conftest import MadeUpLog

VERIFIER = Path(__file__).resolve().parents[3] / "docs" / "verify.py"
COMMAND = [sys.executable, "-m", "affidavit.api.cli"]
KEY = NotePrivateKey("mirror.example/m", ED25519_COSIGNATURE, bytes(range(32)))


@contextmanager
def served(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A mirror that serves, and its address."""
    command = [*COMMAND, "mirror", "--serve", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = ""
            while not line.startswith("mirror "):
                line = process.stdout.readline()
                assert line, f"the mirror ended with {process.wait()}"
            yield line.split()[1], process
        finally:
            process.terminate()


def export(ledger: Ledger, folder: Path, size: int) -> None:
    fill(ledger, size)
    with ledger.recorder.reading() as reader:
        export_log(reader, folder)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def given_out(folder: Path) -> Iterator[str]:
    """The address of a plain web server that gives out a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that serves does nothing but wait to be ended."""
    monkeypatch.setattr(mirror_commands, "run_server", lambda *args: signal.pause())
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_log_is_mirrored_from_a_static_server_and_checked_by_everybody(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, folder = tmp_path / "log", tmp_path / "m"
    vkey = print_vkey(ledger.verifier_key())
    write_private_key(tmp_path / "mirror.key", KEY)
    export(ledger, log, 290)
    with given_out(log) as url:
        asked = Asked(url, folder, [vkey], keys=[tmp_path / "mirror.key"])
        assert mirror(asked, as_json=False) == 0
        assert "mirrored 290 entries" in capsys.readouterr().out
        export(ledger, log, 600)
        assert mirror(asked, as_json=True) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["size"], told["new"]) == (600, 310)

    opened = open_cosigned(
        (folder / "checkpoint").read_bytes(), [ledger.verifier_key()], [KEY.verifier_key], ledger.origin
    )
    assert [each.key for each in opened.cosignatures] == [KEY.verifier_key]
    assert (tmp_path / "mirror.key.state").exists()
    assert check(folder, Outside(log_keys=(ledger.verifier_key(),)), None, lambda origin: []).verdict.exit_code == 0
    second = subprocess.run(
        [sys.executable, str(VERIFIER), str(folder), "--vkey", vkey], capture_output=True, text=True, check=False
    )
    assert second.returncode == 0, second.stdout


def test_a_mirror_of_a_mirror_goes_on_while_it_serves(ledger: Ledger, tmp_path: Path) -> None:
    log = tmp_path / "log"
    vkey = print_vkey(ledger.verifier_key())
    export(ledger, log, 290)
    with (
        served("--to", str(log)) as (url, _),
        served(url, "--to", str(tmp_path / "m"), "--vkey", vkey, "--every", "1") as (_, second),
    ):
        assert second.stdout is not None
        export(ledger, log, 600)
        while "mirrored 600 entries" not in second.stdout.readline():
            assert second.poll() is None
        second.terminate()
        assert second.wait() == 0
    assert check_export(tmp_path / "m", [ledger.verifier_key()]).size == 600


def write_files(log: MadeUpLog, folder: Path) -> None:
    follow_log(log, folder, log.keys_of)


@pytest.mark.usefixtures("serving")
def test_a_fork_ends_it_with_4_and_what_was_served_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    true, other = MadeUpLog(300), MadeUpLog(400, history="other", branch=20)
    write_files(other, tmp_path / "other")
    write_files(true, tmp_path / "m")
    with given_out(tmp_path / "other") as url:
        asked = Asked(url, tmp_path / "m", [print_vkey(true.key)])
        assert mirror(asked, as_json=True) == 4
        told = json.loads(capsys.readouterr().out)
        assert (told["verdict"], len(told["kept"])) == ("fork", 3)
        assert mirror(replace(asked, every=60, serve="127.0.0.1:0"), as_json=False) == 4
        assert "fork: log.example/1" in capsys.readouterr().out
    assert check_export(tmp_path / "m", [true.key]) == true.checkpoint()


def test_what_is_served_wrongly_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = MadeUpLog(300)
    write_files(log, tmp_path / "log")
    path = tmp_path / "log" / "tile/entries/000"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with given_out(tmp_path / "log") as url:
        assert mirror(Asked(url, tmp_path / "m", [print_vkey(log.key)]), as_json=False) == 1
    assert "tile/entries/000: its entries are not those that the checkpoint signs" in capsys.readouterr().err


def test_a_quorum_that_is_not_met_is_3(tmp_path: Path) -> None:
    log = MadeUpLog(300)
    write_files(log, tmp_path / "log")
    witness = print_vkey(KEY.verifier_key)
    policy = tmp_path / "policy"
    policy.write_text(f"log {print_vkey(log.key)}\nwitness w {witness}\nquorum w\n")
    write_private_key(tmp_path / "mirror.key", KEY)
    with given_out(tmp_path / "log") as url:
        asked = Asked(url, tmp_path / "m", policy=policy)
        assert mirror(asked, as_json=True) == 3
        assert not (tmp_path / "m" / "checkpoint").exists()
        assert mirror(replace(asked, keys=[tmp_path / "mirror.key"]), as_json=True) == 0
        assert mirror(asked, as_json=True) == 0, "what it holds has the quorum"


@pytest.mark.usefixtures("serving")
def test_following_that_fails_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MadeUpLog(3)
    write_files(log, tmp_path / "m")

    def fail(*args: object, **named: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(mirror_commands, "follow_log", fail)
    monkeypatch.setattr(threading, "excepthook", lambda told: None)
    asked = Asked("http://127.0.0.1:1", tmp_path / "m", [print_vkey(log.key)], every=60, serve="127.0.0.1:0")
    assert mirror(asked, as_json=False) == 2


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    url, vkey = "http://127.0.0.1:1", print_vkey(MadeUpLog(0).key)
    for asked, told in (
        (Asked(url, tmp_path / "m"), "without one nothing is verified"),
        (Asked(None, tmp_path / "m"), "there is only --serve"),
        (Asked(None, tmp_path / "m", serve="127.0.0.1:0", every=5), "there is only --serve"),
        (Asked(url, tmp_path / "m", [vkey], serve="127.0.0.1:0"), "takes --every"),
    ):
        with pytest.raises(Refused, match=told):
            mirror(asked, as_json=False)
    with pytest.raises(VerificationError, match="expected a file 'checkpoint'"):
        mirror(Asked(None, tmp_path / "m", serve="127.0.0.1:0"), as_json=False)
    assert not (tmp_path / "m").exists()
