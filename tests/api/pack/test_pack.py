"""What a pack carries, and that its page is a function of that alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from affidavit.api.pack.collect import as_published, collect_evidence, count_tail, select_run
from affidavit.api.pack.page_digest import page_digest
from affidavit.api.pack.pdf import render_pdf
from affidavit.api.pack.render import render_page
from affidavit.api.reading import open_for_reading
from affidavit.domain.errors import Refused
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.evidence.check import verify_evidence
from affidavit.ledger.evidence.evidence import Evidence, parse_evidence, print_evidence
from affidavit.tests.folders import folder_of

Collect = Callable[..., Evidence]

EVIDENCE = re.compile(r'<script type="application/json" id="evidence">(.*?)</script>', re.DOTALL)


def test_the_same_evidence_gives_the_same_page(collect: Collect) -> None:
    evidence = collect()
    again = parse_evidence(print_evidence(evidence))
    assert render_page(again) == render_page(evidence)


def test_the_page_carries_the_evidence_and_the_digest_of_itself(page: str, collect: Collect) -> None:
    (carried,) = EVIDENCE.findall(page)
    evidence = parse_evidence(carried.encode())
    assert evidence.body == page_digest(page)
    assert replace(evidence, body=None) == collect()
    assert page.count("<script") == 2


def test_the_evidence_proves_itself(collect: Collect) -> None:
    verdict = verify_evidence(collect())
    assert verdict.damage == []


def test_a_pack_carries_the_whole_run_and_says_what_it_leaves_out(ledger: Ledger, collect: Collect) -> None:
    evidence = collect()
    with ledger.recorder.reading() as reader:
        own = {row.seq for row in reader.stream("run/001")}
        others = {row.seq for row in reader.stream("run/002")}
    carried = {item.seq for item in evidence.entries}
    assert own <= carried
    assert not others & carried
    inside = {seq for seq in others if evidence.range.first <= seq < evidence.range.stop}
    assert inside
    assert f"{len(inside)} entries of the range are not in this file" in render_page(evidence)


def test_without_content_no_text_is_in_it(collect: Collect) -> None:
    evidence = collect(content=False)
    assert not any(item.disclosures for item in evidence.entries)
    page = render_page(evidence)
    assert "Asked to cite" not in page
    assert "Withheld (closed)" in page


def test_what_was_erased_is_not_in_it(ledger: Ledger, collect: Collect) -> None:
    ledger.erase("run/001", "request")
    ledger.sign()
    evidence = collect()
    assert not any(item.disclosures for item in evidence.entries if item.parsed()["stream"] == "run/001")
    page = render_page(evidence)
    assert "Withheld (erased)" in page
    assert "Asked to cite" not in page


def test_what_no_checkpoint_covers_is_not_packed(ledger: Ledger, recorded: str, tmp_path: Path) -> None:
    ledger.erase("run/002", "request")
    with open_for_reading(ledger.place, tmp_path / "keys") as opened:
        chosen = select_run(opened, recorded, calls=False, content=True)
        with pytest.raises(Unavailable, match="no published checkpoint covers"):
            collect_evidence(opened, chosen, "affidavit test", "2026-11-22T10:00:00.000000Z", None)


def test_as_published_leaves_out_what_no_checkpoint_covers(ledger: Ledger, recorded: str, tmp_path: Path) -> None:
    with ledger.recorder.reading() as reader:
        covered = reader.head().size
    ledger.erase("run/002", "request")
    with open_for_reading(folder_of(ledger), tmp_path / "keys") as opened:
        published = as_published(opened)
        assert published.size == covered < opened.size
        assert count_tail(opened, recorded, None, None, covered) == opened.size - covered
        assert count_tail(opened, "nothing", None, None, covered) == 0
        chosen = select_run(published, recorded, calls=False, content=True)
        evidence = collect_evidence(published, chosen, "affidavit test", "2026-11-22T10:00:00.000000Z", None)
    assert max(item.seq for item in evidence.entries) < covered
    assert verify_evidence(evidence).damage == []


def test_an_unknown_run_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    with open_for_reading(ledger.place, tmp_path / "keys") as opened, pytest.raises(Refused):
        select_run(opened, "nothing", calls=False, content=True)


def test_a_pdf_is_the_same_each_time_and_carries_the_evidence(collect: Collect) -> None:
    pytest.importorskip("typst", reason="the extra `pdf` is not installed")
    evidence = collect()
    made = render_pdf(evidence)
    assert made.startswith(b"%PDF-")
    assert b"evidence.json" in made
    assert render_pdf(evidence) == made
