"""Evidence: one spelling of a document, and a verdict on every way in which it can be wrong."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affidavit.domain.optimization.events import PromptEvaluated, Sample
from affidavit.ledger.audit.fork import parse_fork, print_fork, verify_fork
from affidavit.ledger.entries.entry import format_at
from affidavit.ledger.errors import Malformed, UnsupportedFormat
from affidavit.ledger.events import AnchorRecorded
from affidavit.ledger.evidence.check import EvidenceVerdict, verify_evidence
from affidavit.ledger.evidence.evidence import (
    Evidence,
    decode_base64url,
    encode_base64url,
    parse_evidence,
    print_evidence,
)
from affidavit.ledger.tlog.cosignature import add_signatures, cosign
from affidavit.ledger.tlog.note import ED25519_COSIGNATURE, parse_vkey, print_vkey
from affidavit.ledger.tlog.policy import parse_policy
from affidavit.ledger.tlog.private_key import make_private_key
from affidavit.ledger.tlog.timestamp import imprint, read_token
from affidavit.projections.registry import REGISTRY
from affidavit.tests.authority import Authority

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
CORPUS: dict[str, Any] = json.loads((VECTORS / "evidence_corpus.json").read_text(encoding="utf-8"))
MAKER = runpy.run_path(str(VECTORS / "make_evidence.py"))
RUN = CORPUS["bases"]["run"]

Row = dict[str, Any]


def document(row: Row) -> bytes:
    text: str = CORPUS["bases"][row["base"]]
    for old, new in row.get("edits", []):
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text.encode()


def verdict_of(data: bytes, **outside: Any) -> EvidenceVerdict:
    return verify_evidence(parse_evidence(data), registry=REGISTRY, **outside)


def run_evidence() -> Evidence:
    return parse_evidence(RUN.encode())


def test_the_committed_corpus_is_what_the_script_makes() -> None:
    assert (VECTORS / "evidence_corpus.json").read_text(encoding="utf-8") == MAKER["make"]()


@pytest.mark.parametrize("row", CORPUS["rows"], ids=lambda row: row["name"])
def test_a_document_is_decided_as_the_corpus_says(row: Row) -> None:
    data = document(row)
    if row["verdict"] == "accept":
        assert print_evidence(parse_evidence(data)) == data
        verdict = verdict_of(data)
        assert (verdict.verdict, verdict.damage) == ("ok", [])
        return
    try:
        verdict = verdict_of(data)
    except Malformed:
        assert row["kind"] == "malformed"
    except UnsupportedFormat:
        assert row["kind"] == "unsupported"
    else:
        assert verdict.verdict == "damaged"
        assert row["kind"] in [damage.kind for damage in verdict.damage]


@pytest.mark.parametrize("row", CORPUS["outside"], ids=lambda row: row["name"])
def test_what_a_reader_brings_decides(row: Row) -> None:
    keys = [parse_vkey(vkey) for vkey in row["vkeys"]]
    pinned = [note.encode() for note in row["pinned"]]
    verdict = verdict_of(document(row), log_keys=keys, pinned=pinned)
    assert verdict.verdict == row["verdict"]
    assert ("key_pinned" in verdict.checked) == bool(keys and verdict.verdict == "ok")
    assert ("pinned" in verdict.checked) == bool(pinned and verdict.verdict == "ok")


def test_a_verdict_says_what_is_left_out_closed_and_erased() -> None:
    verdict = verdict_of(RUN.encode())
    assert verdict.gaps == [(3, 4)]
    assert verdict.not_checked["gaps"] == "not in this file: positions 1 to 1 of stream run/043, entries 3 to 3"
    assert verdict.erased_fields == {2: ["system_prompt", "config"]}
    assert (verdict.erased, verdict.closed, verdict.disclosed) == (2, {}, 2)
    assert [(each.key.name, each.time) for each in verdict.cosignatures] == [("witness.example/w1", 1_795_341_700)]
    assert set(verdict.not_checked) == {"gaps", "after", "key_pinned", "fork", "rollback", "time"}


def test_without_the_erasure_what_is_closed_is_not_said_to_be_erased() -> None:
    log = MAKER["run_log"]()
    seqs = [seq for seq in MAKER["CARRIED"] if seq != 5]  # the request, without which the execution counts for nothing
    shown = log.evidence(seqs, (1, 6), log.sign(12, "new"), MAKER["NEW"], hidden=[2])
    verdict = verify_evidence(shown)
    assert verdict.erased == 0
    assert verdict.closed == {2: ["system_prompt", "config"]}
    assert verdict.not_checked["sealed"] == "2 sealed fields are not shown in this file"


def test_opened_texts_come_back_whole() -> None:
    (item,) = (each for each in run_evidence().entries if each.seq == 1)
    assert item.opened()["system_prompt"] == MAKER["EVIL"]


def test_a_fork_that_a_pinned_checkpoint_shows_convinces_a_third_party() -> None:
    forked = [row for row in CORPUS["outside"] if row["verdict"] == "fork"]
    assert len(forked) == 2
    for row in forked:
        verdict = verdict_of(document(row), pinned=[note.encode() for note in row["pinned"]])
        assert verdict.fork is not None
        older, newer = verify_fork(parse_fork(print_fork(verdict.fork)), lambda _: [MAKER["OLD"], MAKER["NEW"]])
        assert older.size <= newer.size


def test_a_summary_that_differs_from_its_detail_is_damage() -> None:
    log = MAKER["plain_log"](2)
    samples = (Sample(id="s1", input="q", response="a", score=0.25),)
    wrong = PromptEvaluated.model_construct(
        evaluation=0, prompt=0, purpose="train", score=1.0, n=1, failed=0, detail_mean=1.0, samples=samples
    )
    log.append("run/001", wrong)
    evidence = MAKER["plain_evidence"](log, range(3), (0, 3))
    assert [damage.kind for damage in verify_evidence(evidence, registry=REGISTRY).damage] == ["summary_mismatch"]
    assert verify_evidence(evidence).damage == []


def test_a_policy_of_the_reader_decides_over_the_one_in_the_file() -> None:
    key = print_vkey(MAKER["NEW"])
    witness = print_vkey(MAKER["WITNESS"].verifier_key)
    met = parse_policy(f"log {key}\nwitness w1 {witness}\nquorum w1\n")
    verdict = verdict_of(RUN.encode(), policy=met)
    assert verdict.verdict == "ok"
    assert {"witnesses", "key_pinned"} <= set(verdict.checked)
    assert "fork" not in verdict.not_checked

    another = make_private_key("witness.example/w2", ED25519_COSIGNATURE, lambda count: bytes(range(count)))
    both = parse_policy(
        f"log {key}\nwitness w1 {witness}\nwitness w2 {print_vkey(another.verifier_key)}\n"
        "group both all w1 w2\nquorum both\n"
    )
    verdict = verdict_of(RUN.encode(), policy=both)
    assert (verdict.verdict, [damage.kind for damage in verdict.damage]) == ("not_proven", ["quorum_not_met"])
    log = MAKER["run_log"]()
    note = add_signatures(run_evidence().checkpoint.encode(), [cosign(log.checkpoint(12), another, 1_795_341_800)])
    assert verify_evidence(replace(run_evidence(), checkpoint=note.decode()), policy=both).verdict == "ok"

    nobody = verdict_of(RUN.encode(), policy=parse_policy(f"log {key}\nquorum none\n"))
    assert nobody.verdict == "ok"
    assert "fork not excluded" in nobody.not_checked["fork"]


def test_a_policy_narrows_its_keys() -> None:
    key = print_vkey(MAKER["NEW"])
    narrow = parse_policy(f"log {key}\n#affidavit-range {key} 0 11\nquorum none\n")
    assert verdict_of(RUN.encode(), policy=narrow).verdict == "not_proven"


@pytest.mark.parametrize("text", ["", "AA=", "A", "A+", "A/", "AB", "Ä", "A A="])
def test_base64url_has_one_spelling(text: str) -> None:
    if text:
        with pytest.raises(Malformed, match="base64url"):
            decode_base64url(text)
    else:
        assert encode_base64url(decode_base64url(text)) == text


def stamped(authority: Authority) -> Evidence:
    """Entries 0 and 2 of four that an authority stamped, the entry that records it, and the one after."""
    log = MAKER["plain_log"](4)
    note: bytes = log.sign(4, "old")
    token = authority.stamp(imprint(note, MAKER["OLD"]))
    time = format_at(read_token(token).timestamp.time_us)
    root = log.checkpoint(4).root.hex()
    log.append(
        "anchors",
        AnchorRecorded(size=4, root=root, token=sha256(token).hexdigest(), time=time, authority="tsa.example"),
    )
    log.append("run/later", MAKER["started"]("later", "Answer."))
    evidence: Evidence = MAKER["plain_evidence"](log, [0, 2, 4, 5], (2, 6))
    return replace(evidence, anchors=(replace(log.earlier(4, "old"), token=token),))


def test_time_tokens_bound_entries_from_both_sides() -> None:
    pytest.importorskip("rfc3161_client", reason="the extra `timestamps` is not installed")
    authority = Authority(lambda: MAKER["START"] + 3_500_000)
    evidence = stamped(authority)
    verdict = verify_evidence(evidence, tsa_roots=[authority.root_pem])
    assert (verdict.verdict, verdict.damage) == ("ok", [])
    assert "time" in verdict.checked
    assert [(each.first, each.stop) for each in verdict.bounds] == [(0, 4), (4, None)]
    assert verdict.not_checked["unanchored"] == "no token covers entries 4 to 5"

    alone = verify_evidence(evidence)
    assert alone.verdict == "ok"
    assert "is pinned" in alone.not_checked["time"]

    other = Authority(lambda: MAKER["START"])
    unpinned = verify_evidence(evidence, tsa_roots=[other.root_pem])
    assert (unpinned.verdict, unpinned.damage) == ("not_proven", [])
    assert "no chain to a pinned root" in unpinned.not_checked["time"]
    (earlier,) = evidence.anchors
    assert earlier.token is not None
    broken = replace(evidence, anchors=(replace(earlier, token=earlier.token[:-1]),))
    assert [found.kind for found in verify_evidence(broken).damage] == ["tsa_invalid"]


def test_an_entry_outside_of_its_bounds_is_damage() -> None:
    pytest.importorskip("rfc3161_client", reason="the extra `timestamps` is not installed")
    hour = 3_600_000_000
    for offset, seq in ((-hour, 0), (hour, 4)):
        authority = Authority(partial(int, MAKER["START"] + offset))
        verdict = verify_evidence(stamped(authority), tsa_roots=[authority.root_pem])
        assert [(found.kind, found.seq) for found in verdict.damage] == [("time_outside_anchor", seq)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=150)
def test_whatever_stands_in_a_document_the_answer_is_a_verdict(data: st.DataObject) -> None:
    """Any value anywhere in a good document: refused as malformed, or a verdict; nothing else is raised."""
    value = json.loads(RUN)
    at: Any = value
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(JSON)
    try:
        verdict = verdict_of(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    except (Malformed, UnsupportedFormat):
        return
    assert verdict.verdict in {"ok", "damaged"}


@given(st.integers(0, len(RUN.encode()) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_no_changed_byte_stays_unseen(at: int, change: int) -> None:
    """But for what the maker states of themselves: when, with what, about what, and under which policy."""
    raw = bytearray(RUN.encode())
    raw[at] ^= change
    try:
        changed = parse_evidence(bytes(raw))
    except (Malformed, UnsupportedFormat):
        return
    if verify_evidence(changed).verdict == "ok":
        good = run_evidence()
        assert changed.checkpoint.splitlines()[:5] == good.checkpoint.splitlines()[:5]  # a cosignature may be unknown
        assert (
            replace(
                changed,
                about=good.about,
                recorder=good.recorder,
                at=good.at,
                checkpoint=good.checkpoint,
                policy=good.policy,
                body=good.body,
            )
            == good
        )


@pytest.mark.parametrize("raw", [b"", b"[]", b"[" * 100_000, b'{"a":' * 50_000, b"\xff", b"{}", b'"x"', b"1" * 5000])
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse_evidence(raw)
