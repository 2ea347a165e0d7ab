"""docs/verify.py, which shares no code with the package, decides as the package does."""

from __future__ import annotations

import ast
import json
import random
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from affidavit.api.pack.collect import collect_evidence, select_run
from affidavit.api.pack.page_digest import page_digest
from affidavit.api.pack.render import render_page
from affidavit.api.reading import open_for_reading
from affidavit.domain.event import NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.errors import LedgerError
from affidavit.ledger.publishing.tlog_directory import export_log
from affidavit.ledger.tlog.hashing import EMPTY_ROOT, leaf_hash
from affidavit.ledger.tlog.multiproof import prove_leaves
from affidavit.ledger.tlog.note import encode_base64, print_vkey
from affidavit.ledger.tlog.receipt import Receipt, print_receipt
from affidavit.ledger.tlog.tree import prove_consistency, prove_inclusion
from affidavit.tests.trees import root_of

ROOT = Path(__file__).resolve().parents[1]
VERIFIER = ROOT / "docs" / "verify.py"
VECTORS = ROOT / "tests" / "vectors"
ENTRIES: dict[str, list[dict[str, Any]]] = json.loads((VECTORS / "entry_corpus.json").read_text())
EVIDENCE: dict[str, Any] = json.loads((VECTORS / "evidence_corpus.json").read_text())
EVIDENCE_MAKER = runpy.run_path(str(VECTORS / "make_evidence.py"))
SECOND = runpy.run_path(str(VERIFIER))
LEAVES = [leaf_hash(str(number).encode()) for number in range(70)]
ALLOWED = {"argparse", "base64", "datetime", "hashlib", "html.parser", "json", "pathlib", "re", "sys"}


def decides(check: Callable[..., object], *arguments: object) -> str:
    try:
        check(*arguments)
    except Exception:
        return "reject"
    return "accept"


def raw(row: dict[str, Any]) -> bytes:
    return bytes.fromhex(row["hex"]) if "hex" in row else row["text"].encode()


def b64(hashes: list[bytes]) -> list[str]:
    return [encode_base64(each) for each in hashes]


def node(level: int, index: int) -> bytes:
    return root_of(LEAVES[index << level : (index + 1) << level])


class Given:
    """What a reader brings."""

    def __init__(self, vkeys: list[str], pinned: list[str]) -> None:
        self.vkey = [SECOND["parse_vkey"](vkey) for vkey in vkeys]
        self.pinned = [SECOND["parse_note"](note) for note in pinned]


