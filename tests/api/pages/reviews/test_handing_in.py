"""Handing in what was signed elsewhere."""

from __future__ import annotations

from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.ledger.entries.review import Subject
from affidavit.ledger.tlog.note import print_vkey

from ..world import ADA, BOB
from ..world_runs import EVEN
from .reading import cards, note_of, text_of


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
