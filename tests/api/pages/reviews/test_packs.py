"""Evidence packs from the page."""

from __future__ import annotations

import re
import threading
from html import unescape

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.api.pack import collect
from affidavit.api.pages.reviews import packs as module
from affidavit.ledger.entries.review import Subject
from affidavit.ledger.evidence.evidence import Evidence
from affidavit.ledger.tlog.note import print_vkey

from ..world import ADA
from ..world_runs import BETTER, EVEN
from .reading import note_of, text_of


def test_a_pack_of_a_run_is_a_file_that_holds_its_evidence(visitor: TestClient) -> None:
    answer = visitor.get(f"/reviews/pack?run={EVEN}")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="evidence-run-{EVEN}.html"'
    assert answer.text.startswith("<!DOCTYPE html>")
    assert 'id="evidence"' in answer.text
    assert "Nothing was gained." in answer.text  # its review
    assert len(visitor.get(f"/reviews/pack?run={EVEN}&texts=no").content) < len(answer.content)


def test_a_pack_of_a_window(visitor: TestClient) -> None:
    answer = visitor.get("/reviews/pack?from=2026-11-01&to=2026-11-08T00:00&texts=no")
    assert answer.status_code == 200, answer.text[:400]
    assert answer.headers["content-disposition"].endswith('"evidence-evaluation-20261101-20261108T0000.html"')


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("run=nobody", 404),
        (f"run={EVEN}&from=2026-11-01", 422),
        ("from=2026-11-08&to=2026-11-01", 422),
        ("from=x", 422),
        ("from=2001-01-01&to=2001-01-02&texts=no", 422),
    ],
)
def test_a_pack_of_nothing_is_refused(visitor: TestClient, query: str, status: int) -> None:
    assert visitor.get(f"/reviews/pack?{query}").status_code == status


def test_too_large_a_window_is_refused_before_it_is_read(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MOST_ENTRIES", 10)
    monkeypatch.setattr(collect, "window_events", None)
    answer = visitor.get("/reviews/pack?from=2026-11-01&to=2026-11-08")
    assert answer.status_code == 422
    assert "more than 10 entries" in answer.text


def test_a_pack_is_never_of_the_past(visitor: TestClient) -> None:
    answer = visitor.get(f"/reviews/pack?run={EVEN}&as_of=2000")
    assert "content-disposition" not in answer.headers
    assert "A pack is always made under the newest published checkpoint" in answer.text
    assert f'value="{EVEN}"' in answer.text
    assert "Evidence pack" in text_of(visitor, "/reviews/pack")


def test_while_a_pack_is_made_pages_answer_and_records_are_taken(
    own_visitor: TestClient, own_world: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(evidence: Evidence) -> str:
        begun.set()
        assert go_on.wait(30)
        return f"{len(evidence.entries)} entries"

    monkeypatch.setattr(module, "render_page", slowly)
    answers = []
    making = threading.Thread(target=lambda: answers.append(own_visitor.get(f"/reviews/pack?run={EVEN}")))
    making.start()
    try:
        assert begun.wait(30)
        assert own_visitor.get("/reviews").status_code == 200
        sent = {"statement": note_of(own_world, Subject(run=EVEN)), "vkey": print_vkey(ADA.verifier_key)}
        assert own_visitor.post("/reviews/upload", data=sent).status_code == 303
        busy = own_visitor.get(f"/reviews/pack?run={BETTER}")
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
        assert "another pack is being made" in busy.text
    finally:
        go_on.set()
        making.join()
    assert answers[0].status_code == 200


def test_asking_for_a_pack_signs_nothing_and_what_is_not_covered_is_said(
    own_visitor: TestClient, own_world: Service
) -> None:
    path = f"/reviews/pack?run={EVEN}"
    with own_world.ledger.recorder.reading() as reader:
        before = reader.latest_checkpoint()
    assert before is not None
    sent = {"statement": note_of(own_world, Subject(run=EVEN)), "vkey": print_vkey(ADA.verifier_key)}
    own_visitor.post("/reviews/upload", data=sent)
    answer = own_visitor.get(path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    told = text_of(own_visitor, path, 503)
    assert "1 entry that belongs in this pack was recorded after the newest published checkpoint" in told
    assert f"which covers the first {before[0]:,}: nothing signed proves it yet" in told
    (without,) = re.findall(r'href="([^"]+tail=no)"', answer.text)
    assert "I have read it." not in own_visitor.get(unescape(without)).text
    assert own_visitor.get(unescape(without)).headers["content-disposition"].startswith("attachment")
    with own_world.ledger.recorder.reading() as reader:
        assert reader.latest_checkpoint() == before
    own_world.ledger.sign()
    assert "I have read it." in own_visitor.get(path).text


def test_what_belongs_in_no_pack_of_the_subject_holds_none_up(own_visitor: TestClient, own_world: Service) -> None:
    sent = {"statement": note_of(own_world, Subject(run=EVEN)), "vkey": print_vkey(ADA.verifier_key)}
    own_visitor.post("/reviews/upload", data=sent)
    assert own_visitor.get(f"/reviews/pack?run={BETTER}").status_code == 200
    assert own_visitor.get("/reviews/pack?from=2026-11-01&to=2026-11-02&texts=no").status_code == 200
    assert own_visitor.get("/reviews/pack?run=nobody").status_code == 404
