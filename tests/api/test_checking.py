"""``check``: a file tells by its content what it is, and gets the verdict that it deserves."""

from __future__ import annotations

import json
import random
import runpy
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from affidavit.api.checking import NOT_CHECKED, Checked, carried_evidence, check
from affidavit.api.cli.menu import app
from affidavit.api.pack.collect import collect_evidence, select_run
from affidavit.api.pack.render import render_page
from affidavit.api.reading import open_for_reading
from affidavit.api.settings import recorder_name
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.fork import ForkEvidence, print_fork
from affidavit.ledger.audit.head import Outside
from affidavit.ledger.continuing import continue_ledger
from affidavit.ledger.entries.review import Statement, Subject, sign_statement
from affidavit.ledger.errors import Malformed, Unavailable
from affidavit.ledger.events import ClockSteppedBack
from affidavit.ledger.evidence.evidence import Evidence, parse_evidence, print_evidence
from affidavit.ledger.publishing.tlog_directory import export_log
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.note import ED25519, VerifierKey, print_vkey
from affidavit.ledger.tlog.private_key import make_private_key
from affidavit.ledger.tlog.receipt import Receipt, print_receipt
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
MAKER = runpy.run_path(str(VECTORS / "make_evidence.py"))
STRANGER: VerifierKey = MAKER["STRANGER"]


def check_bytes(
    folder: Path, data: bytes, keys: Sequence[VerifierKey] = (), *, here: Sequence[VerifierKey] = (), **outside: Any
) -> Checked:
    path = folder / "handed over"
    path.write_bytes(data)
    return check(path, Outside(tuple(keys), **outside), None, lambda origin: here)


@pytest.fixture
def signed(ledger: Ledger) -> Ledger:
    for pos, (event, meta) in enumerate(runpy.run_path(str(VECTORS / "make_vectors.py"))["_events"]()):
        ledger.record(NewEvent("run/043", pos, event, meta))
    ledger.sign()
    return ledger


@pytest.fixture
def evidence(signed: Ledger, tmp_path: Path) -> Evidence:
    with open_for_reading(signed.place, tmp_path / "keys") as opened:
        chosen = select_run(opened, "043", calls=False, content=True)
        return collect_evidence(opened, chosen, recorder_name(), "2026-11-22T10:00:00.000000Z", None)


def receipt_of(ledger: Ledger, seq: int, *, extra: bool = True) -> bytes:
    receipt = ledger.receipt(seq)
    with ledger.recorder.reading() as reader:
        (row,) = reader.entries(seq, seq + 1)
    return print_receipt(Receipt(seq, receipt.path, receipt.checkpoint_note, row.raw if extra else None))


def test_a_pack_is_rendered_again_and_compared(evidence: Evidence, signed: Ledger, tmp_path: Path) -> None:
    page = render_page(evidence).encode()
    checked = check_bytes(tmp_path, page, [signed.verifier_key()])
    assert (checked.kind, checked.verdict.verdict) == ("pack", "ok")
    assert {"page", "key_pinned", "sealed"} <= set(checked.verdict.checked)
    assert set(checked.verdict.not_checked) <= set(NOT_CHECKED)


def test_every_changed_byte_of_a_pack_is_found(evidence: Evidence, tmp_path: Path) -> None:
    page = render_page(evidence).encode()
    for at in random.Random(3).sample(range(len(page)), 60):
        changed = bytearray(page)
        changed[at] ^= 1
        try:
            assert check_bytes(tmp_path, bytes(changed)).verdict.verdict == "damaged", at
        except Malformed:
            assert at < 2  # then it is no page any more


def test_a_page_of_another_version_is_not_said_to_be_wrong(evidence: Evidence, tmp_path: Path) -> None:
    page = render_page(evidence).replace(recorder_name(), "affidavit/9.9.9")
    text = carried_evidence(page)
    other = render_page(parse_evidence(text))
    spaced = other.replace("<body>", "<body >", 1)  # a browser, and the digest, take it for the same
    assert spaced != other
    checked = check_bytes(tmp_path, spaced.encode())
    assert checked.verdict.verdict == "not_proven"  # whoever changed the page could have said so, too
    assert "it was made by affidavit/9.9.9" in checked.verdict.not_checked["page"]
    same_version = render_page(evidence).replace("<body>", "<body >", 1)
    assert [found.kind for found in check_bytes(tmp_path, same_version.encode()).verdict.damage] == ["page_changed"]