def run(path: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(path), *options], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_it_is_one_short_file_of_the_standard_library() -> None:
    source = VERIFIER.read_text(encoding="utf-8")
    assert source.count("\n") < 400
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {alias.name for each in ast.walk(tree) if isinstance(each, ast.Import) for alias in each.names}
    imported |= {str(each.module) for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    assert imported <= ALLOWED


@pytest.mark.parametrize("row", ENTRIES["grammar"], ids=lambda row: row["name"])
def test_a_value_is_decided_as_the_corpus_says(row: dict[str, Any]) -> None:
    assert decides(SECOND["parse_json"], raw(row)) == row["verdict"]


@pytest.mark.parametrize("row", ENTRIES["entry"], ids=lambda row: row["name"])
def test_an_entry_is_decided_as_the_corpus_says(row: dict[str, Any]) -> None:
    assert decides(SECOND["parse_entry"], raw(row)) == row["verdict"]


@pytest.mark.parametrize("row", EVIDENCE["rows"], ids=lambda row: row["name"])
def test_evidence_is_decided_as_the_corpus_says(row: dict[str, Any]) -> None:
    text = EVIDENCE["bases"][row["base"]]
    for old, new in row["edits"]:
        text = text.replace(old, new)
    assert decides(SECOND["check_evidence"], text.encode(), Given([], [])) == row["verdict"]


@pytest.mark.parametrize("row", EVIDENCE["outside"], ids=lambda row: row["name"])
def test_what_a_reader_brings_decides(row: dict[str, Any]) -> None:
    text = EVIDENCE["bases"][row["base"]]
    found = decides(SECOND["check_evidence"], text.encode(), Given(row["vkeys"], row["pinned"]))
    assert found == ("accept" if row["verdict"] == "ok" else "reject")


@given(st.integers(1, 70), st.data())
def test_it_takes_the_proofs_of_the_package_and_no_others(size: int, data: st.DataObject) -> None:
    root = root_of(LEAVES[:size])
    wanted = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    known = {(index, 1): LEAVES[index] for index in wanted}
    subtrees = SECOND["left_out"](wanted, 0, size)
    SECOND["check_roots"](known, subtrees, b64(prove_leaves(wanted, size, node)), [(size, root)])
    path = b64(prove_inclusion(wanted[0], size, node))
    siblings = SECOND["siblings"](wanted[0], size)
    SECOND["check_roots"]({(wanted[0], 1): LEAVES[wanted[0]]}, siblings, path, [(size, root)])
    old = data.draw(st.integers(0, size))
    before = root_of(LEAVES[:old]) if old else EMPTY_ROOT
    proof = b64(prove_consistency(old, size, node))
    SECOND["check_consistency"](old, size, proof, before, root)
    for wrong in ([*proof, path[0]] if path else ["?"], proof[1:] if proof else ["?"], proof[::-1]):
        if wrong != proof:
            assert decides(SECOND["check_consistency"], old, size, wrong, before, root) == "reject"
    assert decides(SECOND["check_consistency"], old, size, proof, LEAVES[69], root) == "reject" or old == 70


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.integers(0, 63), st.integers(0, 255))
@settings(max_examples=40)
def test_it_decides_signatures_as_the_package_does(seed: bytes, message: bytes, at: int, change: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    signature = bytearray(key.sign(message))
    signature[at] ^= change
    public = key.public_key().public_bytes_raw()
    assert SECOND["is_signed"](public, bytes(signature), message) == (change == 0)


def test_it_decides_edge_signatures_as_the_package_does(vectors: Path) -> None:
    cases = json.loads((vectors / "ed25519_cctv.json").read_text())
    rows = cases if isinstance(cases, list) else next(value for value in cases.values() if isinstance(value, list))
    assert len(rows) > 500
    for row in random.Random(1).sample(rows, 150):
        key, signature, message = bytes.fromhex(row["key"]), bytes.fromhex(row["sig"]), row["msg"].encode()
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
            expected = True
        except (InvalidSignature, ValueError):
            expected = False
        assert SECOND["is_signed"](key, signature, message) == expected, row


@pytest.fixture
def signed(ledger: Ledger) -> Ledger:
    """Three hundred entries, so that a tile of entries is full."""
    maker = runpy.run_path(str(VECTORS / "make_vectors.py"))
    for pos, (event, meta) in enumerate(maker["_events"]()):
        ledger.record(NewEvent("run/043", pos, event, meta))
    start, meta = next(maker["_events"]())
    for number in range(300):
        other = start.model_copy(update={"run": f"{number}", "directory": f"{number}"})
        ledger.record(NewEvent(f"run/x{number}", 0, other, meta))
    ledger.sign()
    return ledger


def test_a_receipt_and_every_changed_byte_of_it(signed: Ledger, tmp_path: Path) -> None:
    receipt = signed.receipt(2)
    with signed.recorder.reading() as reader:
        (row,) = reader.entries(2, 3)
    data = print_receipt(Receipt(receipt.index, receipt.path, receipt.checkpoint_note, row.raw))
    path = tmp_path / "2.tlog-proof"
    path.write_bytes(data)
    vkey = print_vkey(signed.verifier_key())
    code, printed = run(path, "--vkey", vkey)
    assert (code, printed.splitlines()[0]) == (0, "OK: all that was checked holds")
    other = print_vkey(EVIDENCE_MAKER["STRANGER"])
    assert run(path, "--vkey", other, "--vkey", vkey)[0] == 0
    (tmp_path / "kept").write_bytes(receipt.checkpoint_note)
    for options in ([], ["--pinned", str(tmp_path / "kept")]):
        code, printed = run(path, *options)
        assert (code, printed.splitlines()[0]) == (1, "NOT PROVEN: a receipt does not name its key: --vkey")
    assert run(path, "--vkey", other)[1].startswith("NOT PROVEN: ")
    assert decides(SECOND["check_receipt"], data, Given([vkey], [])) == "accept"
    for at in random.Random(2).sample(range(len(data)), 150):
        changed = bytearray(data)
        changed[at] ^= 1
        assert decides(SECOND["check_receipt"], bytes(changed), Given([vkey], [])) == "reject", at


def test_an_exported_log_and_what_was_changed_in_it(signed: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    with signed.recorder.reading() as reader:
        export_log(reader, folder)
        pinned = reader.checkpoints()[0][1]
    (tmp_path / "kept").write_bytes(pinned)
    vkey = print_vkey(signed.verifier_key())
    code, printed = run(folder, "--vkey", vkey, "--pinned", str(tmp_path / "kept"))
    assert (code, printed.splitlines()[0]) == (0, "OK: all that was checked holds")
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()]:
        good = path.read_bytes()
        changed = bytearray(good)
        changed[len(good) // 2] ^= 1
        path.write_bytes(changed)
        assert decides(SECOND["check_export"], folder, Given([vkey], [])) == "reject", path
        path.write_bytes(good[:-1])
        assert decides(SECOND["check_export"], folder, Given([vkey], [])) == "reject", path
        path.write_bytes(good)
    assert decides(SECOND["check_export"], folder, Given([vkey], [])) == "accept"
    for path in sorted((folder / "tile" / "entries").rglob("*")):
        if path.is_file():
            good = path.read_bytes()
            path.write_bytes(good + b"\0\5hello")
            assert decides(SECOND["check_export"], folder, Given([vkey], [])) == "reject", path
            path.write_bytes(good)


def test_a_pack_and_what_was_changed_in_it(signed: Ledger, tmp_path: Path) -> None:
    with open_for_reading(signed.place, tmp_path / "keys") as opened:
        chosen = select_run(opened, "043", calls=False, content=True)
        evidence = collect_evidence(opened, chosen, "affidavit/test", "2026-11-22T10:00:00.000000Z", None)
    page = render_page(evidence)
    path = tmp_path / "pack.html"
    path.write_text(page, encoding="utf-8")
    code, printed = run(path, "--vkey", print_vkey(signed.verifier_key()))
    assert (code, printed.splitlines()[0]) == (0, "OK: all that was checked holds"), printed
    assert "not checked  page: it agrees with the digest that the file states" in printed
    path.write_text(page.replace("Not checked by this page", "Checked by this page", 1), encoding="utf-8")
    assert run(path)[0] == 1
    raw = page.replace("\\u003c", "<", 1)
    assert raw != page
    path.write_text(raw, encoding="utf-8")
    assert run(path)[0] == 1
    shown = page.index("<main")
    for old, new in [("Answer with yes", "Answer with Yes"), ("0.8125", "0.9125"), ("</main>", "<p>More.</p></main>")]:
        assert page.count(old, shown)
        path.write_text(page[:shown] + page[shown:].replace(old, new, 1), encoding="utf-8")
        assert run(path)[0] == 1, old


def test_it_takes_the_digest_of_a_page_as_the_package_does() -> None:
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>a &amp; b</title></head><body>'
        "<!-- c --><pre>\n\nfirst</pre><p title='x \"y\"' hidden>1 &lt; 2<br>x</p> \n"
        '<div id="answer"><b>left out</b></div><script type="application/json" id="evidence">{"a":"<\\/b>"}</script>'
        "<script>if (1 < 2) { a = '</p>'; }</script></body></html>"
    )
    second = SECOND["Page"]()
    second.found = [""]
    second.feed(page)
    second.close()
    second.piece()
    printed = json.dumps(second.found[1:], ensure_ascii=False, separators=(",", ":"))
    assert SECOND["sha256"](printed.encode()).hex() == page_digest(page)


@pytest.mark.parametrize("row", EVIDENCE["reviews"], ids=lambda row: row["name"])
def test_reviews_are_not_said_to_be_checked(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(EVIDENCE["bases"][row["base"]], encoding="utf-8")
    code, printed = run(path)
    assert (code, "  not checked  reviews: 1 statements; affidavit check does\n" in printed) == (0, True)


def test_what_is_missing_in_evidence_is_named(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(EVIDENCE["bases"]["run"], encoding="utf-8")
    _, printed = run(path)
    for said in (
        "gaps: entries 3-3 of the range",
        "gaps: positions 1-1 of run/043",
        "after: entries 8-11 of the log are not here; what happened later is not told",
        "sealed: 2 fields",
        "events: what anchors and summaries say; affidavit check does",
    ):
        assert f"  not checked  {said}\n" in printed


def test_nothing_in_a_file_reaches_the_terminal_but_as_one_line(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    base = EVIDENCE["bases"]["run"]
    vkey = json.loads(base)["vkey"]
    for hostile in ("\\u001b[2K", "\\nOK: all", "\u009b31m", "\u202e"):
        path.write_text(base.replace(f'"vkey":"{vkey}', f'"vkey":"{hostile}{vkey}', 1), encoding="utf-8")
        code, printed = run(path)
        assert code == 1
        assert all(" " <= character <= "~" for line in printed.split("\n") for character in line)
        assert all(line.startswith(("WRONG: ", "  ")) for line in printed.split("\n")[:-1])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=60)
def test_both_decide_alike_whatever_stands_in_an_entry(data: st.DataObject) -> None:
    value = json.loads(ENTRIES["entry"][0]["text"])
    key = data.draw(st.sampled_from(sorted(value)))
    if isinstance(value[key], dict) and data.draw(st.booleans()):
        value[key][data.draw(st.sampled_from(["actor", "cause", "scope", "x"]))] = data.draw(JSON)
    else:
        value[key] = data.draw(JSON)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    try:
        parse_entry(text)
        expected = "accept"
    except LedgerError:
        expected = "reject"
    assert decides(SECOND["parse_entry"], text) == expected


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 100_000, b'{"format":' + b"[" * 100_000, b"<html>", b"\xff\xfe", b"c2sp.org/tlog-proof@v1\n", b"{}"],
    ids=["nothing", "deep", "deep object", "no evidence", "no text", "a cut receipt", "an empty object"],
)
def test_whatever_lies_in_a_file_a_reader_gets_an_answer(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    code, printed = run(path)
    assert (code, printed[:6]) == (1, "WRONG:")
    assert run(tmp_path)[0] == 1
    assert run(tmp_path / "missing")[0] == 1
