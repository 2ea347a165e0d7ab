"""``affidavit witness key`` and ``serve``: what they print, and what they refuse."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from affidavit.api.cli.witness_commands import make_key, serve
from affidavit.domain.errors import Refused
from affidavit.ledger.errors import Malformed, Unavailable
from affidavit.ledger.tlog.note import ED25519, ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, parse_vkey, print_vkey
from affidavit.ledger.tlog.private_key import read_private_key, write_private_key

from .conftest import SmallLog, Start, witness_key

VKEY = print_vkey(SmallLog().key)


def test_a_key_is_written_for_nobody_else_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.key"
    make_key(path, "witness.example/a", ml_dsa=False, as_json=False)
    vkey = capsys.readouterr().out.strip()
    assert parse_vkey(vkey) == read_private_key(path).verifier_key
    assert parse_vkey(vkey).algorithm == ED25519_COSIGNATURE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Unavailable, match="File exists"):
        make_key(path, "witness.example/b", ml_dsa=False, as_json=False)


def test_a_post_quantum_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa", reason="this cryptography has no ML-DSA-44")
    make_key(tmp_path / "q.key", "witness.example/q", ml_dsa=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert parse_vkey(told["vkey"]).algorithm == ML_DSA_44_COSIGNATURE


def test_what_is_no_witness_is_refused(tmp_path: Path) -> None:
    key, state, log_key = tmp_path / "w.key", tmp_path / "w.db", tmp_path / "log.key"
    write_private_key(key, witness_key("witness.example/a"))
    write_private_key(log_key, witness_key("log.example/1", ED25519))
    with pytest.raises(Refused, match="expected HOST:PORT"):
        serve("8129", state, [key], [VKEY], None)
    with pytest.raises(Refused, match="expected HOST:PORT"):
        serve("127.0.0.1:65536", state, [key], [VKEY], None)
    with pytest.raises(Refused, match="expected 0x04 or 0x06"):
        serve("127.0.0.1:0", state, [log_key], [VKEY], None)
    with pytest.raises(Refused, match="expected 0x01"):
        serve("127.0.0.1:0", state, [key], [print_vkey(witness_key("witness.example/b").verifier_key)], None)
    with pytest.raises(Malformed, match="vkey"):
        serve("127.0.0.1:0", state, [key], ["log"], None)
    with pytest.raises(Unavailable, match="No such file"):
        serve("127.0.0.1:0", state, [tmp_path / "none"], [VKEY], None)
    assert not state.exists()


def test_a_port_that_is_taken_is_said(tmp_path: Path, start: Start) -> None:
    witness = start("witness.example/a", [VKEY])
    command = [sys.executable, "-m", "affidavit.api.cli", "witness", "serve", "--state", str(tmp_path / "b.db")]
    command += ["--key", str(tmp_path / "witness.example_a.key"), "--listen", witness.url.removeprefix("http://")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nothing can be served there" in done.stderr


def test_a_policy_names_the_logs_and_their_ranges(tmp_path: Path, start: Start) -> None:
    log = SmallLog()
    policy = tmp_path / "policy"
    policy.write_text(f"log {VKEY}\n#affidavit-range {VKEY} 0 3\nquorum none\n")
    witness = start("witness.example/a", [], options=["--policy", str(policy)])
    assert witness.add(log.body(0, 3)).status_code == 200
    assert witness.add(log.body(3, 4)).status_code == 403


def test_a_witness_that_knows_no_log_says_so(start: Start) -> None:
    witness = start("witness.example/a", [])
    assert any("every checkpoint is answered 404" in line for line in witness.said)
    assert witness.add(SmallLog().body(0, 1)).status_code == 404