def test_evidence_alone(evidence: Evidence, tmp_path: Path) -> None:
    data = print_evidence(evidence)
    assert check_bytes(tmp_path, data).verdict.verdict == "ok"
    assert check_bytes(tmp_path, data + b"\n").kind == "evidence"
    assert check_bytes(tmp_path, data, [STRANGER]).verdict.verdict == "not_proven"
    assert check_bytes(tmp_path, data.replace(b"812", b"813")).verdict.verdict == "damaged"
    assert check_bytes(tmp_path, b'{"format":1}').verdict.damage[0].kind == "malformed"


def test_evidence_stands_in_a_page_as_it_was(tmp_path: Path) -> None:
    good = parse_evidence(json.loads((VECTORS / "evidence_corpus.json").read_text())["bases"]["run"].encode())
    text = print_evidence(replace(good, recorder="</script> \\ \\u003c \\\\<")).decode()
    page = f'<p><script type="application/json" id="evidence">{text.replace("<", chr(92) + "u003c")}</script>'
    assert carried_evidence(page) == text.encode()
    for wrong in ("<p>", page + page):
        with pytest.raises(Malformed, match="expected evidence in it once"):
            carried_evidence(wrong)
        assert check_bytes(tmp_path, wrong.encode()).verdict.damage[0].kind == "malformed"


def test_a_receipt(signed: Ledger, tmp_path: Path) -> None:
    data, key = receipt_of(signed, 2), signed.verifier_key()
    checked = check_bytes(tmp_path, data, [key])
    assert (checked.kind, checked.verdict.verdict, checked.verdict.signed_size) == ("receipt", "ok", 6)
    assert check_bytes(tmp_path, data, here=[key]).verdict.not_checked["key_pinned"].endswith("that is here")
    assert check_bytes(tmp_path, data).verdict.verdict == "not_proven"
    assert check_bytes(tmp_path, data, [STRANGER]).verdict.verdict == "not_proven"
    for at in random.Random(4).sample(range(len(data)), 80):
        changed = bytearray(data)
        changed[at] ^= 1
        try:
            assert check_bytes(tmp_path, bytes(changed), [key]).verdict.verdict in ("damaged", "not_proven"), at
        except Malformed:
            assert at < len("c2sp.org/tlog-proof@")


