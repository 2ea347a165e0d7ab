"""The pages of reviews without a script: lists, what a statement is about, handing in, and packs."""

from __future__ import annotations

import re
import threading
from html import unescape

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.api.pack import collect
from affidavit.api.pages.reviews import reviews as module
from affidavit.ledger.entries.review import Statement, Subject, sign_statement
from affidavit.ledger.evidence.evidence import Evidence
from affidavit.ledger.tlog.note import print_vkey

from ..world import ADA, BOB
from ..world_runs import BETTER, ERASED_RUN, EVEN, HOSTILE_RUN


def text_of(client: TestClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


def cards(client: TestClient, path: str) -> list[int]:
    return [int(seq) for seq in re.findall(r'<article class="card review" id="review-(\d+)"', client.get(path).text)]


def note_of(service: Service, subject: Subject, words: str = "I have read it.") -> str:
    with service.ledger.recorder.reading() as reader:
        head = reader.head()
    made = Statement(service.ledger.origin, subject, head.size, head.root(), "approve", "2026-11-22T10:00:00Z", words)
    return sign_statement(made, ADA).decode()


def test_reviews_stand_newest_first_each_verified(visitor: TestClient) -> None:
    seqs = cards(visitor, "/reviews")
    assert seqs == sorted(seqs, reverse=True)
    assert len(seqs) == 6
    told = text_of(visitor, "/reviews")
    assert told.count("signature verified") == 5
    assert "Who signed it, and the words, are erased; the verdict stays." in told
    assert f"by {ADA.name}" in told
    assert "1 to 6 of 6" in told
    assert f'data-entries="{",".join(map(str, seqs))}"' in visitor.get("/reviews").text


def test_words_of_others_are_inert(visitor: TestClient) -> None:
    page = visitor.get(f"/reviews?run={HOSTILE_RUN}").text
    assert "<script data-hostile" not in page
    assert "&lt;script data-hostile&gt;" in page


def test_they_are_filtered(visitor: TestClient) -> None:
    assert len(cards(visitor, f"/reviews?run={BETTER}")) == 2
    assert len(cards(visitor, "/reviews?verdict=reject")) == 2
    assert len(cards(visitor, f"/reviews?run={BETTER}&verdict=question")) == 1
    assert "Nobody signed one of run nobody yet." in text_of(visitor, "/reviews?run=nobody")
    assert len(cards(visitor, "/reviews?verdict=nonsense")) == 6


def test_they_are_paged(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    whole = [*cards(visitor, "/reviews")]
    (older,) = re.findall(r'rel="next" href="([^"]+)"', visitor.get("/reviews").text)
    assert whole + cards(visitor, unescape(older)) == sorted(whole + cards(visitor, unescape(older)), reverse=True)
    told = text_of(visitor, unescape(older))
    assert "5 to 6 of 6" in told
    assert "No more reviews." in text_of(visitor, "/reviews?before=1")


def test_as_of_an_earlier_entry(visitor: TestClient) -> None:
    seqs = sorted(cards(visitor, "/reviews"))
    assert cards(visitor, f"/reviews?as_of={seqs[1]}") == [seqs[1], seqs[0]]
    told = text_of(visitor, f"/reviews?as_of={seqs[1]}")
    assert "You see the past." in told
    assert "reviews: reject 0 2" in told
    assert cards(visitor, f"/reviews?as_of={seqs[0] - 1}") == []
    assert "Nobody has signed a review yet." in text_of(visitor, f"/reviews?as_of={seqs[0] - 1}")


def test_what_is_signed_is_stated(visitor: TestClient, world: Service) -> None:
    size = world.head()[0]
    page = visitor.get(f"/reviews/new?run={BETTER}").text
    assert f'data-subject="run {BETTER}"' in page
    assert f'data-size="{size}"' in page
    assert f"affidavit review {BETTER} --verdict approve" in page
    told = text_of(visitor, f"/reviews/new?run={BETTER}&iteration=2")
    assert f"Review run {BETTER}, iteration 2" in told
    assert "2 reviews were signed of this run before; form your own opinion first" in told
    page = visitor.get("/reviews/new?first=100&last=199").text
    assert 'data-subject="entries 100 199"' in page
    assert "--entries 100-199" in page


def test_a_time_becomes_its_entries(visitor: TestClient, world: Service) -> None:
    with world.ledger.recorder.reading() as reader:
        first, stop = reader.size_at("2026-11-01T00:00:00.000000Z"), reader.size_at("2026-11-08T00:00:00.000000Z")
    page = visitor.get("/reviews/new?from=2026-11-01&to=2026-11-08").text
    assert f'data-subject="entries {first} {stop - 1}"' in page
    assert "nothing was recorded from 2020-01-01 to 2020-01-02" in text_of(
        visitor, "/reviews/new?from=2020-01-01&to=2020-01-02", 422
    )


def test_of_the_past_an_earlier_log_is_signed(visitor: TestClient, world: Service) -> None:
    page = visitor.get("/reviews/new?first=0&last=9&as_of=20").text
    form = re.search(r'<form class="stack wide" id="signing"[^>]*>', page)
    assert form is not None
    assert 'data-size="21"' in form[0]
    with world.ledger.recorder.reading() as reader:
        assert reader.origin() in form[0]


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("run=nobody", 404, "run 'nobody' is not on this ledger"),
        (f"run={BETTER}&iteration=99", 404, "iteration 99 is not recorded"),
        (f"run={BETTER}&iteration=x", 422, "expected a whole number"),
        ("first=9&last=3", 422, "expected a first that is not after the last"),
        ("first=0&last=999999", 404, "entry 999999"),
        ("first=-1&last=3", 422, "expected a whole number"),
    ],
)
def test_what_is_not_there_cannot_be_reviewed(visitor: TestClient, query: str, status: int, told: str) -> None:
    assert told in text_of(visitor, f"/reviews/new?{query}", status)


