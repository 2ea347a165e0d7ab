"""``affidavit export tiles``, ``export jsonl`` and ``receipt -o``: files that need nothing else to be checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from affidavit.api.cli.export_commands import export_jsonl, export_tiles
from affidavit.api.cli.proofs_commands import print_receipt
from affidavit.domain.event import Meta, NewEvent
from affidavit.domain.optimization.events import PromptEvaluated
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.publishing.static_log import ExportedLog, check_export
from affidavit.ledger.store.reader import LedgerReader
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.note import VerifierKey
from affidavit.ledger.tlog.receipt import parse_receipt, verify_receipt
from affidavit.tests.folders import folder_of
from affidavit.tests.trees import root_of


@pytest.fixture
def key(ledger: Ledger) -> VerifierKey:
    """The key of a ledger of 21 entries, one of which is not signed, that nobody has open."""
    ledger.record(*(evaluated(n) for n in range(19)))
    key = ledger.verifier_key()
    ledger.sign()
    ledger.record(evaluated(19))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "sign", lambda _: None)
        ledger.close()
    return key


@pytest.fixture
def folder(ledger: Ledger, key: VerifierKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    return str(folder_of(ledger))


def evaluated(n: int) -> NewEvent:
    return NewEvent(
        "run/001", n, PromptEvaluated(evaluation=n, prompt=n, purpose="train", score=0.5, n=4), Meta(recorder="t\u2028")
    )


def test_tiles_are_exported_up_to_the_checkpoint(
    folder: str, key: VerifierKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_tiles(folder, tmp_path / "log", as_json=False)
    told = capsys.readouterr().out
    assert "exported 20 entries" in told
    assert "1 newer entries are not signed yet" in told

    export_tiles(folder, tmp_path / "log", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["size"], found["unsigned"], found["origin"]) == (20, 1, key.name)
    assert check_export(tmp_path / "log", [key]).size == 20


def test_each_line_has_an_entry_its_place_and_its_hash(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_jsonl(folder, tmp_path / "log.jsonl", as_json=True)
    told = json.loads(capsys.readouterr().out)

    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    raws = [line["entry"].encode() for line in lines]
    assert [line["seq"] for line in lines] == list(range(21))
    assert [line["leaf_hash"] for line in lines] == [leaf_hash(raw).hex() for raw in raws]
    assert [json.loads(raw)["seq"] for raw in raws] == list(range(21))
    assert told["size"] == 21
    export_tiles(folder, tmp_path / "log", as_json=True)
    checkpoint = ExportedLog(tmp_path / "log").checkpoint
    assert root_of(map(leaf_hash, raws[: checkpoint.size])) == checkpoint.root


def test_a_file_that_is_there_is_not_written_over(folder: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")

    for export in (export_jsonl, export_tiles):
        with pytest.raises(Unavailable, match="expected"):
            export(folder, tmp_path / "mine", as_json=False)
    with pytest.raises(Unavailable, match="No such file"):
        export_jsonl(folder, tmp_path / "nowhere" / "log.jsonl", as_json=False)
    assert (tmp_path / "mine").read_text() == "x"
    assert not list(tmp_path.glob(".*"))


def test_a_receipt_in_a_file_needs_only_the_key(
    folder: str, key: VerifierKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "entry.tlog-proof"
    path.write_text("an older one")

    print_receipt(folder, 7, path)
    print_receipt(folder, 7, None)

    assert capsys.readouterr().out.encode() == path.read_bytes()
    receipt = parse_receipt(path.read_bytes())
    assert receipt.extra is not None
    assert verify_receipt(receipt, leaf_hash(receipt.extra), [key], key.name).size == 20
    assert json.loads(receipt.extra)["seq"] == 7


def test_a_receipt_of_an_unsigned_entry_signs_it(folder: str, key: VerifierKey, tmp_path: Path) -> None:
    print_receipt(folder, 20, tmp_path / "r")

    receipt = parse_receipt((tmp_path / "r").read_bytes())
    assert receipt.extra is not None
    assert verify_receipt(receipt, leaf_hash(receipt.extra), [key], key.name).size == 21
    with pytest.raises(Unavailable, match="nowhere"):
        print_receipt(folder, 3, tmp_path / "nowhere" / "r")


def test_a_log_that_moves_while_it_is_exported_is_read_from_a_copy(
    folder: str, ledger: Ledger, key: VerifierKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an immutable snapshot gives is not believed once somebody has appended."""
    script = (
        "import sys; from affidavit.api.record import open_ledger\n"
        "with open_ledger(sys.argv[1], keys=sys.argv[2]) as ledger:\n"
        "    ledger.start_run(strategy='iterative', prompt='x', config={})\n"
    )
    raws = LedgerReader.raws
    moved: list[object] = []

    def torn(self: LedgerReader, start: int, stop: int) -> list[bytes]:
        found = raws(self, start, stop)
        if moved:
            return found
        moved.append(subprocess.run([sys.executable, "-c", script, folder, str(tmp_path / "keys")], check=True))
        return [found[0] + b" ", *found[1:]]

    monkeypatch.setattr(LedgerReader, "raws", torn)
    export_tiles(folder, tmp_path / "log", as_json=False)

    assert check_export(tmp_path / "log", [key]).size > 21