def test_a_receipt_without_its_entry_wants_it(signed: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "2.tlog-proof"
    path.write_bytes(receipt_of(signed, 2, extra=False))
    outside = Outside((signed.verifier_key(),))
    with pytest.raises(Unavailable, match="--entry"):
        check(path, outside, None, lambda origin: ())
    with signed.recorder.reading() as reader:
        rows = list(reader.entries(2, 4))
    assert check(path, outside, rows[0].raw, lambda origin: ()).verdict.verdict == "ok"
    assert check(path, outside, rows[1].raw, lambda origin: ()).verdict.verdict == "damaged"


def test_a_receipt_is_compared_with_a_checkpoint_that_was_kept(signed: Ledger, tmp_path: Path) -> None:
    with signed.recorder.reading() as reader:
        notes = dict(reader.checkpoints())
    key = [signed.verifier_key()]
    assert check_bytes(tmp_path, receipt_of(signed, 2), key, pinned=(notes[6],)).verdict.verdict == "ok"
    assert check_bytes(tmp_path, receipt_of(signed, 2), key, pinned=(notes[1],)).verdict.verdict == "not_proven"


def test_a_checkpoint_alone(signed: Ledger, tmp_path: Path) -> None:
    with signed.recorder.reading() as reader:
        note = reader.checkpoints()[-1][1]
    checked = check_bytes(tmp_path, note, [signed.verifier_key()])
    assert (checked.kind, checked.verdict.verdict) == ("checkpoint", "ok")
    other = note.replace(b"\n6\n", b"\n7\n")
    assert check_bytes(tmp_path, other, [signed.verifier_key()]).verdict.damage[0].kind == "checkpoint_invalid"


def test_fork_evidence(tmp_path: Path) -> None:
    log = MAKER["run_log"]()
    data = print_fork(ForkEvidence(log.sign(6, "old"), MAKER["_forked"](6, "old")))
    checked = check_bytes(tmp_path, data, [MAKER["OLD"]])
    assert (checked.kind, checked.verdict.verdict, checked.verdict.exit_code) == ("fork", "fork", 4)
    assert check_bytes(tmp_path, data).verdict.verdict == "not_proven"
    same = print_fork(ForkEvidence(log.sign(6, "old"), log.sign(6, "old")))
    assert check_bytes(tmp_path, same, [MAKER["OLD"]]).verdict.damage[0].kind == "proof_invalid"
    assert check_bytes(tmp_path, data[:-9], [MAKER["OLD"]]).verdict.damage[0].kind == "malformed"


def test_a_statement_of_a_reviewer(tmp_path: Path) -> None:
    key = make_private_key("ada+review".replace("+", "-"), ED25519, lambda count: bytes(range(count)))
    statement = Statement("example.org/x", Subject(run="043"), 6, bytes(32), "approve", "2026-11-22T10:00:00Z", "Good.")
    note = sign_statement(statement, key)
    checked = check_bytes(tmp_path, note, [key.verifier_key])
    assert (checked.kind, checked.verdict.verdict) == ("review", "ok")
    assert "says     approve: Good." in checked.told
    assert check_bytes(tmp_path, note).verdict.verdict == "not_proven"
    changed = note.replace(b"approve", b"reject")
    assert check_bytes(tmp_path, changed, [key.verifier_key]).verdict.verdict == "damaged"


def test_an_exported_log(signed: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    with signed.recorder.reading() as reader:
        export_log(reader, folder)
        first = reader.checkpoints()[0][1]

    def verdict(*keys: VerifierKey, pinned: tuple[bytes, ...] = ()) -> Any:
        return check(folder, Outside(keys, pinned=pinned), None, lambda origin: ()).verdict

    found = verdict(signed.verifier_key(), pinned=(first,))
    assert (found.verdict, found.damage) == ("ok", [])
    assert {"tiles", "key_pinned", "pinned", "chain"} <= set(found.checked)
    assert verdict().not_checked["key_pinned"]
    assert verdict(STRANGER).verdict == "not_proven"
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()]:
        good = path.read_bytes()
        for changed in (good[:-1], good.replace(b"812", b"813") if b"812" in good else b"\0" + good[1:]):
            path.write_bytes(changed)
            assert verdict(signed.verifier_key()).verdict == "damaged", path
        path.write_bytes(good)
    assert verdict(signed.verifier_key()).verdict == "ok"


def test_an_export_whose_key_changed_since_the_pinned_checkpoint_is_not_proven(signed: Ledger, tmp_path: Path) -> None:
    """It holds the newest checkpoint alone: anybody could have written the entry that names the new key."""
    with signed.recorder.reading() as reader:
        pinned = reader.checkpoints()[-1][1]
    signed.rotate_key(overlap=0)
    signed.record(NewEvent("filler", 0, ClockSteppedBack(behind=1.0), Meta()))
    signed.sign()
    with signed.recorder.reading() as reader:
        export_log(reader, tmp_path / "exported")

    def verdict(*keys: VerifierKey) -> Any:
        return check(tmp_path / "exported", Outside(keys, pinned=(pinned,)), None, lambda origin: ()).verdict

    alone = verdict()
    assert (alone.verdict, [found.kind for found in alone.damage]) == ("not_proven", ["unknown_key"])
    assert verdict(signed.verifier_key()).verdict == "ok"


def test_a_checkpoint_of_an_earlier_origin_gets_one_answer_from_all_that_is_handed_over(
    signed: Ledger, tmp_path: Path
) -> None:
    with signed.recorder.reading() as reader:
        early = reader.checkpoints()[-1][1]
    signed.close()
    shutil.copyfile(folder_of(signed) / "ledger.db", tmp_path / "backup.db")
    keys = tmp_path / "keys"
    with Ledger(signed.place, keys, REGISTRY, edge=signed._edge, sign_in_background=False) as again:
        again.record(NewEvent("filler", 0, ClockSteppedBack(behind=1.0), Meta()))
        again.record(NewEvent("filler", 1, ClockSteppedBack(behind=1.0), Meta()))
        again.sign()
        with again.recorder.reading() as reader:
            late = reader.checkpoints()[-1][1]
    shutil.copyfile(tmp_path / "backup.db", folder_of(signed) / "ledger.db")
    continue_ledger(signed.place, keys, REGISTRY, name="again", reason="restored", edge=signed._edge)
    with Ledger(signed.place, keys, REGISTRY, edge=signed._edge, sign_in_background=False) as ledger:
        with ledger.recorder.reading() as reader:
            export_log(reader, tmp_path / "exported")
        vkey = ledger.verifier_key()
    with open_for_reading(signed.place, keys) as opened:
        chosen = select_run(opened, "043", calls=False, content=True)
        packed = collect_evidence(opened, chosen, recorder_name(), "2026-11-22T10:00:00.000000Z", None)
    (tmp_path / "evidence").write_bytes(print_evidence(packed))

    def told(name: str, pinned: bytes, *own: VerifierKey) -> tuple[str, list[str]]:
        verdict = check(tmp_path / name, Outside(own, pinned=(pinned,)), None, lambda origin: ()).verdict
        return verdict.verdict, [found.kind for found in verdict.damage]

    assert told("exported", early) == ("not_proven", ["wrong_ledger"])
    assert told("exported", early, vkey) == ("ok", [])
    for name in ("exported", "evidence"):
        assert told(name, late) == told(name, late, vkey) == ("rollback", ["rollback"])


def test_a_pinned_checkpoint_of_another_log_is_not_met(evidence: Evidence, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    note = sign_checkpoint(Checkpoint("another.example/log/0123456789abcdef", 3, bytes(32)), key)
    verdict = check_bytes(tmp_path, print_evidence(evidence), pinned=(note,)).verdict
    assert [(found.kind, found.unmet) for found in verdict.damage] == [("wrong_ledger", True)]
    assert verdict.verdict == "not_proven"


def test_what_is_none_of_these_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="expected a pack"):
        check_bytes(tmp_path, b"hello")
    with pytest.raises(Unavailable):
        check(tmp_path / "missing", Outside(), None, lambda origin: ())


def test_the_command(evidence: Evidence, signed: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack.html").write_text(render_page(evidence), encoding="utf-8")
    (tmp_path / "kept").write_bytes(evidence.checkpoint.encode())
    (tmp_path / "policy").write_text(f"log {print_vkey(signed.verifier_key())}\nquorum none\n")
    runner = CliRunner()
    done = runner.invoke(app, ["check", "pack.html", "--policy", "policy", "--pinned", "kept", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    assert (document["kind"], document["verdict"], document["damage"]) == ("pack", "ok", [])
    assert {"key_pinned", "pinned", "page"} <= set(document["checked"])
    assert document["gaps"] == []
    told = runner.invoke(app, ["check", "pack.html", "--vkey", print_vkey(STRANGER)])
    assert told.exit_code == 3
    assert "not met: wrong_ledger" in told.output
    (tmp_path / "receipt").write_bytes(receipt_of(signed, 2))
    assert runner.invoke(app, ["check", "receipt"]).exit_code == 3
    assert runner.invoke(app, ["--ledger", str(folder_of(signed)), "check", "receipt"]).exit_code == 0
    (tmp_path / "cut.html").write_text(render_page(evidence)[:-40], encoding="utf-8")
    assert runner.invoke(app, ["check", "cut.html"]).exit_code == 1