def test_without_a_subject_there_is_a_choice(visitor: TestClient) -> None:
    page = visitor.get("/reviews/new").text
    assert page.count('action="/reviews/new"') == 3


def test_an_erased_run_can_be_reviewed(visitor: TestClient) -> None:
    assert 'data-subject="run ' in visitor.get(f"/reviews/new?run={ERASED_RUN}").text


def test_a_statement_is_handed_in_as_a_form_sends_it(own_visitor: TestClient, own_world: Service) -> None:
    note = note_of(own_world, Subject(run=EVEN), "Two lines.\n\nAnd — a dash.")
    sent = {"statement": note.replace("\n", "\r\n"), "vkey": f" {print_vkey(ADA.verifier_key)} "}
    answer = own_visitor.post("/reviews/upload", data=sent)
    assert answer.status_code == 303, answer.text
    target = answer.headers["location"]
    seq = own_world.head()[0] - 1
    assert cards(own_visitor, target)[0] == seq
    assert f"✓ Recorded as entry {seq}" in text_of(own_visitor, target)
    assert "And — a dash." in text_of(own_visitor, target)
    again = own_visitor.post("/reviews/upload", data=sent)
    assert again.headers["location"] == target
    assert own_world.head()[0] == seq + 1


def test_what_does_not_verify_is_not_recorded_and_stays_in_the_form(visitor: TestClient, world: Service) -> None:
    size = world.head()[0]
    note = note_of(world, Subject(run=EVEN)).replace("I have", "I had")
    answer = visitor.post("/reviews/upload", data={"statement": note, "vkey": print_vkey(ADA.verifier_key)})
    assert answer.status_code == 422
    assert "It was not recorded" in answer.text
    assert "I had read it." in answer.text
    for form in (
        {"statement": "", "vkey": ""},
        {"statement": "x" * 70_000, "vkey": "y"},
        {"statement": note, "vkey": print_vkey(BOB.verifier_key)},
    ):
        assert visitor.post("/reviews/upload", data=form).status_code == 422
    assert world.head()[0] == size


def test_another_site_s_form_is_not_taken(visitor: TestClient, world: Service) -> None:
    form = {"statement": note_of(world, Subject(run=EVEN)), "vkey": print_vkey(ADA.verifier_key)}
    answer = visitor.post("/reviews/upload", data=form, headers={"Origin": "https://other.example"})
    assert answer.status_code in (401, 403)


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
    assert "A pack is always made of the log as it is now" in answer.text
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


def test_what_nobody_signed_yet_is_signed_for_a_pack(own_visitor: TestClient, own_world: Service) -> None:
    sent = {"statement": note_of(own_world, Subject(run=EVEN)), "vkey": print_vkey(ADA.verifier_key)}
    own_visitor.post("/reviews/upload", data=sent)
    answer = own_visitor.get(f"/reviews/pack?run={EVEN}")
    assert answer.status_code == 200
    assert "I have read it." in answer.text
    with own_world.ledger.recorder.reading() as reader:
        latest = reader.latest_checkpoint()
        assert latest is not None
        assert latest[0] == reader.head().size


def test_the_entries_that_name_the_keys(visitor: TestClient, world: Service) -> None:
    answer = visitor.get("/ledger/signers.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    with world.ledger.recorder.reading() as reader:
        assert answer.text.split() == [str(row.seq) for row in reader.stream("ledger")]
    assert answer.text.startswith("0\n")


def test_a_root_is_told_as_in_the_badge_in_base64(visitor: TestClient) -> None:
    assert re.search(
        r'root <span class="hash" title="in hex [0-9a-f]{64}">[A-Za-z0-9+/]{43}=<', visitor.get("/reviews").text
    )
