"""Reviews on the ledger: what is taken in, what is refused, and what a reader is told of each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.cli.review_commands import Asked, list_reviews, make_review_key, sign_review
from affidavit.api.cli.run_commands import show_run
from affidavit.api.reading import open_for_reading
from affidavit.api.record import RecordingLedger
from affidavit.api.reviews import Review, record_review, reviews_of
from affidavit.domain.errors import Refused
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Acknowledged, Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.entries.review import Statement, Subject, sign_statement
from affidavit.ledger.errors import Malformed, Unavailable
from affidavit.ledger.events import ReviewSigned
from affidavit.ledger.tlog.note import ED25519, ED25519_COSIGNATURE, print_vkey
from affidavit.ledger.tlog.private_key import NotePrivateKey, print_private_key, read_private_key
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of

ADA = NotePrivateKey("ada@example.org", ED25519, bytes(range(32)))
BOB = NotePrivateKey("bob@example.org", ED25519, bytes(range(1, 33)))
RUN = Subject(run="001")


@pytest.fixture
def ran(ledger: Ledger) -> Ledger:
    """A ledger with run 001, which has one iteration, and run 002, which has none."""
    recording = RecordingLedger(ledger)
    run = recording.start_run(strategy="iterative", prompt="Answer.", config={})
    run.record_iteration(run.record_evaluation("Answer.", score=0.5, n=3))
    recording.start_run(strategy="iterative", prompt="Answer.", config={})
    return ledger


def statement(ledger: Ledger, subject: Subject = RUN, size: int | None = None) -> Statement:
    with ledger.recorder.reading() as reader:
        upto = reader.head().size if size is None else size
        root = reader.frontier_at(upto).root()
    return Statement(ledger.origin, subject, upto, root, "approve", "2026-11-22T10:00:00Z", "I read it.")


def hand_in(ledger: Ledger, said: Statement, key: NotePrivateKey = ADA) -> Acknowledged:
    return record_review(ledger, sign_statement(said, key), print_vkey(key.verifier_key))


def read(ledger: Ledger, run: str = "001", *, keys: bool = True) -> list[Review]:
    with open_for_reading(ledger.place, ledger.keys.path.parent if keys else Path("nowhere")) as opened:
        return reviews_of(opened, run)


def test_what_was_signed_is_read_back_with_who_signed_it(ran: Ledger) -> None:
    said = statement(ran)
    (seq, _) = hand_in(ran, said)
    (review,) = read(ran)
    assert (review.seq, review.subject, review.verdict, review.size, review.root) == (
        seq,
        RUN,
        "approve",
        said.size,
        said.root,
    )
    assert (review.reviewer, review.vkey, review.words) == (ADA.name, print_vkey(ADA.verifier_key), "I read it.")
    assert review.note == sign_statement(said, ADA).decode()
    assert (review.withheld, review.problem) == (None, None)
    assert review.as_json()["statement"] == review.note


def test_reviews_stand_with_their_run_and_ranges_apart(ran: Ledger) -> None:
    hand_in(ran, statement(ran))
    hand_in(ran, statement(ran, Subject(run="001", iteration=1)), BOB)
    hand_in(ran, statement(ran, Subject(run="002")))
    hand_in(ran, statement(ran, Subject(first=1, last=2)))
    assert [(found.reviewer, str(found.subject)) for found in read(ran)] == [
        (ADA.name, "run 001"),
        (BOB.name, "iteration 001 1"),
    ]
    assert [str(found.subject) for found in read(ran, "002")] == ["run 002"]


def test_handed_in_again_it_is_the_same_review(ran: Ledger) -> None:
    said = statement(ran)
    first = hand_in(ran, said)
    assert hand_in(ran, said) == first
    assert hand_in(ran, said, BOB) != first
    assert len(read(ran)) == 2


def test_a_statement_about_something_else_is_refused(ran: Ledger) -> None:
    said = statement(ran)
    wrong = {
        "review_origin": replace(said, origin="another/log"),
        "review_size": replace(said, size=said.size + 1),
        "review_root": replace(said, root=bytes(32)),
        "review_known": statement(ran, Subject(run="003")),
    }
    for rule, other in wrong.items():
        with pytest.raises(Refused) as refused:
            hand_in(ran, other)
        assert refused.value.rule == rule
    for other in (statement(ran, Subject(run="002"), size=3), statement(ran, Subject(run="001", iteration=2))):
        with pytest.raises(Refused) as refused:
            hand_in(ran, other)
        assert refused.value.rule == "review_known"
    assert read(ran) == []


def test_a_note_that_does_not_verify_is_refused(ran: Ledger) -> None:
    note = sign_statement(statement(ran), ADA)
    for bad, vkey in (
        (note.replace(b"approve", b"reject"), print_vkey(ADA.verifier_key)),
        (note, print_vkey(BOB.verifier_key)),
        (note, "no vkey"),
        (b"no note", print_vkey(ADA.verifier_key)),
        (note + b"\xff", print_vkey(ADA.verifier_key)),
    ):
        with pytest.raises(Refused) as refused:
            record_review(ran, bad, vkey)
        assert refused.value.rule == "review_invalid"


def test_without_keys_the_verdict_stands_open_and_the_words_do_not(ran: Ledger) -> None:
    hand_in(ran, statement(ran))
    (closed,) = read(ran, keys=False)
    assert (closed.verdict, closed.subject) == ("approve", RUN)
    assert (closed.reviewer, closed.vkey, closed.words, closed.note) == (None, None, None, None)
    assert (closed.withheld, closed.problem) == ("closed", None)


def test_no_name_of_a_reviewer_stands_in_the_log(ran: Ledger) -> None:
    seq = hand_in(ran, statement(ran)).seq
    with ran.recorder.reading() as reader:
        (row,) = reader.entries(seq, seq + 1)
    assert b"ada" not in row.raw
    assert b"I read it" not in row.raw


def forged(ledger: Ledger, note: bytes, **fields: object) -> None:
    """Recorded by another program, past the checks of ours."""
    said = {"run": "001", "verdict": "approve", "size": 4, "root": "0" * 64, **fields}
    event = ReviewSigned.model_validate({**said, "statement": note.decode(), "vkey": print_vkey(ADA.verifier_key)})
    with ledger.recorder.reading() as reader:
        pos = reader.next_pos("review/001")
    ledger.record(NewEvent("review/001", pos, event, Meta(scope="review/forged")))


def test_what_was_recorded_past_the_checks_is_shown_with_its_problem(ran: Ledger) -> None:
    said = statement(ran)
    note = sign_statement(said, ADA)
    known = {"size": said.size, "root": said.root.hex()}
    forged(ran, note, **known, verdict="reject")
    later = replace(said, root=bytes(32))
    forged(ran, sign_statement(later, ADA), size=said.size, root="0" * 64)
    elsewhere = statement(ran, Subject(run="002"))
    forged(ran, sign_statement(elsewhere, ADA), run="002", size=elsewhere.size, root=elsewhere.root.hex())
    forged(ran, note.replace(b"read", b"read "), **known)
    problems = [str(review.problem) for review in read(ran)]
    assert "the reviewer signed" in problems[0]
    assert "another history" in problems[1]
    assert "stands in stream review/001" in problems[2]
    assert "does not verify" in problems[3]


def test_verify_finds_open_fields_that_were_not_signed(ran: Ledger) -> None:
    hand_in(ran, statement(ran))
    said = statement(ran)
    forged(ran, sign_statement(said, ADA), verdict="reject", size=said.size, root=said.root.hex())
    ran.sign()
    with ran.recorder.reading() as reader:
        verdict = audit(reader, REGISTRY, Against(signed=ran.keys.signed(), scopes=ran.scopes))
    assert [(damage.kind, damage.seq) for damage in verdict.damage] == [("summary_mismatch", said.size)]


@pytest.fixture
def folder(ran: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    return str(folder_of(ran))


def asked(**given: Any) -> Asked:
    return replace(Asked("question", "Why?\n", "001", None, None, None), **given)


def test_the_commands_make_a_key_sign_with_it_and_list(
    folder: str, ran: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_file, kept = tmp_path / "eve.key", tmp_path / "statement"
    make_review_key(key_file, "eve@example.org")
    assert key_file.stat().st_mode & 0o777 == 0o600
    vkey = print_vkey(read_private_key(key_file).verifier_key)
    assert vkey in capsys.readouterr().out

    sign_review(folder, asked(), key_file, None, kept, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["statement"] == kept.read_text(encoding="utf-8")
    sign_review(folder, asked(run=None, entries="0-3", verdict="reject"), key_file, None, None, as_json=False)
    assert "reject, of 6 entries, signed by eve@example.org" in capsys.readouterr().out

    assert list_reviews(folder, "001", None, as_json=True) == 0
    (listed,) = json.loads(capsys.readouterr().out)["reviews"]
    assert (listed["reviewer"], listed["words"], listed["vkey"]) == ("eve@example.org", "Why?", vkey)
    assert list_reviews(folder, None, None, as_json=False) == 0
    assert "entries 0 3" in capsys.readouterr().out
    assert list_reviews(folder, "002", None, as_json=False) == 0
    assert "no reviews" in capsys.readouterr().out
    assert b"PRIVATE" not in b"".join(path.read_bytes() for path in folder_of(ran).iterdir())


def test_show_tells_of_the_reviews_of_a_run(folder: str, ran: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    hand_in(ran, statement(ran))
    show_run(folder, "001", as_json=False, as_of=None, prices=None)
    assert "review: approve, of run 001, by ada@example.org" in capsys.readouterr().out
    show_run(folder, "001", as_json=True, as_of=None, prices=None)
    (told,) = json.loads(capsys.readouterr().out)["reviews"]
    assert told["words"] == "I read it."
    show_run(folder, "001", as_json=True, as_of="3", prices=None)
    assert json.loads(capsys.readouterr().out)["reviews"] == []


def test_a_review_that_does_not_verify_is_an_exit_code(
    folder: str, ran: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    forged(ran, sign_statement(statement(ran), ADA))
    assert list_reviews(folder, "001", None, as_json=False) == 1
    assert "does not verify" in capsys.readouterr().out


def test_a_reviewer_can_sign_what_their_checkpoint_covers(folder: str, ran: Ledger, tmp_path: Path) -> None:
    kept, key_file = tmp_path / "kept", tmp_path / "ada.key"
    ran.sign()
    with ran.recorder.reading() as reader:
        newest = reader.latest_checkpoint()
    assert newest is not None
    kept.write_bytes(newest[1])
    key_file.write_text(print_private_key(ADA), encoding="utf-8")
    key_file.chmod(0o600)
    hand_in(ran, statement(ran), BOB)
    sign_review(folder, asked(checkpoint=kept), key_file, None, None, as_json=False)
    assert [review.size for review in read(ran)] == [newest[0], newest[0]]


@pytest.mark.parametrize(
    "given",
    [
        {"run": None},
        {"entries": "1-2"},
        {"run": None, "entries": "1-"},
        {"run": None, "entries": "2-1"},
        {"run": None, "entries": "0-99"},
        {"run": None, "iteration": 1, "entries": "1-2"},
        {"verdict": "maybe"},
        {"words": " \n"},
        {"words": "a\tb"},
    ],
)
def test_what_cannot_be_signed_is_refused(folder: str, ran: Ledger, tmp_path: Path, given: dict[str, object]) -> None:
    key_file = tmp_path / "ada.key"
    key_file.write_text(print_private_key(ADA), encoding="utf-8")
    key_file.chmod(0o600)
    with pytest.raises((Refused, Malformed)):
        sign_review(folder, asked(**given), key_file, None, tmp_path / "statement", as_json=False)
    assert read(ran) == []
    assert not (tmp_path / "statement").exists()


def test_a_statement_that_the_ledger_refuses_is_not_written_either(folder: str, ran: Ledger, tmp_path: Path) -> None:
    key_file, output = tmp_path / "ada.key", tmp_path / "statement"
    key_file.write_text(print_private_key(ADA), encoding="utf-8")
    key_file.chmod(0o600)
    with pytest.raises(Refused):
        sign_review(folder, asked(run="003"), key_file, None, output, as_json=False)
    assert not output.exists()
    sign_review(folder, asked(), key_file, None, output, as_json=False)
    assert output.read_text(encoding="utf-8") == read(ran)[-1].note


def test_a_checkpoint_that_is_none_is_told_by_its_name(folder: str, tmp_path: Path) -> None:
    key_file, kept = tmp_path / "ada.key", tmp_path / "kept"
    key_file.write_text(print_private_key(ADA), encoding="utf-8")
    key_file.chmod(0o600)
    with pytest.raises(Unavailable, match=r"checkpoint .*kept: No such file"):
        sign_review(folder, asked(checkpoint=kept), key_file, None, None, as_json=False)
    kept.write_text("junk\n", encoding="utf-8")
    with pytest.raises(Malformed, match=r"checkpoint .*kept: "):
        sign_review(folder, asked(checkpoint=kept), key_file, None, None, as_json=False)


def test_keys_of_others_and_of_witnesses_sign_nothing(folder: str, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(print_private_key(ADA), encoding="utf-8")
    key_file.chmod(0o644)
    with pytest.raises(Unavailable, match="0600"):
        sign_review(folder, asked(), key_file, None, None, as_json=False)
    key_file.chmod(0o600)
    key_file.write_text(print_private_key(NotePrivateKey("w", ED25519_COSIGNATURE, bytes(32))), encoding="utf-8")
    with pytest.raises(Exception, match="expected 0x01"):
        sign_review(folder, asked(), key_file, None, None, as_json=False)
